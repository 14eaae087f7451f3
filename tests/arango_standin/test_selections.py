"""Each query answered from its index is what reading the whole collection gives."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from intendant.adapters.arango import queries
from intendant.adapters.arango.schema import INDEXES, OTHERS, WAL
from tests.arango_standin.collection import Collection
from tests.arango_standin.contract import Arango
from tests.arango_standin.selections import SELECTIONS, bind_names, select

Json = dict[str, Any]
SMALL = st.integers(0, 6)
OWNERS = st.sampled_from(["00", "01", "0911", "1"])
DOCUMENTS = st.fixed_dictionaries(
    {
        "_key": st.sampled_from("abcdefghij"),
        "list": st.sampled_from(["l", "m"]),
        "place": st.sampled_from(["", *"0123"]),
    }
    | {"gone": st.booleans(), "owner": OWNERS}
)
CHUNKS = st.fixed_dictionaries(
    {"_key": st.sampled_from("abcdefghij"), "partition": st.integers(0, 1), "owner": OWNERS}
    | {"gone": st.booleans(), "first": SMALL, "last": SMALL, "span": SMALL}
)
BINDS = st.fixed_dictionaries(
    {"list": st.sampled_from(["l", "m", "n"]), "partition": st.integers(0, 2), "limit": st.integers(1, 9)}
    | {"owner": OWNERS, "after": st.sampled_from(["", *"0123", "97"]), "below": SMALL, "last": SMALL}
    | {"from": SMALL, "first": SMALL}
)
Change = tuple[str, Any]


@pytest.fixture(scope="module", autouse=True)
def short_runs() -> Iterator[None]:
    """New documents are put in their places by threes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tests.arango_standin.sorted_index.RUN", 3)
        yield


def changes(documents: st.SearchStrategy[Json]) -> st.SearchStrategy[list[Change]]:
    removals = st.sampled_from("abcdefghij")
    return st.lists(st.tuples(st.just("put"), documents) | st.tuples(st.just("remove"), removals), max_size=25)


def test_every_query_is_known() -> None:
    assert set(SELECTIONS) == set(queries.ALL)
    assert bind_names(queries.TAIL) == {"@collection", "partition"}


@given(changes(DOCUMENTS), changes(CHUNKS), BINDS)
def test_each_is_answered_as_by_reading_everything(
    of_documents: list[Change], of_chunks: list[Change], b: Json
) -> None:
    documents, chunks = made(OTHERS, of_documents), made(WAL, of_chunks)
    for query in queries.ALL:
        on_documents = query in (queries.DOCUMENTS, queries.DOCUMENTS_FALLING, queries.OWNERS)
        collection = documents if on_documents else chunks
        binds = {name: b[name] for name in bind_names(query) if not name.startswith("@")}
        found = select(query, {**binds, "@collection": collection.name}, {WAL: chunks, OTHERS: documents}.__getitem__)
        everything = sorted(collection.documents.values(), key=lambda each: each["_key"])
        assert same_order(found) == same_order(naive(query, everything, binds)), query


def made(name: str, acts: list[Change]) -> Collection:
    collection = Collection({"name": name}, Arango().data.revision)
    for fields in INDEXES[name]:
        collection.add_index({"fields": fields})
    for act, what in acts:
        if act == "put":
            collection.insert(what, mode="replace", version=None)
        elif what in collection.documents:
            collection.remove(what, check=False)
    return collection


def same_order(found: list[Any]) -> list[Any]:
    """Of documents what they are sorted by: which of two comes first that are equal in it is left open."""
    documents: list[Json] = [each for each in found if isinstance(each, dict)]
    return [each.get("place", each.get("first")) for each in documents] or found


def naive(query: str, documents: list[Json], binds: Json) -> list[Any]:
    alive = [each for each in documents if not each["gone"]]
    if query == queries.OWNERS:
        return sorted({each["owner"] for each in alive if each["owner"] > binds["after"]})[: binds["limit"]]
    falling = " DESC " in query
    if query in (queries.DOCUMENTS, queries.DOCUMENTS_FALLING):
        of = [each for each in alive if each["list"] == binds["list"]]
        found = [each for each in of if (each["place"] < binds["after"] if falling else each["place"] > binds["after"])]
        return sorted(found, key=lambda each: each["place"], reverse=falling)[: binds["limit"]]
    of = [each for each in documents if each["partition"] == binds["partition"]]
    if query in (queries.WIDEST, queries.TAIL):
        return sorted((each["span" if query == queries.WIDEST else "last"] for each in of), reverse=True)[:1]
    of = [each for each in of if each["owner"] == binds.get("owner", each["owner"])]
    of.sort(key=lambda each: each["first"], reverse=falling)
    if query == queries.ENDING_BELOW:
        return [each["_key"] for each in of if max(each["first"], each["last"]) < binds["below"]][: binds["limit"]]
    return [
        each
        for each in of
        if binds["from"] <= each["first"] <= binds["last"] and each["last"] >= binds["first"] and not each["gone"]
    ][: binds["limit"]]
