"""Cancellation: recorded before it is told; the handler is told of it natively, cleans up, and ends cancelled."""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from intendant import (
    CancelResult,
    Context,
    ExecutionCancelled,
    Realm,
    Retry,
    Runtime,
    Shutdown,
    Status,
    StepFailed,
    Suspended,
)
from intendant.adapters.memory import MemoryFileStore
from intendant.domain.ports import Store
from intendant.domain.replay import World

pytestmark = pytest.mark.anyio

Audit = Callable[[Store], Awaitable[World]]
MakeRuntime = Callable[..., Runtime]
Eventually = Callable[[Callable[[], Awaitable[bool]]], Awaitable[None]]
NO_DRAIN: dict[str, Any] = {"shutdown": Shutdown(drain=0)}
RESIDENT = pytest.mark.parametrize("resident", [0, 1_000])
NOW = anyio.lowlevel.checkpoint


class Stand:
    """Where a test sees that a handler has come to a place, and holds it there."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self._there: dict[str, anyio.Event] = {}

    def note(self, what: str) -> None:
        self.log.append(what)
        self._there.setdefault(what, anyio.Event()).set()

    async def stay(self, what: str) -> None:
        self.note(what)
        await anyio.sleep_forever()

    async def step(self, what: str) -> str:
        self.note(what)
        await NOW()
        return what

    async def comes(self, what: str) -> None:
        with anyio.fail_after(10):
            await self._there.setdefault(what, anyio.Event()).wait()

    def forget(self) -> None:
        self.log.clear()
        self._there.clear()


async def types_of(running: Runtime, execution: str) -> list[str]:
    records = (await running.wal.query("acme", execution=execution, newest_first=False, limit=1_000)).items
    return [each.type for each in records]


async def submit(running: Runtime, type: str, **given: Any) -> Any:
    session = await running.open_session("acme", "desk-1")
    return await session.submit(type, given)


# --- what the handler sees


async def test_a_running_step_is_interrupted_and_the_clean_up_is_recorded(
    runtime: MakeRuntime, hot: Store, audit: Audit
) -> None:
    realm, stand = Realm("shop"), Stand()

    @realm.handler
    async def place(ctx: Context, nothing: dict[str, Any]) -> None:
        await ctx.step("reserve", stand.step, "reserve")
        try:
            await ctx.step("charge", stand.stay, "charge")
        finally:
            await ctx.step("release", stand.step, "release")
            ctx.emit("released")
            ctx.artifact("why", "cancelled")

    async with runtime(realm) as running:
        execution = await submit(running, "shop.place")
        await stand.comes("charge")
        assert await execution.cancel() is CancelResult.REQUESTED
        with pytest.raises(ExecutionCancelled, match=r"shop.place .* cancelled") as raised:
            await execution.result(timeout=10)
        outcome = raised.value.outcome
        assert (outcome.status, outcome.error, outcome.result) == (Status.CANCELLED, None, None)
        assert (outcome.artifacts, outcome.events) == ({"why": "cancelled"}, 1)
        assert stand.log == ["reserve", "charge", "release"]
        assert (await types_of(running, execution.id))[2:] == [
            "step_completed",
            "cancel_requested",
            "step_completed",
            "execution_cancelled",
        ]
        assert await execution.cancel() is CancelResult.CANCELLED
        assert [each.id for each in await running.executions("acme", status="cancelled")] == [execution.id]
        await audit(hot)


async def test_every_plain_await_raises_again_and_durable_calls_do_not(runtime: MakeRuntime) -> None:
    realm, stand = Realm("shop"), Stand()

    @realm.handler
    async def place(ctx: Context, nothing: dict[str, Any]) -> None:
        try:
            await stand.stay("waits")
        except anyio.get_cancelled_exc_class():
            for _ in range(3):
                with pytest.raises(anyio.get_cancelled_exc_class()):
                    await NOW()
            await ctx.step("one", stand.step, "one")
            await ctx.sleep(timedelta(milliseconds=1))
            assert await ctx.map("each", stand.step, ["x", "y", "z"], limit=1) == ["x", "y", "z"]
            with pytest.raises(TimeoutError):
                await ctx.wait_signal("never", timeout=timedelta(milliseconds=1))
            kept = await ctx.files.put("note", b"note")
            assert await ctx.files.get(kept) == b"note"
            with anyio.CancelScope(shield=True):
                await NOW()
            with pytest.raises(StepFailed, match="no such thing"):
                await ctx.step("broken", _broken)
            stand.note("clean")
            raise

    async with runtime(realm, files=MemoryFileStore()) as running:
        execution = await submit(running, "shop.place")
        await stand.comes("waits")
        await execution.cancel()
        outcome = await execution.outcome(timeout=10)
        assert (outcome.status, outcome.error) == (Status.CANCELLED, None)
        assert stand.log == ["waits", "one", "x", "y", "z", "clean"]


async def _broken() -> None:
    raise LookupError("no such thing")


async def test_in_finally_a_suspended_handler_is_refused_and_a_cancelled_one_is_not(
    runtime: MakeRuntime, hot: Store, audit: Audit
) -> None:
    """The two, side by side: a shutdown suspends, and records nothing; then a cancel, and the clean-up is recorded."""
    realm, stand = Realm("shop"), Stand()

    @realm.handler
    async def place(ctx: Context, nothing: dict[str, Any]) -> None:
        try:
            await ctx.step("work", stand.stay, "work")
        finally:
            try:
                await ctx.step("clean", stand.step, "clean")
            except Suspended:
                stand.note("refused")
                raise

    async with runtime(realm, **NO_DRAIN) as running:
        execution = await submit(running, "shop.place")
        await stand.comes("work")
    assert stand.log == ["work", "refused"]
    stand.forget()
    async with runtime(realm, **NO_DRAIN) as running:
        again = running.execution("acme", execution.id)
        await stand.comes("work")
        await again.cancel()
        assert (await again.outcome(timeout=10)).status is Status.CANCELLED
        assert stand.log == ["work", "clean"]
        await audit(hot)


@pytest.mark.parametrize("end", ["returns", "raises", "swallows and works on"])
async def test_whatever_the_handler_comes_to_it_ends_cancelled(
    runtime: MakeRuntime, hot: Store, audit: Audit, end: str
) -> None:
    realm, stand = Realm("shop"), Stand()

    @realm.handler(retry=Retry(attempts=5))
    async def place(ctx: Context, nothing: dict[str, Any]) -> int:
        stand.note(f"attempt {ctx.attempt}")
        try:
            await stand.stay("waits")
        except anyio.get_cancelled_exc_class():
            if end == "raises":
                raise ValueError("could not clean up") from None
            if end == "swallows and works on":
                await ctx.step("more", stand.step, "more")
        return 7

    async with runtime(realm) as running:
        execution = await submit(running, "shop.place")
        await stand.comes("waits")
        await execution.cancel()
        outcome = await execution.outcome(timeout=10)
        assert (outcome.status, outcome.result) == (Status.CANCELLED, None)
        found = outcome.error and (outcome.error.code, outcome.error.message)
        assert found == (("ValueError", "could not clean up") if end == "raises" else None)
        assert "attempt 2" not in stand.log
        await audit(hot)


async def test_a_failure_beside_the_cancellation_is_kept(runtime: MakeRuntime) -> None:
    """A task group that one of its tasks makes fail while another one is cancelled."""
    realm, stand = Realm("shop"), Stand()

    @realm.handler
    async def place(ctx: Context, nothing: dict[str, Any]) -> None:
        async def fails() -> None:
            try:
                await stand.stay("fails")
            finally:
                raise ValueError("in its finally")

        async with anyio.create_task_group() as group:
            group.start_soon(fails)
            group.start_soon(anyio.sleep_forever)

    async with runtime(realm) as running:
        execution = await submit(running, "shop.place")
        await stand.comes("fails")
        await execution.cancel()
        outcome = await execution.outcome(timeout=10)
        assert outcome.status is Status.CANCELLED
        assert outcome.error is not None
        assert outcome.error.code == "ExceptionGroup"
        assert running.stats().restarts == 0


async def test_steps_in_threads_are_left_behind(runtime: MakeRuntime) -> None:
    import threading

    realm, stand, go = Realm("shop"), Stand(), threading.Event()

    @realm.handler
    async def place(ctx: Context, nothing: dict[str, Any]) -> None:
        await ctx.step("slow", slow)

    def slow() -> None:
        anyio.from_thread.run_sync(stand.note, "slow")
        go.wait(10)

    async with runtime(realm) as running:
        execution = await submit(running, "shop.place")
        await stand.comes("slow")
        await execution.cancel()
        assert (await execution.outcome(timeout=5)).status is Status.CANCELLED
        assert "step_completed" not in await types_of(running, execution.id)
        go.set()


# --- bounds


@pytest.mark.parametrize("shields", [False, True])
async def test_the_clean_up_is_bounded(runtime: MakeRuntime, hot: Store, audit: Audit, shields: bool) -> None:
    realm, stand = Realm("shop"), Stand()

    @realm.handler(cleanup=timedelta(milliseconds=50))
    async def place(ctx: Context, nothing: dict[str, Any]) -> None:
        try:
            await stand.stay("waits")
        finally:
            with anyio.CancelScope(shield=shields):
                try:
                    await ctx.step("endless", stand.stay, "endless")
                except BaseException as error:
                    stand.note(type(error).__name__)
                    raise

    async with runtime(realm) as running:
        execution = await submit(running, "shop.place")
        await stand.comes("waits")
        await execution.cancel()
        outcome = await execution.outcome(timeout=10)
        assert outcome.status is Status.CANCELLED
        assert outcome.error is not None
        assert (outcome.error.code, outcome.error.message) == (
            "TimeoutError",
            "the clean-up took longer than cleanup=0.05 s",
        )
        assert ("TimeoutError" in stand.log) == shields
        await audit(hot)


def test_a_clean_up_that_may_take_no_time_is_refused() -> None:
    with pytest.raises(ValueError, match="cleanup must be longer than nothing"):
        Realm("shop").handler(cleanup=timedelta(0))


async def test_own_time_outs_hold_in_a_clean_up_that_shields_itself(runtime: MakeRuntime) -> None:
    realm, stand = Realm("shop"), Stand()

    @realm.handler
    async def place(ctx: Context, nothing: dict[str, Any]) -> None:
        try:
            await stand.stay("waits")
        finally:
            with anyio.move_on_after(0.02, shield=True) as scope:
                await ctx.step("slow", stand.stay, "slow")
            stand.note(f"gave up: {scope.cancelled_caught}")
            await ctx.step("last", stand.step, "last")

    async with runtime(realm) as running:
        execution = await submit(running, "shop.place")
        await stand.comes("waits")
        await execution.cancel()
        assert (await execution.outcome(timeout=10)).error is None
        assert stand.log == ["waits", "slow", "gave up: True", "last"]


async def test_time_limits_are_no_cancels_and_do_not_cut_a_clean_up_short(runtime: MakeRuntime) -> None:
    realm, stand = Realm("shop"), Stand()

    @realm.handler(timeout=timedelta(milliseconds=400))  # long enough for a cancel on a slow disk
    async def place(ctx: Context, nothing: dict[str, Any]) -> None:
        try:
            await stand.stay("waits")
        finally:
            await ctx.step("slow", anyio.sleep, 0.45)
            await ctx.step("last", stand.step, "last")

    @realm.handler(timeout=timedelta(milliseconds=10))
    async def slow(ctx: Context, nothing: dict[str, Any]) -> None:
        await anyio.sleep_forever()

    async with runtime(realm) as running:
        execution = await submit(running, "shop.place")
        await stand.comes("waits")
        await execution.cancel()
        assert (await execution.outcome(timeout=10)).status is Status.CANCELLED
        assert "last" in stand.log
        assert (await (await submit(running, "shop.slow")).outcome(timeout=10)).status is Status.FAILED
