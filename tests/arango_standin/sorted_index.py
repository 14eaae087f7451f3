"""A persistent index: keys of documents by the values of some attributes, in order."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping
from typing import Any

from tests.arango_standin.messages import Json

Values = tuple[tuple[int, Any], ...]


class SortedIndex:
    """Entries are the values of its attributes and, last, the key of the document that has them.

    What changes is only noted, and put in its place by the next look: a server with a log-structured store does no
    more, and where thousands are written between two looks one sort is cheaper than a place found for each.
    """

    def __init__(self, fields: tuple[str, ...], documents: Mapping[str, Json]) -> None:
        self.fields = fields
        self._documents = documents
        self._sorted: list[tuple[Any, ...]] = []
        self._noted = set(documents)

    def note(self, key: str) -> None:
        """The document of this key is another one, or is gone."""
        self._noted.add(key)

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
            noted, self._noted = self._noted, set()
            kept = [entry for entry in self._sorted if entry[-1] not in noted]
            self._sorted = sorted(kept + [self._entry(self._documents[key]) for key in noted if key in self._documents])
        return self._sorted

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
    return tuple((_RANKS.get(value.__class__, 3), value if value is not None else 0) for value in values)


_RANKS: dict[type, int] = {type(None): 0, bool: 1, int: 2, float: 2}
