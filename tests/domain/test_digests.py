"""Digests in encoded content: one that stands there is found, however it is wrapped."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from intendant.domain.digests import named_in

DIGESTS = st.text("0123456789abcdef", min_size=64, max_size=64)


@given(st.lists(DIGESTS, min_size=1, max_size=4), st.text(), st.text("0123456789abcdef", max_size=70), st.data())
def test_every_digest_that_stands_there_is_found(digests: list[str], noise: str, hex: str, data: st.DataObject) -> None:
    named = data.draw(st.lists(st.sampled_from(digests)))
    content = msgspec.msgpack.encode({"noise": noise, "named": [hex + each + hex for each in named], hex: noise})
    assert set(named) <= named_in([content], frozenset(digests))


@given(st.lists(DIGESTS, max_size=4), st.binary())
def test_nothing_else_is(digests: list[str], content: bytes) -> None:
    for each in named_in([content], frozenset(digests)):
        assert each.encode() in content
