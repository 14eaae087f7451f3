"""Ids to what a server may be given: keys that can stand in a URL, and places that sort alike in every language.

A `_key` is of `A-Z a-z 0-9 _ -` and at most 200 long, whatever the ids hold: the driver puts it into a URL as it is,
where `.`, `/` or `%` would lead elsewhere. Every id stands in clear beside it, and is compared when it is read.
"""

from __future__ import annotations

import re
from functools import lru_cache
from hashlib import blake2b
from typing import Final

KEY_LENGTH_MAX: Final = 200
END: Final = "97"  # behind every place

_SAFE: Final = re.compile(r"[A-Za-z0-9-]*\Z")
_UNSAFE: Final = re.compile(rb"[^A-Za-z0-9-]")
_DIGITS: Final = tuple(zip("9abcdef", ("90", "91", "92", "93", "94", "95", "96"), strict=True))


def document_key(tenant: str, collection: str, key: str) -> str:
    """The `_key` of a document; different for different ids."""
    return _joined(tenant, collection, key)


def chunk_key(partition: int, tenant: str, first: int) -> str:
    """The `_key` of a chunk; different for different ids."""
    return _joined(str(partition), tenant, f"{first:016}")


@lru_cache(4096)
def list_id(tenant: str, collection: str) -> str:
    """What the documents of one tenant and collection have in common."""
    return _hashed((tenant, collection))


def place(text: str) -> str:
    """Text as digits, one or two for half a byte: sorts as the text does by code points.

    A server compares text by the rules of its language. Digits sort alike in all of them, letters do not (`aa` is one
    letter in Danish), and two spellings of one accented letter may be equal to it.
    """
    digits = text.encode().hex()
    for letter, two in _DIGITS:
        digits = digits.replace(letter, two)
    return digits


@lru_cache(4096)
def owner(tenant: str) -> str:
    """A tenant as a place that is never empty."""
    return "0" + place(tenant)


def tenant_of(owner: str) -> str:
    """The tenant that `owner` was made of."""
    digits = owner[1:]
    for letter, two in reversed(_DIGITS):  # a 9 is always the first of two, so that no pair is met half
        digits = digits.replace(two, letter)
    return bytes.fromhex(digits).decode()


def _joined(first: str, second: str, third: str) -> str:
    joined = f"{_stem(first, second)}__{_part(third)}"
    return joined if len(joined) <= KEY_LENGTH_MAX else _hashed((first, second, third))


@lru_cache(4096)
def _stem(first: str, second: str) -> str:
    """What the keys of very many documents begin with."""
    # A `_` within a part is followed by two hexadecimal digits: `__` stands between parts only, and in no hash.
    return f"{_part(first)}__{_part(second)}"


def _part(part: str) -> str:
    return part if _SAFE.match(part) else _escaped(part)


def _escaped(part: str) -> str:
    return _UNSAFE.sub(lambda found: b"_%02X" % found[0][0], part.encode()).decode("ascii")


def _hashed(parts: tuple[str, ...]) -> str:
    state = blake2b(digest_size=32)
    for part in parts:
        data = part.encode()
        state.update(len(data).to_bytes(8, "big"))
        state.update(data)
    return state.hexdigest()
