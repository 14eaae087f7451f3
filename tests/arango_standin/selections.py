"""The closed list of queries, each with its equivalent by hand, answered from the index that the adapter makes for it.

Pages: AQL > High-level operations (FOR, FILTER, SORT, LIMIT, COLLECT, RETURN); AQL > Data queries > Bind parameters.
Any other text is out of scope, and so is a collection without the index. The texts stand here once more on purpose: one
that is changed in the adapter has to be understood here before it is answered.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import cache, partial
from itertools import islice
from typing import Any, Final

from tests.arango_standin.collection import Collection
from tests.arango_standin.messages import Json, OutOfScope, fail
from tests.arango_standin.sorted_index import SortedIndex

Select = Callable[[Collection, Json], list[Any]]


def select(query: str, binds: Json, collection_of: Callable[[str], Collection]) -> list[Any]:
    """The result of a query. Raises Failure or OutOfScope."""
    if query not in SELECTIONS:
        raise OutOfScope(f"no known query: {query}")
    names = bind_names(query)
    if missing := sorted(names - binds.keys()):
        fail(1551, f"no value specified for declared bind parameter '{missing[0]}'")
    if unknown := sorted(binds.keys() - names):
        fail(1552, f"bind parameter '{unknown[0]}' was not declared in the query")
    return SELECTIONS[query](collection_of(binds["@collection"]), binds)


@cache
def bind_names(query: str) -> frozenset[str]:
    """What has to be given with a query; a collection's name begins with @."""
    return frozenset(re.findall(r"@(@?\w+)", query))


def _documents(collection: Collection, binds: Json, *, falling: bool) -> list[Any]:
    index = _index(collection, "list", "gone", "place")
    low, high = (None, ("<", binds["after"])) if falling else ((">", binds["after"]), None)
    keys = index.between((binds["list"], False), low, high, falling=falling)
    return list(islice(_of(collection, keys), binds["limit"]))


def _chunks(collection: Collection, binds: Json, *, falling: bool) -> list[Any]:
    equal = ("partition", "owner") if "owner" in binds else ("partition",)
    index, prefix = _index(collection, *equal, "first"), tuple(binds[name] for name in equal)
    keys = index.between(prefix, (">=", binds["from"]), ("<=", binds["last"]), falling=falling)
    found = (each for each in _of(collection, keys) if each["last"] >= binds["first"] and not each["gone"])
    return list(islice(found, binds["limit"]))


def _greatest(collection: Collection, binds: Json, *, of: str) -> list[Any]:
    keys = _index(collection, "partition", of).between((binds["partition"],), None, None, falling=True)
    return [each[of] for each in islice(_of(collection, keys), 1)]


def _ending_below(collection: Collection, binds: Json) -> list[Any]:
    index = _index(collection, "partition", "owner", "first")
    keys = index.between((binds["partition"], binds["owner"]), None, ("<", binds["below"]), falling=False)
    found = (each["_key"] for each in _of(collection, keys) if each["last"] < binds["below"])
    return list(islice(found, binds["limit"]))


def _owners(collection: Collection, binds: Json) -> list[Any]:
    return list(islice(_index(collection, "gone", "owner").different((False,), binds["after"]), binds["limit"]))


def _of(collection: Collection, keys: Iterator[str]) -> Iterator[Json]:
    return map(collection.documents.__getitem__, keys)


def _index(collection: Collection, *fields: str) -> SortedIndex:
    if fields not in collection.indexes:
        raise OutOfScope(f"{collection.name} has no index over {', '.join(fields)}: the query would read all of it")
    return collection.indexes[fields][1]


_DOCUMENTS: Final = "FOR doc IN @@collection FILTER doc.list == @list AND doc.gone == false AND doc.place "
_IN_RANGE: Final = "AND doc.first >= @from AND doc.first <= @last AND doc.last >= @first AND doc.gone == false "
_OF_PARTITION: Final = "FOR doc IN @@collection FILTER doc.partition == @partition "
_OF_OWNER: Final = _OF_PARTITION + "AND doc.owner == @owner "

SELECTIONS: Final[dict[str, Select]] = {
    _DOCUMENTS + "> @after SORT doc.place LIMIT @limit RETURN doc": partial(_documents, falling=False),
    _DOCUMENTS + "< @after SORT doc.place DESC LIMIT @limit RETURN doc": partial(_documents, falling=True),
    _OF_PARTITION + _IN_RANGE + "SORT doc.first LIMIT @limit RETURN doc": partial(_chunks, falling=False),
    _OF_PARTITION + _IN_RANGE + "SORT doc.first DESC LIMIT @limit RETURN doc": partial(_chunks, falling=True),
    _OF_OWNER + _IN_RANGE + "SORT doc.first LIMIT @limit RETURN doc": partial(_chunks, falling=False),
    _OF_OWNER + _IN_RANGE + "SORT doc.first DESC LIMIT @limit RETURN doc": partial(_chunks, falling=True),
    _OF_PARTITION + "SORT doc.span DESC LIMIT 1 RETURN doc.span": partial(_greatest, of="span"),
    _OF_PARTITION + "SORT doc.last DESC LIMIT 1 RETURN doc.last": partial(_greatest, of="last"),
    _OF_OWNER
    + "AND doc.first < @below AND doc.last < @below SORT doc.first LIMIT @limit RETURN doc._key": _ending_below,
    "FOR doc IN @@collection FILTER doc.gone == false AND doc.owner > @after SORT doc.owner "
    "COLLECT owner = doc.owner OPTIONS { method: 'sorted' } LIMIT @limit RETURN owner": _owners,
}
