"""Steps and resuming: recorded once, the same at every resume, in the type that the function says."""

import logging
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import msgspec
import pytest

from intendant import (
    Context,
    Event,
    Execution,
    Intent,
    Limits,
    OutcomeUnknown,
    Overloaded,
    Progress,
    Realm,
    Runtime,
    Shutdown,
    Status,
    StepFailed,
)
from intendant.domain.commit import Batch, KeysTaken, Verdict
from intendant.domain.ports import Store
from intendant.domain.replay import World

pytestmark = pytest.mark.anyio

Audit = Callable[[Store], Awaitable[World]]
Eventually = Callable[[Callable[[], Awaitable[bool]]], Awaitable[None]]
Body = Callable[[Context, int], Awaitable[Any]]


class Receipt(msgspec.Struct):
    item: str
    total: float


class Twice:
    """Runs a body as the handler `shop.run`: suspended once at the gate `resumed`, and resumed by another runtime."""

    def __init__(self, hot: Store, audit: Audit, eventually: Eventually) -> None:
        self.lives = 0
        self.published: list[Event] = []
        self._hot = hot
        self._audit = audit
        self._eventually = eventually
        self._at_gate = anyio.Event()

    async def gate(self) -> None:
        if self.lives == 1:
            self._at_gate.set()
            await anyio.sleep_forever()

    async def run(self, body: Body) -> Execution[Any]:
        realm = Realm("shop")

        @realm.handler
        async def run(ctx: Context, nothing: dict[str, Any]) -> Any:
            self.lives += 1
            return await body(ctx, self.lives)

        async with self._runtime(realm) as running:
            session = await running.open_session("acme", "desk-1")
            execution = await session.submit("shop.run", {})
            with anyio.fail_after(10):
                await self._at_gate.wait()
        async with self._runtime(realm) as running:
            again = running.execution("acme", execution.id)
            await again.outcome(timeout=10)

            async def delivered() -> bool:
                return not len(await running.outbox.pending("acme"))

            await self._eventually(delivered)
            await self._audit(self._hot)
            return again

    @asynccontextmanager
    async def _runtime(self, realm: Realm) -> AsyncGenerator[Runtime]:
        async with Runtime([realm], hot=self._hot, publisher=self.published.append, shutdown=Shutdown(drain=0)) as each:
            yield each


@pytest.fixture
def twice(anyio_backend: object, hot: Store, audit: Audit, eventually: Eventually) -> Twice:
    return Twice(hot, audit, eventually)


async def test_results_come_in_their_type_at_once_and_at_every_resume(twice: Twice) -> None:
    seen: list[list[Any]] = []
    ran: list[str] = []

    def note(name: str) -> str:
        ran.append(name)
        return name

    def plain(item: str) -> Receipt:
        note("plain")
        return Receipt(item, 1.0)

    async def asynchronous(item: str) -> tuple[int, datetime]:
        note("asynchronous")
        return 1, datetime(2026, 1, 1)

    class Priced:
        def __call__(self, item: str) -> set[int]:
            note("callable")
            return {1, 2}

    asynchronous.__annotations__["return"] = tuple[int, datetime]
    plain.__annotations__["return"] = Receipt

    async def body(ctx: Context, life: int) -> None:
        seen.append(
            [
                await ctx.step("plain", plain, "tea"),
                await ctx.step("asynchronous", asynchronous, "tea"),
                await ctx.step("callable", Priced(), "tea"),
                await ctx.step("partial", partial(plain, "rum")),
                await ctx.step("class", Receipt, "tea", 2.0),
                await ctx.step("untyped", lambda: {"a": (1, 2)}),
                await ctx.step("nothing", partial(note, "nothing")),
            ]
        )
        await twice.gate()

    await twice.run(body)
    assert len(seen) == 2
    assert seen[0] == seen[1]
    assert seen[0][0] == Receipt("tea", 1.0)
    assert seen[0][3] == Receipt("rum", 1.0)
    assert seen[0][4] == Receipt("tea", 2.0)
    assert seen[0][5] == {"a": [1, 2]}
    assert sorted(ran) == sorted(["plain", "asynchronous", "callable", "plain", "nothing"])


async def test_failed_steps_raise_the_same_again_and_may_be_caught(twice: Twice) -> None:
    raised: list[tuple[str, str, str]] = []
    runs: list[int] = []

    def refuse() -> None:
        runs.append(1)
        raise LookupError("out of stock")

    async def body(ctx: Context, life: int) -> str:
        try:
            await ctx.step("refuse", refuse)
        except StepFailed as error:
            raised.append((error.path, error.kind, error.message))
        await twice.gate()
        return "went on"

    execution = await twice.run(body)
    assert raised == [("refuse", "LookupError", "out of stock")] * 2
    assert runs == [1]
    view = await outcome(execution)
    assert view == "went on"


async def test_time_chance_and_events_are_the_same_at_every_resume(twice: Twice) -> None:
    facts: list[tuple[Any, ...]] = []

    async def body(ctx: Context, life: int) -> None:
        begun, chance = ctx.now(), ctx.random.random()
        ctx.emit("first")
        await ctx.step("one", anyio.lowlevel.checkpoint)
        facts.append((begun, chance, ctx.now(), ctx.random.random(), ctx.execution_id))
        await twice.gate()
        ctx.emit("second")

    execution = await twice.run(body)
    assert len(facts) == 2
    assert facts[0] == facts[1]
    ids = [event.id for event in twice.published]
    assert list(dict.fromkeys(ids)) == [f"{execution.id}-0", f"{execution.id}-1"]


async def test_logger_is_silent_for_what_ran_before(twice: Twice, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "intendant.handler")

    async def body(ctx: Context, life: int) -> None:
        ctx.logger.info("before")
        await ctx.step("one", anyio.lowlevel.checkpoint)
        ctx.logger.info("after %d", life)
        await twice.gate()

    execution = await twice.run(body)
    messages = [record.getMessage() for record in caplog.records if record.name == "intendant.handler"]
    assert messages == ["before", "after 1", "after 2"]
    assert {vars(record)["execution"] for record in caplog.records if record.name == "intendant.handler"} == {
        execution.id
    }


async def test_other_arguments_at_a_resume_are_a_mismatch_that_shows_both(twice: Twice) -> None:
    async def body(ctx: Context, life: int) -> None:
        await ctx.step("one", str, life)
        await twice.gate()

    execution = await twice.run(body)
    state = execution.ending.state
    assert state is not None
    assert state.error is not None
    assert state.error.code == "journal_mismatch"
    assert "step 'one'" in state.error.message


async def test_a_mismatch_shows_both_histories_side_by_side(twice: Twice) -> None:
    async def body(ctx: Context, life: int) -> None:
        await ctx.step("one", str)
        if life == 1:
            await ctx.step("removed", str)
        else:
            await ctx.step("added", str)
        await ctx.step("last", str, life)
        await twice.gate()

    execution = await twice.run(body)
    state = execution.ending.state
    assert state is not None
    assert state.error is not None
    rows = [line.split() for line in state.error.message.splitlines()[1:]]
    assert rows == [["recorded", "called", "now"], ["one", "one"], ["removed", "added"], ["last", "last"]]


async def test_steps_of_several_tasks_are_recorded_each(twice: Twice) -> None:
    ran: list[int] = []

    async def work(number: int) -> int:
        ran.append(number)
        await anyio.lowlevel.checkpoint()
        return number

    async def body(ctx: Context, life: int) -> None:
        async def step(number: int) -> None:
            assert await ctx.step("work", work, number, key=str(number)) == number

        async with anyio.create_task_group() as group:
            for number in range(20):
                group.start_soon(step, number)
        await twice.gate()

    await twice.run(body)
    assert sorted(ran) == list(range(20))


async def test_step_that_was_cut_off_by_a_time_out_is_not_recorded(runtime: Callable[..., Runtime]) -> None:
    realm = Realm("shop")

    @realm.handler
    async def run(ctx: Context, nothing: dict[str, Any]) -> str:
        with anyio.move_on_after(0.01):
            await ctx.step("slow", anyio.sleep_forever)
        return await ctx.step("other", str, 7)

    async with runtime(realm) as running:
        session = await running.open_session("acme", "desk-1")
        execution = await session.submit("shop.run", {})
        assert await execution.result(timeout=10) == "7"
        steps = await running.wal.query("acme", type="step_completed")
        assert [step.payload["path"] for step in steps] == ["other"]


@pytest.mark.parametrize("error", [StopIteration("a"), StopAsyncIteration("a"), MemoryError("a")], ids=repr)
async def test_plain_steps_may_raise_any_exception(runtime: Callable[..., Runtime], error: Exception) -> None:
    realm = Realm("shop")

    def explode() -> None:
        raise error

    @realm.handler
    async def run(ctx: Context, nothing: dict[str, Any]) -> None:
        await ctx.step("explode", explode)

    async with runtime(realm) as running:
        session = await running.open_session("acme", "desk-1")
        ended = await (await session.submit("shop.run", {})).outcome(timeout=10)
        assert ended.error is not None
        assert type(error).__name__ in f"{ended.error.code} {ended.error.message}"


async def test_execution_whose_handler_is_gone_is_blocked_until_it_is_back(
    runtime: Callable[..., Runtime], hot: Store, audit: Audit
) -> None:
    realm = Realm("shop")
    lives: list[int] = []
    begun = anyio.Event()

    @realm.handler
    async def run(ctx: Context, nothing: dict[str, Any]) -> int:
        lives.append(1)
        begun.set()
        if len(lives) == 1:
            await anyio.sleep_forever()
        return len(lives)

    async with runtime(realm, shutdown=Shutdown(drain=0)) as running:
        session = await running.open_session("acme", "desk-1")
        execution = await session.submit("shop.run", {})
        await begun.wait()
    async with runtime() as running:
        again = running.execution("acme", execution.id)
        with pytest.raises(TimeoutError):
            await again.result(timeout=0.1)
        assert await again.status() is Status.BLOCKED
        assert running.stats().open == 1
        await audit(hot)
    async with runtime(realm) as running:
        assert await running.execution("acme", execution.id).result(timeout=10) == 2


async def test_answer_that_does_not_come_in_time_is_unknown_and_safe_to_ask_again(
    runtime: Callable[..., Runtime], hot: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    realm = Realm("shop")
    runs: list[int] = []

    @realm.handler
    async def run(ctx: Context, nothing: dict[str, Any]) -> int:
        runs.append(1)
        return len(runs)

    async with runtime(realm) as running:
        session = await running.open_session("acme", "desk-1")
        gate, commit = anyio.Event(), hot.log(0).commit

        async def slow(batch: Batch) -> Verdict | KeysTaken:
            await gate.wait()
            return await commit(batch)

        monkeypatch.setattr(hot.log(0), "commit", slow)
        with pytest.raises(OutcomeUnknown, match="idempotency_key=") as raised:
            await session.submit("shop.run", {}, timeout=0.05)
        assert raised.value.intent_id == raised.value.key
        with pytest.raises(OutcomeUnknown, match="desk-2"):
            await running.open_session("acme", "desk-2", timeout=0.05)
        gate.set()
        execution = await session.submit("shop.run", {}, idempotency_key=raised.value.key)
        assert await execution.result(timeout=10) == 1
        assert runs == [1]
        assert (await running.open_session("acme", "desk-2")).id == "desk-2"


async def test_full_mailbox_of_a_session_refuses_at_once_and_loses_nothing(
    runtime: Callable[..., Runtime], hot: Store, audit: Audit
) -> None:
    realm = Realm("shop")

    @realm.handler
    async def run(ctx: Context, nothing: dict[str, Any]) -> None: ...

    accepted: list[Execution[Any]] = []
    refused: list[Overloaded] = []
    async with runtime(realm) as running:
        await running.open_session("acme", "desk-1")
    async with runtime(realm, limits=Limits(session_mailbox=5)) as running:
        session = running.session("acme", "desk-1")  # not in memory: what comes waits until it is read

        async def submit() -> None:
            try:
                accepted.append(await session.submit("shop.run", {}))
            except Overloaded as error:
                refused.append(error)

        async with anyio.create_task_group() as group:
            for _ in range(50):
                group.start_soon(submit)
        assert refused
        assert {error.limit for error in refused} == {5}
        assert len(accepted) + len(refused) == 50
        async for _ in running.wait(accepted, timeout=10):
            pass
        assert len((await audit(hot)).executions) == len(accepted)


async def test_more_accepted_than_may_run_wait_their_turn(runtime: Callable[..., Runtime]) -> None:
    realm = Realm("shop")
    now, most = 0, 0

    @realm.handler
    async def run(ctx: Context, nothing: dict[str, Any]) -> None:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await anyio.lowlevel.checkpoint()
        now -= 1

    async with runtime(realm, limits=Limits(running=3)) as running:
        session = await running.open_session("acme", "desk-1")
        executions = await session.submit_many([Intent("shop.run", {"number": number}) for number in range(50)])
        async for _execution, ended in running.wait(executions, timeout=10):
            assert ended.success
        assert most == 3


async def outcome(execution: Execution[Any]) -> Any:
    state = execution.ending.state
    assert state is not None
    return execution.outcome_of(state).result


INTERRUPTED = """
import anyio
from typing import Any
from intendant import Context, Realm, Runtime

realm = Realm("shop")

@realm.handler
async def interrupt(ctx: Context, nothing: dict[str, Any]) -> None:
    raise KeyboardInterrupt

async def main() -> None:
    async with Runtime([realm], hot="sqlite:work.db") as runtime:
        session = await runtime.open_session("acme", "desk-1")
        execution = await session.submit(interrupt, {})
        print(execution.id, flush=True)
        await execution.result()

anyio.run(main, backend="BACKEND")
"""


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_keyboard_interrupt_in_a_handler_is_the_hosts(tmp_path: Path, backend: str) -> None:
    code = INTERRUPTED.replace("BACKEND", backend)
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=30)  # noqa: PLW1510
    assert done.returncode in (-signal.SIGINT, 130, 1), done.stderr
    assert "KeyboardInterrupt" in done.stderr
    id = done.stdout.strip()

    async def look() -> Status:
        async with Runtime(hot=f"sqlite:{tmp_path / 'work.db'}") as running:
            return await running.execution("acme", id).status()

    assert anyio.run(look) in (Status.RUNNING, Status.BLOCKED)


async def test_progress_is_asked_of_the_actor_while_the_handler_runs(runtime: Callable[..., Runtime]) -> None:
    realm = Realm("shop")
    begun, go_on = anyio.Event(), anyio.Event()

    async def first() -> None:
        pass

    async def second() -> None:
        begun.set()
        await go_on.wait()

    @realm.handler
    async def run(ctx: Context, nothing: dict[str, Any]) -> None:
        await ctx.step("first", first)
        await ctx.step("second", second)

    async with runtime(realm) as running:
        session = await running.open_session("acme", "desk-1")
        execution = await session.submit("shop.run", {})
        with anyio.fail_after(10):
            await begun.wait()
        assert await execution.progress() == Progress(running=["second"], recorded=1)
        assert await running.execution("bolt", execution.id).progress() is None
        go_on.set()
        await execution.result(timeout=10)
        assert await execution.progress() is None
