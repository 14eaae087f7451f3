"""Values to bytes and back: equal values give equal bytes, limits are kept, nothing passes that can't be read."""

import math
from typing import Any

import msgspec
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from intendant import InvalidValue
from intendant.domain.codec import NESTING_MAX, VALUE_BYTES_MAX, decode_plain, digest, encode_value

integers = st.integers(-(2**63), 2**64 - 1)
text = st.text(st.characters(exclude_categories=["Cs"]))
scalars = st.none() | st.booleans() | integers | st.floats(allow_nan=False, allow_infinity=False) | text | st.binary()
values: st.SearchStrategy[Any] = st.recursive(
    scalars,
    lambda inner: st.lists(inner) | st.dictionaries(text, inner) | st.dictionaries(integers, inner),
    max_leaves=40,
)


@given(values)
def test_what_is_encoded_reads_back_equal(value: Any) -> None:
    assert decode_plain(encode_value(value, "value")) == value


@given(values)
def test_encoding_is_canonical(value: Any) -> None:
    data = encode_value(value, "value")
    assert encode_value(decode_plain(data), "value") == data


@given(st.dictionaries(text | integers, scalars), st.randoms())
def test_order_of_insertion_leaves_no_trace(mapping: dict[Any, Any], random: Any) -> None:
    items = list(mapping.items())
    random.shuffle(items)
    assert encode_value(dict(items), "value") == encode_value(mapping, "value")


@given(st.sets(text))
def test_sets_of_equal_members_give_equal_bytes(members: set[str]) -> None:
    backwards = set[str]()
    for member in sorted(members, reverse=True):
        backwards.add(member)
    assert encode_value(members, "value") == encode_value(backwards, "value")


@given(values, st.sampled_from([math.nan, math.inf, -math.inf]), st.integers(0, 10))
def test_what_is_not_finite_is_found_anywhere(value: Any, wrong: float, levels: int) -> None:
    hidden: Any = wrong
    for level in range(levels):
        hidden = [value, hidden] if level % 2 else {"first": value, "then": hidden}
    assume(len(msgspec.msgpack.encode(hidden)) < VALUE_BYTES_MAX)
    with pytest.raises(InvalidValue, match="finite"):
        encode_value(hidden, "value")


@given(st.binary(min_size=9))
def test_bytes_that_look_like_a_nan_are_no_reason_to_refuse(data: bytes) -> None:
    looks = b"\xcb\x7f\xf8" + data
    assert decode_plain(encode_value([looks, {"a": looks}], "value")) == [looks, {"a": looks}]


@given(st.integers(1, 200))
def test_nesting_is_limited(levels: int) -> None:
    nested: Any = 1
    for _ in range(levels):
        nested = [nested]
    if levels <= NESTING_MAX:
        assert decode_plain(encode_value(nested, "value")) == nested
    else:
        with pytest.raises(InvalidValue, match=f"{NESTING_MAX} levels"):
            encode_value(nested, "value")


@pytest.mark.parametrize("size", [VALUE_BYTES_MAX - 3, VALUE_BYTES_MAX - 2])
def test_size_is_limited_to_the_byte(size: int) -> None:
    value = "x" * size
    if size + 3 <= VALUE_BYTES_MAX:
        assert len(encode_value(value, "value")) == VALUE_BYTES_MAX
    else:
        with pytest.raises(InvalidValue, match=r"value: takes 65,537 bytes encoded, the limit is 65,536"):
            encode_value(value, "value")


@given(st.binary(max_size=40))
def test_raw_bytes_pass_only_if_they_are_one_value(data: bytes) -> None:
    try:
        plain = msgspec.msgpack.decode(data)
    except (msgspec.DecodeError, ValueError, TypeError):
        with pytest.raises(InvalidValue):
            encode_value([msgspec.Raw(data)], "value")
    else:
        if b"\x7f" in data or b"\xff" in data:
            return  # it may hold a NaN
        encoded = encode_value([msgspec.Raw(data)], "value")
        assert msgspec.msgpack.encode(decode_plain(encoded)) == msgspec.msgpack.encode([plain])


@given(st.lists(st.binary(max_size=8)), st.lists(st.binary(max_size=8)))
def test_digests_tell_lists_of_parts_apart(one: list[bytes], other: list[bytes]) -> None:
    assert (digest(*one) == digest(*other)) == (one == other)
    assert len(digest(*one)) == 16
