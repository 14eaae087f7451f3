"""A body comes back byte for byte, whichever way it is kept, also from a server that orders keys as it likes."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from intendant.adapters.arango.bodies import body_of, fields_of
from intendant.domain.codec import encode
from intendant.domain.state import ExecutionState, SessionState

TEXT = st.text(st.characters(codec="utf-8"))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | TEXT | st.binary(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)
OBJECTS = st.dictionaries(st.text("abz_09 -", max_size=4), VALUES, max_size=4)


def through_a_server(fields: dict[str, Any]) -> dict[str, Any]:
    """JSON, keys in another order, numbers as doubles where they are whole: what a server may make of it."""

    def reordered(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        return dict(reversed(pairs))

    assert not holds_float(fields)
    text = json.dumps(fields, allow_nan=False, ensure_ascii=False).encode().decode()
    return json.loads(text, object_pairs_hook=reordered)  # type: ignore[no-any-return]


def holds_float(value: Any) -> bool:
    """Nothing that is sent may: the serializer makes null of NaN."""
    if isinstance(value, dict):
        return any(map(holds_float, value.values()))  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType]
    if isinstance(value, list):
        return any(map(holds_float, value))  # pyright: ignore[reportUnknownArgumentType]
    return isinstance(value, float)


@given(VALUES | OBJECTS)
def test_encoded_values(value: object) -> None:
    body = encode(value)
    assert body_of(through_a_server(fields_of(body))) == body


@given(st.binary(max_size=64))
def test_any_bytes(body: bytes) -> None:
    assert body_of(through_a_server(fields_of(body))) == body


@given(OBJECTS)
def test_other_encodings_of_the_same_value(value: dict[str, Any]) -> None:
    body = msgspec.msgpack.Encoder().encode(dict(reversed(value.items())))
    assert body_of(through_a_server(fields_of(body))) == body


def test_a_tombstone_has_no_body() -> None:
    assert fields_of(None) == {"gone": True}
    assert body_of({"gone": True}) is None


def test_what_people_look_for_can_be_read() -> None:
    session = SessionState(
        "desk-1", "acme", "ada", "shop", {"lang": "de", "n": 3, "tags": ["a"]}, 1_700_000_000_000_000
    )
    assert fields_of(encode(session))["data"] == msgspec.to_builtins(session)
    execution = ExecutionState(
        "x1", "i1", "acme", "desk-1", "shop", "content.count", "k", msgspec.Raw(encode({"path": "a"})), {}, 17
    )
    data = fields_of(encode(execution))["data"]
    assert data["type"] == "content.count"
    assert data["parameters"] == {"path": "a"}


@pytest.mark.parametrize(
    "value",
    [
        {"a": 1.0},
        {"a": 2**53 + 1},
        {"a": -(2**53) - 1},
        {"a": b"bytes"},
        {"_key": 1},
        {"a": {"_id": 1}},
        {"": 1},
        {"a\u00e9": 1},
        {1: 2},
        [1, 2],
        None,
        {"a": [[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]},
    ],
    ids=repr,
)
def test_what_json_may_change_stays_bytes(value: object) -> None:
    body = msgspec.msgpack.encode(value)
    fields = fields_of(body)
    assert set(fields) == {"gone", "body"}
    assert body_of(fields) == body
