"""The write-ahead log's format, version 1: drawn here, checked when written and when read.

The log of a partition is a row of *entries*; an entry holds the records that one tenant has in one committed batch.

    entry   | version | codec | key id | crc32 of what follows | body                                     |
            | u8 = 1  | u8 = 0| u8 = 0 | u32, big endian       | codec 0: msgpack, key 0: not encrypted   |
    body    [epoch, first sequence, time in µs since 1970 UTC, tenant, [record, record, ...]]
    record  [type, session, execution, payload]          session and execution may be "", payload is a map

A record's sequence is the entry's first sequence plus its place. Sequences are gapless per partition, and the time
never decreases along them. A reader meets an unknown newer version with UnknownFormat, which stops an owner at open.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec
from msgspec import Raw, Struct

from intendant.domain.errors import InternalError, Stopped

FORMAT_VERSION: Final = 1
FOUNDING_TYPES: Final = (
    "session_created",
    "intent_received",
    "saga_started",
    "step_completed",
    "step_failed",
    "execution_started",
    "execution_completed",
    "execution_failed",
)
TYPES: Final = (
    *FOUNDING_TYPES,
    "session_closed",
    "session_extended",
    "state_set",
    "execution_cancelled",
    "execution_resumed",
    "timer_set",
    "timer_fired",
    "signal_received",
    "cancel_requested",
    "saga_compensating",
    "saga_compensated",
    "event_published",
    "writer_opened",
    "content_expired",
    "erasure_started",
    "content_erased",
)
SYSTEM_TENANT: Final = ""  # records of the partition itself; no caller's tenant can be empty

_HEADER = struct.Struct(">BBBI")
_known_types = frozenset(TYPES)


class UnknownFormat(Stopped):
    """An entry was written by a newer version, or with a codec or key this one does not have."""

    code = "unknown_format"


class DamagedEntry(InternalError):
    """An entry's bytes do not match their checksum, or do not hold what an entry must."""

    code = "damaged_entry"


class Record(Struct, array_like=True, frozen=True, gc=False):
    """One entry to be of the log: what happened, to which session and execution. Numbered when its batch is sealed."""

    type: str
    session: str
    execution: str
    payload: Struct | Mapping[str, Any] | Raw


class LogRecord(Struct, frozen=True, gc=False):
    """A record as it stands in the log. `time` is in µs since 1970 UTC; `raw` is the payload, still encoded."""

    sequence: int
    time: int
    epoch: int
    tenant: str
    type: str
    session: str
    execution: str
    raw: Raw

    @property
    def payload(self) -> dict[str, Any]:
        """The payload as plain values."""
        decoded: dict[str, Any] = msgspec.msgpack.decode(self.raw)
        return decoded


class _Body(Struct, array_like=True, frozen=True, gc=False):
    epoch: int
    first: int
    time: int
    tenant: str
    records: list[Record]


class _StoredRecord(Struct, array_like=True, frozen=True, gc=False):
    type: str
    session: str
    execution: str
    payload: Raw


class _StoredBody(Struct, array_like=True, frozen=True, gc=False):
    epoch: int
    first: int
    time: int
    tenant: str
    records: list[_StoredRecord]


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_StoredBody).decode


def encode_entry(epoch: int, first: int, time: int, tenant: str, records: list[Record]) -> bytes:
    """Encode one tenant's records of a batch. Raises InternalError for a record of an unknown type."""
    for record in records:
        if record.type not in _known_types:
            raise InternalError(f"record type {record.type!r} is not one of {', '.join(TYPES)}")
    body = _encode(_Body(epoch, first, time, tenant, records))
    return _HEADER.pack(FORMAT_VERSION, 0, 0, zlib.crc32(body)) + body


def decode_entry(data: bytes) -> list[LogRecord]:
    """Decode an entry, oldest record first. Raises UnknownFormat or DamagedEntry; never returns part of an entry."""
    return list(iterate_entry(data))


def iterate_entry(data: bytes) -> Iterator[LogRecord]:
    """Decode an entry lazily, oldest record first; raises as `decode_entry` does, before the first record."""
    body = _checked_body(data)
    for place, record in enumerate(body.records):
        yield LogRecord(
            body.first + place,
            body.time,
            body.epoch,
            body.tenant,
            record.type,
            record.session,
            record.execution,
            record.payload,
        )


def _checked_body(data: bytes) -> _StoredBody:
    if len(data) < _HEADER.size:
        raise DamagedEntry(f"an entry of {len(data)} bytes is shorter than its header of {_HEADER.size}")
    version, codec, key, checksum = _HEADER.unpack_from(data)
    if version != FORMAT_VERSION or codec or key:
        raise UnknownFormat(
            f"an entry has format {version}, codec {codec}, key {key}; this version reads format {FORMAT_VERSION}, "
            "codec 0, key 0: open the store with the version that wrote it, or a newer one"
        )
    body = data[_HEADER.size :]
    if zlib.crc32(body) != checksum:
        raise DamagedEntry(f"an entry of {len(data)} bytes does not match its checksum {checksum:08x}")
    try:
        return _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise DamagedEntry(f"an entry of {len(data)} bytes can't be read: {error}") from error
