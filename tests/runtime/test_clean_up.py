"""A cancel as one run of a handler meets it, without a runtime and in virtual time."""

from functools import partial
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from intendant import Suspended
from intendant.steps.cancellation import Cancellation
from intendant.testing.clock import virtual_backend

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    return virtual_backend(str(request.param))


async def test_a_compensation_takes_as_long_as_it_takes_and_its_time_is_not_counted() -> None:
    done: list[str] = []
    scope = anyio.CancelScope()
    cancellation = Cancellation(1.0, 0, scope.cancel)
    with scope:
        cancellation.begin()
        try:
            await anyio.sleep_forever()
        finally:
            async with anyio.create_task_group() as group:
                group.cancel_scope.shield = True
                for seconds in (3, 5):  # side by side
                    group.start_soon(partial(cancellation.shielded, partial(anyio.sleep, seconds), bounded=False))
            done.append("undone")
            await cancellation.run(partial(anyio.sleep, 0.5), recorded=False)
            done.append("cleaned up")
            await cancellation.run(partial(anyio.sleep, 0.6), recorded=False)
            done.append("never")
    assert scope.cancelled_caught
    assert done == ["undone", "cleaned up"]
    assert "cleanup=1 s" in str(cancellation.overrun)


async def test_what_lies_ahead_is_let_go_by_first() -> None:
    with anyio.CancelScope() as scope:
        cancellation = Cancellation(1.0, 2, scope.cancel)
        cancellation.begin()
        for _ in range(2):
            assert not cancellation.struck
            assert await cancellation.run(partial(_value, 7), recorded=True) == 7
            cancellation.reached()
        assert cancellation.struck
        await cancellation.run(partial(_value, 8), recorded=False)
    assert scope.cancelled_caught


async def test_the_first_call_that_was_not_recorded_is_struck_and_not_run() -> None:
    ran: list[int] = []

    async def run() -> None:
        ran.append(1)

    with anyio.CancelScope() as scope:
        cancellation = Cancellation(1.0, 5, scope.cancel)
        cancellation.begin()
        await cancellation.run(run, recorded=False)
    assert (scope.cancelled_caught, ran) == (True, [])


async def test_every_task_is_told_before_it_cleans_up() -> None:
    """One whose wait was over in the very moment of the cancel has not been told yet."""
    log: list[str] = []

    async def task(cancellation: Cancellation, event: anyio.Event) -> None:
        try:
            await event.wait()
            await cancellation.run(partial(_note, log, "forward"), recorded=False)
        finally:
            await cancellation.run(partial(_note, log, "undo"), recorded=False)

    with anyio.CancelScope() as scope:
        cancellation, event = Cancellation(1.0, 0, scope.cancel), anyio.Event()
        async with anyio.create_task_group() as group:
            for _ in range(2):
                group.start_soon(task, cancellation, event)
            await anyio.lowlevel.checkpoint()
            await anyio.lowlevel.checkpoint()
            event.set()
            cancellation.begin()
    assert log == ["undo", "undo"]


async def test_what_was_raised_while_it_was_handled_may_be_cleaned_up_after() -> None:
    log: list[str] = []

    async def handle(cancellation: Cancellation) -> None:
        try:
            try:
                await anyio.lowlevel.checkpoint()
            except anyio.get_cancelled_exc_class():
                raise ExceptionGroup("both", [ValueError("beside")]) from None
        finally:
            await cancellation.run(partial(_note, log, "undo"), recorded=False)

    with anyio.CancelScope() as scope:
        cancellation = Cancellation(1.0, 0, scope.cancel)
        cancellation.begin()
        with pytest.raises(ExceptionGroup):
            await handle(cancellation)
    assert log == ["undo"]


@pytest.mark.parametrize("shields", [False, True])
async def test_a_suspension_ends_a_clean_up(shields: bool) -> None:
    """Where all that is suspended is cancelled, the watch is, too."""
    told: list[type[BaseException]] = []

    async def handle(cancellation: Cancellation, handler: anyio.CancelScope) -> None:
        with handler:
            try:
                await anyio.sleep_forever()
            finally:
                with anyio.CancelScope(shield=shields):
                    for _ in range(2):
                        try:
                            await cancellation.run(anyio.sleep_forever, recorded=False)
                        except BaseException as error:
                            told.append(type(error))

    handler = anyio.CancelScope()
    cancellation = Cancellation(30.0, 0, handler.cancel)
    async with anyio.create_task_group() as group:
        group.start_soon(cancellation.watch)
        group.start_soon(handle, cancellation, handler)
        await anyio.sleep(1)
        cancellation.begin()
        await anyio.sleep(1)
        group.cancel_scope.cancel()
    expected = Suspended if shields else anyio.get_cancelled_exc_class()
    assert told == [expected, expected]


async def _value(value: int) -> int:
    return value


async def _note(log: list[str], what: str) -> None:
    await anyio.lowlevel.checkpoint()
    log.append(what)
