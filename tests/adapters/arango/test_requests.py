"""How documents are gathered into requests, and that each comes back as it was."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from intendant.adapters.arango.documents import (
    REQUEST_BYTES_MAX,
    REQUEST_DOCUMENTS_MAX,
    Item,
    chunk_item,
    document_item,
    read_chunk,
    read_document,
    requests,
)
from intendant.adapters.arango.schema import COLLECTIONS, INDEXES
from intendant.domain.codec import encode
from intendant.domain.errors import InternalError
from intendant.domain.ports import Chunk, ColdDocument
from intendant.testing.conformance.pen import HOSTILE_IDS

IDS = st.text(st.characters(codec="utf-8"), max_size=128) | st.sampled_from(HOSTILE_IDS)
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(st.characters(codec="utf-8")),
    lambda inner: st.lists(inner, max_size=20) | st.dictionaries(st.text("ab", min_size=1), inner, max_size=4),
)
BODIES = st.none() | st.binary(max_size=99) | st.dictionaries(st.text("ab", min_size=1), PLAIN, max_size=4).map(encode)
COLLECTION_NAMES = st.sampled_from(["sessions", "executions", "files", "session_data", "dead_letters"])
DOCUMENTS = st.builds(ColdDocument, IDS, COLLECTION_NAMES, IDS, st.integers(0, 2**53), BODIES)


@st.composite
def chunks(draw: st.DrawFn) -> Chunk:
    first = draw(st.integers(0, 2**52))
    last = first + draw(st.integers(0, 10**6))
    entries = draw(st.lists(st.binary(max_size=99), max_size=9))
    return Chunk(draw(IDS), first, last, last + draw(st.integers(0, 9)), entries)


def sent(item: Item) -> dict[str, Any]:
    """What the server gets."""
    text = json.dumps(item.fields(), allow_nan=False, ensure_ascii=False, separators=(",", ":"))
    assert len(text.encode()) <= item.size
    return json.loads(text)  # type: ignore[no-any-return]


@given(DOCUMENTS)
def test_a_document_comes_back_and_is_never_larger_than_was_reckoned(document: ColdDocument) -> None:
    fields = sent(document_item(document))
    assert read_document(fields, document.tenant, document.collection, document.key) == document


@given(chunks(), st.integers(0, 4095))
def test_a_chunk_comes_back_and_is_never_larger_than_was_reckoned(chunk: Chunk, partition: int) -> None:
    fields = sent(chunk_item(partition, chunk))
    assert read_chunk(fields, partition, chunk.tenant) == chunk
    assert read_chunk(fields, partition, None) == chunk
    assert fields["gone"] == (not chunk.entries)


def test_the_worst_that_json_makes_of_a_body() -> None:
    many: list[object] = ["\0" * 5000, [False] * 5000, [-32] * 5000, [""] * 5000, [[]] * 5000]
    for value in many:
        sent(document_item(ColdDocument("\U0001f3ad" * 128, "sessions", "\0" * 128, 2**53, encode({"a": value}))))


@given(st.lists(DOCUMENTS, max_size=12))
def test_of_each_document_the_newest_goes_out_once(documents: list[ColdDocument]) -> None:
    out = [item for request in requests(map(document_item, documents)) for item in request]
    newest: dict[tuple[str, str, str], int] = {}
    for document in documents:
        place = (document.tenant, document.collection, document.key)
        newest[place] = max(document.version, newest.get(place, -1))
    assert len(out) == len(newest)
    for item in out:
        assert isinstance(item.source, ColdDocument)
        assert newest[item.source.tenant, item.source.collection, item.source.key] == item.version


def test_requests_are_bounded() -> None:
    small = [document_item(ColdDocument("t", "sessions", str(n), 1, b"")) for n in range(2 * REQUEST_DOCUMENTS_MAX + 1)]
    assert [len(request) for request in requests(small)] == [REQUEST_DOCUMENTS_MAX, REQUEST_DOCUMENTS_MAX, 1]
    large = [chunk_item(0, Chunk("t", n, n, n, [bytes(3_000_000)])) for n in range(5)]
    assert [len(request) for request in requests(large)] == [2, 2, 1]
    assert all(sum(item.size for item in request) <= REQUEST_BYTES_MAX for request in requests(large))
    huge = [chunk_item(0, Chunk("t", n, n, n, [bytes(9_000_000)])) for n in range(2)]
    assert [len(request) for request in requests(huge)] == [1, 1]
    assert list(requests([])) == []


def test_requests_go_to_one_collection_each() -> None:
    names = ["sessions", "executions", "files", "session_data", "execution_data", "dead_letters", "anything"]
    items = [document_item(ColdDocument("t", name, "k", 1, b"")) for name in names]
    assert [sorted({item.collection for item in request}) for request in requests(items)] == [
        ["sessions"],
        ["executions"],
        ["files"],
        ["documents"],
    ]
    assert set(INDEXES) <= set(COLLECTIONS)


def test_nothing_of_another_document_is_shown() -> None:
    fields = sent(document_item(ColdDocument("t", "c", "k", 1, b"secret")))
    for asked in (("u", "c", "k"), ("t", "d", "k"), ("t", "c", "l")):
        with pytest.raises(InternalError, match="not the one") as raised:
            read_document(fields, *asked)
        assert "secret" not in str(raised.value)
    fields = sent(chunk_item(0, Chunk("t", 1, 1, 1, [b"secret"])))
    for partition, tenant in ((0, "u"), (1, "t"), (1, None)):
        with pytest.raises(InternalError, match="not the one"):
            read_chunk(fields, partition, tenant)
