"""A partition whose history lies in cold state, read as if the hot store still had all of it.

So it is copied where there is one store only. Nothing is left out and nothing is there twice: what has left the hot
store is what the tenants' floors say. The way back needs nothing of the kind: a runtime archives by itself.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial
from typing import Final

from msgspec.structs import replace

from intendant.actors.state_writer import CHECKPOINT
from intendant.actors.tiers import Tiers
from intendant.domain import state as states
from intendant.domain.codec import encode
from intendant.domain.ports import ColdDocument, ColdStore, FileStore, Log
from intendant.domain.retention import FLOOR, Floor
from intendant.domain.state import COLLECTIONS, decode_execution
from intendant.runtime.contents import Contents
from intendant.runtime.rows import Entry, Merge, Pages, Row, Rows, entry_of

_PAGE: Final = 128
LEAVE: Final = frozenset({states.EXECUTIONS, states.EXECUTION_DATA, states.DEAD_LETTERS})  # the hot store, at an age


class WholeContents(Contents):
    """What the hot store would hold if nothing had ever left it for the cold one."""

    def __init__(self, log: Log, partition: int, partitions: int, *, history: ColdStore, files: FileStore | None):
        super().__init__(log, partition, partitions, cold=None, files=files)
        self.history = history
        self.tiers = Tiers(log, history, partition)
        self.floors: dict[str, Floor] = {}
        self._near: tuple[str, int, int, int] = ("", 1, 0, 0)  # tenant, times from and to, and where these records lie

    async def load(self, end: int) -> None:
        """See `Contents.load`."""
        await super().load(end)
        await self.add_tenants_of(self.history)
        self.floors = {tenant: await self.tiers.floor(tenant) for tenant in self.tenants}
        oldest = await self.history.chunks(self.partition, None, limit=1)
        self.floor = min([self.floor, *(chunk.first for chunk in oldest)])

    async def checkpoint(self, name: str) -> int:
        """See `Contents.checkpoint`. Without cold state nothing is archived."""
        return 0 if name == CHECKPOINT else await super().checkpoint(name)

    def log_from(self, first: int) -> AsyncIterator[Entry]:
        """See `Contents.log_from`."""
        left = [Pages(partial(self._page_of_left, tenant, first)) for tenant in self.tenants]
        return Merge([*left, super().log_from(first)])

    # --- the kinds

    def _entries(self, tenant: str) -> Rows:
        return Pages(partial(self._rows_of_left, tenant), partial(self._page_of_entries, tenant))

    def _documents(self, tenant: str) -> Rows:
        return Pages(*(partial(self._page_of_both, tenant, name) for name in sorted(COLLECTIONS)))

    # --- the log

    async def _page_of_left(self, tenant: str, first: int, after: Entry | None) -> list[Entry]:
        """Entries that have left the hot store: of one chunk. Chunks may overlap."""
        position, below = after.end if after else first, self.floors[tenant].below
        while position < below:
            page = await self.history.chunks(self.partition, tenant, first=position, last=below - 1, limit=1)
            if not page:
                break
            entries = [each for each in map(entry_of, page[0].entries) if each.first >= position and each.end <= below]
            if entries:
                return entries
            position = page[0].last + 1
        return []

    async def _rows_of_left(self, tenant: str, after: Row | None) -> list[Row]:
        page = await self._page_of_left(tenant, after.key[0] + after.value[0] if after else 0, None)
        return [Row((each.first,), (each.count, each.time, each.body)) for each in page]

    # --- documents

    async def _page_of_both(self, tenant: str, name: str, after: Row | None) -> list[Row]:
        behind = after.key[1] if after else ""
        while True:
            hot = await self.log.documents(tenant, name, after=behind, limit=_PAGE)
            cold = await self.history.documents(tenant, name, after=behind, limit=_PAGE) if name in LEAVE else []
            keys = sorted({*(each.key for each in hot), *(each.key for each in cold)})[:_PAGE]
            if not keys:
                return []
            rows = {each.key: Row((name, each.key), (each.since, each.version, each.body)) for each in hot}
            for document in await self._that_left(tenant, [each for each in cold if each.key not in rows]):
                rows[document.key] = await self._row(document)
            if name == states.RETENTION and FLOOR in rows:
                rows[FLOOR] = self._floor_row(tenant, rows[FLOOR])
            if found := [rows[key] for key in keys if key in rows]:
                return found
            behind = keys[-1]

    async def _that_left(self, tenant: str, documents: list[ColdDocument]) -> list[ColdDocument]:
        """Those whose execution has left the hot store. Of others cold state is behind: theirs were deleted."""
        if not documents:
            return []
        owners = [execution_of(each.collection, each.key) for each in documents]
        hot = await self.log.fetch([(tenant, states.EXECUTIONS, owner) for owner in owners])
        return [document for document, there in zip(documents, hot, strict=True) if there is None]

    async def _row(self, document: ColdDocument) -> Row:
        since = document.version
        if document.collection == states.EXECUTIONS:
            since = await self._began(document.tenant, decode_execution(document.body or b"").accepted_at)
        return Row((document.collection, document.key), (min(since, document.version), document.version, document.body))

    async def _began(self, tenant: str, accepted_at: int) -> int:
        """A sequence that is not behind what was recorded then. Those of one chunk, which come together, look once."""
        of, begin, end, first = self._near
        if of != tenant or not begin <= accepted_at <= end:
            chunk = await self.tiers.archived_at(tenant, accepted_at, self.floors[tenant].below)
            if chunk is None:
                return await self.log.position_at(accepted_at)
            first = chunk.first
            self._near = (tenant, accepted_at, entry_of(chunk.entries[-1]).time, first)
        return first

    def _floor_row(self, tenant: str, row: Row) -> Row:
        """Only what is nowhere any more is not in the one store."""
        floor = self.floors[tenant]
        since, version, _ = row.value
        return Row(row.key, (since, version, encode(replace(floor, below=floor.gone))))


def execution_of(collection: str, key: str) -> str:
    """The execution that a document belongs to which leaves the hot store with it."""
    return key.rpartition("-")[0] if collection == states.DEAD_LETTERS else key
