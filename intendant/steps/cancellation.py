"""A cancel, as one run of a handler meets it: where it strikes, and what may go on in spite of it.

It strikes at the handler's next await, natively: every await of the handler raises from then on, as in any cancelled
scope. A run that has not come to all that was recorded before is let go so far first: it is struck there, or at its
first durable call whose result was not recorded. Durable calls that are made where the cancellation is being handled,
in `except`, `finally` or `__aexit__`, are the handler's clean-up: they run, shielded, until `limit` is over.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Final, TypeVar

import anyio
import anyio.lowlevel

from intendant.domain.errors import Suspended

T = TypeVar("T")

CLEANUP: Final = timedelta(seconds=30)
"""How long a handler may clean up after a cancel, unless it says otherwise."""


class Cancellation:
    """The cancel of one run of a handler.

    `interrupt` cancels the scope that the handler runs in. `ahead` is how much was recorded before the cancel that the
    run has not come to. Somebody has to run `watch` beside the handler, and to call `close` when it is over.
    """

    def __init__(self, limit: float, ahead: int, interrupt: Callable[[], None]) -> None:
        self.struck = False
        """The handler is cancelled: what it records from here on is its clean-up."""
        self.overrun: TimeoutError | None = None
        """The clean-up wanted more time than it has."""
        self._limit = limit
        self._ahead = ahead
        self._interrupt = interrupt
        self._end = math.inf
        self._shields: set[anyio.CancelScope] = set()
        self._unbounded = 0
        self._paused_at = 0.0
        self._aborted = False
        self._closed = anyio.Event()

    def begin(self) -> None:
        """Strike at once, if nothing that was recorded lies ahead."""
        if not self._ahead:
            self.strike()

    def reached(self, count: int | None = 1) -> None:
        """The run came to something that was recorded before the cancel; None: to all that it will come to."""
        self._ahead = 0 if count is None else max(self._ahead - count, 0)
        self.begin()

    def strike(self) -> None:
        """Cancel the handler, wherever it stands."""
        if not (self.struck or self._closed.is_set()):
            self.struck = True
            self._end = anyio.current_time() + self._limit
            self._interrupt()

    def restart(self) -> None:
        """Count the time of the clean-up from now: what went on when the handler was cancelled was none."""
        self._end = anyio.current_time() + self._limit

    async def run(self, call: Callable[[], Awaitable[T]], *, recorded: bool) -> T:
        """Make a durable call of the handler. `recorded`: its result was, before the cancel."""
        if not self.struck:
            if recorded:
                return await call()
            self.strike()
        if not _is_handled(sys.exc_info()[1]):
            await anyio.lowlevel.checkpoint()  # raises, unless the handler shields itself
        return await self.shielded(call)

    async def shielded(self, call: Callable[[], Awaitable[T]], *, bounded: bool = True) -> T:
        """Await `call()` in spite of the cancel, once that has struck; what stops the handler otherwise ends it.

        With `bounded` no longer than the clean-up may take; without, for as long as it takes, and the time is not
        counted. Where the handler shields itself from cancellation, it is left to its own scopes. When it is ended, the
        cancellation goes on; where the handler shields itself, TimeoutError or Suspended is raised instead.
        """
        deadline = self._deadline if bounded else math.inf
        if self._aborted or anyio.current_time() >= deadline:
            raise await self._refusal()
        if not bounded:
            self._pause()
        bare = anyio.current_effective_deadline() == -math.inf
        try:
            with anyio.CancelScope(shield=bare, deadline=deadline) as shield:
                self._shields.add(shield)
                try:
                    return await call()
                finally:
                    self._shields.discard(shield)
        finally:
            if not bounded:
                self._go_on()
        raise await self._refusal()

    async def watch(self) -> None:
        """Strike the handler at the latest after `limit`; when this is cancelled, end what is shielded."""
        try:
            with anyio.move_on_after(self._limit):
                await self._closed.wait()
                return
            self.strike()
            await self._closed.wait()
        finally:
            self.abort()

    def abort(self) -> None:
        """The handler is being suspended, or is to go: its clean-up ends here."""
        self._aborted = True
        for shield in self._shields:
            shield.cancel()

    def close(self) -> None:
        """The handler has returned, or raised."""
        self._closed.set()

    @property
    def _deadline(self) -> float:
        return math.inf if self._unbounded else self._end

    def _pause(self) -> None:
        if not self._unbounded:
            self._paused_at = anyio.current_time()
        self._unbounded += 1

    def _go_on(self) -> None:
        self._unbounded -= 1
        if not self._unbounded:
            self._end += anyio.current_time() - self._paused_at

    async def _refusal(self) -> Exception:
        if not self._aborted:
            self.overrun = TimeoutError(f"the clean-up took longer than cleanup={self._limit:g} s")
        await anyio.lowlevel.checkpoint()  # raises, unless the handler shields itself
        if self.overrun is not None:
            return self.overrun
        return Suspended("the handler is being suspended in the middle of its clean-up, and resumes later")


def _is_handled(error: BaseException | None) -> bool:
    """Whether a cancellation is being handled, or what was raised while one was."""
    seen: set[int] = set()
    ahead = [error]
    while ahead:
        error = ahead.pop()
        if error is None or id(error) in seen:
            continue
        if isinstance(error, anyio.get_cancelled_exc_class()):
            return True
        seen.add(id(error))
        ahead += [error.__context__, error.__cause__]
        if isinstance(error, BaseExceptionGroup):
            ahead += error.exceptions  # pyright: ignore[reportUnknownMemberType]
    return False
