"""One collection: its documents, their revisions, its indexes. What it refuses raises Failure.

Pages: HTTP API > Documents; Concepts > Data structure > Documents > Naming constraints for keys.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

import msgspec
from msgspec import Raw

from tests.arango_standin.documents import Documents
from tests.arango_standin.messages import Failure, Json, fail
from tests.arango_standin.sorted_index import SortedIndex

_KEY: Final = re.compile(r"[A-Za-z0-9_\-:.@()+,=;$!*'%]{1,254}\Z")


class Collection:
    """Documents by `_key`, and what of them became different since that was last taken away."""

    def __init__(self, properties: Json, revisions: Callable[[], str]) -> None:
        self.properties = properties
        self.name: str = properties["name"]
        self.documents = Documents()
        self.indexes: dict[tuple[str, ...], tuple[Json, SortedIndex]] = {}
        self._changed: dict[str, None] = {}  # a set in order
        self._removed: list[str] = []
        self._revisions = revisions

    def get(self, key: str) -> Json:
        """One document."""
        return self.documents.find(key) or fail(1202)

    def insert(self, document: Any, *, mode: str, version: str | None) -> Json:
        """Create a document, or do with the one of this key what `mode` says: conflict, ignore, replace."""
        if not isinstance(document, dict):
            fail(1227)
        fields: Json = document  # pyright: ignore[reportUnknownVariableType]
        key = check_key(fields["_key"]) if "_key" in fields else str(int(self._revisions()[1:], 16))
        old = self.documents.find(key)
        if old is None:
            return self._keep(key, fields, None)
        if mode == "conflict":
            raise Failure(1210, f"unique constraint violated - in index primary of type primary over '_key': {key}")
        if mode == "ignore":
            return mark(old)
        return self._replace(old, fields, version)

    def replace(self, document: Any, *, check: bool, version: str | None) -> Json:
        """Replace the document of this key; with `check` only if it has the `_rev` that is given."""
        if not isinstance(document, dict):
            fail(1227)
        fields: Json = document  # pyright: ignore[reportUnknownVariableType]
        old = self.get(check_key(fields.get("_key")))
        self._check(old, fields if check else {})
        return self._replace(old, fields, version)

    def remove(self, selector: Any, *, check: bool) -> Json:
        """Remove the document that a key, an `_id`, or an object with a `_key` names."""
        fields: Json = selector if isinstance(selector, dict) else {"_key": selector}  # pyright: ignore[reportUnknownVariableType]
        key = fields.get("_key")
        if isinstance(key, str) and "/" in key:
            collection, key = key.split("/", 1)
            if collection != self.name:
                fail(1202)
        old = self.get(check_key(key))
        self._check(old, fields if check else {})
        self._forget(old)
        self._removed.append(old["_key"])
        return mark(old)

    def add_index(self, description: Json) -> bool:
        """Add an index if there is none over these attributes; returns whether there was none."""
        fields = tuple(description["fields"])
        if fields in self.indexes:
            return False
        index = SortedIndex(fields, self.documents.values())
        self.indexes[fields] = (description, index)
        return True

    def take_changes(self) -> tuple[list[Raw], list[str]]:
        """Documents that were written, and keys that were removed, since it was last asked: never both of one."""
        changed, removed = [self.documents.raw(key) for key in self._changed], self._removed
        self._changed, self._removed = {}, []
        return changed, removed

    def restore(self, documents: list[Raw], removed: list[str]) -> None:
        """Take over what was written before a restart."""
        for document in documents:
            fields = msgspec.msgpack.decode(document, type=Json)
            self._put(fields, self.documents.find(fields["_key"]))
        for key in removed:
            self._forget(self.documents[key])

    def _replace(self, old: Json, fields: Json, version: str | None) -> Json:
        if version is not None and not _is_newer(fields.get(version), old.get(version)):
            return {**mark(old), "_oldRev": old["_rev"]}
        return self._keep(old["_key"], fields, old)

    def _keep(self, key: str, fields: Json, old: Json | None) -> Json:
        kept = {**fields, "_key": key, "_id": f"{self.name}/{key}", "_rev": self._revisions()}
        self._put(kept, old)
        self._changed[key] = None
        return mark(kept) if old is None else {**mark(kept), "_oldRev": old["_rev"]}

    def _put(self, document: Json, old: Json | None) -> None:
        key = document["_key"]
        self.documents[key] = document
        for _, index in self.indexes.values():
            index.note(key, document, old)

    def _forget(self, old: Json) -> None:
        key = old["_key"]
        del self.documents[key]
        for _, index in self.indexes.values():
            index.note(key, None, old)

    def _check(self, old: Json, wanted: Json) -> None:
        if "_rev" in wanted and wanted["_rev"] != old["_rev"]:
            raise Failure(1200, "", **mark(old))


def mark(document: Json) -> dict[str, str]:
    """What is told of a document that was written."""
    return {"_id": document["_id"], "_key": document["_key"], "_rev": document["_rev"]}


def check_key(key: object) -> str:
    """A key that a document may have. Raises Failure."""
    if not isinstance(key, str) or not _KEY.match(key):
        fail(1221)
    return key


def _is_newer(new: object, old: object) -> bool:
    """HTTP API > Documents > Create a document > versionAttribute: what is no number from 0 on is not compared."""
    if not isinstance(new, int | float) or isinstance(new, bool) or new < 0:
        return True
    if not isinstance(old, int | float) or isinstance(old, bool):
        return True
    return int(new) > int(old)
