"""Values to bytes and back, with limits.

Payloads are msgpack (codec 0). What a user gives is checked here, at the edge: its size, its nesting, and that it
holds no NaN or infinity. The checks look at the encoded bytes first, because that is cheap: only bytes that *could*
hold something forbidden are decoded and walked.
"""

from __future__ import annotations

import math
import re
from hashlib import blake2b
from typing import Any, Final, cast

import msgspec

from intendant.domain.errors import InvalidValue

VALUE_BYTES_MAX: Final = 64 * 1024
COMMIT_BYTES_MAX: Final = 1024 * 1024
NESTING_MAX: Final = 64

_encoder = msgspec.msgpack.Encoder(order="sorted")
_decode_any = msgspec.msgpack.Decoder().decode
_NOT_CONTAINERS: Final = bytes(b for b in range(256) if not (0x80 <= b <= 0x9F or 0xDC <= b <= 0xDF))
_NOT_FINITE: Final = re.compile(rb"\xcb[\x7f\xff][\xf0-\xff]|\xca[\x7f\xff][\x80-\xff]")

encode = _encoder.encode
"""Encode what is ours; never fails on our own structs."""


def encode_value(value: object, what: str, limit: int = VALUE_BYTES_MAX) -> bytes:
    """Encode a user's value; equal values give equal bytes.

    Raises InvalidValue, naming `what`, when msgspec can't encode it, when it is larger than `limit` bytes, nested
    deeper than 64 levels, or holds NaN or an infinity.
    """
    try:
        data = _encoder.encode(value)
    except RecursionError:
        raise InvalidValue(what, f"is nested deeper than {NESTING_MAX} levels, or holds itself") from None
    except (TypeError, ValueError, OverflowError) as error:
        raise InvalidValue(what, f"can't be encoded: {error}") from error
    if len(data) > limit:
        raise InvalidValue(what, f"takes {len(data):,} bytes encoded, the limit is {limit:,}; store it as a file")
    _check_content(data, what)
    return data


def decode_plain(data: bytes | msgspec.Raw) -> Any:
    """Decode bytes written by `encode_value` to plain values: None, booleans, numbers, text, bytes, lists, maps."""
    return _decode_any(data)


def digest(*parts: bytes) -> bytes:
    """A 16 byte BLAKE2b over the parts, each preceded by its length so that no two lists collide by joining."""
    state = blake2b(digest_size=16)
    for part in parts:
        state.update(len(part).to_bytes(8, "big"))
        state.update(part)
    return state.digest()


def _check_content(data: bytes, what: str) -> None:
    suspicious = _NOT_FINITE.search(data) is not None
    deep = len(data) > NESTING_MAX and len(data.translate(None, _NOT_CONTAINERS)) > NESTING_MAX
    if not suspicious and not deep:
        return
    try:
        _walk(_decode_any(data), what, 0)
    except RecursionError:
        raise InvalidValue(what, f"is nested deeper than {NESTING_MAX} levels") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidValue(what, f"can't be read back: {error}") from error


def _walk(value: Any, what: str, depth: int) -> None:
    if depth > NESTING_MAX:
        raise InvalidValue(what, f"is nested deeper than {NESTING_MAX} levels")
    if isinstance(value, float) and not math.isfinite(value):
        raise InvalidValue(what, f"holds {value}; only finite numbers can be stored")
    if isinstance(value, dict):
        for key, item in cast("dict[Any, Any]", value).items():
            _walk(key, f"{what}.{key}", depth + 1)
            _walk(item, f"{what}.{key}", depth + 1)
    elif isinstance(value, list | tuple):
        for place, item in enumerate(cast("list[Any]", value)):
            _walk(item, f"{what}[{place}]", depth + 1)
