"""The state writer: the only one that writes cold state. It follows the log and never runs ahead of it.

It reads committed entries behind its checkpoint, archives them, brings the documents they touched up to date, and
only then moves the checkpoint. Every cold write is idempotent, so a crash anywhere means: do it again. It keeps
nothing in memory; an outage of the cold store makes a lag, and restarts nothing.
"""

from __future__ import annotations

import logging
from typing import Final

import anyio
import msgspec

from intendant.actors.wal_writer import WalWriter
from intendant.domain import state as states
from intendant.domain.commit import Commit, MoveCheckpoint
from intendant.domain.errors import StoreUnavailable
from intendant.domain.payloads import EventPublished, StateSet
from intendant.domain.ports import ColdDocument, ColdStore, LogReader
from intendant.domain.records import SYSTEM_TENANT, LogRecord, decode_entry
from intendant.parking import Reply, Seam
from intendant.supervisor import Backoff, Started

logger = logging.getLogger("intendant.cold")

CHECKPOINT: Final = "cold"
_ROUND_ENTRIES: Final = 256


class StateWriter:
    """Projects one partition's log into the cold store."""

    def __init__(self, log: LogReader, cold: ColdStore, writer: WalWriter, seam: Seam, retry: Backoff) -> None:
        self.archived = -1  # the sequence of the newest record that is in cold state; -1 before the first look
        self._log = log
        self._cold = cold
        self._writer = writer
        self._seam = seam
        self._retry = retry
        self._parking = seam.parking()
        self._stopping = False

    @property
    def lag(self) -> int:
        """How many records the cold store is behind the log."""
        return max(self._writer.committed - self.archived, 0)

    def wake(self) -> None:
        """There are new records."""
        self._parking.wake()

    def stop(self) -> None:
        """End after the round under way."""
        self._stopping = True
        self._parking.wake()

    async def run(self, task_status: Started) -> None:
        """Follow the log until stopped."""
        self._stopping = False
        self.archived = await self._log.checkpoint(CHECKPOINT)
        task_status.started(self)
        failures = 0
        while not self._stopping:
            try:
                moved = await self._round()
            except StoreUnavailable as error:
                failures += 1
                delay = self._retry.delay(failures, lambda: 0.5)
                logger.warning("cold state is %d records behind, trying again in %.1f s: %s", self.lag, delay, error)
                with anyio.move_on_after(delay):
                    await self._wait_for_stop()
                continue
            failures = 0
            if not moved:
                await self._parking.wait()

    async def _wait_for_stop(self) -> None:
        while not self._stopping:
            await self._parking.wait()

    async def _round(self) -> bool:
        """Archive what stands next in the log; False when nothing does."""
        entries = await self._log.entries(None, first=self.archived + 1, limit=_ROUND_ENTRIES)
        records = [(entry, decode_entry(entry)) for entry in entries]
        if not records:
            return False
        partition = self._writer.partition
        await self._cold.archive(partition, [(each[0].tenant, each[0].sequence, entry) for entry, each in records])
        await self._bring_up_to_date([record for _, each in records for record in each])
        newest = records[-1][1][-1].sequence
        await self._move_checkpoint(newest)
        return True

    async def _bring_up_to_date(self, records: list[LogRecord]) -> None:
        touched = {key: record.sequence for record in records for key in _documents_of(record)}
        documents: list[ColdDocument] = []
        for (tenant, collection, key), sequence in touched.items():
            document = await self._log.document(tenant, collection, key)
            if document is None:
                documents.append(ColdDocument(tenant, collection, key, sequence, None))
            else:
                documents.append(ColdDocument(tenant, collection, key, document.version, document.body))
        if documents:
            await self._cold.put(documents)

    async def _move_checkpoint(self, newest: int) -> None:
        """Through the writer, as everything; `archived` moves only when that is durable."""
        commit = Commit(SYSTEM_TENANT, (), [MoveCheckpoint(CHECKPOINT, newest)])
        await self._writer.append(commit, Reply()).wait(self._seam)
        self.archived = newest


def _documents_of(record: LogRecord) -> list[tuple[str, str, str]]:
    """The documents that a record may have changed: (tenant, collection, key)."""
    tenant = record.tenant
    if record.type == "state_set":
        changed = msgspec.msgpack.decode(record.raw, type=StateSet)
        return [(tenant, changed.collection, changed.key)]
    if record.type == "event_published":
        settled = msgspec.msgpack.decode(record.raw, type=EventPublished)
        return [(tenant, states.DEAD_LETTERS, event) for event in settled.dead]
    if record.execution:
        return [(tenant, states.EXECUTIONS, record.execution)]
    if record.session:
        return [(tenant, states.SESSIONS, record.session)]
    return []
