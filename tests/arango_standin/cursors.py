"""Results that are too long for one answer, in parts that can be asked for again.

Pages: HTTP API > Queries > AQL queries > Create a cursor, Read the next batch, Read a batch again, Delete a cursor.
"""

from __future__ import annotations

import itertools
from typing import Any

from tests.arango_standin.messages import Json, fail

BATCH = 1000


class Cursor:
    """What is left of a result. `latest` is the number of the part that was last given out."""

    def __init__(self, database: str, found: list[Any], size: int, *, retry: bool) -> None:
        self.database = database
        self._parts = [found[start : start + size] for start in range(0, len(found), size)] or [[]]
        self._retry = retry
        self._latest = 0

    @property
    def has_more(self) -> bool:
        """Whether there are parts that were not given out."""
        return self._latest < len(self._parts)

    def part(self, number: int | None) -> list[Any]:
        """The next part; with a number the next one or, if it may be repeated, the latest one."""
        again = self._retry and number == self._latest
        if number not in (None, self._latest + 1) and not again:
            fail(1600, f"batch id not found: {number}")  # assumed
        if not again:
            if not self.has_more:
                fail(1600)
            self._latest += 1
        return self._parts[self._latest - 1]

    def told(self, id: str, found: list[Any], status: int) -> Json:
        """The answer that gives a part out."""
        more: Json = {"id": id, "nextBatchId": str(self._latest + 1)} if self.has_more else {}
        if self._retry and not self.has_more and self._latest > 1:
            more = {"id": id}
        return {"result": found, "hasMore": self.has_more, "cached": False, "error": False, "code": status, **more}

    @property
    def ended(self) -> bool:
        """Whether the server forgets it by itself."""
        return not self.has_more and (not self._retry or len(self._parts) == 1)


class Cursors:
    """Those that are open."""

    def __init__(self) -> None:
        self._open: dict[str, Cursor] = {}
        self._numbers = itertools.count(1)

    def create(self, cursor: Cursor) -> Json:
        """Give the first part out, and keep the rest if there is one."""
        id = str(next(self._numbers))
        told = cursor.told(id, cursor.part(None), 201)
        if not cursor.ended:
            self._open[id] = cursor
        return told

    def more(self, database: str, id: str, number: int | None) -> Json:
        """The next part, or one by its number."""
        cursor = self._find(database, id)
        told = cursor.told(id, cursor.part(number), 200)
        if cursor.ended:
            del self._open[id]
        return told

    def delete(self, database: str, id: str) -> Json:
        """Forget one."""
        self._find(database, id)
        del self._open[id]
        return {"id": id, "error": False, "code": 202}

    def _find(self, database: str, id: str) -> Cursor:
        cursor = self._open.get(id)
        return cursor if cursor is not None and cursor.database == database else fail(1600)
