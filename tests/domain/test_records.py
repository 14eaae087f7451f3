"""The log's format: what is written reads back; damage never passes silently."""

import struct
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from intendant import InternalError
from intendant.domain.records import (
    TYPES,
    DamagedEntry,
    Record,
    UnknownFormat,
    decode_entry,
    encode_entry,
)

names = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
payloads: st.SearchStrategy[dict[str, Any]] = st.dictionaries(
    names, st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | names | st.lists(names), max_size=4
)
records = st.lists(st.builds(Record, st.sampled_from(TYPES), names, names, payloads), min_size=1, max_size=8)
numbers = st.integers(0, 2**63 - 1)


@given(numbers, numbers, numbers, names, records)
def test_entry_reads_back(epoch: int, first: int, time: int, tenant: str, written: list[Record]) -> None:
    read = decode_entry(encode_entry(epoch, first, time, tenant, written))
    assert [each.sequence for each in read] == list(range(first, first + len(written)))
    assert {(each.epoch, each.time, each.tenant) for each in read} == {(epoch, time, tenant)}
    assert [(each.type, each.session, each.execution, each.payload) for each in read] == [
        (each.type, each.session, each.execution, each.payload) for each in written
    ]


@given(records, st.data())
def test_truncated_entry_is_damaged(written: list[Record], data: st.DataObject) -> None:
    entry = encode_entry(1, 1, 1, "acme", written)
    length = data.draw(st.integers(0, len(entry) - 1))
    with pytest.raises(DamagedEntry):
        decode_entry(entry[:length])


@given(records, st.binary(min_size=1, max_size=20))
def test_entry_with_more_behind_it_is_damaged(written: list[Record], more: bytes) -> None:
    with pytest.raises(DamagedEntry):
        decode_entry(encode_entry(1, 1, 1, "acme", written) + more)


@given(records, st.data())
def test_flipped_bit_never_passes(written: list[Record], data: st.DataObject) -> None:
    entry = bytearray(encode_entry(1, 1, 1, "acme", written))
    bit = data.draw(st.integers(0, 8 * len(entry) - 1))
    entry[bit // 8] ^= 1 << bit % 8
    with pytest.raises((DamagedEntry, UnknownFormat)):
        decode_entry(bytes(entry))


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    with pytest.raises((DamagedEntry, UnknownFormat)):
        decode_entry(data)


@given(st.binary(max_size=60))
@example(b"\x95\x00\x00\x00\xa7\x00\x00\x00\x00\x00\x00\x80")  # text that is no UTF-8
def test_body_that_is_no_entry_is_damaged_even_with_the_right_checksum(body: bytes) -> None:
    import zlib

    with pytest.raises(DamagedEntry):
        decode_entry(struct.pack(">BBBI", 1, 0, 0, zlib.crc32(body)) + body)


@pytest.mark.parametrize(("version", "codec", "key"), [(2, 0, 0), (255, 0, 0), (1, 1, 0), (1, 0, 1), (0, 0, 0)])
def test_unknown_version_codec_and_key_say_so(version: int, codec: int, key: int) -> None:
    entry = encode_entry(1, 1, 1, "acme", [Record("state_set", "", "", {})])
    with pytest.raises(UnknownFormat, match=f"format {version}, codec {codec}, key {key}"):
        decode_entry(bytes([version, codec, key]) + entry[3:])


def test_record_of_an_unknown_type_is_not_written() -> None:
    with pytest.raises(InternalError, match="'unheard_of' is not one of session_created"):
        encode_entry(1, 1, 1, "acme", [Record("unheard_of", "", "", {})])


def test_format_is_what_the_drawing_says() -> None:
    entry = encode_entry(3, 7, 9, "acme", [Record("state_set", "s", "e", {"a": 1})])
    assert entry[:3] == bytes([1, 0, 0])
    assert msgspec.msgpack.decode(entry[7:]) == [3, 7, 9, "acme", [["state_set", "s", "e", {"a": 1}]]]
