"""Values to bytes and back, with limits.

Payloads are msgpack (codec 0). What a user gives is checked here, at the edge: its size, its nesting, that it holds no
NaN or infinity, and that it can be read back (`Raw` and `Ext` are encoded as they are, whatever they hold). Only bytes
that *could* hold something forbidden are walked, because looking at them is cheap.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import msgspec

from intendant.domain.errors import InvalidValue

if TYPE_CHECKING:
    import hashlib

VALUE_BYTES_MAX: Final = 64 * 1024
COMMIT_BYTES_MAX: Final = 1024 * 1024
NESTING_MAX: Final = 64

_SAFE: Final = frozenset({type(None), bool, int, str, bytes})
_encoder = msgspec.msgpack.Encoder(order="sorted")
_unordered = msgspec.msgpack.Encoder()
_decode_any = msgspec.msgpack.Decoder().decode
_NOT_CONTAINERS: Final = bytes(b for b in range(256) if not (0x80 <= b <= 0x9F or 0xDC <= b <= 0xDF))
_NOT_FINITE: Final = re.compile(rb"\xcb[\x7f\xff][\xf0-\xff]|\xca[\x7f\xff][\x80-\xff]")

encode = _encoder.encode
"""Encode what is ours; never fails on our own structs."""


def encode_value(value: object, what: str, limit: int = VALUE_BYTES_MAX, *, checked: bytes = b"") -> bytes:
    """Encode a user's value; equal values give equal bytes. What gives the bytes `checked` was so before.

    Raises InvalidValue, naming `what`, when msgspec can't encode it or read it back, when it is larger than `limit`
    bytes, nested deeper than 64 levels, or holds NaN or an infinity.
    """
    try:
        data = encode(value)
    except (TypeError, ValueError, OverflowError, RecursionError):
        data = _encode_unsorted(value, what)
    if data == checked:
        return data
    if len(data) > limit:
        raise InvalidValue(what, f"takes {len(data):,} bytes encoded, the limit is {limit:,}; store it as a file")
    if type(value) not in _SAFE:
        _check_content(data, what)
    return data


def _encode_unsorted(value: object, what: str) -> bytes:
    """It may just hold a mapping whose keys are no text: msgspec sorts by text only."""
    try:
        return _unordered.encode(_sorted(_decode_any(_unordered.encode(value))))
    except RecursionError:
        raise InvalidValue(what, f"is nested deeper than {NESTING_MAX} levels, or holds itself") from None
    except (TypeError, ValueError, OverflowError) as error:
        known = "give structs, dataclasses, mappings, lists, text, numbers"
        raise InvalidValue(what, f"can't be encoded: {error}; {known}") from error


def _sorted(value: Any) -> Any:
    """Plain values with their mappings in the order of the encoded keys."""
    if isinstance(value, dict):
        mapping: dict[Any, Any] = value  # pyright: ignore[reportUnknownVariableType]
        items = sorted(mapping.items(), key=lambda item: _unordered.encode(item[0]))
        return {key: _sorted(item) for key, item in items}
    if isinstance(value, list):
        row: list[Any] = value  # pyright: ignore[reportUnknownVariableType]
        return [_sorted(item) for item in row]
    return value


def decode_plain(data: bytes | msgspec.Raw) -> Any:
    """Decode bytes written by `encode_value` to plain values: None, booleans, numbers, text, bytes, lists, maps."""
    return _decode_any(data)


def decode_as(data: bytes | msgspec.Raw, type: Any) -> Any:
    """Decode to a type; raises msgspec.ValidationError when it does not fit that.

    Decoders are kept: what msgspec finds out about a type like `dict[str, int]` takes many times what decoding takes.
    """
    try:
        decode = _decoder(type)
    except TypeError:  # one that can't be hashed; or not decoded, which is said here
        return msgspec.msgpack.decode(data, type=type)
    return decode(data)


@functools.lru_cache(maxsize=1024)
def _decoder(type: Any) -> Callable[[bytes | msgspec.Raw], Any]:
    return msgspec.msgpack.Decoder(type).decode


@functools.cache
def _blake2b() -> type[hashlib.blake2b]:
    import hashlib  # noqa: PLC0415  it loads OpenSSL, which takes 2 ms

    return hashlib.blake2b


def digest(*parts: bytes) -> bytes:
    """A 16 byte BLAKE2b over the parts, each preceded by its length so that no two lists collide by joining."""
    state = _blake2b()(digest_size=16)
    for part in parts:
        state.update(len(part).to_bytes(8, "big") + part)
    return state.digest()


def _check_content(data: bytes, what: str) -> None:
    try:
        decoded = _decode_any(data)
        suspicious = _NOT_FINITE.search(data) is not None
        if suspicious or (len(data) > NESTING_MAX and len(data.translate(None, _NOT_CONTAINERS)) > NESTING_MAX):
            _walk(decoded, what, 0)
    except RecursionError:
        raise InvalidValue(what, f"is nested deeper than {NESTING_MAX} levels") from None
    except (msgspec.DecodeError, ValueError, TypeError) as error:
        raise InvalidValue(what, f"can't be read back: {error}") from error


def _walk(value: Any, what: str, depth: int) -> None:
    if depth > NESTING_MAX:
        raise InvalidValue(what, f"is nested deeper than {NESTING_MAX} levels")
    if isinstance(value, float) and not math.isfinite(value):
        raise InvalidValue(what, f"holds {value}; only finite numbers can be stored")
    if isinstance(value, dict):
        mapping: dict[Any, Any] = value  # pyright: ignore[reportUnknownVariableType]
        for key, item in mapping.items():
            _walk(key, f"{what}.{key}", depth + 1)
            _walk(item, f"{what}.{key}", depth + 1)
    elif isinstance(value, list | tuple):
        items: list[Any] | tuple[Any, ...] = value  # pyright: ignore[reportUnknownVariableType]
        for place, item in enumerate(items):
            _walk(item, f"{what}[{place}]", depth + 1)
