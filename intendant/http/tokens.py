"""Bearer tokens: `intendant_<id>_<secret>`, bound to a tenant and to scopes. Only a digest of the secret is stored."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from typing import Final, Literal, Protocol

from msgspec import Struct

Scope = Literal["submit", "read", "operate", "metrics"]
SCOPES: Final[tuple[Scope, ...]] = ("submit", "read", "operate")  # of the token's tenant, and what one has by default
METRICS: Final[Scope] = "metrics"  # numbers of the whole process; only where it is asked for

_TOKEN = re.compile(r"intendant_([0-9a-f]{16})_([0-9a-f]{64})\Z")
_NOBODY: Final = "0" * 64


class StoredToken(Struct, frozen=True):
    """A token as a store keeps it. `digest` is the SHA-256 of the secret, in hexadecimal; `created_at` is in µs."""

    id: str
    tenant: str
    scopes: tuple[Scope, ...]
    digest: str
    created_at: int
    label: str = ""


class Caller(Struct, frozen=True):
    """Who a request acts for, and what it may do."""

    tenant: str
    scopes: tuple[Scope, ...]


class TokenStore(Protocol):
    """Where tokens lie."""

    async def find(self, id: str) -> StoredToken | None:
        """The token of this id, or None when there is none or it was revoked. Raises when it can't be told."""
        ...


def make_token(tenant: str, scopes: tuple[Scope, ...], now: int, label: str = "") -> tuple[str, StoredToken]:
    """A new token with a secret of 256 random bits: the text, which nothing keeps, and what is stored of it.

    `now` is its `created_at`, in µs since 1970. Give the second one to `TokenFile.add`, or a store of your own.
    """
    id, secret = secrets.token_hex(8), secrets.token_hex(32)
    return f"intendant_{id}_{secret}", StoredToken(id, tenant, scopes, digest_of(secret), now, label)


def digest_of(secret: str) -> str:
    """What is stored of a secret. A plain digest does: 256 random bits can't be guessed."""
    return hashlib.sha256(secret.encode()).hexdigest()


def same(given: str, stored: str) -> bool:
    """Whether two digests are the same, in a time that does not tell where they differ."""
    return hmac.compare_digest(given, stored)


async def identify(authorization: str, store: TokenStore) -> Caller | None:
    """Whose token an `Authorization` header carries, or None. An unknown id costs what a known one does."""
    scheme, _, text = authorization.partition(" ")
    match = _TOKEN.match(text.strip())
    if scheme.lower() != "bearer" or match is None:
        return None
    found = await store.find(match[1])
    fits = same(digest_of(match[2]), _NOBODY if found is None else found.digest)
    return Caller(found.tenant, found.scopes) if found is not None and fits else None
