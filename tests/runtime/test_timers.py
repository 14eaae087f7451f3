"""Durable timers: sleeps that a restart costs nothing, and that cost nothing while they last."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import anyio
import pytest

from intendant import Context, DuplicateStep, ExecutionFailed, InvalidValue, Limits, Realm, Runtime, Shutdown, Status
from intendant.actors.open_execution import OpenExecution
from intendant.adapters.memory import MemoryStore
from intendant.domain.ports import Store
from intendant.domain.replay import World
from intendant.domain.state import TIMERS
from intendant.testing.clock import VirtualClock, virtual_backend

pytestmark = pytest.mark.anyio

Audit = Callable[[Store], Awaitable[World]]
MakeRuntime = Callable[..., Runtime]
SOON = timedelta(milliseconds=5)
NO_DRAIN = Shutdown(drain=0)


async def test_a_sleep_is_two_records_and_is_over_in_the_index(runtime: MakeRuntime, hot: Store, audit: Audit) -> None:
    realm = Realm("shop")

    @realm.handler
    async def place(ctx: Context, nothing: dict[str, Any]) -> float:
        before = ctx.now()
        ctx.emit("sleeps")
        await ctx.sleep(SOON)
        await ctx.sleep(SOON, key="again")
        await ctx.sleep(timedelta(0), key="none")
        await ctx.sleep_until(datetime(2020, 1, 1, tzinfo=UTC))
        return (ctx.now() - before).total_seconds()

    async with runtime(realm) as running:
        session = await running.open_session("acme", "desk-1")
        execution = await session.submit("shop.place", {})
        assert await execution.result(timeout=10) >= 2 * SOON.total_seconds()
        records = (await running.wal.query("acme", execution=execution.id, newest_first=False)).items
        assert [each.type for each in records[2:-1]] == ["timer_set", "timer_fired"] * 2
        assert [each.payload["path"] for each in records[2:-1:2]] == ["sleep()", "sleep()[again]"]
        assert await hot.log(0).index(TIMERS) == []
        await audit(hot)


@pytest.mark.parametrize("resident", [0, 1_000])
async def test_a_restart_in_a_sleep_costs_nothing(
    runtime: MakeRuntime, hot: Store, audit: Audit, resident: int
) -> None:
    realm, lives = Realm("shop"), list[bool]()
    limits = Limits(resident=resident)

    @realm.handler
    async def place(ctx: Context, nothing: dict[str, Any]) -> str:
        lives.append(ctx.replaying)
        await ctx.sleep(timedelta(seconds=0.3))
        return "awake"

    async with runtime(realm, shutdown=NO_DRAIN, limits=limits) as running:
        session = await running.open_session("acme", "desk-1")
        execution = await session.submit("shop.place", {})
        while not await hot.log(0).index(TIMERS):  # noqa: ASYNC110
            await anyio.sleep(0.001)
        due = (await hot.log(0).index(TIMERS))[0].score
        with anyio.fail_after(10):
            while await execution.status() is not Status.WAITING:  # noqa: ASYNC110
                await anyio.sleep(0.001)
        assert [each.id for each in await running.executions("acme", status="waiting")] == [execution.id]
        assert not len(await running.executions("acme", status="running"))
    async with runtime(realm, limits=limits) as running:
        assert await running.execution("acme", execution.id).result(timeout=10) == "awake"
        fired = (await running.wal.query("acme", type="timer_fired")).items
        assert len(fired) == 1
        assert fired[0].payload["at"] >= due
        await audit(hot)
    assert lives[0] is False
    assert all(lives[1:])


async def test_a_second_sleep_without_a_key_is_told(runtime: MakeRuntime) -> None:
    realm = Realm("shop")

    @realm.handler
    async def place(ctx: Context, nothing: dict[str, Any]) -> None:
        await ctx.sleep(SOON)
        with pytest.raises(DuplicateStep, match=r"ctx.sleep\(..., key=item_id\)"):
            await ctx.sleep(SOON)
        await ctx.wait_signal("a", timeout=SOON)

    async with runtime(realm) as running:
        session = await running.open_session("acme", "desk-1")
        execution = await session.submit("shop.place", {})
        with pytest.raises(ExecutionFailed, match="TimeoutError: no signal 'a' came within"):
            await execution.result(timeout=10)


@pytest.mark.parametrize(
    "delay", [5, float("nan"), None, timedelta(days=100_000), timedelta.max, "1 s", datetime(2020, 1, 1)]
)
async def test_what_is_no_time_to_sleep_is_refused(delay: Any) -> None:
    from intendant.testing import context

    ctx = context()
    with pytest.raises(InvalidValue, match="delay"):
        await ctx.sleep(delay)
    with pytest.raises(InvalidValue, match="moment"):
        await ctx.sleep_until(delay)


async def test_a_sleep_that_is_given_up_is_withdrawn(runtime: MakeRuntime, hot: Store, audit: Audit) -> None:
    realm = Realm("shop")

    @realm.handler
    async def place(ctx: Context, nothing: dict[str, Any]) -> None:
        with anyio.move_on_after(0.02):
            await ctx.sleep(timedelta(days=1))
        await ctx.step("after", anyio.sleep, 0)

    async with runtime(realm) as running:
        session = await running.open_session("acme", "desk-1")
        await (await session.submit("shop.place", {})).result(timeout=10)
        assert (await running.wal.query("acme", type="timer_fired")).items[0].payload["withdrawn"]
        assert await hot.log(0).index(TIMERS) == []
        await audit(hot)


async def test_sleepers_take_no_place_to_run(runtime: MakeRuntime, hot: Store, audit: Audit) -> None:
    realm = Realm("shop")

    @realm.handler
    async def place(ctx: Context, nothing: dict[str, Any]) -> str:
        await ctx.wait_signal("go")
        return "went"

    @realm.handler
    async def quick(ctx: Context, nothing: dict[str, Any]) -> str:
        return "quick"

    async with runtime(realm, limits=Limits(running=2, resident=3), shutdown=NO_DRAIN) as running:
        session = await running.open_session("acme", "desk-1", concurrency=100)
        waiting = [await session.submit("shop.place", {}) for _ in range(20)]
        assert await (await session.submit("shop.quick", {})).result(timeout=10) == "quick"
        with anyio.fail_after(10):
            while running.stats().waiting > 4 or running.stats().running:  # noqa: ASYNC110
                await anyio.sleep(0.001)
        for execution in waiting:
            assert await execution.status() is Status.WAITING
            await execution.signal("go")
        assert [await execution.result(timeout=10) for execution in waiting] == ["went"] * 20
        await audit(hot)


async def test_a_handler_whose_wait_is_over_does_not_leave(
    runtime: MakeRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the very moment when that is durable, and it has not gone on yet, too many others wait."""
    realm, crowded = Realm("shop"), list[bool]()
    told = getattr(OpenExecution, "_wait_ended")  # noqa: B009

    @realm.handler
    async def place(ctx: Context, nothing: dict[str, Any]) -> Any:
        return await ctx.wait_signal("go")

    def told_and_crowded(entry: OpenExecution) -> None:
        told(entry)
        assert entry.actor is not None
        crowded.append(entry.actor.recording.may_leave(()))
        if crowded[-1]:
            entry.actor.recording.passivate()
            entry.owner.interrupt(entry)

    monkeypatch.setattr(OpenExecution, "_wait_ended", told_and_crowded)
    async with runtime(realm) as running:
        session = await running.open_session("acme", "desk-1")
        execution = await session.submit("shop.place", {})
        with anyio.fail_after(10):
            while await execution.status() is not Status.WAITING:  # noqa: ASYNC110
                await anyio.sleep(0.001)
        await execution.signal("go", 7)
        assert await execution.result(timeout=5) == 7
    assert crowded == [False]


async def test_a_handler_that_is_slow_to_leave_memory_is_cancelled_until_it_has_left(
    runtime: MakeRuntime, audit: Audit, hot: Store
) -> None:
    """It awaits something else on its way out, or goes on as if nothing had been; it leaves, and resumes."""
    realm, left, begun = Realm("shop"), list[str](), list[str]()

    @realm.handler
    async def place(ctx: Context, given: dict[str, str]) -> str:
        begun.append(given["how"])
        try:
            return str(await ctx.wait_signal("go"))
        except anyio.get_cancelled_exc_class():
            if given["how"] == "at once":
                raise
            with pytest.raises(anyio.get_cancelled_exc_class()):
                await anyio.sleep(3_600)
            left.append(given["how"])
            if given["how"] == "in the end":
                raise  # the first one, which is of its wait alone
        await anyio.sleep(3_600)
        return "stayed"

    ways = ["at once", "in the end", "not at all"]
    async with runtime(realm, limits=Limits(running=1, resident=0), shutdown=NO_DRAIN) as running:
        session = await running.open_session("acme", "desk-1", concurrency=100)
        waiting = [await session.submit("shop.place", {"how": how}) for how in ways]
        with anyio.fail_after(10):
            while len(left) < 2:  # noqa: ASYNC110
                await anyio.sleep(0.001)
        assert running.stats().running == 0
        for execution in waiting:
            await execution.signal("go", "went")
        assert [await execution.result(timeout=10) for execution in waiting] == ["went"] * 3
        await audit(hot)
    assert sorted(left) == ["in the end", "not at all"]
    assert len(begun) == 6, "each resumed once"


async def test_a_handler_with_tasks_beside_its_wait_stays_in_memory(runtime: MakeRuntime) -> None:
    realm, beats = Realm("shop"), list[int]()

    async def note(number: int) -> None:
        beats.append(number)

    @realm.handler
    async def place(ctx: Context, nothing: dict[str, Any]) -> None:
        async def beat() -> None:
            for number in range(1_000):
                await ctx.step("beat", note, number, key=str(number))
                await anyio.sleep(0.001)

        async with anyio.create_task_group() as group:
            group.start_soon(beat)
            await ctx.wait_signal("stop")
            group.cancel_scope.cancel()

    async with runtime(realm, limits=Limits(resident=0)) as running:
        session = await running.open_session("acme", "desk-1")
        execution = await session.submit("shop.place", {})
        with anyio.fail_after(10):
            while len(beats) < 5:  # noqa: ASYNC110
                await anyio.sleep(0.001)
        await execution.signal("stop")
        await execution.result(timeout=10)
    assert beats == list(range(len(beats)))


class TestVirtualTime:
    @pytest.fixture(params=["asyncio", "trio"])
    def anyio_backend(self, request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
        return virtual_backend(str(request.param))

    async def test_minutes_pass_at_once_and_those_that_were_over_meanwhile_wake_first(self) -> None:
        realm, woken = Realm("shop"), list[datetime]()
        store, clock = MemoryStore(), VirtualClock()

        @realm.handler
        async def place(ctx: Context, given: dict[str, int]) -> None:
            await ctx.sleep(timedelta(minutes=given["minutes"]))
            woken.append(ctx.now())

        async with Runtime([realm], hot=store, clock=clock, shutdown=NO_DRAIN) as running:
            session = await running.open_session("acme", "desk-1", concurrency=1_000)
            sleepers = [await session.submit(place, {"minutes": number % 3 + 1}) for number in range(900)]
            while len(await store.log(0).index(TIMERS)) < 900:  # noqa: ASYNC110
                await anyio.sleep(0.01)
        clock.shift(60.0)  # the process is down for a minute
        async with Runtime([realm], hot=store, clock=clock) as running:
            async for _, outcome in running.wait([running.execution("acme", each.id) for each in sleepers]):
                assert outcome.success
        assert woken == sorted(woken)
        assert (woken[-1] - woken[0]) > timedelta(minutes=1)
