"""What is read: one round trip each, over a few connections that all partitions of a store share."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol

from intendant.adapters.redis.connection import Connection, Word
from intendant.adapters.redis.keys import base_of, encoded, pack_member, unpack_document, unpack_event, unpack_member
from intendant.adapters.redis.pool import Pool
from intendant.domain.errors import StoreUnavailable
from intendant.domain.ports import Document, IndexMember, OutboxItem


class Pooled(Protocol):
    """A store that is open, or says that it is not."""

    def pool(self) -> Pool:
        """Connections for reads. Raises StoreUnavailable when the store is not open."""
        ...


class RedisReads:
    """The reading half of a log. It tells of nothing older than what was acknowledged here: see `_read`."""

    def __init__(self, store: Pooled, prefix: str, partition: int) -> None:
        self._store = store
        self._partition = partition
        self._base = base_of(prefix, partition)
        self._meta = f"{self._base}meta"
        self._place = ("HGET", self._meta, "next")
        self._acknowledged = 0  # where the log stood at the newest commit that was acknowledged here

    async def document(self, tenant: str, collection: str, key: str) -> Document | None:
        """See `LogReader.document`."""
        value = await self._command("HGET", self._documents(tenant, collection), key)
        return None if value is None else unpack_document(key, value)

    async def fetch(self, wanted: Sequence[tuple[str, str, str]]) -> list[Document | None]:
        """See `LogReader.fetch`."""
        if not wanted:
            return []
        places: dict[str, list[int]] = {}  # in `wanted`, by the hash in which they lie: a command for each hash
        for place, (tenant, collection, _) in enumerate(wanted):
            places.setdefault(self._documents(tenant, collection), []).append(place)
        commands = [("HMGET", hash, *[wanted[place][2] for place in of_one]) for hash, of_one in places.items()]
        values = await self._read(lambda connection: connection.call(*commands, self._place))
        found: list[Document | None] = [None] * len(wanted)
        for of_one, values_of_one in zip(places.values(), values, strict=True):
            for place, value in zip(of_one, values_of_one, strict=True):
                found[place] = None if value is None else unpack_document(wanted[place][2], value)
        return found

    async def documents(
        self, tenant: str, collection: str, *, after: str = "", limit: int = 100, newest_first: bool = False
    ) -> list[Document]:
        """See `LogReader.documents`."""
        order = f"{self._base}order:{encoded(tenant)}:{encoded(collection)}"
        found = await self._ordered(order, self._documents(tenant, collection), after, limit, newest_first)
        return [unpack_document(key, value) for key, value in found]

    async def journal(self, tenant: str, execution: str) -> list[bytes]:
        """See `LogReader.journal`."""
        rows: list[bytes] = await self._command("LRANGE", self._journal(tenant, execution), 0, -1)
        return rows

    async def journals(self, wanted: Sequence[tuple[str, str]]) -> list[list[bytes]]:
        """See `LogReader.journals`."""
        if not wanted:
            return []
        commands = [("LRANGE", self._journal(*each), 0, -1) for each in wanted]
        return await self._read(lambda connection: connection.call(*commands, self._place))

    async def index(self, name: str, *, after: IndexMember | None = None, limit: int = 1000) -> list[IndexMember]:
        """See `LogReader.index`."""
        behind: Word = "-" if after is None else b"(" + pack_member(after.score, after.tenant, after.member)
        found = await self._by_name(f"{self._base}index:{encoded(name)}", behind, limit)
        return [unpack_member(member) for member in found]

    async def key(self, tenant: str, key: str) -> bytes | None:
        """See `LogReader.key`."""
        value: bytes | None = await self._command("HGET", f"{self._base}keys:{encoded(tenant)}", key)
        return value

    async def keys(self, tenant: str, *, after: str = "", limit: int = 1000) -> list[tuple[str, bytes]]:
        """See `LogReader.keys`."""
        name = encoded(tenant)
        return await self._ordered(f"{self._base}claimed:{name}", f"{self._base}keys:{name}", after, limit, False)

    async def tenants(self, *, after: str = "", limit: int = 1000) -> list[str]:
        """See `LogReader.tenants`."""
        found = await self._by_name(f"{self._base}tenants", f"({after}" if after else "-", limit)
        return [tenant.decode() for tenant in found]

    async def outbox(self, *, after: int = 0, limit: int = 256, tenant: str | None = None) -> list[OutboxItem]:
        """See `LogReader.outbox`. Read in steps of 1,000 events, between which some may be settled."""
        wanted = "*" if tenant is None else encoded(tenant)
        items: list[OutboxItem] = []
        behind: Word = after
        while len(items) < limit:
            behind, *found = await self._function(
                "outbox", 2, f"{self._base}waiting", f"{self._base}outbox", behind, limit - len(items), wanted
            )
            items += map(unpack_event, found[::2], found[1::2])
            if not behind:
                break
        return items

    async def checkpoint(self, name: str) -> int:
        """See `LogReader.checkpoint`."""
        return int(await self._command("HGET", f"{self._base}checkpoints", name) or 0)

    async def entries(
        self,
        tenant: str | None,
        *,
        first: int = 0,
        last: int | None = None,
        limit: int = 100,
        newest_first: bool = False,
    ) -> list[bytes]:
        """See `LogReader.entries`. Read in pages of at most 512 entries or about 4 MiB."""
        of: tuple[str, ...] = ("all_entries", "1", self._meta) if tenant is None else ("entries", "1", self._meta)
        if tenant is not None:
            of = (*of, encoded(tenant))
        entries: list[bytes] = []
        end = "" if last is None else str(last)
        while len(entries) < limit:
            words: tuple[Word, ...] = (first, end, limit - len(entries), "1" if newest_first else "")
            go_on, *found = await self._function(*of, *words)
            entries += found
            if not go_on:
                break
            if newest_first:
                end = go_on.decode()
            else:
                first = int(go_on)
        return entries

    async def position_at(self, time: int) -> int:
        """See `LogReader.position_at`."""
        return int(await self._function("position_at", 1, self._meta, time))

    async def _command(self, *words: Word) -> Any:
        [value] = await self._read(lambda connection: connection.call(words, self._place))
        return value

    async def _function(self, name: str, *words: Word) -> Any:
        place = [self._place]
        [value] = await self._read(lambda connection: connection.function(name, *words, read=True, then=place))
        return value

    async def _read(self, read: Callable[[Connection], Awaitable[list[Any]]]) -> list[Any]:
        """Read, and then where the log stands. Returns what was read.

        Refuses what a store tells that went back in time: its owner would go on from a past that it puts away. What is
        acknowledged while the read is on its way counts for later ones only.
        """
        acknowledged = self._acknowledged
        *values, position = await self._store.pool().use(self._partition, read)
        if int(position or 0) < acknowledged:
            raise StoreUnavailable(
                f"partition {self._partition} lacks what was acknowledged; it answers when its owner has put that back"
            )
        return values

    def _journal(self, tenant: str, execution: str) -> str:
        return f"{self._base}journal:{encoded(tenant)}:{encoded(execution)}"

    def _documents(self, tenant: str, collection: str) -> str:
        return f"{self._base}doc:{encoded(tenant)}:{encoded(collection)}"

    async def _by_name(self, key: str, behind: Word, limit: int) -> list[bytes]:
        found: list[bytes] = await self._command("ZRANGEBYLEX", key, behind, "+", "LIMIT", 0, limit)
        return found

    async def _ordered(
        self, order: str, hash: str, after: str, limit: int, newest_first: bool
    ) -> list[tuple[str, bytes]]:
        words = (after, limit, "1" if newest_first else "")
        found: list[bytes] = await self._function("documents", 2, order, hash, *words)
        return [(key.decode(), value) for key, value in zip(found[::2], found[1::2], strict=True)]
