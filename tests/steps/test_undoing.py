"""Why a block is undone, and what passes out of it: each case of the decision."""

# ruff: noqa: PT012 - the block is what is tested

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from intendant import Context, InvalidValue, Saga, SagaFailed, Step, Suspended
from intendant.testing import UnitContext, context

pytestmark = pytest.mark.anyio


class Curse(BaseException):
    pass


def recording_of(ctx: Context) -> Any:
    """What stands behind it, to be told that it is suspended or cancelled."""
    return getattr(ctx, "_recording")  # noqa: B009  nobody but a test looks there


def undone(ctx: UnitContext) -> list[str]:
    return [path for path in ctx.recorded.steps if path.startswith("undo(")]


async def run(ctx: UnitContext, leave: Callable[[Saga], Any]) -> None:
    async with ctx.saga("block") as saga:
        await saga.step("a", lambda: 1, undo=lambda step, result: None)
        await leave(saga)


async def go_on(saga: Saga) -> None:
    await saga.step("b", lambda: 2)


async def wait_for_ever(_saga: Saga) -> None:
    await anyio.sleep_forever()


async def test_a_recorded_cancellation_undoes_and_passes_on() -> None:
    ctx = context()
    with ctx.cancelled_at("block/b") as scope:
        await run(ctx, go_on)
    assert scope.cancelled_caught
    assert undone(ctx) == ["undo(block/a)"]
    assert ctx.sagas[0].compensated
    assert ctx.sagas[0].error is not None
    assert ctx.sagas[0].error.code == "execution_cancelled"


async def test_a_recorded_cancellation_that_the_block_turns_into_a_failure_passes_on_all_the_same() -> None:
    ctx = context()

    async def swallow(saga: Saga) -> None:
        try:
            await go_on(saga)
        except anyio.get_cancelled_exc_class():
            raise ValueError("swallowed") from None

    with ctx.cancelled_at("block/b") as scope:
        await run(ctx, swallow)
    assert scope.cancelled_caught
    assert undone(ctx) == ["undo(block/a)"]


async def test_the_saga_of_a_clean_up_raises_what_it_failed_with() -> None:
    ctx = context()

    async def fail(saga: Saga) -> None:
        await go_on(saga)
        raise ValueError("its own")

    with ctx.cancelled_at("work") as scope:
        try:
            await ctx.step("work", lambda: 1)
        finally:
            with pytest.raises(ValueError, match="its own"):
                await run(ctx, fail)
            await ctx.step("behind", lambda: 1)
    assert scope.cancelled_caught
    assert list(ctx.recorded.steps) == ["block/a", "block/b", "undo(block/a)", "behind"]


async def test_a_scope_of_ones_own_undoes_and_is_told_as_a_failure() -> None:
    ctx = context()
    with anyio.move_on_after(0.01), pytest.raises(SagaFailed, match="its block was cancelled"):
        await run(ctx, wait_for_ever)
    assert undone(ctx) == ["undo(block/a)"]


async def test_a_suspension_undoes_nothing() -> None:
    ctx = context()
    with anyio.CancelScope() as scope:

        async def suspend(_saga: Saga) -> None:
            recording_of(ctx).suspended = True
            scope.cancel()
            await anyio.sleep_forever()

        await run(ctx, suspend)
    assert scope.cancelled_caught
    assert (undone(ctx), ctx.sagas[0].error) == ([], None)


async def test_a_suspension_that_becomes_an_error_undoes_nothing() -> None:
    ctx = context()

    async def suspend(saga: Saga) -> None:
        recording_of(ctx).suspended = True
        await saga.step("b", lambda: 2)

    with pytest.raises(Suspended):
        await run(ctx, suspend)
    assert (undone(ctx), ctx.sagas[0].error) == ([], None)


async def test_a_crash_undoes_nothing() -> None:
    for curse in (Curse(), BaseExceptionGroup("several", [ValueError(), BaseExceptionGroup("inner", [Curse()])])):
        ctx = context()

        async def crash(_saga: Saga, curse: BaseException = curse) -> None:
            raise curse

        with pytest.raises(type(curse)):
            await run(ctx, crash)
        assert (undone(ctx), ctx.sagas[0].error) == ([], None)


async def test_a_suspension_while_it_is_undone_is_one() -> None:
    """The shield lets a suspension through, and swallows it: it is raised behind it, as a cancellation or an error."""
    ctx = context()
    recording = recording_of(ctx)
    shields: list[anyio.CancelScope] = []

    def shield() -> AbstractContextManager[object]:
        shields.append(anyio.CancelScope(shield=True))
        return shields[-1]

    recording.shield = shield

    async def undo(step: Step, result: int | None) -> None:
        recording.suspended = True
        shields[-1].cancel()
        await anyio.sleep_forever()

    with pytest.raises(Suspended, match="while it is being undone"):
        async with ctx.saga("block") as saga:
            await saga.step("a", lambda: 1, undo=undo)
            raise ValueError
    assert (undone(ctx), ctx.sagas[0].compensated) == ([], False)


async def test_a_task_that_the_block_has_started_goes_no_further() -> None:
    """It is in the block wherever it stands; what began outside of it is not."""
    ctx = context()
    inside, outside = list[str](), list[str]()

    async def go_on(told: list[str], failed: anyio.Event, name: str) -> None:
        await failed.wait()
        try:
            told.append(await ctx.step(name, lambda: "went on"))
        except SagaFailed as error:
            told.append(error.kind)

    async with anyio.create_task_group() as group:
        failed = anyio.Event()
        group.start_soon(go_on, outside, failed, "outside")
        await anyio.lowlevel.checkpoint()
        with pytest.raises(KeyError):
            async with ctx.saga("block"):
                group.start_soon(go_on, inside, failed, "inside")
                raise KeyError
        failed.set()
    assert (inside, outside) == (["KeyError"], ["went on"])


async def test_steps_belong_into_the_block() -> None:
    ctx = context()
    saga = ctx.saga("block")
    with pytest.raises(InvalidValue, match=r"async with ctx.saga\('block'\) as saga"):
        await saga.step("a", lambda: 1)
    async with saga:
        pass
    with pytest.raises(InvalidValue, match="inside of the saga's block"):
        await saga.step("a", lambda: 1)


async def test_an_inner_saga_that_is_being_undone_when_the_outer_one_fails_is_undone_once() -> None:
    """Nobody should leave a block while something in it runs; what is recorded can follow all the same."""
    ctx = context()
    undoing, told = anyio.Event(), list[str]()

    def undo(name: str) -> Callable[[Step, int | None], Any]:
        async def body(step: Step, result: int | None) -> None:
            undoing.set()
            await anyio.sleep(0.01)
            told.append(name)

        return body

    async def inner(outer: Saga) -> None:
        with pytest.raises(KeyError):
            async with outer.saga("inner") as saga:
                await saga.step("a", lambda: 1, undo=undo("a"))
                await saga.step("b", lambda: 1, undo=undo("b"))
                raise KeyError

    async with anyio.create_task_group() as group:
        with pytest.raises(ValueError, match="outer"):
            async with ctx.saga("outer") as outer:
                await outer.step("first", lambda: 1, undo=undo("first"))
                group.start_soon(inner, outer)
                await undoing.wait()
                raise ValueError("outer")
    assert told == ["b", "a", "first"]
    assert [saga.compensated for saga in ctx.sagas] == [True, True]
