"""What a server holds, and who keeps it over its end."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from typing import Final

from msgspec import Raw, Struct

from tests.arango_standin.collection import Collection
from tests.arango_standin.cursors import Cursors
from tests.arango_standin.messages import Json, fail

SYSTEM: Final = "_system"
Keep = Callable[["Change", bool], None]


class Change(Struct, frozen=True, array_like=True):
    """What a request changed: a database as a whole, or a collection, or something in it."""

    database: str
    collection: str | None = None
    dropped: bool = False
    properties: Json | None = None
    index: Json | None = None
    documents: list[Raw] | None = None
    removed: list[str] | None = None


class Data:
    """Databases of collections. `keep` gets each change, and whether it was to be on the disk before the answer."""

    def __init__(self, version: str, keep: Keep | None = None) -> None:
        self.version = version
        self.databases: dict[str, dict[str, Collection]] = {SYSTEM: {}}
        self.cursors = Cursors()
        self._keep = keep
        self._numbers = itertools.count(time.time_ns() // 1000)  # goes on behind those of before a restart

    def collection(self, database: str, name: str) -> Collection:
        """A collection. Raises Failure."""
        return self.databases[database].get(name) or fail(1203)

    def number(self) -> str:
        """A number that nothing else has."""
        return str(next(self._numbers))

    def revision(self) -> str:
        """A revision that no document has had."""
        return f"_{next(self._numbers):x}"

    def changed(self, change: Change, *, synced: bool = True) -> None:
        """Hand a change on to who keeps it."""
        if self._keep is not None:
            self._keep(change, synced)

    def restore(self, change: Change) -> None:
        """Take over what was written before a restart."""
        if change.collection is None:
            self.databases.pop(change.database, None)
            if not change.dropped:
                self.databases[change.database] = {}
            return
        collections = self.databases[change.database]
        if change.dropped:
            del collections[change.collection]
        elif change.properties is not None:
            collections[change.collection] = Collection(change.properties, self.revision)
        elif change.index is not None:
            collections[change.collection].add_index(change.index)
        else:
            collections[change.collection].restore(change.documents or [], change.removed or [])
