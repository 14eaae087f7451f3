"""Virtual time for tests: hours pass in no time, on asyncio and on trio.

    @pytest.fixture(params=virtual_backends())
    def anyio_backend(request): return request.param

When nothing can run before the next deadline, the loop's clock jumps to it. Only for tests without threads and without
real input and output: a loop that waits for neither sees no reason not to jump, unless it is told (`LoopTime.held`).
Each test needs a fresh clock, so make the fixture function-scoped.
"""

from __future__ import annotations

import asyncio
import functools
import importlib.util
import math
import selectors
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import anyio
import anyio.lowlevel
import anyio.to_thread

from intendant.adapters.clock import SystemClock

if TYPE_CHECKING:
    import trio.testing

STARTED_AT: Final = 1_767_225_600_000_000  # 2026-01-01T00:00:00Z, in µs since 1970


class JumpingSelector(selectors.DefaultSelector):
    """A selector that does not wait: it lets the loop's clock jump over the time that it would have waited."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.holds = 0  # as long as there are any, time passes as it does outside
        self.jumps = True
        self.on_idle: Callable[[float], None] | None = None  # told once, how long the loop would wait

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """What is ready now; if nothing is, jump. Waits only when there is no deadline to jump to."""
        ready = super().select(0)
        if ready or (timeout is not None and timeout <= 0):
            return ready
        if self.holds:
            return self._wait(timeout)
        if self.on_idle is not None:
            told, self.on_idle = self.on_idle, None
            told(math.inf if timeout is None else timeout)
            return []
        if timeout is None or not self.jumps:
            return super().select(None)
        self.now += timeout
        return []

    def _wait(self, timeout: float | None) -> list[tuple[selectors.SelectorKey, int]]:
        begun = time.perf_counter()
        ready = super().select(timeout)
        self.now += time.perf_counter() - begun
        return ready


class AutojumpLoop(asyncio.SelectorEventLoop):
    """An asyncio event loop on virtual time, which begins at 0."""

    def __init__(self) -> None:
        self._jumping = JumpingSelector()
        super().__init__(self._jumping)
        self._clock_resolution = 1e-6  # asyncio's: after months there are no nanoseconds in a float of seconds

    @property
    def jumping(self) -> JumpingSelector:
        """What its time depends on."""
        return self._jumping

    def time(self) -> float:
        """Virtual seconds since the loop was made."""
        return self._jumping.now


def virtual_backends() -> list[tuple[str, dict[str, Any]]]:
    """Parameters for anyio's `anyio_backend` fixture: each backend that is installed, on a virtual clock.

    A new list holds new clocks: make one for each test.
    """
    backends: list[tuple[str, dict[str, Any]]] = [virtual_backend("asyncio")]
    if importlib.util.find_spec("trio") is not None:
        backends.append(virtual_backend("trio"))
    return backends


def virtual_backend(name: str) -> tuple[str, dict[str, Any]]:
    """One backend with its options, on a new virtual clock."""
    if name == "asyncio":
        return "asyncio", {"loop_factory": AutojumpLoop}
    import trio.testing  # noqa: PLC0415  an optional dependency, needed only here

    return "trio", {"clock": trio.testing.MockClock(autojump_threshold=0)}


class LoopTime:
    """How time passes on the running loop, which must be of `virtual_backends()`; raises RuntimeError on another one.

    With `jumps` it jumps to the next deadline whenever nothing else can happen; without, it stands still until
    `advance` moves it.
    """

    def __init__(self, *, jumps: bool = True) -> None:
        self._time = _time_of_loop()
        self._holds = 0
        self._released = anyio.Event()
        self._jumps = jumps
        self._time.set(jumps=jumps, held=False)

    @contextmanager
    def held(self) -> Generator[None, None, None]:
        """Let time pass as it does outside, while something happens that the loop does not see: in a thread, say."""
        self._holds += 1
        self._time.set(jumps=self._jumps, held=True)
        try:
            yield
        finally:
            self._holds -= 1
            if not self._holds:
                self._time.set(jumps=self._jumps, held=False)
                self._released.set()
                self._released = anyio.Event()

    @contextmanager
    def threads_held(self) -> Generator[None, None, None]:
        """In it, time is held while functions run in worker threads."""
        to_thread: Any = anyio.to_thread
        run = to_thread.run_sync

        @functools.wraps(run)
        async def held(*arguments: Any, **named: Any) -> Any:
            with self.held():
                return await run(*arguments, **named)

        to_thread.run_sync = held
        try:
            yield
        finally:
            to_thread.run_sync = run

    def let_jump(self) -> None:
        """Let it jump from now on."""
        self._jumps = True
        self._time.set(jumps=True, held=self._holds > 0)

    async def settle(self) -> float:
        """Wait until nothing can happen any more unless time passes; returns the seconds to the next deadline."""
        while True:
            left = await self._time.idle()
            if not self._holds:
                return left
            await self._released.wait()

    async def advance(self, seconds: float) -> None:
        """Let so many seconds pass, from deadline to deadline, and all happen that comes of it.

        What began at a deadline takes its time from there, as it does in real life.
        """
        if self._jumps:
            await anyio.sleep(seconds)
            return
        end = anyio.current_time() + seconds
        while (left := await self.settle()) <= end - anyio.current_time():
            self._time.jump(left)
            await anyio.lowlevel.checkpoint()
        self._time.jump(max(end - anyio.current_time(), 0.0))
        await self.settle()


class _AsyncioTime:
    def __init__(self, selector: JumpingSelector) -> None:
        self._selector = selector

    def set(self, *, jumps: bool, held: bool) -> None:
        self._selector.jumps = jumps
        self._selector.holds = int(held)

    async def idle(self) -> float:
        told: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        self._selector.on_idle = lambda left: None if told.done() else told.set_result(left)
        return await told

    def jump(self, seconds: float) -> None:
        self._selector.now += seconds


class _TrioTime:
    def __init__(self, clock: trio.testing.MockClock) -> None:
        self._clock = clock

    def set(self, *, jumps: bool, held: bool) -> None:
        self._clock.rate = 1.0 if held else 0.0
        self._clock.autojump_threshold = 0.0 if jumps and not held else math.inf

    async def idle(self) -> float:
        import trio.testing  # noqa: PLC0415  it is the loop that runs

        await trio.testing.wait_all_tasks_blocked()
        return trio.lowlevel.current_statistics().seconds_to_next_deadline

    def jump(self, seconds: float) -> None:
        self._clock.jump(seconds)


def _time_of_loop() -> _AsyncioTime | _TrioTime:
    if importlib.util.find_spec("trio") is not None:
        import trio.testing  # noqa: PLC0415  an optional dependency, needed only here

        if trio.lowlevel.in_trio_run():
            clock = trio.lowlevel.current_clock()
            if isinstance(clock, trio.testing.MockClock):
                return _TrioTime(clock)
            raise RuntimeError("trio runs on a real clock; let anyio_backend be one of virtual_backends()")
    loop = asyncio.get_running_loop()
    if isinstance(loop, AutojumpLoop):
        return _AsyncioTime(loop.jumping)
    raise RuntimeError(f"{loop!r:.60} runs on a real clock; let anyio_backend be one of virtual_backends()")


class VirtualClock:
    """Fulfils `Clock` by following the event loop's time, virtual or not; to be used inside the loop.

    `shift` moves it, as somebody does who sets the machine's clock.
    """

    def __init__(self, started_at: int = STARTED_AT) -> None:
        self._offset = started_at
        self._loop_start: float | None = None

    def now(self) -> int:
        """µs since 1970 UTC: what it was started at, and what has passed on the loop since the first call."""
        now = anyio.current_time()
        if self._loop_start is None:
            self._loop_start = now
        return self._offset + round((now - self._loop_start) * 1e6)

    def shift(self, seconds: float) -> None:
        """Let the wall clock jump, forth or back."""
        self._offset += round(seconds * 1e6)


class MovableClock(VirtualClock):
    """A wall clock that a test may move, and with it all that waits."""

    def __init__(self, time: LoopTime, started_at: int = STARTED_AT) -> None:
        super().__init__(started_at)
        self._time = time

    async def advance(self, by: timedelta | float) -> None:
        """Let so much time pass (a number is seconds), and all happen that comes of it."""
        await self._time.advance(by.total_seconds() if isinstance(by, timedelta) else by)


class RealClock(SystemClock):
    """The machine's clock in a test, which nobody moves: to advance is to wait."""

    async def advance(self, by: timedelta | float) -> None:
        """Wait for so long."""
        await anyio.sleep(by.total_seconds() if isinstance(by, timedelta) else by)
