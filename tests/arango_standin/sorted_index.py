"""A persistent index: keys of documents by the values of some attributes, in order."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any, Final

from tests.arango_standin.messages import Json

Values = tuple[tuple[int, Any], ...]

RUN: Final = 4_096  # new documents that are put in their places together


class SortedIndex:
    """Entries are the values of its attributes and, last, the key of the document that has them.

    What changes is noted, and put in its place by the next look: where thousands are written between two looks one
    sort is cheaper than a place found for each. Documents that are new are put there once they are many beside those
    that are there; ids rise with time, so that most belong behind nearly all of these.
    """

    def __init__(self, fields: tuple[str, ...], documents: Iterable[Json]) -> None:
        self.fields = fields
        self._sorted = sorted(map(self._entry, documents))
        self._noted: dict[str, tuple[Any, ...] | None] = {}
        self._stale: set[str] = set()  # of these keys, what is sorted does not count any more

    def note(self, key: str, new: Json | None, old: Json | None) -> None:
        """What has this key, None for nothing, in place of what had it."""
        entry = None if new is None else self._entry(new)
        if old is not None:
            if entry == self._entry(old):
                return
            self._stale.add(key)
        self._noted[key] = entry
        if len(self._noted) >= max(RUN, len(self._sorted) // 16) and not self._stale:
            self._settle()

    def between(
        self, prefix: tuple[Any, ...], low: tuple[str, Any] | None, high: tuple[str, Any] | None, *, falling: bool
    ) -> Iterator[str]:
        """Keys of the documents whose first attributes equal `prefix`, and whose next one lies between, in order.

        `low` is (">" or ">=", value), `high` is ("<" or "<=", value).
        """
        start, end = self._first(prefix, behind=False), self._first(prefix, behind=True)
        if low is not None:
            start = self._first((*prefix, low[1]), behind=low[0] == ">")
        if high is not None:
            end = self._first((*prefix, high[1]), behind=high[0] == "<=")
        places = range(end - 1, start - 1, -1) if falling else range(start, end)
        return (self._entries[place][-1] for place in places)

    def different(self, prefix: tuple[Any, ...], after: Any) -> Iterator[Any]:
        """The different values of the attribute behind `prefix`, in order, skipping from one to the next."""
        at = len(prefix)
        while True:
            place = self._first((*prefix, after), behind=True)
            found = self._entries[place] if place < len(self._entries) else None
            if found is None or found[:at] != ordered(prefix):
                return
            after = found[at][1]
            yield after

    @property
    def _entries(self) -> list[tuple[Any, ...]]:
        if self._noted:
            self._settle()
        return self._sorted

    def _settle(self) -> None:
        new = sorted(entry for entry in self._noted.values() if entry is not None)
        if self._stale:
            self._sorted = [entry for entry in self._sorted if entry[-1] not in self._stale]
        if new:
            from_there = bisect_left(self._sorted, new[0])
            self._sorted[from_there:] = sorted(self._sorted[from_there:] + new)
        self._noted, self._stale = {}, set()

    def _first(self, values: tuple[Any, ...], *, behind: bool) -> int:
        """Where entries begin with these values, or end to."""
        count, wanted = len(values), ordered(values)
        search = bisect_right if behind else bisect_left
        return search(self._entries, wanted, key=lambda entry: entry[:count])

    def _entry(self, document: Json) -> tuple[Any, ...]:
        return (*ordered(tuple(map(document.get, self.fields))), document["_key"])


def ordered(values: tuple[Any, ...]) -> Values:
    """Values so that they compare as AQL compares them: null, false, true, numbers, text.

    Text is compared by code points, ArangoDB compares it by its language: the adapter has digits only in it.
    """
    return tuple(map(_ranked, values))


@lru_cache(4096, typed=True)  # millions of entries share the values that repeat
def _ranked(value: Any) -> tuple[int, Any]:
    return _RANKS.get(value.__class__, 3), value if value is not None else 0


_RANKS: dict[type, int] = {type(None): 0, bool: 1, int: 2, float: 2}
