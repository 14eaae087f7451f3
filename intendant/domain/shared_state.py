"""The state that the handlers of a session share, as it is stored: a mapping of up to 64 KiB. Pure."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from intendant.domain.codec import decode_plain, encode_value
from intendant.domain.errors import InvalidValue

EMPTY: Final = b"\x80"  # an empty mapping: what a session begins with

_WHAT: Final = "session state"


def encode_shared(value: object) -> bytes:
    """Encode a state: a mapping, a struct or a dataclass. Raises InvalidValue as `encode_value`, and for others."""
    body = encode_value(value, _WHAT)
    if not (0x80 <= body[0] <= 0x8F or body[0] in (0xDE, 0xDF)):  # no map of msgpack
        raise InvalidValue(_WHAT, f"must be a mapping or a struct with named fields, not {type(value).__name__}")
    return body


def decode_shared(body: bytes, type: Any) -> Any:
    """A state as `type`. Raises InvalidValue when it does not fit."""
    try:
        return decode_plain(body) if type is dict else msgspec.msgpack.decode(body, type=type)
    except msgspec.ValidationError as error:
        name = getattr(type, "__name__", type)
        fresh = "; nothing was set yet: give its fields defaults" if body == EMPTY else ""
        raise InvalidValue(_WHAT, f"does not fit {name}: {error}{fresh}") from error
