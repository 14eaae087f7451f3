"""Entering, leaving, and giving up: every call is answered, and nothing that was accepted is lost."""

# ruff: noqa: PT012 - the block is the life of the runtime

import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

from intendant import (
    AcknowledgedDataMissing,
    ActorStopped,
    Context,
    Execution,
    Fenced,
    IntendantError,
    Realm,
    Runtime,
    RuntimeStopped,
    Shutdown,
    Status,
    StoreUnavailable,
)
from intendant.adapters.sqlite import SqliteStore
from intendant.domain.commit import Batch, Verdict
from intendant.domain.ports import Store
from intendant.domain.replay import World

pytestmark = pytest.mark.anyio

Audit = Callable[[Store], Awaitable[World]]
shop = Realm("shop")


@shop.handler
async def greet(ctx: Context, nothing: dict[str, Any]) -> str:
    return "hello"


@shop.handler
async def wait(ctx: Context, nothing: dict[str, Any]) -> str:
    await anyio.sleep_forever()
    return "never"


def questions(running: Runtime) -> list[Callable[[], Awaitable[object]]]:
    session = running.session("acme", "desk-1")
    return [
        lambda: running.open_session("acme", "desk-1"),
        lambda: running.create_session("acme", "desk-2"),
        lambda: running.sessions("acme"),
        lambda: running.executions("acme"),
        lambda: session.submit(greet, {"a": 1}),
        session.close,
        session.view,
        lambda: running.state.session("acme", "desk-1"),
        lambda: running.state.set_session("acme", "desk-1", {}),
        lambda: running.wal.query("acme"),
        lambda: running.wal.replay("acme"),
        lambda: running.outbox.pending("acme"),
        lambda: running.outbox.dead_letters("acme"),
    ]


async def check_stopped(running: Runtime, kind: type[IntendantError]) -> None:
    for question in questions(running):
        with anyio.fail_after(1), pytest.raises(kind):
            await question()
    with pytest.raises(kind):
        running.execution("acme", "e")
    nobody: list[Execution[Any]] = []
    with pytest.raises(kind):
        running.wait(nobody)
    with pytest.raises(kind):
        running.wal.tail("acme")
    with pytest.raises(kind):
        _ = running.durability


async def test_every_call_before_entering_and_after_leaving_says_so(runtime: Callable[..., Runtime]) -> None:
    running = runtime(shop)
    await check_stopped(running, RuntimeStopped)
    assert not running.ready
    async with running:
        session = await running.open_session("acme", "desk-1")
        execution = await session.submit(greet, {"a": 1})
        assert running.ready
    assert not running.ready
    await check_stopped(running, RuntimeStopped)
    with pytest.raises(RuntimeStopped):
        await execution.view()
    with pytest.raises(RuntimeStopped):
        await session.submit(greet, {"a": 1})


async def test_runtime_may_be_entered_again_and_its_handles_go_on(runtime: Callable[..., Runtime]) -> None:
    gate = anyio.Event()
    realm = Realm("shop")
    runs: list[int] = []

    @realm.handler
    async def pass_gate(ctx: Context, nothing: dict[str, Any]) -> int:
        runs.append(1)
        await gate.wait()
        return len(runs)

    running = runtime(realm, shutdown=Shutdown(drain=0))
    async with running:
        session = await running.open_session("acme", "desk-1")
        execution = await session.submit(pass_gate, {"a": 1})
        with pytest.raises(RuntimeStopped, match="entered already"):
            await running.__aenter__()
    with pytest.raises(RuntimeStopped):
        await execution.result()
    async with running:
        gate.set()
        assert await execution.result(timeout=10) == 2
        assert await (await session.submit(pass_gate, {"a": 1})).result(timeout=10) == 3


async def test_entering_that_fails_leaves_nothing_behind(
    runtime: Callable[..., Runtime], hot: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = runtime(shop)
    with monkeypatch.context() as patch:

        async def no_acquire(*args: object, **kwargs: object) -> None:
            raise StoreUnavailable("can't be reached")

        patch.setattr(hot.log(0), "acquire", no_acquire)
        with anyio.fail_after(20), pytest.raises(StoreUnavailable, match="reached"):
            await running.__aenter__()
    await check_stopped(running, RuntimeStopped)
    async with running:
        await running.open_session("acme", "desk-1")


async def test_leaving_lets_handlers_finish_and_suspends_those_that_do_not(
    runtime: Callable[..., Runtime], hot: Store, audit: Audit
) -> None:
    realm = Realm("shop")
    unwound: list[str] = []

    @realm.handler
    async def brief(ctx: Context, nothing: dict[str, Any]) -> None:
        await anyio.sleep(0.02)

    @realm.handler
    async def endless(ctx: Context, nothing: dict[str, Any]) -> None:
        try:
            await anyio.sleep_forever()
        finally:
            unwound.append(ctx.execution_id)

    async with runtime(realm, shutdown=Shutdown(drain=0.2)) as running:
        session = await running.open_session("acme", "desk-1")
        first = await session.submit(brief, {"a": 1})
        second = await session.submit(endless, {"a": 1})
    assert unwound == [second.id]
    async with runtime() as running:
        assert await running.execution("acme", first.id).status() is Status.COMPLETED
        assert await running.execution("acme", second.id).status() in {Status.RUNNING, Status.BLOCKED}
        assert (await audit(hot)).open == {("acme", second.id)}


@pytest.mark.parametrize(
    ("verdict", "cause", "answer"),
    [
        (Verdict.GAP, AcknowledgedDataMissing, RuntimeStopped),
        (Verdict.FENCED, Fenced, Fenced),
    ],
)
async def test_root_failure_is_told_to_everyone(
    runtime: Callable[..., Runtime],
    hot: Store,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    verdict: Verdict,
    cause: type[IntendantError],
    answer: type[IntendantError],
) -> None:
    async def refuse(batch: Batch) -> Verdict:
        return verdict

    waited: list[BaseException] = []
    ids: list[str] = []
    running = runtime(shop)
    with pytest.raises(RuntimeStopped, match="gave up") as left:
        async with running:
            session = await running.open_session("acme", "desk-1")
            execution = await session.submit(wait, {"a": 1})
            ids.append(execution.id)

            async def wait_for_end() -> None:
                try:
                    await execution.result()
                except IntendantError as error:
                    waited.append(error)

            async with anyio.create_task_group() as group:
                group.start_soon(wait_for_end)
                await anyio.wait_all_tasks_blocked()
                monkeypatch.setattr("intendant.actors.ownership.ROUNDS", 2)  # of seconds that a failover is given
                monkeypatch.setattr(hot.log(0), "commit", refuse)
                with anyio.fail_after(5), pytest.raises(answer):
                    await session.submit(greet, {"a": 1})
            assert isinstance(running.failed, cause)
            assert not running.ready
            await check_stopped(running, answer)
    assert [type(error) for error in waited] == [answer]
    assert left.value.__cause__ is running.failed
    assert [record.levelno for record in caplog.records if "gave up" in record.message] == [logging.CRITICAL]
    monkeypatch.undo()
    async with runtime(shop, shutdown=Shutdown(drain=0)) as running:
        assert await running.execution("acme", ids[0]).status() is Status.RUNNING


async def test_root_failure_cancels_the_host_only_when_asked_to(
    runtime: Callable[..., Runtime], hot: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(batch: Batch) -> Verdict:
        return Verdict.GAP

    reached: list[str] = []
    with anyio.fail_after(5), pytest.raises(RuntimeStopped, match="gave up"):
        async with runtime(shop, on_failure="cancel") as running:
            await running.open_session("acme", "desk-1")
            monkeypatch.setattr("intendant.actors.ownership.ROUNDS", 2)
            monkeypatch.setattr(hot.log(0), "commit", refuse)
            with pytest.raises(RuntimeStopped):
                await running.open_session("acme", "desk-2")
            reached.append("failed")
            await anyio.sleep_forever()
    assert reached == ["failed"]


async def test_error_of_the_host_comes_through_as_it_is(runtime: Callable[..., Runtime]) -> None:
    with pytest.raises(LookupError, match="of the host"):
        async with runtime(shop) as running:
            session = await running.open_session("acme", "desk-1")
            await session.submit(wait, {"a": 1})
            raise LookupError("of the host")


async def test_standby_that_is_cancelled_gives_up_at_once(tmp_path: Path) -> None:
    path = tmp_path / "work.db"
    async with Runtime([shop], hot=SqliteStore(path)) as owner:
        begun = anyio.current_time()
        with anyio.move_on_after(0.1):
            async with Runtime([shop], hot=SqliteStore(path), takeover_timeout=60):
                raise AssertionError("a live lease must not be taken")
        assert anyio.current_time() - begun < 5
        await owner.open_session("acme", "desk-1")


async def test_who_asks_in_the_moment_in_which_a_partition_is_lost_is_told_so(hot: Store) -> None:
    """Between the answer that its actor has stopped and the wait for another one others have their turn."""
    async with Runtime([shop], hot=hot, shutdown=Shutdown(drain=0)) as runtime:
        engine = runtime._engine  # pyright: ignore[reportPrivateUsage]
        assert engine is not None
        partition = engine.partition("acme")

        def lose() -> None:
            partition.sessions.serving = False
            partition.fail(Fenced("another owner has taken it"))

        async def ask(_left: float) -> None:
            engine.seam.call_soon(lose)
            raise ActorStopped("the writer has stopped")

        with anyio.fail_after(5), pytest.raises(Fenced, match="another owner"):
            await engine.persist(partition, ask, 60.0)
