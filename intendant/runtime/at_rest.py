"""A store at rest: opened and worked on by an operator, without running anything that is open in it.

What is open stays open for the next runtime: no handler runs, no event leaves, nothing is accepted.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Final

import anyio
from msgspec.structs import replace

from intendant.actors.barred import Barred
from intendant.actors.eraser import Eraser
from intendant.actors.erasure import Erasure, Surroundings
from intendant.actors.orphans import WatchedFiles
from intendant.actors.outbox_relay import RelaySettings
from intendant.actors.revival import revival
from intendant.actors.services import Limits
from intendant.actors.state_writer import StateWriter
from intendant.actors.survey import Survey
from intendant.actors.wal_writer import WalWriter, WriterSettings
from intendant.adapters.clock import SystemClock
from intendant.adapters.process import current_owner
from intendant.domain.commit import Batch
from intendant.domain.erasure import Erased, Scope
from intendant.domain.ids import partition_of
from intendant.domain.ports import ColdStore, FileStore, Holding, Store
from intendant.domain.retention import Retention, RetentionPolicy
from intendant.parking import current_seam
from intendant.realm import Repertoire
from intendant.runtime.config import Shutdown
from intendant.runtime.outbox import OutboxReader
from intendant.runtime.readable import Resting
from intendant.runtime.settings import Settings
from intendant.runtime.state_reader import StateReader
from intendant.runtime.stores import OpenStores
from intendant.runtime.tenants import TenantView, list_tenants
from intendant.runtime.views import Page
from intendant.runtime.wal import LogQueries
from intendant.supervisor import Backoff

TAKEOVER: Final = 1.0  # seconds: a released or orphaned store is free at once, a living owner does not leave for us
_LEASE: Final = 30.0


class StoreReading:
    """Answers questions from open stores. That a handler waits, or is blocked, is not stored, and so not told."""

    def __init__(self, stores: OpenStores) -> None:
        hot, self._cold = stores.hot, stores.cold
        self._partitions = [Resting(number, hot.log(number), self._cold) for number in range(hot.partitions)]
        self.state = StateReader(self._of)
        self.wal = LogQueries(self._of)
        self.outbox = OutboxReader(self._of)

    async def tenants(self, *, limit: int, cursor: str | None) -> Page[TenantView]:
        """All tenants, by id."""
        return await list_tenants(self._partitions, len(self._partitions), self._cold, limit=limit, cursor=cursor)

    def _of(self, tenant: str) -> Resting:
        return self._partitions[partition_of(tenant, len(self._partitions))]


class StoreAtRest:
    """Stores by URL, or as objects, as `Runtime` takes them; nothing is touched before a method is called."""

    def __init__(
        self,
        *,
        hot: str | Store | None = None,
        cold: str | ColdStore | None = None,
        files: str | FileStore | None = None,
        takeover_timeout: float = TAKEOVER,
    ) -> None:
        self._settings = Settings(
            name="default",
            repertoire=Repertoire(()),
            hot=hot,
            cold=cold,
            durability=None,
            own=None,
            publisher=None,
            files=files,
            takeover_timeout=takeover_timeout,
            lease=_LEASE,
            timeout=30.0,
            limits=Limits(),
            retention=RetentionPolicy(Retention()),
            relay=RelaySettings(),
            shutdown=Shutdown(),
            on_failure="report",
            on_event=None,
            clock=SystemClock(),
        )

    async def survey(self, scope: Scope) -> Erased:
        """What an erasure would remove. Changes nothing, and may be asked of a store that somebody works on."""
        async with self._opened() as stores:
            number = partition_of(scope.tenant, stores.hot.partitions)
            log = stores.hot.log(number)
            survey = Survey(scope, log, stores.cold, stores.files, partition=number)
            return await survey.run(anyio.lowlevel.checkpoint)

    async def erase(self, scope: Scope, *, drop_open: bool = False) -> Erased:
        """Erase, and return when it is done; see `Runtime.erase_tenant`. When it is cut off, call it again.

        Raises PartitionOwned while a process runs on the partition, StillOpen, and StoreUnavailable also when cold
        state does not catch up.
        """
        try:
            async with self._opened() as stores, self._owned(stores, scope.tenant) as around:
                await Eraser(around, current_seam(), anyio.Lock()).begin(scope, drop_open=drop_open)
                return await Erasure(scope, around).run()
        except BaseExceptionGroup as errors:
            raise _first(errors) from None

    @asynccontextmanager
    async def reading(self) -> AsyncGenerator[StoreReading]:
        """What is stored, read as a runtime reads it. Changes nothing, and may be used beside one that works on it."""
        async with self._opened(replace(self._settings, durability="memory")) as stores:  # whatever it gives
            yield StoreReading(stores)

    async def holder(self) -> list[Holding | None]:
        """Who owns each partition now."""
        async with self._opened(replace(self._settings, durability="memory")) as stores:
            return [await stores.hot.log(number).holder() for number in range(stores.hot.partitions)]

    async def retry_events(self, tenant: str, events: Sequence[str]) -> list[str]:
        """See `Outbox.retry`: they are published by the next runtime. Raises PartitionOwned, StoreUnavailable."""
        try:
            async with self._opened() as stores, self._owned(stores, tenant) as around:
                letters = await StoreReading(stores).outbox.letters(tenant, events)
                await around.writer.commit(revival(tenant, letters, self._settings.clock.now()))
                return [each.event.id for each in letters]
        except BaseExceptionGroup as errors:
            raise _first(errors) from None

    @asynccontextmanager
    async def _opened(self, settings: Settings | None = None) -> AsyncGenerator[OpenStores]:
        stores = OpenStores(settings or self._settings)
        await stores.open()
        try:
            yield stores
        finally:
            with anyio.CancelScope(shield=True):
                await stores.close()

    @asynccontextmanager
    async def _owned(self, stores: OpenStores, tenant: str) -> AsyncGenerator[Surroundings]:
        """Own the tenant's partition, with what is needed to write it and its cold state."""
        number, seam, barred = partition_of(tenant, stores.hot.partitions), current_seam(), Barred()
        log, window = stores.hot.log(number), stores.hot.loss_window
        settings = WriterSettings(takeover_timeout=self._settings.takeover_timeout, lease=_LEASE)
        state_writer: StateWriter | None = None

        def committed(batch: Batch) -> None:
            if state_writer is not None and batch.count:
                state_writer.wake()

        writer = WalWriter(
            log,
            current_owner(),
            number,
            clock=self._settings.clock,
            seam=seam,
            settings=settings,
            on_committed=committed,
            barred=barred,
        )
        if stores.cold is not None:
            state_writer = StateWriter(log, stores.cold, writer, seam, Backoff(), window=window)
        async with anyio.create_task_group() as group:
            await group.start(writer.run)
            if state_writer is not None:
                await group.start(state_writer.run)
            await barred.load(log)
            yield Surroundings(
                log=log,
                cold=stores.cold,
                writer=writer,
                state_writer=state_writer,
                files=WatchedFiles(stores.files),
                clock=self._settings.clock,
                barred=barred,
                window=window,
            )
            if state_writer is not None:
                state_writer.stop()
            writer.stop()


def _first(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    """What went wrong first; whoever is cancelled because of it says nothing."""
    told = errors.exceptions[0]
    while isinstance(told, BaseExceptionGroup):
        inner: tuple[BaseException, ...] = told.exceptions  # pyright: ignore[reportUnknownMemberType,reportUnknownVariableType]
        told = inner[0]
    return told
