"""What has to be there: collections that are durable on every write, indexes, and a mark of the format's version.

Making it is idempotent, also when several processes do it at once; what is there already is checked, not changed.
"""

from __future__ import annotations

import re
from typing import Any, Final

from arango.database import StandardDatabase
from arango.exceptions import ArangoServerError

from intendant.adapters.arango.address import Address
from intendant.adapters.arango.driver import Client
from intendant.adapters.arango.errors import ColdStoreMisconfigured
from intendant.domain.records import UnknownFormat
from intendant.domain.refused import REFUSED
from intendant.domain.state import EXECUTIONS, FILES, SESSIONS

FORMAT: Final = 1
VERSION_MIN: Final = (3, 11)
VERSION_ATTRIBUTE_MIN: Final = (3, 12)  # since when the server itself keeps the newer of two versions

OTHERS: Final = "documents"  # everything that has no collection of its own
WAL: Final = "wal"
DEAD_LETTERS: Final = "dead_letters"  # what the server refused for good, and why
MARKS: Final = "intendant"

OF_DOCUMENTS: Final = (SESSIONS, EXECUTIONS, FILES, OTHERS)
COLLECTIONS: Final = (*OF_DOCUMENTS, WAL, DEAD_LETTERS, MARKS)

_OWNERS: Final = ("gone", "owner")
INDEXES: Final[dict[str, tuple[tuple[str, ...], ...]]] = {
    **dict.fromkeys((*OF_DOCUMENTS, DEAD_LETTERS), (("list", "gone", "place"), _OWNERS)),
    WAL: (
        ("partition", "owner", "first"),
        ("partition", "first"),
        ("partition", "last"),
        ("partition", "span"),
        _OWNERS,
    ),
}

_VERSION: Final = re.compile(r"(\d+)\.(\d+)")
_MISSING_OR_FORBIDDEN: Final = frozenset({11, 401, 403, 1228})
_DUPLICATE_NAME: Final = 1207


def kept_in(collection: str) -> str:
    """The ArangoDB collection that keeps a collection of ours."""
    if collection == REFUSED:
        return DEAD_LETTERS
    return collection if collection in OF_DOCUMENTS else OTHERS


def prepare(client: Client, address: Address) -> tuple[int, int]:
    """Make what is missing and check what is there; returns the server's version.

    Raises ColdStoreMisconfigured, UnknownFormat, or what the driver raises.
    """
    version = _version_of(_version(client, address), address)
    database = client.database
    existing = {str(each["name"]) for each in _listed(database.collections())}
    for name in COLLECTIONS:
        if name not in existing:
            _create(database, name, address)
        _check(database, name, address)
        for fields in INDEXES.get(name, ()):
            database.collection(name).add_index(
                {"type": "persistent", "fields": list(fields), "name": "_".join(fields), "unique": False}
            )
    _mark(database, address)
    return version


def _version(client: Client, address: Address) -> str:
    """The server's version, asked of our database, which is made if it is not there."""
    try:
        return str(client.database.version())
    except ArangoServerError as error:
        if error.error_code not in _MISSING_OR_FORBIDDEN:
            raise
    try:
        client.system.create_database(
            address.database, replication_factor=address.replication, write_concern=address.write_concern
        )
    except ArangoServerError as error:
        if error.error_code != _DUPLICATE_NAME:
            raise
    return str(client.database.version())


def _version_of(said: str, address: Address) -> tuple[int, int]:
    version = version_in(said)
    if version < VERSION_MIN:
        raise ColdStoreMisconfigured(f"{address.name}: the server is ArangoDB {said[:40]!r}; use 3.11 or newer")
    return version


def version_in(said: str) -> tuple[int, int]:
    """The version that a server says it has; (0, 0) when that is none."""
    found = _VERSION.match(said)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def _create(database: StandardDatabase, name: str, address: Address) -> None:
    try:
        database.create_collection(
            name, sync=True, replication_factor=address.replication, write_concern=address.write_concern
        )
    except ArangoServerError as error:
        if error.error_code != _DUPLICATE_NAME:  # another process made it just now
            raise


def _check(database: StandardDatabase, name: str, address: Address) -> None:
    found: Any = database.collection(name).properties()
    problems: list[str] = []
    if not found.get("sync"):
        problems.append("does not wait for the disk: set its waitForSync to true")
    if found.get("edge"):
        problems.append("is of edges: choose a database of its own for this store")
    for option, asked in (("replication_factor", address.replication), ("write_concern", address.write_concern)):
        kept = found.get(option)  # a single server has none; "satellite" is a copy on every machine
        if asked is not None and isinstance(kept, int) and kept < asked:
            problems.append(f"has {option} {kept}, asked was {asked}: raise it")
    if problems:
        raise ColdStoreMisconfigured(f"{address.name}: collection {name} {'; it '.join(problems)}")


def _mark(database: StandardDatabase, address: Address) -> None:
    marks = database.collection(MARKS)
    mark: Any = marks.get("schema")
    if mark is None:
        marks.insert({"_key": "schema", "format": FORMAT}, overwrite_mode="ignore", sync=True)
        mark = marks.get("schema") or {}
    if mark.get("format") != FORMAT:
        raise UnknownFormat(
            f"{address.name} has format {mark.get('format')!r}, this version knows {FORMAT}; "
            "use the version that wrote it, or a newer one"
        )


def _listed(found: Any) -> list[dict[str, Any]]:
    return list(found)
