"""Rows of what is stored, read page by page in one order, merged and compared.

All of these are objects and no generators: one that is not read to its end holds nothing that must be closed.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from typing import Any, Generic, TypeVar

from msgspec import Struct

from intendant.domain.records import decode_entry

T = TypeVar("T")


class Row(Struct, frozen=True, gc=False):
    """Something stored. Rows of one kind and tenant come by rising `key`, and no two have the same."""

    key: tuple[Any, ...]
    value: tuple[Any, ...]


class Entry(Struct, frozen=True, gc=False):
    """A log entry as it stands, with what it says of itself."""

    tenant: str
    first: int
    count: int
    time: int
    body: bytes

    @property
    def end(self) -> int:
        """The sequence behind its last record."""
        return self.first + self.count


Rows = AsyncIterator[Row]
Read = Callable[[T | None], Awaitable[Sequence[T]]]
"""Reads the page behind an item, or the first one; an empty page is the end."""


def entry_of(body: bytes) -> Entry:
    """Read what an entry says of itself. Raises UnknownFormat or DamagedEntry."""
    records = decode_entry(body)
    return Entry(records[0].tenant, records[0].sequence, len(records), records[0].time, body)


class Pages(Generic[T]):
    """All items of pages: of those of the first reading, then of the next."""

    def __init__(self, *reads: Read[T]) -> None:
        self._reads = deque(reads)
        self._page: Iterator[T] = iter(())
        self._last: T | None = None

    def __aiter__(self) -> Pages[T]:
        return self

    async def __anext__(self) -> T:
        while True:
            for item in self._page:
                self._last = item
                return item
            if not self._reads:
                raise StopAsyncIteration
            page = await self._reads[0](self._last)
            if not page:
                self._reads.popleft()
                self._last = None
            self._page = iter(page)


class Merge:
    """Entries of several logs by sequence, each in order itself. It holds one page of each."""

    def __init__(self, logs: Sequence[AsyncIterator[Entry]]) -> None:
        self._unread = list(logs)
        self._heads: list[tuple[int, int, Entry, AsyncIterator[Entry]]] = []
        self._number = 0

    def __aiter__(self) -> Merge:
        return self

    async def __anext__(self) -> Entry:
        while self._unread:
            await self._advance(self._unread.pop())
        if not self._heads:
            raise StopAsyncIteration
        _, _, entry, log = heapq.heappop(self._heads)
        self._unread.append(log)
        return entry

    async def _advance(self, log: AsyncIterator[Entry]) -> None:
        entry = await anext(log, None)
        if entry is not None:
            self._number += 1
            heapq.heappush(self._heads, (entry.first, self._number, entry, log))


class Differences:
    """What differs between two readings of one kind: (as it should be, as it is), None where there is nothing."""

    def __init__(self, wanted: Rows, found: Rows) -> None:
        self._sides = (wanted, found)
        self._heads: list[Row | None] = [None, None]
        self._used = [True, True]

    def __aiter__(self) -> Differences:
        return self

    async def __anext__(self) -> tuple[Row | None, Row | None]:
        while True:
            for side, rows in enumerate(self._sides):
                if self._used[side]:
                    self._heads[side] = await anext(rows, None)
            left, right = self._heads
            if left is None and right is None:
                raise StopAsyncIteration
            self._used[0] = left is not None and (right is None or left.key <= right.key)
            self._used[1] = right is not None and (left is None or right.key <= left.key)
            wanted, found = (left if self._used[0] else None), (right if self._used[1] else None)
            if wanted is None or found is None or wanted.value != found.value:
                return wanted, found
