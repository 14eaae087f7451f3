"""A hot store on a Redis server (7.0 or newer): partitions that are written by one function call a batch.

    RedisStore("redis://localhost:6379/0?prefix=shop")

The level of a commit is what the server's own settings give: appendfsync everysec is `written` (a crash of the server
can take the last three seconds), always is `fsync`. From Redis 7.2 on a higher level that is asked for is waited for
with WAITAOF after each commit. A server that can't give it is refused, with what to change; so is one that comes back
with less than it gave before.

The server may be any node of a Redis Cluster: then each partition lives on the node that serves its slot (see
nodes.py), and each of these nodes has to give what is asked for.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from intendant.adapters.redis.address import Address, parse
from intendant.adapters.redis.connection import Connection
from intendant.adapters.redis.function_library import LIBRARY
from intendant.adapters.redis.keys import FORMAT, store_key
from intendant.adapters.redis.log import RedisLog
from intendant.adapters.redis.nodes import Nodes
from intendant.adapters.redis.pool import Pool
from intendant.adapters.redis.server import Facts, Guarantee, cpu_of, facts_of, guarantee, usage_of
from intendant.domain.errors import InternalError, InvalidValue, StoreUnavailable
from intendant.domain.ports import Durability, Usage
from intendant.domain.records import UnknownFormat

T = TypeVar("T")


class RedisStore:
    """A store on a Redis server, by its URL (see address.py). Constructing it touches nothing.

    `durability` is what is asked for: `written` if nothing is said. Raises InvalidValue for a URL that is wrong.
    """

    def __init__(self, url: str, *, durability: Durability | None = None) -> None:
        self._address = parse(url)
        self.name = self._address.name
        self.apart = True
        self._asked = Durability.WRITTEN if durability is None else durability
        self._guarantee = Guarantee(self._asked)
        self._nodes = Nodes(self._address, clustered=False)
        self._partitions = self._address.partitions or 1
        self._logs: dict[int, RedisLog] = {}
        self._pool: Pool | None = None

    def __repr__(self) -> str:
        return f"RedisStore({self.name!r})"

    @property
    def partitions(self) -> int:
        """How many it was made with; before `open`, what the URL says."""
        return self._partitions

    @property
    def durability(self) -> Durability:
        """What it really gives; before `open`, what it was asked to give."""
        return self._guarantee.durability

    @property
    def loss_window(self) -> float:
        """0.0 where the server syncs before it answers, else 3.0: an fsync a second, that can be put off for two."""
        return self._guarantee.loss_window

    async def usage(self) -> Usage:
        """The server's used memory; the limit is its maxmemory or the URL's `memory`, whichever is lower.

        In a cluster, of the fullest node that serves a partition.
        """
        found = await self._ask_all(lambda connection: usage_of(connection, self._address.memory))
        return max(found, key=lambda usage: (usage.share, usage.used))

    async def cpu_seconds(self) -> float:
        """Seconds of processor time that the server has used since it began: of all that it does, for others too.

        In a cluster, of all nodes that serve a partition.
        """
        return sum(await self._ask_all(cpu_of))

    async def open(self) -> None:
        """Connect, look at the server's settings, load our functions, make or read the store's own key.

        In a cluster the named node tells of the others, and each that serves a partition is looked at.

        Raises StoreUnavailable when a server can't be reached or does not give what is asked for, UnknownFormat when a
        newer version made the store, InvalidValue when it has another number of partitions.
        """
        if self._pool is not None:
            raise InternalError(f"{self.name} is open already")
        async with await Connection.make(self._address) as connection:
            facts = await facts_of(connection)
            self._nodes = Nodes(self._address, clustered=facts.clustered)
            if facts.clustered:
                await self._enter_cluster()
            else:
                self._guarantee = await self._prepared(connection, facts)
                self._partitions = await self._recorded(connection)
        for log in self._logs.values():
            log.begin()
        self._pool = Pool(self._nodes, self.name)

    async def close(self) -> None:
        """Let go of all connections. What was begun ends first; an ownership that was not released is free at once."""
        pool, self._pool = self._pool, None
        if pool is not None:
            for log in self._logs.values():
                await log.close()
            await pool.close()

    def log(self, partition: int) -> RedisLog:
        """The partition's log; the same object each time."""
        if not 0 <= partition < self._partitions:
            raise InternalError(f"there is no partition {partition}: {self.name} has {self._partitions}")
        log = self._logs.get(partition)
        if log is None:
            address = self._address
            log = self._logs[partition] = RedisLog(self, address.prefix, partition, address.timeout)
        return log

    def pool(self) -> Pool:
        """Connections for reads. Raises StoreUnavailable when the store is not open."""
        if self._pool is None:
            raise StoreUnavailable(f"{self.name} is not open; nothing was read or written")
        return self._pool

    async def connect(self, partition: int, *, lost: bool) -> tuple[Connection, Guarantee]:
        """A new connection to the server of a partition, which gives what it gave when the store was opened.

        `lost` says that there was one: another node of a cluster may serve the partition by now.
        """
        if lost:
            self._nodes.forget(partition)
        address = await self._nodes.serving(partition)
        try:
            return await self._connect(address)
        except BaseException:
            self._nodes.forget(partition)
            raise

    async def record(self, connection: Connection, partition: int) -> None:
        """See to it that the store's own key is there: a server that was emptied has lost it.

        In a cluster whoever takes partition 0 does: the key lies with it.
        """
        if not partition or not self._nodes.clustered:
            await self._recorded(connection)

    async def _connect(self, address: Address) -> tuple[Connection, Guarantee]:
        connection = await Connection.make(address)
        try:
            facts, promised = await facts_of(connection), self._guarantee.durability
            found = guarantee(facts, promised, address.assume, address.name)  # more than was promised may go again
        except BaseException:
            await connection.destroy()
            raise
        return connection, found

    async def _enter_cluster(self) -> None:
        """The node of partition 0 knows how many partitions there are; then all nodes that serve one are looked at."""
        first = await self._nodes.serving(0)
        async with await Connection.make(first) as connection:
            given = [await self._prepared(connection, await facts_of(connection))]
            self._partitions = await self._recorded(connection)
        for address in await self._nodes.serving_any(range(1, self._partitions)):
            if address != first:
                async with await Connection.make(address) as connection:
                    given.append(await self._prepared(connection, await facts_of(connection)))
        self._guarantee = min(given, key=lambda each: each.durability)

    async def _prepared(self, connection: Connection, facts: Facts) -> Guarantee:
        """What this server gives of what was asked for; our functions are loaded."""
        given = guarantee(facts, self._asked, self._address.assume, connection.name)
        await _load(connection)
        return given

    async def _ask_all(self, ask: Callable[[Connection], Awaitable[T]]) -> list[T]:
        pool = self.pool()
        try:
            return [await pool.lane(each).use(ask) for each in await self._nodes.serving_any(range(self._partitions))]
        except StoreUnavailable:
            self._nodes.forget_all()
            raise

    async def _recorded(self, connection: Connection) -> int:
        """The number of partitions that the store was made with; it is made if there is none."""
        key = store_key(self._address.prefix)
        asked = self._address.partitions
        replies: list[Any] = await connection.call(
            ("HSETNX", key, "format", FORMAT),
            ("HSETNX", key, "partitions", asked or self._partitions),
            ("HMGET", key, "format", "partitions"),
        )
        format, partitions = (int(each) for each in replies[2])
        if format > FORMAT:
            raise UnknownFormat(
                f"{self.name} has format {format}, this version reads {FORMAT}: "
                "open it with the version that wrote it, or a newer one"
            )
        if asked is not None and asked != partitions:
            raise InvalidValue(
                "hot",
                f"{self.name} was made with {partitions} partitions, and partitions={asked} is asked for; "
                f"say partitions={partitions}, or take another prefix for a new store",
            )
        return partitions


async def _load(connection: Connection) -> None:
    """Load our functions unless they are there as they are here."""
    [libraries] = await connection.call(("FUNCTION", "LIST", "LIBRARYNAME", LIBRARY.name, "WITHCODE"))
    if not libraries or LIBRARY.code.encode() not in libraries[0]:
        await connection.load()
