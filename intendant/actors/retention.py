"""Retention's actor: now and then it walks over a partition's tenants, and takes away what is over.

It works in small pieces and rests as long as each took, so that it never has more than half of the time. What it does
it writes through the WAL writer like everybody; an outage ends a sweep, and the next one goes on.
"""

from __future__ import annotations

import logging
import random
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Final

import anyio
from msgspec import Struct

from intendant.actors.barred import Barred
from intendant.actors.expiry import Expiry, Id, Stores
from intendant.actors.orphans import Orphans, WatchedFiles
from intendant.actors.state_writer import StateWriter
from intendant.actors.tiers import Tiers
from intendant.actors.wal_writer import WalWriter
from intendant.domain.commit import Commit, MoveCheckpoint
from intendant.domain.errors import ActorStopped, Stopped, StoreUnavailable
from intendant.domain.ids import partition_of
from intendant.domain.logs import about
from intendant.domain.ports import Clock, ColdStore, LogReader
from intendant.domain.records import SYSTEM_TENANT
from intendant.domain.retention import RetentionPolicy
from intendant.parking import Seam
from intendant.supervisor import Started

logger = logging.getLogger("intendant.retention")

CHECKPOINT: Final = "retention"  # stands at 0: moving it waits until everything before is committed
EVERY: Final = 600.0  # seconds between two sweeps,
_JITTER: Final = 0.2  # of which chance takes off this share at most
_REST_MAX: Final = 1.0  # seconds
_PAGE: Final = 1_000


class Swept(Struct, frozen=True):
    """What sweeps have done since this process began: executions that left the hot store, and those left nowhere."""

    sweeps: int = 0
    left: int = 0
    gone: int = 0


class Sweeper:
    """Sweeps one partition. `partitions` is how many the store has.

    It holds `turn` during a tenant's sweep, and passes over tenants of whom something is `barred`.
    """

    def __init__(
        self,
        log: LogReader,
        cold: ColdStore | None,
        writer: WalWriter,
        state_writer: StateWriter | None,
        clock: Clock,
        seam: Seam,
        policy: RetentionPolicy,
        files: WatchedFiles,
        *,
        partitions: int,
        turn: anyio.Lock | None = None,
        barred: Barred | None = None,
        every: float | None = None,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.swept = Swept()
        self._log = log
        self._cold = cold
        self._writer = writer
        self._state_writer = state_writer
        self._clock = clock
        self._seam = seam
        self._policy = policy
        self._orphans = Orphans(log, Tiers(log, cold, writer.partition), files)
        self._partitions = partitions
        self._turn = anyio.Lock() if turn is None else turn
        self._barred = Barred() if barred is None else barred
        self._every = EVERY if every is None else every
        self._chance = chance
        self._stopped = seam.parking()
        self._stopping = False
        self._leaving: frozenset[Id] = frozenset()
        self._have_left = anyio.Event()
        self._resumed = 0.0

    def stop(self) -> None:
        """End after the piece of work under way."""
        self._stopping = True
        self._stopped.wake()

    async def run(self, task_status: Started) -> None:
        """Sweep again and again, until stopped."""
        self._stopping = False
        task_status.started(self)
        while not self._stopping:
            await self._pause(self._every * (1 - _JITTER * self._chance()))
            if not self._stopping:
                await self._try_to_sweep()

    async def may_change(self, tenant: str, execution: str) -> None:
        """Wait while an execution leaves the hot store: what is set meanwhile would leave with it."""
        while (tenant, execution) in self._leaving:
            await self._have_left.wait()

    async def _pause(self, seconds: float) -> None:
        with anyio.move_on_after(seconds):
            await self._stopped.wait()

    # --- a sweep

    async def _try_to_sweep(self) -> None:
        try:
            await self._sweep()
        except ActorStopped:
            pass  # the writer is being restarted, or this is to stop: the next sweep goes on
        except (StoreUnavailable, Stopped) as error:
            number = self._writer.partition
            logger.warning("retention of partition %d waits for its next round: %s", number, error, extra=about())

    async def _sweep(self) -> None:
        """All tenants; then the partition's own records, which are needed as long as any tenant's are."""
        before = self.swept
        lowest: int | None = None
        for tenant in await self._tenants():
            async with self._turn:
                below = 0 if self._barred.concerns(tenant) else await self._expire(tenant)
            lowest = below if lowest is None else min(lowest, below)
            await self._rest()
        await self._expire(SYSTEM_TENANT, lowest)
        self.swept = Swept(self.swept.sweeps + 1, self.swept.left, self.swept.gone)
        left, gone = self.swept.left - before.left, self.swept.gone - before.gone
        if left or gone:
            logger.info("retention: %d executions left the hot store, %d are gone for good", left, gone, extra=about())

    async def _expire(self, tenant: str, bound: int | None = None) -> int:
        stores = Stores(
            log=self._log,
            cold=self._cold,
            partition=self._writer.partition,
            archived=None if self._state_writer is None else max(self._state_writer.archived, 0),
            commit=self._writer.commit,
            orphans=self._orphans,
            leaving=self._while_leaving,
            rest=self._rest,
        )
        expiry = Expiry(tenant, stores, self._policy, self._clock.now())
        try:
            await expiry.run(bound)
        finally:
            swept = self.swept
            self.swept = Swept(swept.sweeps, swept.left + expiry.left, swept.gone + expiry.gone)
        return expiry.below

    async def _tenants(self) -> list[str]:
        """Everybody who has something in the hot log or in cold state, but the partition itself."""
        found = await _every_page(self._log.tenants)
        if self._cold is not None:
            found |= await _every_page(self._cold.tenants)
        found.discard(SYSTEM_TENANT)
        return sorted(each for each in found if partition_of(each, self._partitions) == self._writer.partition)

    @asynccontextmanager
    async def _while_leaving(self, executions: Iterable[Id]) -> AsyncGenerator[None]:
        """Meanwhile nobody sets data of these; what was being set is committed before this begins."""
        self._leaving = frozenset(executions)
        self._have_left = anyio.Event()
        try:
            await self._writer.commit(Commit(SYSTEM_TENANT, (), [MoveCheckpoint(CHECKPOINT, 0)]))
            yield
        finally:
            self._leaving = frozenset()
            self._have_left.set()

    async def _rest(self) -> None:
        if self._stopping:
            raise ActorStopped("retention was stopped")
        worked = self._seam.time() - self._resumed
        await anyio.sleep(min(max(worked, 0.0), _REST_MAX))
        self._resumed = self._seam.time()


async def _every_page(read: Callable[..., Awaitable[list[str]]]) -> set[str]:
    found: set[str] = set()
    after = ""
    while True:
        page = await read(after=after, limit=_PAGE)
        found.update(page)
        if len(page) < _PAGE:
            return found
        after = page[-1]
