"""A cluster under load: slots that move to other nodes, and nodes that end. Nothing that was told is lost."""

from __future__ import annotations

import time
from collections.abc import Callable

from intendant.adapters.redis.keys import slot_of
from intendant.domain.ids import partition_of
from tests.faults.redis.trial import Trial
from tests.infrastructure.redis_cluster import RedisCluster

PARTITIONS = 4


def tenants() -> list[str]:
    """One for each partition."""
    found: dict[int, str] = {}
    number = 0
    while len(found) < PARTITIONS:
        found.setdefault(partition_of(f"tenant-{number}", PARTITIONS), f"tenant-{number}")
        number += 1
    return [found[partition] for partition in range(PARTITIONS)]


def test_a_slot_moves_and_a_node_ends(
    redis_cluster: RedisCluster, fresh_prefix: Callable[[], str], trial: Callable[..., Trial]
) -> None:
    prefix = redis_cluster.spread(fresh_prefix, PARTITIONS)
    tried = trial(f"{redis_cluster.url}?partitions={PARTITIONS}&prefix={prefix}", durability="written")
    tried.load(tenants=tenants())
    for partition in (0, 1):
        tried.ripen()
        source = redis_cluster.server_of(prefix, partition)
        target = next(node for node in redis_cluster.nodes if node is not source)
        moment = time.monotonic()
        tried.struck()
        redis_cluster.move(slot_of(prefix, partition), source, target)
        assert redis_cluster.server_of(prefix, partition) is target
        tried.goes_on(moment)
        tried.is_told_more(lambda: True)
    tried.ripen()
    node = redis_cluster.server_of(prefix, 2)
    moment = time.monotonic()
    tried.struck()
    node.kill()
    node.restart()
    redis_cluster.await_whole()
    tried.goes_on(moment)
    tried.is_told_more(lambda: True)
    tried.drain()
    tried.report("slots moved and a node restarted", tried.audit(), errors=tried.reader.count("E"))
    for partition in range(PARTITIONS):
        assert (
            int(redis_cluster.server_of(prefix, partition).cli("HGET", f"{{{prefix}:{partition}}}:meta", "next")) > 50
        )
