"""Attempts: retries of steps and of handlers, their time limits, heartbeats, and steps side by side."""

import threading
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import anyio
import pytest

from intendant import (
    Context,
    DuplicateStep,
    Event,
    ExecutionFailed,
    Limits,
    Realm,
    Retry,
    RetryAfter,
    Runtime,
    Shutdown,
    Status,
    Step,
    StepFailed,
)
from intendant.domain.ports import Store
from intendant.domain.replay import World

pytestmark = pytest.mark.anyio

SOON = timedelta(milliseconds=1)
QUICK = Retry(attempts=3, initial=SOON)
Audit = Callable[[Store], Awaitable[World]]
MakeRuntime = Callable[..., Runtime]


class Unlucky(Exception):
    pass


async def run(runtime: Runtime, type: str) -> Any:
    session = await runtime.open_session("acme", "desk-1")
    execution = await session.submit(type, {})
    return await execution.result(timeout=10)


async def test_a_failing_step_is_tried_again_and_every_attempt_is_recorded(
    runtime: MakeRuntime, hot: Store, audit: Audit
) -> None:
    realm, steps = Realm("shop"), list[Step]()

    @realm.handler
    async def place(ctx: Context, nothing: dict[str, Any]) -> list[Any]:
        async def charge(step: Step, amount: int) -> int:
            steps.append(step)
            if step.attempt < 3:
                step.heartbeat({"attempt": step.attempt})
                raise Unlucky(f"attempt {step.attempt}")
            return amount

        return [await ctx.step("charge", charge, 5, retry=QUICK), ctx.attempt]

    async with runtime(realm) as running:
        assert await run(running, "shop.place") == [5, 1]
        failed = await running.wal.query("acme", type="step_failed")
        assert [(each.payload.get("attempt", 1), each.payload["final"]) for each in reversed(failed.items)] == [
            (1, False),
            (2, False),
        ]
        await audit(hot)
    assert [each.attempt for each in steps] == [1, 2, 3]
    assert len({each.idempotency_key for each in steps}) == 1
    assert steps[0].fence < steps[1].fence < steps[2].fence
    assert steps[2].progress == {"attempt": 2}


async def test_attempts_that_are_spent_fail_the_step(runtime: MakeRuntime) -> None:
    realm, attempts = Realm("shop"), list[int]()

    @realm.handler
    async def place(ctx: Context, nothing: dict[str, Any]) -> str:
        async def charge(step: Step) -> None:
            attempts.append(step.attempt)
            raise Unlucky

        with pytest.raises(StepFailed, match="Unlucky"):
            await ctx.step("charge", charge, retry=QUICK)
        with pytest.raises(StepFailed, match="KeyError"):
            await ctx.step("other", fail_with_key_error, retry=Retry(attempts=9, initial=SOON, never=(KeyError,)))
        return "went on"

    async with runtime(realm) as running:
        assert await run(running, "shop.place") == "went on"
    assert attempts == [1, 2, 3]


async def fail_with_key_error() -> None:
    raise KeyError("gone")


async def test_a_restart_goes_on_with_the_next_attempt_and_its_wait(
    runtime: MakeRuntime, hot: Store, audit: Audit
) -> None:
    realm, attempts, failed = Realm("shop"), list[int](), anyio.Event()
    day = Retry(attempts=3, initial=timedelta(days=1), maximum=timedelta(days=1))

    @realm.handler
    async def place(ctx: Context, nothing: dict[str, Any]) -> int:
        async def charge(step: Step) -> int:
            attempts.append(step.attempt)
            if step.attempt == 1:
                raise RetryAfter(timedelta(milliseconds=200))
            return step.attempt

        return await ctx.step("charge", charge, retry=day)

    async with runtime(realm, shutdown=Shutdown(drain=0)) as running:
        session = await running.open_session("acme", "desk-1")
        execution = await session.submit("shop.place", {})
        with anyio.fail_after(10):
            while not (await running.wal.query("acme", type="step_failed")).items:  # noqa: ASYNC110
                await anyio.sleep(0.001)
        failed.set()
    async with runtime(realm) as running:
        assert await running.execution("acme", execution.id).result(timeout=10) == 2
        await audit(hot)
    assert attempts == [1, 2]


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        ({"timeout": timedelta(milliseconds=20)}, "timeout=0:00:00.02"),
        ({"deadline": timedelta(milliseconds=20)}, "deadline=0:00:00.02"),
        ({"heartbeat": timedelta(milliseconds=20)}, "no heartbeat for 0.02 s"),
    ],
)
async def test_time_limits_of_a_step(runtime: MakeRuntime, limits: dict[str, Any], said: str) -> None:
    realm = Realm("shop")

    @realm.handler
    async def place(ctx: Context, nothing: dict[str, Any]) -> str:
        with pytest.raises(StepFailed) as raised:
            await ctx.step("wait", anyio.sleep_forever, **limits)
        return str(raised.value)

    async with runtime(realm) as running:
        assert said in await run(running, "shop.place")


async def test_heartbeats_keep_an_attempt_alive_also_from_a_thread(runtime: MakeRuntime) -> None:
    realm = Realm("shop")

    def work(step: Step) -> str:
        for place in range(5):
            step.heartbeat(place)
        return threading.current_thread().name

    async def beat(step: Step) -> int:
        for _ in range(10):
            await anyio.sleep(0.02)
            step.heartbeat()
        return step.attempt

    @realm.handler
    async def place(ctx: Context, nothing: dict[str, Any]) -> int:
        assert await ctx.step("thread", work, heartbeat=timedelta(seconds=30)) != threading.current_thread().name
        return await ctx.step("beat", beat, heartbeat=timedelta(seconds=0.15))

    async with runtime(realm) as running:
        assert await run(running, "shop.place") == 1


async def test_a_failed_attempt_of_a_handler_keeps_what_completed_and_tries_the_rest_again(
    runtime: MakeRuntime, hot: Store, audit: Audit
) -> None:
    realm, ran = Realm("shop"), list[str]()

    @realm.handler(retry=QUICK)
    async def place(ctx: Context, nothing: dict[str, Any]) -> int:
        async def note(name: str) -> None:
            ran.append(name)

        async def fail_twice() -> None:
            ran.append("fails")
            if ran.count("fails") < 3:
                raise Unlucky

        await ctx.step("kept", note, "kept")
        ctx.emit("reached", ctx.attempt)
        await ctx.step("fails", fail_twice)
        return ctx.attempt

    async with runtime(realm) as running:
        assert await run(running, "shop.place") == 3
        await audit(hot)
    assert ran == ["kept", "fails", "fails", "fails"]


async def test_a_handler_s_attempts_are_spent(runtime: MakeRuntime, hot: Store, audit: Audit) -> None:
    realm, attempts = Realm("shop"), list[int]()

    @realm.handler(retry=QUICK)
    async def place(ctx: Context, nothing: dict[str, Any]) -> None:
        attempts.append(ctx.attempt)
        raise Unlucky("every time")

    async with runtime(realm) as running:
        with pytest.raises(ExecutionFailed, match="every time"):
            await run(running, "shop.place")
        await audit(hot)
    assert attempts == [1, 2, 3]


@pytest.mark.parametrize("name", ["timeout", "deadline"])
async def test_time_limits_of_a_handler(runtime: MakeRuntime, name: str) -> None:
    realm, cleaned = Realm("shop"), list[str]()
    limits: dict[str, Any] = {name: timedelta(milliseconds=50)}

    @realm.handler(timeout=limits.get("timeout"), deadline=limits.get("deadline"))
    async def place(ctx: Context, nothing: dict[str, Any]) -> None:
        try:
            await anyio.sleep_forever()
        finally:
            cleaned.append("up")

    async with runtime(realm) as running:
        with pytest.raises(ExecutionFailed, match=f"took longer than its {name}"):
            await run(running, "shop.place")
    assert cleaned == ["up"]


async def test_map_gives_results_in_order_and_holds_its_limit(runtime: MakeRuntime, hot: Store, audit: Audit) -> None:
    realm, running_now, most = Realm("shop"), 0, 0

    async def parse(item: int) -> int:
        nonlocal running_now, most
        running_now += 1
        most = max(most, running_now)
        await anyio.sleep(0.001 * (item % 3))
        running_now -= 1
        return item * 2

    @realm.handler
    async def place(ctx: Context, nothing: dict[str, Any]) -> list[list[int]]:
        return [
            await ctx.map("parse", parse, range(30), limit=4),
            await ctx.map("keyed", parse, [3, 1], key=str),
            await ctx.map("empty", parse, []),
        ]

    async with runtime(realm) as running:
        assert await run(running, "shop.place") == [[each * 2 for each in range(30)], [6, 2], []]
        paths = {each.payload["path"] for each in (await running.wal.query("acme", type="step_completed")).items}
        await audit(hot)
    assert most == 4
    assert {"parse[0]", "parse[29]", "keyed[3]", "keyed[1]"} <= paths


async def test_map_s_first_failure_cancels_the_rest_and_at_a_resume_nothing_of_it_runs(
    runtime: MakeRuntime, hot: Store, audit: Audit
) -> None:
    realm, ran, lives = Realm("shop"), list[int](), 0
    at_gate = anyio.Event()

    async def parse(item: int) -> int:
        ran.append(item)
        if item == 2:
            raise Unlucky
        if item > 2:
            await anyio.sleep_forever()
        return item

    @realm.handler
    async def place(ctx: Context, nothing: dict[str, Any]) -> str:
        nonlocal lives
        lives += 1
        with pytest.raises(StepFailed, match=r"parse\[2\]"):
            await ctx.map("parse", parse, range(100), limit=8)
        if lives == 1:
            at_gate.set()
            await anyio.sleep_forever()
        return "went on"

    async with runtime(realm, shutdown=Shutdown(drain=0)) as running:
        session = await running.open_session("acme", "desk-1")
        execution = await session.submit("shop.place", {})
        with anyio.fail_after(10):
            await at_gate.wait()
    before = list(ran)
    async with runtime(realm) as running:
        assert await running.execution("acme", execution.id).result(timeout=10) == "went on"
        await audit(hot)
    assert ran == before


async def test_map_may_return_errors(runtime: MakeRuntime) -> None:
    realm = Realm("shop")

    def half(item: int) -> float:
        return 1 / item

    @realm.handler
    async def place(ctx: Context, nothing: dict[str, Any]) -> list[Any]:
        found = await ctx.map("half", half, [1, 0, 2], return_errors=True)
        return [each.kind if isinstance(each, StepFailed) else each for each in found]

    async with runtime(realm) as running:
        assert await run(running, "shop.place") == [1.0, "ZeroDivisionError", 0.5]


async def test_steps_in_a_task_group_of_the_handler_s_own_keep_their_events(
    runtime: MakeRuntime,
    hot: Store,
    audit: Audit,
    eventually: Callable[[Callable[[], Awaitable[bool]]], Awaitable[None]],
) -> None:
    realm, published, lives = Realm("shop"), list[tuple[str, Any]](), 0
    at_gate = anyio.Event()

    async def note(name: str) -> str:
        return name

    @realm.handler
    async def place(ctx: Context, nothing: dict[str, Any]) -> None:
        nonlocal lives
        lives += 1

        async def one(name: str, after: anyio.Event, then: anyio.Event) -> None:
            await after.wait()
            ctx.emit("did", await ctx.step("note", note, name, key=name))
            then.set()

        first, second, end = anyio.Event(), anyio.Event(), anyio.Event()
        async with anyio.create_task_group() as group:  # the second life takes them in the other order
            a, b = ("a", "b") if lives == 1 else ("b", "a")
            group.start_soon(one, a, first, second)
            group.start_soon(one, b, second, end)
            first.set()
        if lives == 1:
            at_gate.set()
            await anyio.sleep_forever()

    def publish(event: Event) -> None:
        published.append((event.name, event.payload))

    options: dict[str, Any] = {"publisher": publish}
    async with runtime(realm, shutdown=Shutdown(drain=0), **options) as running:
        session = await running.open_session("acme", "desk-1")
        execution = await session.submit("shop.place", {})
        with anyio.fail_after(10):
            await at_gate.wait()
    async with runtime(realm, **options) as running:
        await running.execution("acme", execution.id).result(timeout=10)

        async def delivered() -> bool:
            return not len(await running.outbox.pending("acme"))

        await eventually(delivered)
        await audit(hot)
    assert sorted(set(published)) == [("did", "a"), ("did", "b")]


async def test_one_name_twice_side_by_side_is_told(runtime: MakeRuntime) -> None:
    realm = Realm("shop")

    @realm.handler
    async def place(ctx: Context, nothing: dict[str, Any]) -> None:
        await ctx.map("same", anyio.sleep, [0, 0], key=lambda _each: "one")

    async with runtime(realm) as running:
        with pytest.raises(ExecutionFailed, match=DuplicateStep.code):
            await run(running, "shop.place")


async def test_a_large_result_becomes_a_file_by_itself(runtime: MakeRuntime, hot: Store, audit: Audit) -> None:
    realm, lives = Realm("shop"), 0
    at_gate = anyio.Event()

    async def large() -> bytes:
        return b"x" * 1_000_000

    @realm.handler
    async def place(ctx: Context, nothing: dict[str, Any]) -> int:
        nonlocal lives
        lives += 1
        content = await ctx.step("large", large)
        if lives == 1:
            at_gate.set()
            await anyio.sleep_forever()
        return len(content)

    from intendant.adapters.memory import MemoryFileStore

    files = MemoryFileStore()
    async with runtime(realm, shutdown=Shutdown(drain=0), files=files) as running:
        session = await running.open_session("acme", "desk-1")
        execution = await session.submit("shop.place", {})
        with anyio.fail_after(10):
            await at_gate.wait()
    async with runtime(realm, files=files) as running:
        assert await running.execution("acme", execution.id).result(timeout=10) == 1_000_000
        await audit(hot)


@pytest.mark.parametrize("whose", ["step", "handler"])
async def test_the_wait_for_another_attempt_takes_no_place_to_run(
    runtime: MakeRuntime,
    hot: Store,
    audit: Audit,
    whose: str,
    eventually: Callable[[Callable[[], Awaitable[bool]]], Awaitable[None]],
) -> None:
    realm, healed = Realm("shop"), anyio.Event()

    async def charge() -> str:
        if not healed.is_set():
            raise RetryAfter(timedelta(milliseconds=400))
        return "charged"

    @realm.handler(retry=Retry(attempts=1 if whose == "step" else 1_000))
    async def place(ctx: Context, nothing: dict[str, Any]) -> str:
        if whose == "handler":
            return await charge()
        return await ctx.step("charge", charge, retry=Retry(attempts=1_000))

    @realm.handler
    async def quick(ctx: Context, nothing: dict[str, Any]) -> str:
        return "quick"

    async with runtime(realm, limits=Limits(running=1, resident=0), shutdown=Shutdown(drain=0)) as running:
        session = await running.open_session("acme", "desk-1")
        execution = await session.submit("shop.place", {})

        async def waits() -> bool:
            return await execution.status() is Status.WAITING

        await eventually(waits)
        progress = await execution.progress()
        assert progress is not None
        assert (progress.running, progress.waiting) == ([], ["charge" if whose == "step" else "attempt()"])
        assert await (await session.submit("shop.quick", {})).result(timeout=10) == "quick"
        healed.set()
        assert await execution.result(timeout=10) == "charged"
        await audit(hot)


@pytest.mark.parametrize(("name", "says"), [("object", "can't be encoded"), ("large", "the limit is 67,108,864")])
async def test_a_result_that_can_not_be_recorded_is_a_failed_attempt_and_the_last(
    runtime: MakeRuntime, hot: Store, audit: Audit, name: str, says: str
) -> None:
    realm, ran = Realm("shop"), list[int]()

    @realm.handler
    async def place(ctx: Context, nothing: dict[str, Any]) -> str:
        async def give() -> Any:
            ran.append(1)
            return object() if name == "object" else bytes(64 * 1024 * 1024)

        ctx.emit("before")
        with pytest.raises(StepFailed, match=f"invalid_value: result of step 'give': .*{says}") as raised:
            await ctx.step("give", give, retry=QUICK)
        return raised.value.kind

    async with runtime(realm) as running:
        assert await run(running, "shop.place") == "invalid_value"
        (failed,) = (await running.wal.query("acme", type="step_failed")).items
        assert failed.payload["path"] == "give"
        assert failed.payload["error"]["code"] == "invalid_value"
        world = await audit(hot)
    assert ran == [1]
    assert len(world.outbox) == 1


async def test_events_that_are_too_large_for_a_step_s_record_leave_a_failed_attempt(
    runtime: MakeRuntime, hot: Store, audit: Audit
) -> None:
    realm = Realm("shop")

    @realm.handler
    async def place(ctx: Context, nothing: dict[str, Any]) -> None:
        for _ in range(20):
            ctx.emit("large", "x" * 60_000)
        await ctx.step("after", str)

    async with runtime(realm) as running:
        with pytest.raises(ExecutionFailed, match="1,048,576"):
            await run(running, "shop.place")
        (failed,) = (await running.wal.query("acme", type="step_failed")).items
        assert failed.payload["path"] == "after"
        await audit(hot)


async def test_an_attempt_after_a_crash_goes_on_from_the_progress_of_the_last_failed_one(
    runtime: MakeRuntime, hot: Store
) -> None:
    """The progress of an attempt that the process's death cut off is lost: nothing recorded it."""
    realm, seen, lives = Realm("shop"), list[tuple[int, Any]](), 0
    at_gate = anyio.Event()

    @realm.handler
    async def place(ctx: Context, nothing: dict[str, Any]) -> int:
        nonlocal lives
        lives += 1

        async def copy(step: Step) -> int:
            seen.append((step.attempt, step.progress))
            step.heartbeat({"rows": 10 * len(seen)})
            if step.attempt == 1:
                raise Unlucky
            if lives == 1:
                at_gate.set()
                await anyio.sleep_forever()
            return int(step.progress["rows"])

        return await ctx.step("copy", copy, retry=QUICK, heartbeat=timedelta(seconds=30))

    async with runtime(realm, shutdown=Shutdown(drain=0)) as running:
        session = await running.open_session("acme", "desk-1")
        execution = await session.submit("shop.place", {})
        with anyio.fail_after(10):
            await at_gate.wait()
    async with runtime(realm) as running:
        assert await running.execution("acme", execution.id).result(timeout=10) == 30
    assert seen == [(1, None), (2, {"rows": 10}), (2, {"rows": 10})]
