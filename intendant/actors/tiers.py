"""Hot first, then cold: the one place that knows how what lies in two stores is read as one.

The hot store is never behind, and whatever it misses cold state has: a document or entry leaves the hot store only
when cold state holds that version of it, and a hot one that changes again is newer than the cold one. So whoever looks
into the hot store first, and then into the cold one, never sees an older version than anybody saw before. What leaves
the hot store between the two looks is in cold state already. The other way round it would be missed.
"""

from __future__ import annotations

from collections.abc import Awaitable, Iterable
from typing import Final, TypeVar

import msgspec
from msgspec import Struct

from intendant.domain import state as states
from intendant.domain.errors import Stopped, StoreUnavailable
from intendant.domain.ports import Chunk, ColdStore, Document, LogReader
from intendant.domain.records import LogRecord, decode_entry, iterate_entry
from intendant.domain.retention import FLOOR, Floor
from intendant.domain.state import decode_execution

T = TypeVar("T")

_ENTRIES: Final = 4  # that are read first: who wants a page rarely needs more
_MORE: Final = 4  # times as many at each read that follows,
_ENTRIES_MAX: Final = 32  # which are decoded in one turn of the loop: up to 8,192 records
_CHUNKS: Final = 4  # of up to 512 records
_NOTHING_LEFT: Final = Floor()


class Kept(Struct, frozen=True, gc=False):
    """A document, wherever it was found."""

    key: str
    body: bytes


class Tiers:
    """Reads one partition's documents and records from its hot store and, where those have left it, from cold state.

    What is asked for that the hot store does not have raises StoreUnavailable when the cold store can't be asked:
    nothing is ever said to be missing because a store did not answer.
    """

    def __init__(self, log: LogReader, cold: ColdStore | None, partition: int) -> None:
        self._log = log
        self._cold = cold
        self._partition = partition

    async def floor(self, tenant: str) -> Floor:
        """What has left the hot store, of one tenant. It never goes back."""
        document = await self._log.document(tenant, states.RETENTION, FLOOR)
        return _NOTHING_LEFT if document is None else msgspec.msgpack.decode(document.body, type=Floor)

    # --- documents

    async def document(self, tenant: str, collection: str, key: str) -> bytes | None:
        """A document's body, or None if there is none."""
        document = await self._log.document(tenant, collection, key)
        if document is not None:
            return document.body
        if self._cold is None:
            return None
        archived = await _answer(self._cold.document(tenant, collection, key))
        return None if archived is None else archived.body

    async def documents(
        self, tenant: str, collection: str, *, after: str = "", limit: int = 100, newest_first: bool = False
    ) -> list[Kept]:
        """Documents in the order of their keys (falling if `newest_first`), behind `after`. Hot ones win.

        The cold store is asked only where documents may have left the hot one.
        """
        hot = await self._log.documents(tenant, collection, after=after, limit=limit, newest_first=newest_first)
        if self._cold is None or self._whole(await self.floor(tenant), hot, after, limit, newest_first=newest_first):
            return [Kept(each.key, each.body) for each in hot]
        cold = await _answer(
            self._cold.documents(tenant, collection, after=after, limit=limit, newest_first=newest_first)
        )
        merged = {each.key: each.body for each in cold if each.body is not None}
        merged.update((each.key, each.body) for each in hot)
        keys = sorted(merged, reverse=newest_first)[
            :limit
        ]  # each page has the first `limit` of its store: none is missed
        return [Kept(key, merged[key]) for key in keys]

    def _whole(self, floor: Floor, hot: list[Document], after: str, limit: int, *, newest_first: bool) -> bool:
        """Whether the hot page is all there is; the floor was read after it."""
        if newest_first:
            return not floor.newest or (len(hot) == limit and hot[-1].key > floor.newest)
        return after >= floor.newest

    # --- records

    def records(self, tenant: str, *, first: int = 0, last: int | None = None, newest_first: bool = False) -> Records:
        """The tenant's records with a sequence in first..last, to be read page by page."""
        return Records(self, tenant, first, last, newest_first=newest_first)

    async def position_at(self, tenant: str, time: int) -> int:
        """A sequence that is not behind the tenant's first record since `time` (µs since 1970 UTC), and near to it."""
        position = await self._log.position_at(time)
        chunk = await self._left_at(tenant, time)
        return position if chunk is None else min(position, chunk.first)

    async def end_at(self, tenant: str, time: int) -> int:
        """A sequence that is not before the tenant's last record that is older than `time`, and near to it."""
        position = await self._log.position_at(time)
        chunk = await self._left_at(tenant, time)
        return position - 1 if chunk is None else chunk.last

    async def _left_at(self, tenant: str, time: int) -> Chunk | None:
        """The first chunk with a record since `time`, of what has left the hot store."""
        return None if self._cold is None else await self.archived_at(tenant, time, (await self.floor(tenant)).below)

    async def archived_at(self, tenant: str, time: int, end: int) -> Chunk | None:
        """The tenant's first chunk that holds a record since `time`, below the sequence `end`.

        Costs a number of look-ups that grows with the logarithm of `end`.
        """
        low, high = 0, end
        found: Chunk | None = None
        while low < high:
            middle = (low + high) // 2
            chunks = await self.chunks(tenant, middle, end - 1, limit=1)
            if not chunks:
                high = middle
            elif _newest_time(chunks[0]) < time:
                low = chunks[0].last + 1
            else:
                high, found = middle, chunks[0]
        return found

    async def began(self, tenant: str, execution: str) -> int:
        """A sequence that is not behind an execution's first record; 0 if it is not known."""
        document = await self._log.document(tenant, states.EXECUTIONS, execution)
        if document is not None:
            return document.since
        body = await self.document(tenant, states.EXECUTIONS, execution)
        return 0 if body is None else await self.position_at(tenant, decode_execution(body).accepted_at)

    async def entries(
        self, tenant: str, first: int, last: int | None, *, limit: int, newest_first: bool
    ) -> list[bytes]:
        """Some entries of the hot store; `limit` unless there are no more."""
        return await self._log.entries(tenant, first=first, last=last, limit=limit, newest_first=newest_first)

    async def chunks(
        self, tenant: str, first: int, last: int, *, limit: int = _CHUNKS, newest_first: bool = False
    ) -> list[Chunk]:
        """Some chunks of cold state, if there is one."""
        if self._cold is None:
            return []
        return await _answer(
            self._cold.chunks(self._partition, tenant, first=first, last=last, limit=limit, newest_first=newest_first)
        )


class Records:
    """A tenant's records with a sequence in first..last, from cold state and from the hot store, each once.

    A position moves over them, and what was behind it already is passed over: entries may hold sequences outside of
    what was asked for, and chunks may overlap where a round of the state writer was cut off and begun again.
    """

    def __init__(self, tiers: Tiers, tenant: str, first: int, last: int | None, *, newest_first: bool) -> None:
        self._tiers = tiers
        self._tenant = tenant
        self._first = first
        self._last = last
        self._newest_first = newest_first
        self._limit = _ENTRIES
        self._below = -1  # what is below this sequence is in cold state only; -1: not known yet
        self._hot_is_over = False  # of what is read newest first
        self._over = False
        self._passed: int | None = None  # everything up to there was in the chunks at hand

    async def read(self) -> list[LogRecord]:
        """The next records; none at the end."""
        found: list[LogRecord] = []
        while not found and not self._over and (self._last is None or self._first <= self._last):
            found = self._take(await (self._falling() if self._newest_first else self._rising()))
            self._pass()
        return found

    async def _rising(self) -> list[bytes]:
        if self._below < 0:
            self._below = (await self._tiers.floor(self._tenant)).below
        if self._first < self._below:
            last = self._below - 1 if self._last is None else min(self._last, self._below - 1)
            chunks = await self._tiers.chunks(self._tenant, self._first, last)
            self._passed = chunks[-1].last if chunks else last
            return _entries_of(chunks)
        entries, there_are_more = await self._hot()
        self._below = (await self._tiers.floor(self._tenant)).below
        if self._first < self._below:
            return []  # some of it has left meanwhile: it is in cold state
        self._over = not there_are_more
        return entries

    async def _falling(self) -> list[bytes]:
        if not self._hot_is_over:
            entries, there_are_more = await self._hot()
            self._hot_is_over = not there_are_more
            return entries
        if self._below < 0:
            self._below = (await self._tiers.floor(self._tenant)).below
        last = self._below - 1 if self._last is None else min(self._last, self._below - 1)
        chunks = (
            await self._tiers.chunks(self._tenant, self._first, last, newest_first=True) if self._first <= last else []
        )
        self._over = not chunks
        self._last = last
        self._passed = chunks[-1].first if chunks else None
        return _entries_of(chunks, newest_first=True)

    async def _hot(self) -> tuple[list[bytes], bool]:
        """The next entries of the hot store, and whether there may be more."""
        limit, self._limit = self._limit, min(self._limit * _MORE, _ENTRIES_MAX)
        entries = await self._tiers.entries(
            self._tenant, self._first, self._last, limit=limit, newest_first=self._newest_first
        )
        return entries, len(entries) == limit

    def _take(self, entries: Iterable[bytes]) -> list[LogRecord]:
        found: list[LogRecord] = []
        for entry in entries:
            records = decode_entry(entry)
            if self._newest_first:
                records.reverse()
            for record in records:
                if record.sequence < self._first or (self._last is not None and record.sequence > self._last):
                    continue
                found.append(record)
                if self._newest_first:
                    self._last = record.sequence - 1
                else:
                    self._first = record.sequence + 1
        return found

    def _pass(self) -> None:
        """A chunk may reach over what is asked for and hold nothing of it."""
        if self._passed is None:
            return
        if self._newest_first:
            self._last = self._passed - 1 if self._last is None else min(self._last, self._passed - 1)
        else:
            self._first = max(self._first, self._passed + 1)
        self._passed = None


def _entries_of(chunks: list[Chunk], *, newest_first: bool = False) -> list[bytes]:
    return [entry for chunk in chunks for entry in (reversed(chunk.entries) if newest_first else chunk.entries)]


def _newest_time(chunk: Chunk) -> int:
    """The time of a chunk's newest record; all records of an entry have the same."""
    return next(iterate_entry(chunk.entries[-1])).time


async def _answer(question: Awaitable[T]) -> T:
    """What cold state says. A caller can do nothing about its settings: to him they are an outage."""
    try:
        return await question
    except Stopped as error:
        raise StoreUnavailable(f"what is asked for may be in cold state, which can't be read: {error}") from error
