"""The timers of a partition: looks out for what is due, and tells the executions, at a pace.

What is set stands in an ordered index of the store; here is only the near part of it, so that memory follows what is
soon due and not what is set. The window follows each committed batch, and is read again when time comes to its end.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

import anyio

from intendant.actors.outage import PATIENT, wait_out
from intendant.domain import state as states
from intendant.domain.commit import Batch
from intendant.domain.errors import StoreUnavailable
from intendant.domain.logs import about
from intendant.domain.ports import Clock, IndexMember, LogReader
from intendant.domain.window import Timer, Window
from intendant.parking import Seam
from intendant.supervisor import Started

logger = logging.getLogger("intendant.timers")

WINDOW: Final = 10_000  # timers that are in memory
PACE: Final = 256  # timers that are told at a time,
REST: Final = 0.01  # and the seconds until more are
_LONGEST_S: Final = 60.0  # the wall clock may be set while somebody waits for it


class Timers:
    """Calls `due(tenant, execution, path, now)` once for each timer whose time has come. `run` is its life.

    Once is enough: a wait that nobody stands at when it is told finds by itself that its time has come. `longest` is
    the seconds after which it looks at the clock again, because it may have been set; without it, 60.
    """

    def __init__(
        self, log: LogReader, clock: Clock, seam: Seam, *, size: int = WINDOW, longest: float | None = None
    ) -> None:
        self.due: Callable[[str, str, str, int], None] = _nobody
        self._log = log
        self._clock = clock
        self._parking = seam.parking()
        self._size = size
        self._longest = longest or _LONGEST_S
        self._window = Window(size)
        self._changes: list[tuple[Timer, bool]] | None = None  # what is committed while the index is read
        self._stopping = False

    def __len__(self) -> int:
        return len(self._window)

    def stop(self) -> None:
        """End soon."""
        self._stopping = True
        self._parking.wake()

    def committed(self, batch: Batch) -> None:
        """Follow the index."""
        for index, score, tenant, member in batch.index_adds:
            if index == states.TIMERS:
                self._follow((score, tenant, member), added=True)
        for index, score, tenant, member in batch.index_removes:
            if index == states.TIMERS:
                self._follow((score, tenant, member), added=False)

    async def run(self, task_status: Started) -> None:
        """Look out, until stopped; an outage of the store is waited out."""
        self._stopping = False
        self._window = Window(self._size)
        await self._load()
        task_status.started(self)
        while not self._stopping:
            now = self._clock.now()
            for tenant, execution, path in self._take(now):
                self.due(tenant, execution, path, now)
            await self._rest(now)

    def _take(self, now: int) -> list[tuple[str, str, str]]:
        found: list[tuple[str, str, str]] = []
        for _, tenant, member in self._window.take_due(now, PACE):
            execution, _, path = member.partition("/")
            found.append((tenant, execution, path))
        return found

    async def _rest(self, now: int) -> None:
        due = self._window.next_due()
        if due is None and not self._window.whole:
            await self._load()
        elif due is not None and due <= now:
            await anyio.sleep(REST)  # more are due: others get their turn first
        else:
            with anyio.move_on_after(None if due is None else min((due - now) / 1e6, self._longest)):
                await self._parking.wait()

    async def _load(self) -> None:
        """Read what comes next in the index."""
        self._changes = []
        page = await wait_out(self._read, PATIENT, self._read_later)
        changes, self._changes = self._changes, None
        self._window.load(page)
        for timer, added in changes:
            self._follow(timer, added=added)

    async def _read(self) -> list[IndexMember]:
        reach = self._window.reach
        after = None if reach is None else IndexMember(*reach)
        return await self._log.index(states.TIMERS, after=after, limit=self._size)

    def _read_later(self, delay: float, error: StoreUnavailable) -> None:
        logger.warning("the index of timers can't be read, trying again in %.1f s: %s", delay, error, extra=about())

    def _follow(self, timer: Timer, *, added: bool) -> None:
        if self._changes is not None:
            self._changes.append((timer, added))
        elif not added:
            self._window.remove(timer)
        elif self._window.add(timer):
            self._parking.wake()


def _nobody(_tenant: str, _execution: str, _path: str, _now: int) -> None:
    """Nobody is to be told yet."""
