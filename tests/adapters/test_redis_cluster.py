"""The store on a Redis Cluster: each partition lives on the node that serves its slot."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.crc import key_slot

from intendant.adapters.redis import RedisStore
from intendant.adapters.redis.address import parse
from intendant.adapters.redis.function_library import LIBRARY
from intendant.adapters.redis.keys import base_of, none_key, slot_of
from intendant.adapters.redis.nodes import ranges_of
from intendant.domain.commit import Verdict
from intendant.domain.errors import InvalidValue, PartitionOwned, StoreUnavailable
from intendant.domain.ports import Durability
from intendant.testing.conformance import LOG_CHECKS, LogCheck
from intendant.testing.conformance.commits import COMMIT_CHECKS, all_of, one_of_everything
from intendant.testing.conformance.pen import Pen, commit, owner
from tests.adapters.conftest import opener
from tests.adapters.test_redis_server import NEEDED
from tests.infrastructure.redis_cluster import RedisCluster
from tests.infrastructure.redis_server import RedisServer

PARTITIONS = 4
CHECKS = [  # all of them take half a minute
    pytest.param(check, id=getattr(check, "__name__", ""), marks=() if check in COMMIT_CHECKS else pytest.mark.stress)
    for check in LOG_CHECKS
]


@pytest.fixture
def prefix(redis_cluster: RedisCluster, fresh_prefix: Callable[[], str]) -> str:
    """With it, partition 0 is not on the node that the URL names, and no node is without a partition."""
    return redis_cluster.spread(fresh_prefix, PARTITIONS)


@pytest.fixture
def url(redis_cluster: RedisCluster, prefix: str) -> str:
    return f"{redis_cluster.url}?partitions={PARTITIONS}&timeout=2&prefix={prefix}"


@asynccontextmanager
async def opened(url: str, durability: Durability | None = None) -> AsyncGenerator[RedisStore]:
    store = RedisStore(url, durability=durability)
    await store.open()
    try:
        yield store
    finally:
        await store.close()


@given(st.from_regex(r"[A-Za-z0-9_-]{1,64}", fullmatch=True), st.integers(0, 4095))
def test_the_slot_of_a_partition_is_that_of_its_keys(prefix: str, partition: int) -> None:
    base = base_of(prefix, partition)
    assert slot_of(prefix, partition) == key_slot(none_key(base).encode()) == key_slot(f"{base}meta".encode())


def test_nodes_are_where_the_cluster_says() -> None:
    asked = parse("rediss://ada:sesame@seed:7000/0?prefix=p")
    told: list[Any] = [
        [0, 99, [b"10.0.0.1", 7001, b"id", []], [b"fd00::1", 7002, b"id", []]],
        [100, 200, [None, 7003, b"id", []]],
        [201, 201, [b"", 7000, b"id", []]],
    ]
    first, second, third = ranges_of(told, asked)
    assert [(node.host, node.port) for node in first.nodes] == [("10.0.0.1", 7001), ("fd00::1", 7002)]
    assert [node.name for node in first.nodes] == [
        "rediss://10.0.0.1:7001/0?prefix=p",
        "rediss://[fd00::1]:7002/0?prefix=p",
    ]
    assert {(node.credentials, node.tls) for node in first.nodes} == {(asked.credentials, asked.tls)}
    assert [(each.first, each.last, each.nodes[0].host, each.nodes[0].port) for each in (second, third)] == [
        (100, 200, "seed", 7003),
        (201, 201, "seed", 7000),
    ]
    with pytest.raises(StoreUnavailable, match="cluster-announce-hostname"):
        ranges_of([[0, 1, [b"?", 7001, b"id", []]]], asked)


@pytest.mark.anyio
@pytest.mark.parametrize("check", CHECKS)
async def test_promises(check: LogCheck, url: str) -> None:
    await check(opener(lambda: RedisStore(url)))


@pytest.mark.anyio
class TestNodes:
    async def test_each_partition_lives_with_its_node(self, url: str, prefix: str, redis_cluster: RedisCluster) -> None:
        for node in redis_cluster.nodes:
            node.cli("FUNCTION", "FLUSH")
        async with opened(url) as store:
            for number in range(PARTITIONS):
                log = store.log(number)
                pen = await Pen.take(log)
                await pen.write(one_of_everything())
                assert (await all_of(log))["journal"] == [b"row"]
                assert await log.holder() is not None
                serving = redis_cluster.server_of(prefix, number)
                assert serving.cli("HGET", f"{base_of(prefix, number)}meta", "next") == str(pen.next)
            for node in redis_cluster.nodes:
                assert LIBRARY.name in str(node.cli("FUNCTION", "LIST"))
            assert (await store.cpu_seconds()) > 0
        async with opened(url.replace(f"partitions={PARTITIONS}&", "")) as store:
            assert store.partitions == PARTITIONS

    async def test_a_user_with_no_more_than_is_needed(self, url: str, prefix: str, redis_cluster: RedisCluster) -> None:
        needed = [*NEEDED.split(), "+cluster|slots"]
        for node in redis_cluster.nodes:
            node.cli("ACL", "SETUSER", "lean", "on", ">sesame", "resetkeys", f"~{{{prefix}:*", "-@all", *needed)
        lean = url.replace("redis://", "redis://lean:sesame@")
        async with opened(lean) as store:
            for number in range(PARTITIONS):
                await (await Pen.take(store.log(number))).write(one_of_everything())
            assert (await store.usage()).used > 0
        redis_cluster.nodes[0].cli("ACL", "SETUSER", "lean", "-cluster|slots")
        with pytest.raises(StoreUnavailable, match="ACL SETUSER"):
            await RedisStore(lean).open()

    async def test_every_node_gives_what_is_asked_for(self, url: str, prefix: str, redis_cluster: RedisCluster) -> None:
        weak = redis_cluster.server_of(prefix, 0)
        weak.cli("CONFIG", "SET", "appendfsync", "no")
        try:
            with pytest.raises(StoreUnavailable, match=f":{weak.port}/.*CONFIG SET appendfsync everysec"):
                await RedisStore(url).open()
            for node in redis_cluster.nodes:
                node.cli("CONFIG", "SET", "appendfsync", "everysec" if node is weak else "always")
            async with opened(url) as store:
                assert (store.durability, store.loss_window) == (Durability.WRITTEN, 3.0)
        finally:
            for node in redis_cluster.nodes:
                node.cli("CONFIG", "SET", "appendfsync", "everysec")

    async def test_the_fullest_node_is_told(self, url: str, prefix: str, redis_cluster: RedisCluster) -> None:
        full = redis_cluster.server_of(prefix, 0)
        async with opened(url) as store:
            full.cli("CONFIG", "SET", "maxmemory", "200mb")
            try:
                usage = await store.usage()
                assert usage.limit == 200 << 20
                assert 0 < usage.share < 1
            finally:
                full.cli("CONFIG", "SET", "maxmemory", "0")

    async def test_a_cluster_has_one_database(self, url: str) -> None:
        with pytest.raises(InvalidValue, match="database 0 only"):
            await RedisStore(url.replace("/0?", "/1?")).open()


@pytest.mark.anyio
class TestMoves:
    async def test_nothing_is_half_written_while_a_slot_moves(
        self, url: str, prefix: str, redis_cluster: RedisCluster
    ) -> None:
        source = redis_cluster.server_of(prefix, 0)
        target = next(node for node in redis_cluster.nodes if node is not source)
        slot = slot_of(prefix, 0)
        async with opened(url) as store, opened(url) as reader:
            log, pen = store.log(0), await Pen.take(store.log(0))
            await pen.write(one_of_everything())
            found = await all_of(log)
            assert await all_of(reader.log(0)) == found
            with pytest.raises(PartitionOwned):
                await reader.log(0).acquire(owner(), timeout=0, lease=60)
            batch = pen.seal(one_of_everything(mark="2"))
            redis_cluster.begin_move(slot, source, target)
            moved = 1
            while moved:
                with pytest.raises(StoreUnavailable, match="moving this slot"):
                    await log.commit(batch)
                with pytest.raises(StoreUnavailable, match="moving this slot"):
                    await log.renew(pen.tenure, pen.next)
                with pytest.raises(StoreUnavailable, match="moving this slot"):
                    await log.acquire(owner(), timeout=0, lease=60)
                with pytest.raises(StoreUnavailable, match="moving this slot"):
                    await all_of(log)
                moved = redis_cluster.move_keys(slot, source, target, 2)
            redis_cluster.end_move(slot, target)
            assert redis_cluster.server_of(prefix, 0) is target
            assert await all_of(reader.log(0)) == found
            with pytest.raises(StoreUnavailable, match="another node of its cluster"):
                await log.commit(batch)
            assert await log.commit(batch) is Verdict.OK
            assert await log.commit(batch) is Verdict.DUP
            with pytest.raises(StoreUnavailable, match="another node of its cluster"):
                await reader.log(0).acquire(owner(), timeout=0, lease=60)
            with pytest.raises(PartitionOwned):
                await reader.log(0).acquire(owner(), timeout=0, lease=60)


@pytest.mark.anyio
class TestOutages:
    """On one loop: a node takes seconds to come back."""

    @pytest.fixture
    def anyio_backend(self) -> str:
        return "asyncio"

    async def test_a_node_that_is_away_takes_only_its_partitions(
        self, url: str, prefix: str, redis_cluster: RedisCluster
    ) -> None:
        away = redis_cluster.server_of(prefix, 0)
        async with opened(url) as store:
            pens = [await Pen.take(store.log(number)) for number in range(PARTITIONS)]
            away.stop()
            try:
                for number, pen in enumerate(pens):
                    batch = pen.seal(commit("t"))
                    if redis_cluster.server_of(prefix, number) is away:
                        for _ in range(2):
                            with pytest.raises(StoreUnavailable):
                                await pen.send(batch)
                            with pytest.raises(StoreUnavailable):
                                await store.log(number).tenants()
                    else:
                        assert await pen.send(batch) is Verdict.OK
                        assert await store.log(number).tenants() == ["t"]
            finally:
                away.restart()
                redis_cluster.await_whole()
            pen = pens[0]
            assert await pen.send(pen.seal(commit("t"))) is Verdict.OK
            assert await store.log(0).tenants() == ["t"]

    async def test_a_replica_that_takes_over(self, fresh_prefix: Callable[[], str]) -> None:
        with RedisCluster(1) as cluster:
            primary = cluster.nodes[0]
            replica: RedisServer = cluster.add_replica(primary)
            url = f"{cluster.url}?timeout=2&prefix={fresh_prefix()}"
            async with opened(url) as store:
                log, pen = store.log(0), await Pen.take(store.log(0))
                await pen.write(one_of_everything())
                found = await all_of(log)
                assert primary.cli("WAIT", 1, 5000) == 1
                primary.kill()
                batch = pen.seal(one_of_everything(mark="2"))
                with pytest.raises(StoreUnavailable):
                    await log.commit(batch)
                cluster.fail_over(replica)
                with pytest.raises(StoreUnavailable):
                    await log.key("t", "k1")
                assert await log.commit(batch) is Verdict.OK
                assert len((await all_of(log))["entries"]) == len(found["entries"]) + 1
                primary.restart()
                cluster.await_whole()
                assert (await store.usage()).used > 0
            async with opened(url) as store:  # by a node that is a replica now
                assert await store.log(0).tenants() == ["t"]
