"""Cancels: whatever an execution does at that moment, whoever else asks, and what they are told."""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from intendant import (
    BeingErased,
    CancelResult,
    Context,
    Limits,
    OutcomeUnknown,
    Overloaded,
    Realm,
    Retry,
    Runtime,
    Shutdown,
    Status,
    UnknownExecution,
    UnknownSession,
)
from intendant.actors.wal_writer import WalWriter
from intendant.adapters.memory import MemoryStore
from intendant.domain.ports import Store
from intendant.domain.replay import World
from intendant.domain.state import TIMERS

pytestmark = pytest.mark.anyio

Audit = Callable[[Store], Awaitable[World]]
MakeRuntime = Callable[..., Runtime]
Eventually = Callable[[Callable[[], Awaitable[bool]]], Awaitable[None]]
NO_DRAIN = Shutdown(drain=0)
TAKEN = {CancelResult.REQUESTED, CancelResult.CANCELLED}  # one that cleans up fast may have ended by then
RESIDENT = pytest.mark.parametrize("resident", [0, 1_000])

shop = Realm("shop")
log: list[str] = []


@pytest.fixture(autouse=True)
def empty_log() -> None:
    log.clear()


async def note(what: str) -> None:
    log.append(what)


@shop.handler
async def sleeper(ctx: Context, nothing: dict[str, Any]) -> None:
    await ctx.step("before", note, "before")
    try:
        await ctx.sleep(timedelta(days=1))
    finally:
        await ctx.step("after", note, "after")


@shop.handler
async def waiter(ctx: Context, nothing: dict[str, Any]) -> Any:
    try:
        return await ctx.wait_signal("go")
    finally:
        with anyio.move_on_after(5, shield=True):
            log.append(str(await ctx.wait_signal("last", timeout=timedelta(milliseconds=20))))


@shop.handler
async def mapper(ctx: Context, nothing: dict[str, Any]) -> None:
    async def each(number: int) -> int:
        log.append(f"part {number}")
        await anyio.sleep(0 if number < 2 else 3_600)
        return number

    try:
        await ctx.map("part", each, range(10), limit=4)
    finally:
        await ctx.step("after", note, "after")


@shop.handler(retry=Retry(attempts=3, initial=timedelta(hours=1)))
async def failing(ctx: Context, nothing: dict[str, Any]) -> None:
    log.append(f"attempt {ctx.attempt}")
    await ctx.step("done", note, "done")
    raise ValueError("as asked")


@shop.handler
async def quick(ctx: Context, nothing: dict[str, Any]) -> str:
    log.append("quick")
    return "quick"


@shop.handler
async def busy(ctx: Context, nothing: dict[str, Any]) -> None:
    log.append("busy")
    await anyio.sleep_forever()


async def submit(running: Runtime, type: str, session: str = "desk-1", tenant: str = "acme") -> Any:
    return await (await running.open_session(tenant, session)).submit(f"shop.{type}", {})


async def types_of(running: Runtime, execution: str) -> list[str]:
    records = (await running.wal.query("acme", execution=execution, newest_first=False, limit=1_000)).items
    return [each.type for each in records]


async def recorded(running: Runtime, execution: Any, type: str) -> None:
    """Wait until the log has it."""
    with anyio.fail_after(10):
        while type not in await types_of(running, execution.id):  # noqa: ASYNC110
            await anyio.sleep(0.001)


async def ended(execution: Any) -> Status:
    status: Status = (await execution.outcome(timeout=10)).status
    return status


def _no_room(*_arguments: object) -> None:
    raise Overloaded("the hot store", 1)


# --- whatever it does


@pytest.mark.parametrize("again", [False, True])
async def test_one_that_has_not_begun_ends_without_running(
    runtime: MakeRuntime, hot: Store, audit: Audit, again: bool
) -> None:
    limits = Limits(running=1)
    async with runtime(shop, limits=limits, shutdown=NO_DRAIN) as running:
        await submit(running, "busy")
        waiting = [await submit(running, "quick") for _ in range(3)]
        if not again:
            assert await waiting[1].cancel() is CancelResult.CANCELLED
            assert await ended(waiting[1]) is Status.CANCELLED
    if again:
        async with runtime(shop, limits=limits, shutdown=NO_DRAIN) as running:
            assert await running.execution("acme", waiting[1].id).cancel() is CancelResult.CANCELLED
    async with runtime(shop, limits=limits, shutdown=NO_DRAIN) as running:
        assert await types_of(running, waiting[1].id) == ["intent_received", "cancel_requested", "execution_cancelled"]
        assert "quick" not in log
        assert (await running.execution("acme", waiting[0].id).status()) is Status.ACCEPTED
        await audit(hot)


@RESIDENT
async def test_in_a_sleep(
    runtime: MakeRuntime, hot: Store, audit: Audit, eventually: Eventually, resident: int
) -> None:
    async with runtime(shop, limits=Limits(resident=resident)) as running:
        execution = await submit(running, "sleeper")

        async def waits() -> bool:
            return bool(await execution.status() is Status.WAITING)

        await eventually(waits)
        assert await execution.cancel() in TAKEN
        assert await ended(execution) is Status.CANCELLED
        assert log == ["before", "after"]
        assert await hot.log(0).index(TIMERS) == []
        await audit(hot)


@RESIDENT
async def test_in_a_wait_for_a_signal_which_the_clean_up_may_wait_for_again(
    runtime: MakeRuntime, hot: Store, audit: Audit, eventually: Eventually, resident: int
) -> None:
    async with runtime(shop, limits=Limits(resident=resident)) as running:
        execution = await submit(running, "waiter")

        async def waits() -> bool:
            return bool(await execution.status() is Status.WAITING)

        await eventually(waits)
        await execution.signal("last", "said before")
        assert await execution.cancel() in TAKEN
        outcome = await execution.outcome(timeout=10)
        assert outcome.status is Status.CANCELLED
        assert log == ["said before"]
        await audit(hot)


async def test_in_a_map(runtime: MakeRuntime, hot: Store, audit: Audit, eventually: Eventually) -> None:
    async with runtime(shop) as running:
        execution = await submit(running, "mapper")

        async def goes() -> bool:
            return "part 5" in log

        await eventually(goes)
        await execution.cancel()
        assert await ended(execution) is Status.CANCELLED
        assert log == [*(f"part {number}" for number in range(6)), "after"]
        await audit(hot)


@pytest.mark.parametrize("again", [False, True])
async def test_between_two_attempts(
    runtime: MakeRuntime, hot: Store, audit: Audit, eventually: Eventually, again: bool
) -> None:
    async with runtime(shop, shutdown=NO_DRAIN) as running:
        execution = await submit(running, "failing")
        await recorded(running, execution, "step_failed")
        if not again:
            assert await execution.cancel() in TAKEN
            assert await ended(execution) is Status.CANCELLED
    async with runtime(shop, shutdown=NO_DRAIN) as running:
        execution = running.execution("acme", execution.id)
        if again:
            await execution.cancel()
        outcome = await execution.outcome(timeout=10)
        assert (outcome.status, outcome.error) == (Status.CANCELLED, None)
        assert log == ["attempt 1", "done"]
        await audit(hot)


async def test_in_the_middle_of_its_clean_up_it_is_resumed_and_told_again(
    runtime: MakeRuntime, hot: Store, audit: Audit
) -> None:
    """Told where it was: behind what was recorded before the cancel. What the clean-up recorded does not run again."""
    realm, middle, life = Realm("shop"), anyio.Event(), 1

    @realm.handler
    async def place(ctx: Context, nothing: dict[str, Any]) -> None:
        log.append(f"life {life}")
        await ctx.step("one", note, "one")
        log.append("between")
        try:
            await ctx.step("two", anyio.sleep_forever)
        except anyio.get_cancelled_exc_class():
            log.append("told")
            raise
        finally:
            await ctx.step("undo-two", note, "undo-two")
            if life == 1:
                middle.set()
                await ctx.step("stuck", anyio.sleep_forever)
            await ctx.step("undo-one", note, "undo-one")

    async with runtime(realm, shutdown=NO_DRAIN) as running:
        execution = await submit(running, "place")
        await recorded(running, execution, "step_completed")
        await execution.cancel()
        with anyio.fail_after(10):
            await middle.wait()
    life = 2
    async with runtime(realm) as running:
        assert await ended(running.execution("acme", execution.id)) is Status.CANCELLED
        await audit(hot)
    first, second = log[: log.index("life 2")], log[log.index("life 2") :]
    assert first == ["life 1", "one", "between", "told", "undo-two"]
    assert second == ["life 2", "between", "told", "undo-one"]


async def test_a_resumed_handler_that_records_nothing_is_told_at_its_first_await(runtime: MakeRuntime) -> None:
    async with runtime(shop, shutdown=NO_DRAIN) as running:
        execution = await submit(running, "busy")
    async with runtime(shop, limits=Limits(running=1), shutdown=NO_DRAIN) as running:
        await running.execution("acme", execution.id).cancel()
        assert await ended(running.execution("acme", execution.id)) is Status.CANCELLED


async def test_a_resume_that_does_not_come_to_what_was_recorded_is_told_in_time(runtime: MakeRuntime) -> None:
    """The code has changed, and waits where it did not before."""
    realm, life = Realm("shop"), 1

    @realm.handler(cleanup=timedelta(milliseconds=30))
    async def place(ctx: Context, nothing: dict[str, Any]) -> None:
        if life == 2:
            await anyio.sleep_forever()
        await ctx.step("one", note, "one")
        await anyio.sleep_forever()

    async with runtime(realm, shutdown=NO_DRAIN) as running:
        execution = await submit(running, "place")
        await recorded(running, execution, "step_completed")
    life = 2
    async with runtime(realm, shutdown=NO_DRAIN) as running:
        again = running.execution("acme", execution.id)
        await again.cancel()
        assert await ended(again) is Status.CANCELLED


async def test_without_its_handler_it_stays_until_there_is_one(runtime: MakeRuntime, hot: Store, audit: Audit) -> None:
    async with runtime(shop, shutdown=NO_DRAIN) as running:
        execution = await submit(running, "sleeper")
        await recorded(running, execution, "timer_set")
    async with runtime(shutdown=NO_DRAIN) as running:
        assert await running.execution("acme", execution.id).cancel() is CancelResult.REQUESTED
        assert not (await running.execution("acme", execution.id).status()).ended
    async with runtime(shop) as running:
        assert await ended(running.execution("acme", execution.id)) is Status.CANCELLED
        assert log == ["before", "after"]
        await audit(hot)


# --- whoever asks


async def test_many_cancels_are_one(runtime: MakeRuntime, hot: Store, audit: Audit) -> None:
    async with runtime(shop) as running:
        execution, results = await submit(running, "sleeper"), list[CancelResult]()

        async def cancel() -> None:
            results.append(await execution.cancel())

        async with anyio.create_task_group() as group:
            for _ in range(50):
                group.start_soon(cancel)
        assert set(results) <= TAKEN
        assert await ended(execution) is Status.CANCELLED
        assert (await types_of(running, execution.id)).count("cancel_requested") == 1
        await audit(hot)


async def test_whoever_is_recorded_first_wins_and_the_answer_says_so(
    runtime: MakeRuntime, hot: Store, audit: Audit
) -> None:
    answers = set[CancelResult]()
    async with runtime(shop) as running:
        for turns in range(40):
            execution = await submit(running, "quick")
            for _ in range(turns % 8):
                await anyio.lowlevel.checkpoint()
            answer = await execution.cancel()
            end = await ended(execution)
            assert (answer.value, end.value) in {
                ("requested", "cancelled"),
                ("cancelled", "cancelled"),
                ("completed", "completed"),
            }
            answers.add(answer)
        late = await submit(running, "quick")
        await late.result(timeout=10)
        assert await late.cancel() is CancelResult.COMPLETED
        unknown = await (await running.open_session("acme", "desk-1")).submit("no.such", {})
        await unknown.outcome(timeout=10)
        assert await unknown.cancel() is CancelResult.FAILED
        await audit(hot)


async def test_nobody_elses_execution_can_be_cancelled(runtime: MakeRuntime) -> None:
    async with runtime(shop, shutdown=NO_DRAIN) as running:
        execution = await submit(running, "busy")
        for tenant, id in (("bolt", execution.id), ("acme", "0" * 32)):
            with pytest.raises(UnknownExecution):
                await running.execution(tenant, id).cancel()
        with pytest.raises(UnknownSession):
            await running.session("bolt", "desk-1").cancel()
        assert await running.cancel_tenant("bolt") == {}
        assert "cancel_requested" not in await types_of(running, execution.id)


async def test_a_session_and_a_tenant(runtime: MakeRuntime, hot: Store, audit: Audit) -> None:
    async with runtime(shop, limits=Limits(running=6)) as running:
        one = [await submit(running, "busy") for _ in range(3)]
        done = await submit(running, "quick")
        await done.result(timeout=10)
        two = [await submit(running, "sleeper", "desk-2") for _ in range(5)]
        other = await submit(running, "sleeper", tenant="bolt")
        results = await running.session("acme", "desk-1").cancel()
        assert set(results) == {each.id for each in one}
        assert set(results.values()) <= TAKEN
        assert [await ended(each) for each in one] == [Status.CANCELLED] * 3
        assert await (await submit(running, "quick")).result(timeout=10) == "quick"  # it is open still
        results = await running.cancel_tenant("acme")
        assert set(results) == {each.id for each in two}
        assert set(results.values()) <= TAKEN
        assert [await ended(each) for each in two] == [Status.CANCELLED] * 5
        assert not (await other.status()).ended
        assert await running.cancel_tenant("acme") == {}
        await audit(hot)
        await other.cancel()
        await ended(other)


async def test_no_room_and_no_mailbox_stands_in_its_way(
    runtime: MakeRuntime, monkeypatch: pytest.MonkeyPatch, eventually: Eventually
) -> None:
    async with runtime(shop, limits=Limits(open=1)) as running:
        execution = await submit(running, "busy")
        session = await running.open_session("acme", "desk-1")
        monkeypatch.setattr(WalWriter, "check_room", _no_room)
        monkeypatch.setattr(WalWriter, "accept", _no_room)
        with pytest.raises(Overloaded):
            await session.submit("shop.quick", {})
        assert await execution.cancel() in TAKEN
        assert await ended(execution) is Status.CANCELLED


async def test_what_is_being_erased_is_not_cancelled(runtime: MakeRuntime) -> None:
    async with runtime(shop, shutdown=NO_DRAIN) as running:
        execution = await submit(running, "sleeper")
        async with anyio.create_task_group() as group:
            group.start_soon(lambda: running.erase_tenant("acme", drop_open=True, timeout=10))
            with anyio.fail_after(10):
                while True:
                    try:
                        await execution.cancel()
                    except BeingErased:
                        pass
                    except UnknownExecution:
                        break
                    await anyio.lowlevel.checkpoint()


async def test_one_that_cleans_up_may_be_erased(runtime: MakeRuntime, hot: Store) -> None:
    realm, begun, there = Realm("shop"), anyio.Event(), anyio.Event()

    @realm.handler
    async def place(ctx: Context, nothing: dict[str, Any]) -> None:
        try:
            begun.set()
            await anyio.sleep_forever()
        finally:
            there.set()
            await ctx.step("stuck", anyio.sleep_forever)

    async with runtime(realm) as running:
        execution = await submit(running, "place")
        await begun.wait()
        await execution.cancel()
        await there.wait()
        with anyio.fail_after(10):
            await running.erase_tenant("acme", drop_open=True)


class TestStoreAway:
    async def test_no_answer_is_unknown_and_cancelling_again_is_safe(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from intendant.domain.errors import StoreUnavailable

        store = MemoryStore()
        commit = type(store.log(0)).commit
        away = True

        async def fail(self: Any, batch: Any) -> Any:
            if away:
                raise StoreUnavailable("planted")
            return await commit(self, batch)

        async with Runtime([shop], hot=store) as running:
            execution = await submit(running, "sleeper")
            await recorded(running, execution, "timer_set")
            monkeypatch.setattr(type(store.log(0)), "commit", fail)
            with pytest.raises(OutcomeUnknown, match="cancel it again"):
                await execution.cancel(timeout=0.05)
            assert log == ["before"]  # nobody was told: it is not recorded
            away = False
            assert await execution.cancel() in TAKEN
            assert await ended(execution) is Status.CANCELLED
            assert (await types_of(running, execution.id)).count("cancel_requested") == 1
