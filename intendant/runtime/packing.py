"""Rows, packed into the batches that write them somewhere else. Pure."""

from __future__ import annotations

from collections import Counter
from typing import Final

from intendant.domain.codec import digest
from intendant.domain.commit import PLACES, Batch, Put
from intendant.domain.ports import OutboxItem, Tenure
from intendant.runtime.contents import DOCUMENTS, ENTRIES, JOURNALS, KEYS, MEMBERS
from intendant.runtime.rows import Entry, Row

_ROW_BYTES: Final = 64  # of a row, besides what it holds


class Packing:
    """Changes on their way into one batch, which takes up `count` sequences."""

    def __init__(self, count: int = 0) -> None:
        self.size = 0
        self.checkpoints: dict[str, int] = {}
        self._claims: list[tuple[str, str, bytes]] = []
        self._releases: dict[tuple[str, str], None] = {}
        self._puts: list[Put] = []
        self._deletes: list[tuple[str, str, str]] = []
        self._journal: list[tuple[str, str, int, bytes]] = []  # with the place among those of its execution
        self._rows: Counter[tuple[str, str]] = Counter()  # by tenant and execution
        self._rows_max = count * PLACES  # of an execution: behind them are the positions of later batches
        self._drops: dict[tuple[str, str], None] = {}
        self._index_adds: list[tuple[str, int, str, str]] = []
        self._index_removes: list[tuple[str, int, str, str]] = []
        self._outbox_adds: list[tuple[int, str, str, int, bytes]] = []
        self._outbox_settles: list[int] = []
        self._replaces: list[tuple[str, int, bytes]] = []
        self._trims: dict[str, int] = {}

    def admits(self, kind: str, tenant: str, row: Row) -> bool:
        """Whether a row may be put here: a key that is freed here can't be claimed before the next batch."""
        if kind == JOURNALS:
            return self._rows[tenant, row.key[0]] < self._rows_max
        return kind != KEYS or (tenant, row.key[0]) not in self._releases

    def put(self, kind: str, tenant: str, row: Row) -> None:
        """Write a row, or write it anew. Rows of a journal are put in their order."""
        self.size += _ROW_BYTES + sum(len(part) for part in row.key + row.value if isinstance(part, str | bytes))
        key, value = row.key, row.value
        if kind == DOCUMENTS:
            self._puts.append((tenant, key[0], key[1], value[0], value[1], value[2]))
        elif kind == KEYS:
            self._claims.append((tenant, key[0], value[0]))
        elif kind == JOURNALS:
            self._journal.append((tenant, key[0], self._rows[tenant, key[0]], value[0]))
            self._rows[tenant, key[0]] += 1
        elif kind == MEMBERS:
            self._index_adds.append((key[0], key[1], tenant, key[2]))
        else:
            self._replaces.append((tenant, key[0], value[2]))

    def add(self, event: OutboxItem) -> None:
        """Put an event into the outbox, at the place it has: the batch must hold its sequence."""
        self.size += _ROW_BYTES + len(event.body)
        self._outbox_adds.append((event.position, event.tenant, event.session, event.time, event.body))

    def take(self, kind: str, tenant: str, row: Row) -> None:
        """Take a row away. Of a journal all rows go, of a log all entries before."""
        self.size += _ROW_BYTES
        key = row.key
        if kind == DOCUMENTS:
            self._deletes.append((tenant, key[0], key[1]))
        elif kind == KEYS:
            self._releases[tenant, key[0]] = None
        elif kind == JOURNALS:
            self._drops[tenant, key[0]] = None
        elif kind == MEMBERS:
            self._index_removes.append((key[0], key[1], tenant, key[2]))
        elif kind == ENTRIES:
            self.trim(tenant, key[0] + row.value[0])
        else:
            self._outbox_settles.append(key[0])

    def trim(self, tenant: str, below: int) -> None:
        """Trim a tenant's log."""
        self._trims[tenant] = max(below, self._trims.get(tenant, 0))

    def sealed(self, tenure: Tenure, first: int, end: int, time: int, entries: list[Entry]) -> Batch:
        """The batch that writes all this, and takes up the sequences from `first` up to, but not including, `end`."""
        return Batch(
            partition=tenure.partition,
            epoch=tenure.epoch,
            token=tenure.token,
            first=first,
            count=end - first,
            time=time,
            digest=digest(*(entry.body for entry in entries)),
            entries=tuple((entry.tenant, entry.first, entry.count, entry.body) for entry in entries),
            claims=tuple(self._claims),
            releases=tuple(self._releases),
            puts=tuple(self._puts),
            deletes=tuple(self._deletes),
            journal=tuple((tenant, id, first * PLACES + place, body) for tenant, id, place, body in self._journal),
            drops=tuple(self._drops),
            index_adds=tuple(self._index_adds),
            index_removes=tuple(self._index_removes),
            outbox_adds=tuple(self._outbox_adds),
            outbox_settles=tuple(self._outbox_settles),
            checkpoints=self.checkpoints,
            replaces=tuple(self._replaces),
            trims=tuple(self._trims.items()),
        )
