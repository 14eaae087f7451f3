"""Bulk writes that may be repeated: each document is its own write, and an older version never wins.

All run in a worker thread and send one to three requests. What they return has one place for each item, in order: None
when it is as wanted, else the fault. The answer to a bulk request is a success even if every document in it failed, so
each element is looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from arango.collection import StandardCollection
from arango.exceptions import ArangoServerError

from intendant.adapters.arango.driver import Client, UnreadableError
from intendant.adapters.arango.errors import Fault, answered, fault_of

Faults = Sequence[Fault | None]
Fields = dict[str, Any]
WriteItems = Callable[[str, Sequence[Fields], Client], Faults]

_MISSING: Final = 1202


def write(collection: str, items: Sequence[Fields], client: Client) -> Faults:
    """Keep what is newer than what is kept. The server compares (from 3.12 on)."""
    answer = client.database.collection(collection).insert_many(
        items, overwrite_mode="replace", version_attribute="version", sync=True
    )
    return faults_in(answer, len(items))


def write_comparing(collection: str, items: Sequence[Fields], client: Client) -> Faults:
    """The same for servers that can't compare (3.11): we look first, and write on condition that nothing changed.

    What somebody else changed meanwhile is answered with a fault of the fate CHANGED: look again.
    """
    documents = client.database.collection(collection)
    kept = _kept(documents, items)
    faults: list[Fault | None] = [None] * len(items)
    absent = [at for at, item in enumerate(items) if item["_key"] not in kept]
    older = [
        at for at, item in enumerate(items) if item["_key"] in kept and kept[item["_key"]]["version"] < item["version"]
    ]
    if absent:
        answer = documents.insert_many([items[at] for at in absent], overwrite_mode="conflict", sync=True)
        _scatter(faults, absent, faults_in(answer, len(absent)))
    if older:
        changed = [{**items[at], "_rev": kept[items[at]["_key"]]["_rev"]} for at in older]
        answer = documents.replace_many(changed, check_rev=True, sync=True)
        _scatter(faults, older, faults_in(answer, len(older)))
    return faults


def remove(collection: str, keys: Sequence[str], client: Client) -> Faults:
    """Remove documents by `_key`; one that is not there is no fault."""
    answer = client.database.collection(collection).delete_many(list[Any](keys), check_rev=False, sync=True)
    return [None if fault and fault.number == _MISSING else fault for fault in faults_in(answer, len(keys))]


def faults_in(answer: object, expected: int) -> Faults:
    """The faults in the driver's answer to a bulk request. Raises UnreadableError if it does not tell of each one."""
    if not isinstance(answer, list):
        raise UnreadableError
    elements: list[Any] = answer  # pyright: ignore[reportUnknownVariableType]
    if len(elements) != expected:
        raise UnreadableError
    return [_fault_in(element) for element in elements]


def _fault_in(element: Any) -> Fault | None:
    if isinstance(element, ArangoServerError):
        return fault_of(element)
    if not isinstance(element, dict):
        raise UnreadableError
    fields: dict[str, Any] = element  # pyright: ignore[reportUnknownVariableType]
    if fields.get("error"):  # the driver takes what has an `_id` for a success
        return answered(0, fields.get("errorNum"), fields.get("errorMessage"))
    return None


def _kept(documents: StandardCollection, items: Sequence[Fields]) -> dict[str, Fields]:
    found: Any = documents.get_many([item["_key"] for item in items])
    return {fields["_key"]: fields for fields in found}


def _scatter(faults: list[Fault | None], places: Sequence[int], found: Faults) -> None:
    for place, fault in zip(places, found, strict=True):
        faults[place] = fault
