"""Removes a store whose prefix was made for a trial: of nobody else's."""

from __future__ import annotations

from typing import Any, Final

from intendant.adapters.redis.address import parse
from intendant.adapters.redis.connection import Connection
from intendant.adapters.redis.server import facts_of
from intendant.domain.errors import InternalError

PREFIX: Final = "doctor-"
TESTS_PREFIX: Final = "pytest-"
_COUNT: Final = 1_000


async def is_cluster(url: str) -> bool:
    """Whether the server is a node of a cluster, where one SCAN does not find everything. Raises StoreUnavailable."""
    async with await Connection.make(parse(url)) as connection:
        return (await facts_of(connection)).clustered


async def remove(url: str) -> None:
    """Remove all keys of the store, by SCAN. Raises StoreUnavailable, also when the user may not."""
    address = parse(url)
    if not address.prefix.startswith((PREFIX, TESTS_PREFIX)):
        raise InternalError(f"{address.name} was not made for a trial")
    async with await Connection.make(address) as connection:
        cursor: Any = b"0"
        while True:
            [(cursor, keys)] = await connection.call(
                ("SCAN", cursor, "MATCH", f"{{{address.prefix}:*", "COUNT", _COUNT)
            )
            if keys:
                await connection.call(("UNLINK", *keys))
            if cursor == b"0":
                return
