"""WAITAOF on a real server that has it: a commit is told when it is on the disks that were asked for, and not before.

The server is Valkey's, because Debian's Redis may be older than 7.2.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import asynccontextmanager

import anyio
import pytest

from intendant.adapters.redis import RedisStore
from intendant.domain.commit import Verdict
from intendant.domain.errors import StoreUnavailable
from intendant.domain.ports import Durability
from intendant.testing.conformance.pen import Pen, commit
from tests.infrastructure.redis_server import RedisServer, ValkeyServer

pytestmark = pytest.mark.anyio

COMMITS = 20


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with ValkeyServer(appendfsync="always") as server:
        yield server


@pytest.fixture(scope="module")
def replica(server: RedisServer) -> Iterator[RedisServer]:
    with ValkeyServer(appendfsync="always") as replica:
        replica.follow(server)
        yield replica


@pytest.fixture
def everysec(server: RedisServer) -> Iterator[None]:
    server.cli("CONFIG", "SET", "appendfsync", "everysec")
    yield
    server.cli("CONFIG", "SET", "appendfsync", "always")


@pytest.fixture
def url(server: RedisServer, fresh_prefix: Callable[[], str]) -> str:
    return f"{server.url}?prefix={fresh_prefix()}"


@asynccontextmanager
async def writing(url: str, level: Durability) -> AsyncGenerator[Pen]:
    store = RedisStore(url, durability=level)
    await store.open()
    assert (store.durability, store.loss_window) == (level, 0.0)
    try:
        yield await Pen.take(store.log(0))
    finally:
        await store.close()


def calls(server: RedisServer, command: str) -> int:
    told = server.cli("INFO", "commandstats").get(f"cmdstat_{command}", {"calls": 0})
    return int(told["calls"])


@pytest.mark.usefixtures("everysec")
async def test_a_commit_is_told_when_the_server_has_synced_it(server: RedisServer, url: str) -> None:
    async with writing(url, Durability.FSYNC) as pen:
        server.cli("CONFIG", "RESETSTAT")
        await pen.write(commit("t"))
        assert (calls(server, "waitaof"), calls(server, "wait")) == (1, 0)
    async with writing(f"{url}&timeout=0.5", Durability.FSYNC) as pen:
        server.cli("CONFIG", "SET", "appendfsync", "no")
        batch = pen.seal(commit("t"))
        with pytest.raises(StoreUnavailable, match=r"has not synced within 0.5 s \(0 of 1 local"):
            await pen.send(batch)
        server.cli("CONFIG", "SET", "appendfsync", "everysec")
        assert await pen.send(batch) is Verdict.DUP


async def test_always_waits_for_nothing(server: RedisServer, url: str) -> None:
    async with writing(url, Durability.FSYNC) as pen:
        server.cli("CONFIG", "RESETSTAT")
        await pen.write(commit("t"))
        assert calls(server, "waitaof") == 0


async def test_a_commit_is_told_when_a_replica_has_synced_it(
    server: RedisServer, replica: RedisServer, url: str
) -> None:
    """It is asked when it has the write, and not waited for until it says so by itself, which it does each second."""
    async with writing(url, Durability.REPLICATED) as pen:
        server.cli("CONFIG", "RESETSTAT")
        with anyio.fail_after(COMMITS / 2):
            for _ in range(COMMITS):
                await pen.write(commit("t"))
        assert (calls(server, "waitaof"), calls(server, "wait")) == (COMMITS, COMMITS)
    replica.cli("REPLICAOF", "NO", "ONE")
    async with reading(f"{replica.url}?prefix={url.partition('prefix=')[2]}") as records:
        assert records == COMMITS
    replica.follow(server)


async def test_a_replica_that_hangs_is_an_outage(server: RedisServer, replica: RedisServer, url: str) -> None:
    async with writing(f"{url}&timeout=0.5", Durability.REPLICATED) as pen:
        batch = pen.seal(commit("t"))
        replica.pause()
        try:
            with pytest.raises(StoreUnavailable, match=r"\(1 of 1 local, 0 of 1 replicas\)"):
                await pen.send(batch)
        finally:
            replica.resume()
        assert await pen.send(batch) is Verdict.DUP


async def test_without_a_replica_replicated_is_refused() -> None:
    with ValkeyServer() as alone, pytest.raises(StoreUnavailable, match="appendfsync everysec, 0 replicas"):
        await RedisStore(alone.url, durability=Durability.REPLICATED).open()


@asynccontextmanager
async def reading(url: str) -> AsyncGenerator[int]:
    store = RedisStore(url, durability=Durability.MEMORY)
    await store.open()
    try:
        yield await store.log(0).position_at(2**60) - 1
    finally:
        await store.close()
