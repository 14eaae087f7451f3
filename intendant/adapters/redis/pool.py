"""Connections for reads: a few to each server, made when they are needed, each used by one call at a time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

import anyio

from intendant.adapters.redis.address import Address
from intendant.adapters.redis.connection import Connection, ConnectionLost, Word
from intendant.adapters.redis.errors import Moved
from intendant.adapters.redis.nodes import Nodes
from intendant.domain.errors import StoreUnavailable

CONNECTIONS_MAX: Final = 4

T = TypeVar("T")


class Pool:
    """Reads go to the server that serves their partition."""

    def __init__(self, nodes: Nodes, name: str) -> None:
        self._nodes = nodes
        self._name = name
        self._lanes: dict[Address, Lane] = {}
        self._open = True

    async def function(self, partition: int, name: str, *words: Word) -> Any:
        """The reply of one of our functions that reads."""
        return await self.use(partition, lambda connection: connection.function(name, *words, read=True))

    async def use(self, partition: int, read: Callable[[Connection], Awaitable[T]]) -> T:
        """Read with a connection to the partition's server. In a cluster that has moved it, reads once more there."""
        if not self._nodes.clustered:
            return await self.lane(await self._nodes.serving(partition)).use(read)
        try:
            return await self._follow(partition, read)
        except Moved:
            return await self._follow(partition, read)

    def lane(self, address: Address) -> Lane:
        """The connections to one server."""
        if not self._open:
            raise StoreUnavailable(f"{self._name} is not open; nothing was read or written")
        lane = self._lanes.get(address)
        if lane is None:
            lane = self._lanes[address] = Lane(address)
        return lane

    async def close(self) -> None:
        """Close all connections; reads that are under way fail."""
        self._open = False
        for lane in self._lanes.values():
            await lane.close()

    async def _follow(self, partition: int, read: Callable[[Connection], Awaitable[T]]) -> T:
        try:
            return await self.lane(await self._nodes.serving(partition)).use(read)
        except StoreUnavailable:
            self._nodes.forget(partition)
            raise


class Lane:
    """One server: reads wait for one of at most four connections."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._free = anyio.Semaphore(CONNECTIONS_MAX, fast_acquire=True)
        self._idle: list[Connection] = []
        self._open = True

    async def use(self, read: Callable[[Connection], Awaitable[T]]) -> T:
        """Read with a connection. On one that turns out to be dead from before, reads once more on a new one."""
        async with self._free:
            connection = self._idle.pop() if self._idle else None
            if connection is not None:
                try:
                    return await self._use(connection, read)
                except ConnectionLost:
                    await self._drop_idle()
            self._check_open()
            return await self._use(await Connection.make(self._address), read)

    async def close(self) -> None:
        """Close all connections; reads that are under way fail."""
        self._open = False
        await self._drop_idle()

    async def _use(self, connection: Connection, read: Callable[[Connection], Awaitable[T]]) -> T:
        self._check_open()
        try:
            return await read(connection)
        finally:
            if connection.alive and self._open:
                self._idle.append(connection)
            elif connection.alive:
                await connection.destroy()

    async def _drop_idle(self) -> None:
        idle, self._idle = self._idle, []
        for connection in idle:
            await connection.destroy()

    def _check_open(self) -> None:
        if not self._open:
            raise StoreUnavailable(f"{self._address.name} is not open; nothing was read or written")
