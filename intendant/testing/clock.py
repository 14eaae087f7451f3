"""Virtual time for tests: hours pass in no time, on asyncio and on trio.

    @pytest.fixture(params=virtual_backends())
    def anyio_backend(request): return request.param

When nothing can run before the next deadline, the loop's clock jumps to it. Only for tests without threads and without
real input and output: a loop that waits for neither sees no reason not to jump. Each test needs a fresh clock, so make
the fixture function-scoped.
"""

from __future__ import annotations

import asyncio
import importlib.util
import selectors
from typing import Any, Final

import anyio

STARTED_AT: Final = 1_767_225_600_000_000  # 2026-01-01T00:00:00Z, in µs since 1970


class JumpingSelector(selectors.DefaultSelector):
    """A selector that does not wait: it lets the loop's clock jump over the time that it would have waited."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """What is ready now; if nothing is, jump. Waits only when there is no deadline to jump to."""
        ready = super().select(0)
        if ready or timeout == 0:
            return ready
        if timeout is None:
            return super().select(None)
        self.now += max(timeout, 0.0)
        return []


class AutojumpLoop(asyncio.SelectorEventLoop):
    """An asyncio event loop on virtual time, which begins at 0."""

    def __init__(self) -> None:
        self._jumping = JumpingSelector()
        super().__init__(self._jumping)

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
