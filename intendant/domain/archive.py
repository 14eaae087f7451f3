"""What a piece of the log becomes in cold state: chunks of entries by tenant, and the documents it touched. Pure."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

import msgspec

from intendant.domain import state as states
from intendant.domain.codec import COMMIT_BYTES_MAX
from intendant.domain.commit import RECORDS_MAX
from intendant.domain.payloads import EventPublished, StateSet
from intendant.domain.ports import Chunk
from intendant.domain.records import LogRecord, iterate_entry

Place = tuple[str, str, str]  # tenant, collection, key

# Records that take away, and those that name no document of their session or execution.
_SILENT: Final = frozenset({"content_expired", "erasure_started", "content_erased", "writer_opened"})


class Piece:
    """Entries that follow each other in a partition's log, taken up one by one.

    Where a chunk ends follows from where the piece began and from its entries alone: who takes the same entries up
    again, and perhaps more, gets chunks that begin at the same places and end no sooner. `begun` are places, tenant
    and first sequence, where chunks begin already: there new ones do as well, so that none overlap.
    """

    def __init__(self, begun: Collection[tuple[str, int]] = ()) -> None:
        self.records = 0
        self.bytes = 0
        self.newest = 0  # the sequence of the newest record
        self.touched: dict[Place, int] = {}  # documents, and the sequence of the last record that may have changed each
        self._begun = begun
        self._whole: list[Chunk] = []
        self._growing: dict[str, _Growing] = {}

    @property
    def chunks(self) -> list[Chunk]:
        """All entries that were taken up, by tenant."""
        return self._whole + [growing.chunk(tenant) for tenant, growing in self._growing.items()]

    def add(self, entry: bytes) -> None:
        """Take up the next entry. Raises UnknownFormat or DamagedEntry."""
        tenant, first, count = "", 0, 0
        for record in iterate_entry(entry):
            if not count:
                tenant, first = record.tenant, record.sequence
            count += 1
            self._touch(record)
        self.records += count
        self.bytes += len(entry)
        self.newest = first + count - 1
        growing = self._growing.get(tenant)
        if growing is not None and ((tenant, first) in self._begun or not growing.has_room(count, len(entry))):
            self._whole.append(growing.chunk(tenant))
            growing = None
        if growing is None:
            growing = self._growing[tenant] = _Growing(first)
        growing.add(entry, count, self.newest)

    def _touch(self, record: LogRecord) -> None:
        tenant, type = record.tenant, record.type
        if type == "state_set":
            changed = msgspec.msgpack.decode(record.raw, type=StateSet)
            self.touched[tenant, changed.collection, changed.key] = record.sequence
        elif type == "event_published":
            round_ = msgspec.msgpack.decode(record.raw, type=EventPublished)
            for event in [*round_.dead, *(f"{record.execution}-{each.number}" for each in round_.revived)]:
                self.touched[tenant, states.DEAD_LETTERS, event] = record.sequence
        elif type in _SILENT:
            return
        elif record.execution:
            self.touched[tenant, states.EXECUTIONS, record.execution] = record.sequence
        elif record.session:
            self.touched[tenant, states.SESSIONS, record.session] = record.sequence


class _Growing:
    """A tenant's chunk that is not full yet."""

    __slots__ = ("_bytes", "_entries", "_first", "_last", "_records")

    def __init__(self, first: int) -> None:
        self._first = self._last = first
        self._entries: list[bytes] = []
        self._records = self._bytes = 0

    def has_room(self, records: int, size: int) -> bool:
        return self._records + records <= RECORDS_MAX and self._bytes + size <= COMMIT_BYTES_MAX

    def add(self, entry: bytes, records: int, last: int) -> None:
        self._entries.append(entry)
        self._records += records
        self._bytes += len(entry)
        self._last = last

    def chunk(self, tenant: str) -> Chunk:
        return Chunk(tenant, self._first, self._last, self._last, self._entries)
