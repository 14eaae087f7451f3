"""Bodies as people can query them: as JSON in `data` where that gives back the exact bytes, in base64 otherwise.

JSON is taken for what no server and no library between changes: text, whole numbers that a double holds, true, false,
null, lists, and objects whose keys are plain names. Anything else (floats, bytes, large numbers, odd keys) stays bytes.
"""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from functools import lru_cache
from typing import Any, Final

import msgspec

from intendant.domain.codec import decode_plain, encode

NESTING_MAX: Final = 32
WHOLE_MAX: Final = 2**53

_ATOMS: Final = (str, bool, type(None))
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_ .:@/-]{0,255}\Z")  # none that begins with `_`: the server's own do


def fields_of(body: bytes | None) -> dict[str, Any]:
    """The attributes that keep a body: `gone` and one of `data`, `body`, or none for a tombstone."""
    if body is None:
        return {"gone": True}
    data = _readable(body)
    return {"gone": False, "body": to_text(body)} if data is None else {"gone": False, "data": data}


def body_of(fields: dict[str, Any]) -> bytes | None:
    """The body that `fields_of` was given, byte for byte."""
    if fields["gone"]:
        return None
    return encode(fields["data"]) if "data" in fields else to_bytes(fields["body"])


def to_text(data: bytes) -> str:
    """Bytes in base64."""
    return b64encode(data).decode("ascii")


def to_bytes(text: str) -> bytes:
    """What `to_text` was given."""
    return b64decode(text, validate=True)


def _readable(body: bytes) -> Any:
    """The object that a body holds if it can be JSON, else None."""
    try:
        data: Any = decode_plain(body)
    except (msgspec.DecodeError, ValueError, TypeError, RecursionError):
        return None
    # The same value may have several encodings, and a server may change the order of keys: only ours can be repeated.
    return data if data.__class__ is dict and _is_plain([data]) and encode(data) == body else None


def _is_plain(level: list[Any]) -> bool:
    """Level by level: this is asked of every document that is written."""
    for _ in range(NESTING_MAX):
        below: list[Any] = []
        for value in level:
            kind: Any = value.__class__
            if kind is dict:
                if not all(map(_is_name, value)):
                    return False
                below.extend(value.values())
            elif kind is list:
                below.extend(value)
            elif kind is int:
                if not -WHOLE_MAX <= value <= WHOLE_MAX:
                    return False
            elif kind not in _ATOMS:
                return False
        if not below:
            return True
        level = below
    return False


@lru_cache(4096)
def _is_name(key: object) -> bool:
    return isinstance(key, str) and _NAME.match(key) is not None
