"""The seam: how one task parks and another wakes it, on asyncio and on trio.

This is the only file that names either. A future is the fastest thing to wait on that asyncio has, and a rescheduled
task the fastest that trio has; anyio's primitives cost several times as much, and every message passes through here.
Everything belongs to the thread of one event loop, except `Seam.call_soon`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar, cast

if TYPE_CHECKING:
    import asyncio

    import trio

T = TypeVar("T")


class Parking(Protocol):
    """A place where one task parks until anyone wakes it. A wake before the wait is remembered, once."""

    def wake(self) -> None:
        """Wake the parked task, or the next one to park."""
        ...

    async def wait(self) -> None:
        """Park. Returns at once after an unused wake. A cancelled wait uses up nothing."""
        ...


class Waiter(Protocol):
    """What one task awaits once, until anyone sets its result. On asyncio it is a future, so these are its names."""

    def done(self) -> bool:
        """Whether it was woken, or does not wait any more."""
        ...

    def set_result(self, result: None, /) -> None:
        """The task goes on. Not for one that is done."""
        ...

    def cancel(self) -> bool:
        """Raise the loop's own cancellation where it is awaited, and nowhere else; False where only a scope can."""
        ...

    def __await__(self) -> Generator[Any, Any, None]: ...


class Reply(Generic[T]):
    """One answer that someone waits for: a value or an exception, given once; later ones are ignored.

    A cancelled wait changes nothing: the answer may still come and be waited for again. One task waits at a time.
    """

    __slots__ = ("_error", "_on_settled", "_value", "_waiter", "settled")

    def __init__(self) -> None:
        self.settled = False
        """Whether the answer has come. Not to be set by others."""
        self._value: T | None = None
        self._error: BaseException | None = None
        self._waiter: Waiter | None = None
        self._on_settled: Callable[[Reply[T]], None] | None = None

    @property
    def error(self) -> BaseException | None:
        """The exception that was answered, if any."""
        return self._error

    def set(self, value: T) -> None:
        """Answer with a value."""
        if not self.settled:
            self._value = value
            self.settled = True
            self._settle()

    def fail(self, error: BaseException) -> None:
        """Answer with an exception, which is raised where the answer is awaited."""
        if not self.settled:
            self._error = error
            self.settled = True
            self._settle()

    def on_settled(self, call: Callable[[Reply[T]], None]) -> None:
        """Call once when the answer comes. There is one such call at most, and it must not raise."""
        self._on_settled = call

    def result(self) -> T:
        """The answer that has come, or raise it."""
        if self._error is not None:
            raise self._error
        return cast("T", self._value)

    async def wait(self, seam: Seam) -> T:
        """Park until the answer comes; return it or raise it."""
        if not self.settled:
            await self.settlement(seam)
        return self.result()

    def settlement(self, seam: Seam) -> Waiter:
        """What to await until the answer comes, when it has not: only the answer wakes it."""
        waiter = self._waiter = seam.waiter()
        return waiter

    def _settle(self) -> None:
        if self._on_settled is not None:
            call, self._on_settled = self._on_settled, None  # nothing more is held by an answer that is kept
            call(self)
        waiter = self._waiter
        if waiter is not None:
            self._waiter = None
            if not waiter.done():
                waiter.set_result(None)


class Seam(Protocol):
    """The event loop that the current task runs on."""

    def parking(self) -> Parking:
        """A new place to park."""
        ...

    @property
    def waiter(self) -> Callable[[], Waiter]:
        """Makes what the current task is to await next."""
        ...

    @property
    def time(self) -> Callable[[], float]:
        """The loop's clock, in seconds from an arbitrary start. From any thread."""
        ...

    @property
    def cancelled(self) -> type[BaseException]:
        """What is raised where a task is cancelled."""
        ...

    def current_task(self) -> int:
        """The running task, by the id that `anyio.get_running_tasks` has it under."""
        ...

    def call_soon(self, call: Callable[[], object]) -> None:
        """Run `call` on this loop soon. May be used from any thread; raises RuntimeError once the loop has ended."""
        ...


def current_seam() -> Seam:
    """The seam of the running event loop. Raises RuntimeError outside of one."""
    trio = cast("Any", sys.modules.get("trio"))
    if trio is not None and trio.lowlevel.in_trio_task():
        return _TrioSeam()
    return _AsyncioSeam()


class _AsyncioParking:
    __slots__ = ("_future", "_loop", "_woken")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._future: asyncio.Future[None] | None = None
        self._woken = False

    def wake(self) -> None:
        future = self._future
        if future is None:
            self._woken = True
        elif not future.done():
            future.set_result(None)

    async def wait(self) -> None:
        if self._woken:
            self._woken = False
            return
        future = self._future = self._loop.create_future()
        try:
            await future
        except BaseException:
            self._woken = future.done() and not future.cancelled()
            raise
        finally:
            self._future = None


class _AsyncioSeam:
    __slots__ = ("_current_task", "_loop", "cancelled", "time", "waiter")

    def __init__(self) -> None:
        import asyncio  # noqa: PLC0415  a third of the time that importing us takes, and on this loop it is there

        self._loop = asyncio.get_running_loop()
        self.time = self._loop.time  # as all of these: asked several times for each message
        self.waiter = self._loop.create_future
        self._current_task = asyncio.current_task
        self.cancelled = asyncio.CancelledError

    def parking(self) -> Parking:
        return _AsyncioParking(self._loop)

    def current_task(self) -> int:
        return id(self._current_task(self._loop))

    def call_soon(self, call: Callable[[], object]) -> None:
        self._loop.call_soon_threadsafe(call)


class _TrioParking:
    __slots__ = ("_task", "_trio", "_woken")

    def __init__(self, lowlevel: Any) -> None:  # trio.lowlevel, which is there only where trio is installed
        self._trio = lowlevel
        self._task: trio.lowlevel.Task | None = None
        self._woken = False

    def wake(self) -> None:
        task, self._task = self._task, None
        if task is None:
            self._woken = True
        else:
            self._trio.reschedule(task)

    async def wait(self) -> None:
        if self._woken:
            self._woken = False
            return
        self._task = self._trio.current_task()
        await self._trio.wait_task_rescheduled(self._abort)

    def _abort(self, _raise_cancel: object) -> Any:
        self._task = None
        return self._trio.Abort.SUCCEEDED


class _TrioWaiter:
    __slots__ = ("_task", "_trio")

    def __init__(self, lowlevel: Any) -> None:
        self._trio = lowlevel
        self._task: trio.lowlevel.Task | None = lowlevel.current_task()

    def done(self) -> bool:
        return self._task is None

    def set_result(self, _result: None, /) -> None:
        task, self._task = self._task, None
        self._trio.reschedule(task)

    def cancel(self) -> bool:
        return False

    def __await__(self) -> Generator[Any, Any, None]:
        yield from self._trio.wait_task_rescheduled(self._abort).__await__()

    def _abort(self, _raise_cancel: object) -> Any:
        self._task = None
        return self._trio.Abort.SUCCEEDED


class _TrioSeam:
    __slots__ = ("_token", "_trio", "cancelled", "time")

    def __init__(self) -> None:
        import trio  # noqa: PLC0415  an optional dependency, needed only on its own loop

        self._trio = trio.lowlevel
        clock = trio.lowlevel.current_clock()  # other threads may ask it the time, and not which it is
        self.time = clock.current_time
        self.cancelled = trio.Cancelled
        self._token = trio.lowlevel.current_trio_token()

    def parking(self) -> Parking:
        return _TrioParking(self._trio)

    def waiter(self) -> Waiter:
        return _TrioWaiter(self._trio)

    def current_task(self) -> int:
        return id(self._trio.current_task())

    def call_soon(self, call: Callable[[], object]) -> None:
        self._token.run_sync_soon(call)
