"""Virtual time: a run takes milliseconds, and whatever happens at the n-th turn of the loop does so each time."""

from __future__ import annotations

import asyncio
import importlib
import math
import selectors
from collections.abc import Awaitable, Callable
from typing import Any, Final, Literal

import anyio
import anyio.lowlevel
import trio
import trio.testing

Backend = Literal["asyncio", "trio"]
BACKENDS: Final[tuple[Backend, ...]] = ("asyncio", "trio")
START: Final = 1_700_000_000_000_000  # µs since 1970 UTC: when every scenario begins


class _JumpingSelector(selectors.SelectSelector):
    """Does not wait for time to pass: moves the clock."""

    loop: VirtualLoop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self.loop.turn()
        ready = super().select(0)
        if ready or (timeout is not None and timeout <= 0):
            return ready
        if timeout is None:
            raise RuntimeError("deadlock: nothing is scheduled and nothing can happen")
        self.loop.now += timeout
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop in virtual time that counts its turns, and calls at one of them."""

    def __init__(self, turns: Turns) -> None:
        self.now = 0.0
        self._turns = turns
        selector = _JumpingSelector()
        selector.loop = self
        super().__init__(selector)

    def time(self) -> float:
        return self.now

    def turn(self) -> None:
        self._turns.turn(self.call_soon)


class TurnInstrument(trio.abc.Instrument):
    """Counts trio's turns."""

    def __init__(self, turns: Turns) -> None:
        self._turns = turns

    def before_io_wait(self, timeout: float) -> None:
        self._turns.turn(trio.lowlevel.current_trio_token().run_sync_soon)


class Turns:
    """How often the event loop went round; `call` is made at turn `at`."""

    def __init__(self, at: float = math.inf, call: Callable[[], None] = lambda: None) -> None:
        self.count = 0
        self.at = at
        self.call = call

    def turn(self, soon: Callable[[Callable[[], None]], object]) -> None:
        self.count += 1
        if self.count == self.at:
            soon(self.call)


def run_virtual(backend: Backend, main: Callable[[], Awaitable[None]], turns: Turns | None = None) -> None:
    """Run `main` in virtual time, the same way each time."""
    turns = turns or Turns()
    if backend == "asyncio":
        anyio.run(main, backend="asyncio", backend_options={"loop_factory": lambda: VirtualLoop(turns)})
        return
    core: Any = importlib.import_module("trio._core._run")  # its scheduling is made deterministic by private names
    allowed, state = core._ALLOW_DETERMINISTIC_SCHEDULING, core._r.getstate()
    core._ALLOW_DETERMINISTIC_SCHEDULING = True
    core._r.seed(7)
    clock = trio.testing.MockClock(autojump_threshold=0)
    options: dict[str, Any] = {"clock": clock, "instruments": [TurnInstrument(turns)]}
    try:
        anyio.run(main, backend="trio", backend_options=options)
    finally:
        core._ALLOW_DETERMINISTIC_SCHEDULING = allowed
        core._r.setstate(state)


class TickingClock:
    """A wall clock that goes on by a millisecond each time it is read."""

    def __init__(self, start: int = START) -> None:
        self._now = start

    def now(self) -> int:
        self._now += 1000
        return self._now


async def run_here(
    function: Callable[..., Any], *arguments: Any, limiter: object = None, abandon_on_cancel: bool = False
) -> Any:
    """Instead of a worker thread, which virtual time would not wait for."""
    await anyio.lowlevel.checkpoint()
    value = function(*arguments)
    await anyio.lowlevel.checkpoint()
    return value
