"""What a webhook's request is signed with, as Standard Webhooks says: HMAC-SHA256 over id, time of sending and body."""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Sequence
from typing import Final

from intendant.domain.errors import InvalidValue

_PREFIX: Final = "whsec_"
_BYTES: Final = range(24, 65)


def keys_of(secret: str | Sequence[str]) -> list[bytes]:
    """The keys of one secret or, while one takes another's place, of several. Raises InvalidValue, and shows none."""
    secrets = [secret] if isinstance(secret, str) else list(secret)
    if not secrets:
        raise InvalidValue("webhook", "secret names none; make one with secrets.token_bytes(32)")
    return [_key(each) for each in secrets]


def signatures(keys: Sequence[bytes], id: str, timestamp: int, body: bytes) -> str:
    """The header `webhook-signature`: one signature for each key."""
    content = f"{id}.{timestamp}.".encode() + body
    return " ".join(f"v1,{base64.b64encode(hmac.digest(key, content, 'sha256')).decode()}" for key in keys)


def _key(secret: str) -> bytes:
    text = secret.removeprefix(_PREFIX)
    try:
        key = base64.b64decode(text + "=" * (-len(text) % 4), validate=True) if text != secret else b""
    except (binascii.Error, ValueError):
        key = b""
    if len(key) not in _BYTES:
        raise InvalidValue(
            "webhook",
            f"a secret is {_PREFIX!r} and the base64 of {_BYTES.start} to {_BYTES.stop - 1} random bytes: "
            '"whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()',
        )
    return key
