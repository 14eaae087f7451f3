"""Cursors as callers get them: opaque, and good for one list of one tenant.

The mark only tells mistakes apart: what a cursor reaches is never more than its reader's tenant, whatever it says.
"""

from __future__ import annotations

import base64
import binascii
from hashlib import blake2b

from intendant.domain.errors import InvalidIntent


def seal(tenant: str, list: str, cursor: str | None) -> str | None:
    """A cursor for a caller; None stays None."""
    if cursor is None:
        return None
    return base64.urlsafe_b64encode(_mark(tenant, list, cursor) + cursor.encode()).decode().rstrip("=")


def unseal(tenant: str, list: str, sealed: str | None) -> str | None:
    """What was sealed. Raises InvalidIntent for anything that is no cursor of this list and tenant."""
    if sealed is None:
        return None
    try:
        data = base64.b64decode(sealed + "=" * (-len(sealed) % 4), altchars=b"-_", validate=True)
        cursor = data[8:].decode()
    except (binascii.Error, ValueError):
        data, cursor = b"", ""
    if not data or data[:8] != _mark(tenant, list, cursor):
        raise InvalidIntent("cursor", "did not come from an earlier answer to this request")
    return cursor


def _mark(tenant: str, list: str, cursor: str) -> bytes:
    return blake2b(f"{tenant}\n{list}\n{cursor}".encode(), digest_size=8).digest()
