"""Reads. All run in a worker thread; a cursor is read to its end there."""

from __future__ import annotations

from contextlib import suppress
from typing import Any, Final, cast

from arango.exceptions import ArangoError

from intendant.adapters.arango.driver import Client, UnreadableError

BATCH: Final = 500  # documents that one answer brings, and
CHUNK_BATCH: Final = 25  # chunks: each holds up to 512 records


def get(collection: str, key: str, client: Client) -> dict[str, Any] | None:
    """One document by `_key`. Raises UnreadableError if the answer holds none, and does not say that there is none."""
    found: Any = client.database.collection(collection).get(key)
    if found is not None and not isinstance(found, dict):
        raise UnreadableError
    return cast("dict[str, Any] | None", found)


def ask(query: str, collection: str, batch: int, binds: dict[str, Any], client: Client) -> list[Any]:
    """All results of one of the texts in `queries`.

    Each part of a long answer has a number: one that was lost on the way is asked for again by it, and none is skipped.
    """
    cursor: Any = client.database.aql.execute(
        query, bind_vars={**binds, "@collection": collection}, batch_size=batch, allow_retry=True
    )
    found: list[Any] = list(cursor)
    with suppress(ArangoError):  # it is complete; a cursor that could not be closed ends by itself
        cursor.close(ignore_missing=True)
    return found
