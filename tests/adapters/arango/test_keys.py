"""Keys: what reaches a URL, and what is compared by the server."""

from __future__ import annotations

import re
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from intendant.adapters.arango.keys import END, chunk_key, document_key, list_id, owner, place, tenant_of
from intendant.testing.conformance.pen import HOSTILE_IDS

LEGAL = re.compile(r"[A-Za-z0-9_-]{1,200}\Z")
IDS = st.text(st.characters(codec="utf-8"), max_size=128) | st.sampled_from(HOSTILE_IDS)
TRICKY = st.text("a_-5F/.%", max_size=6)
TRIPLES = st.tuples(IDS | TRICKY, IDS | TRICKY, IDS | TRICKY)


@given(TRIPLES, TRIPLES)
def test_different_documents_have_different_legal_keys(one: tuple[str, str, str], other: tuple[str, str, str]) -> None:
    assert LEGAL.match(document_key(*one))
    assert (document_key(*one) == document_key(*other)) == (one == other)
    assert (list_id(*one[:2]) == list_id(*other[:2])) == (one[:2] == other[:2])


@given(
    st.tuples(st.integers(0, 4095), IDS, st.integers(0, 2**53)),
    st.tuples(st.integers(0, 4095), IDS, st.integers(0, 2**53)),
)
def test_different_chunks_have_different_legal_keys(one: tuple[int, str, int], other: tuple[int, str, int]) -> None:
    assert LEGAL.match(chunk_key(*one))
    assert (chunk_key(*one) == chunk_key(*other)) == (one == other)


def test_no_hostile_id_leaves_its_place() -> None:
    ids = (*HOSTILE_IDS, "", ".", "%2e%2e", "?a=b", "#", "_", "__", "a__b", "x" * 4096)
    keys = [document_key(a, b, c) for a in ids for b in ids[:8] for c in ids]
    assert all(LEGAL.match(key) for key in keys)
    assert len(set(keys)) == len(keys)


def test_plain_ids_can_be_read() -> None:
    assert document_key("acme", "sessions", "desk-1") == "acme__sessions__desk-1"
    assert document_key("a.b", "c", "_") == "a_2Eb__c___5F"
    assert chunk_key(0, "acme", 513) == "0__acme__0000000000000513"


@given(st.lists(IDS, min_size=2, max_size=8))
def test_places_sort_as_text_does(ids: list[str]) -> None:
    assert sorted(ids, key=place) == sorted(ids)
    assert sorted(ids, key=owner) == sorted(ids)
    assert all(place(id) < END for id in ids)
    assert all(one == other or place(one) < place(other) for one, other in pairwise(sorted(ids)))


@given(IDS)
def test_an_owner_tells_its_tenant(tenant: str) -> None:
    assert tenant_of(owner(tenant)) == tenant
    assert owner(tenant).isdigit()  # digits alone sort alike in every language
