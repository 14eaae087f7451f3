"""Everything that the stores hold of one partition, tenant by tenant, as rows in one order: to compare and to copy."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Final

from intendant.actors import retention, state_writer
from intendant.domain.commit import PLACES
from intendant.domain.ids import partition_of
from intendant.domain.ports import ColdStore, FileStore, IndexMember, Log, OutboxItem
from intendant.domain.records import SYSTEM_TENANT
from intendant.domain.state import COLLECTIONS, INDEXES, OPEN
from intendant.runtime.rows import Entry, Merge, Pages, Read, Row, Rows, entry_of

ENTRIES: Final = "entries"
DOCUMENTS: Final = "documents"
KEYS: Final = "keys"
JOURNALS: Final = "journals"
MEMBERS: Final = "index members"
OUTBOX: Final = "outbox"
FACTS: Final = "partition"  # where its log begins and ends, and its checkpoints
COLD: Final = "cold documents"
CHUNKS: Final = "chunks"
CONTENT: Final = "files"
IN_THE_HOT_STORE: Final = (KEYS, MEMBERS, ENTRIES, DOCUMENTS, JOURNALS, OUTBOX)
BESIDE_IT: Final = (COLD, CHUNKS, CONTENT)

CHECKPOINTS: Final = (state_writer.CHECKPOINT, retention.CHECKPOINT)
END_OF_TIME: Final = 2**53 - 1  # µs since 1970 UTC, later than any record
_PAGE: Final = 128
_FEW: Final = 16  # entries of a page, where as many pages are held as there are tenants


class Contents:
    """What is stored of a partition; `load` before anything else. `cold` and `files` may be None: none to look at."""

    def __init__(
        self, log: Log, partition: int, partitions: int, *, cold: ColdStore | None, files: FileStore | None
    ) -> None:
        self.log = log
        self.cold = cold
        self.files = files
        self.partition = partition
        self.tenants: list[str] = []
        self.floor = 0  # where reading the log of all tenants begins
        self._shown = 0  # where it begins in the hot store
        self._partitions = partitions
        self._members: dict[str, list[tuple[str, IndexMember]]] = {}  # by tenant
        self._readers: dict[str, Callable[[str], Rows]] = {
            ENTRIES: self._entries,
            DOCUMENTS: self._documents,
            KEYS: self._keys,
            JOURNALS: self._journals,
            MEMBERS: self._index_members,
            OUTBOX: self._outbox,
            COLD: self._cold_documents,
            CHUNKS: self._chunks,
            CONTENT: self._content,
        }

    async def load(self, end: int) -> None:
        """Find out which tenants there are, and which executions are open. `end` is the log's."""
        self._members = {}
        for name in INDEXES:
            async for member in Pages(partial(self._page_of_index, name)):
                self._members.setdefault(member.tenant, []).append((name, member))
        self.tenants = sorted({SYSTEM_TENANT, *self._members, *await _tenants(self.log.tenants)})
        if self.cold is not None:
            await self.add_tenants_of(self.cold)
        shown = await self.log.entries(None, limit=1)
        self.floor = self._shown = entry_of(shown[0]).first if shown else end

    async def add_tenants_of(self, cold: ColdStore) -> None:
        """Those of this partition that cold state has something of."""
        self.tenants = sorted({*self.tenants, *filter(self.is_at_home, await _tenants(cold.tenants))})

    def read(self, kind: str, tenant: str) -> Rows:
        """Rows of one kind of a tenant."""
        return self._readers[kind](tenant)

    async def checkpoint(self, name: str) -> int:
        """How far a reader of the log has come."""
        return await self.log.checkpoint(name)

    async def agrees(self, entry: Entry) -> bool:
        """Whether the same batch is meant at the place of an entry; also if it is not there any more."""
        page = await self.log.entries(entry.tenant, first=entry.first, limit=1)
        found = entry_of(page[0]) if page else entry
        return found.first > entry.first or (found.first, found.count, found.time) == (
            entry.first,
            entry.count,
            entry.time,
        )

    async def facts(self, end: int) -> Row:
        """What is known of the partition as a whole; `end` is where its log ends."""
        checkpoints = tuple([await self.checkpoint(name) for name in CHECKPOINTS])
        return Row((self.partition,), (end, self.floor, *checkpoints))

    def log_from(self, first: int) -> AsyncIterator[Entry]:
        """Entries from `first` on, by sequence; also those that reading all tenants does not show any more."""
        hidden = [Pages(partial(self._page_below_floor, tenant, first)) for tenant in self.tenants]
        return Merge([*(hidden if first < self._shown else ()), Pages(partial(self._page_of_all, first))])

    def events_from(self, first: int) -> AsyncIterator[OutboxItem]:
        """Events that wait, of the sequences from `first` on, by position."""

        async def read(after: OutboxItem | None) -> list[OutboxItem]:
            return await self.log.outbox(after=after.position if after else first * PLACES - 1)

        return Pages(read)

    # --- the kinds

    def _entries(self, tenant: str) -> Rows:
        return Pages(partial(self._page_of_entries, tenant))

    def _documents(self, tenant: str) -> Rows:
        return Pages(*(partial(self._page_of_documents, tenant, name) for name in sorted(COLLECTIONS)))

    def _keys(self, tenant: str) -> Rows:
        return Pages(partial(self._page_of_keys, tenant))

    def _journals(self, tenant: str) -> Rows:
        """Of executions that have not ended: no others have a journal."""
        executions = sorted({member.member for name, member in self._members.get(tenant, ()) if name == OPEN})
        return Pages(*(partial(self._journal, tenant, execution) for execution in executions))

    def _index_members(self, tenant: str) -> Rows:
        members = self._members.get(tenant, ())
        return Pages(_once([Row((name, member.score, member.member), ()) for name, member in members]))

    def _outbox(self, tenant: str) -> Rows:
        return Pages(partial(self._page_of_outbox, tenant))

    def _cold_documents(self, tenant: str) -> Rows:
        cold = self.cold
        if cold is None or not self.is_at_home(tenant):
            return Pages()
        return Pages(*(partial(_page_of_cold, cold, tenant, name) for name in sorted(COLLECTIONS)))

    def _chunks(self, tenant: str) -> Rows:
        return Pages() if self.cold is None else Pages(partial(self._page_of_chunks, self.cold, tenant))

    def _content(self, tenant: str) -> Rows:
        if self.files is None or not self.is_at_home(tenant):
            return Pages()
        return Pages(partial(_digests, self.files, tenant))

    # --- their pages

    async def _page_below_floor(self, tenant: str, first: int, after: Entry | None) -> list[Entry]:
        first = after.end if after else first
        page = await self.log.entries(tenant, first=first, last=self._shown - 1, limit=_FEW)
        return [entry for entry in map(entry_of, page) if first <= entry.first < self._shown]

    async def _page_of_all(self, first: int, after: Entry | None) -> list[Entry]:
        first = after.end if after else max(first, self._shown)
        page = await self.log.entries(None, first=first, limit=_PAGE)
        return [entry for entry in map(entry_of, page) if entry.first >= first]

    async def _page_of_entries(self, tenant: str, after: Row | None) -> list[Row]:
        page = await self.log.entries(tenant, first=after.key[0] + after.value[0] if after else 0, limit=_PAGE)
        return [Row((entry.first,), (entry.count, entry.time, entry.body)) for entry in map(entry_of, page)]

    async def _page_of_documents(self, tenant: str, name: str, after: Row | None) -> list[Row]:
        page = await self.log.documents(tenant, name, after=after.key[1] if after else "", limit=_PAGE)
        return [Row((name, each.key), (each.since, each.version, each.body)) for each in page]

    async def _page_of_keys(self, tenant: str, after: Row | None) -> list[Row]:
        page = await self.log.keys(tenant, after=after.key[0] if after else "")
        return [Row((key,), (value,)) for key, value in page]

    async def _journal(self, tenant: str, execution: str, after: Row | None) -> list[Row]:
        bodies = [] if after else await self.log.journal(tenant, execution)
        return [Row((execution, place), (body,)) for place, body in enumerate(bodies)]

    async def _page_of_outbox(self, tenant: str, after: Row | None) -> list[Row]:
        page = await self.log.outbox(after=after.key[0] if after else 0, tenant=tenant)
        return [Row((each.position,), (each.session, each.time, each.body)) for each in page]

    async def _page_of_chunks(self, cold: ColdStore, tenant: str, after: Row | None) -> list[Row]:
        first = after.value[0] + 1 if after else 0
        page = await cold.chunks(self.partition, tenant, first=first, limit=_FEW)
        return [Row((each.first,), (each.last, each.version, each.entries)) for each in page]

    def _page_of_index(self, name: str, after: IndexMember | None) -> Awaitable[list[IndexMember]]:
        return self.log.index(name, after=after)

    def is_at_home(self, tenant: str) -> bool:
        """Whether what is not kept by partition is told with this one."""
        return not tenant or self.partition == partition_of(tenant, self._partitions)


async def _page_of_cold(cold: ColdStore, tenant: str, name: str, after: Row | None) -> list[Row]:
    page = await cold.documents(tenant, name, after=after.key[1] if after else "", limit=_PAGE)
    return [Row((name, each.key), (each.version, each.body)) for each in page]


async def _digests(files: FileStore, tenant: str, after: Row | None) -> list[Row]:
    return [] if after else [Row((digest,), ()) for digest in await files.digests(tenant)]


def _once(rows: list[Row]) -> Read[Row]:
    async def read(after: Row | None) -> list[Row]:
        return [] if after else rows

    return read


async def _tenants(read: Callable[..., Awaitable[list[str]]]) -> list[str]:
    """All of them. Behind a page that ends with the tenant "" nothing follows, and it would be read again."""
    found = await read()
    while found and found[-1] and (page := await read(after=found[-1])):
        found += page
    return found
