"""A Redis Cluster of our own: servers on the loopback that share the slots."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any, Final

from intendant.adapters.redis.keys import SLOTS, slot_of
from tests.infrastructure.processes import PATIENCE
from tests.infrastructure.redis_server import RedisServer

OPTIONS: Final = {
    "cluster_enabled": "yes",
    "cluster_require_full_coverage": "no",  # what is served goes on while a node is away
    "cluster_node_timeout": "2000",
    "repl_diskless_sync_delay": "0",
    "repl_ping_replica_period": "1",  # a replica that has heard nothing yet is not told of
}


class RedisCluster:
    """Three servers without replicas; they can be stopped and started again, and slots can be moved between them."""

    def __init__(self, size: int = 3, **options: object) -> None:
        self._options = OPTIONS | options
        self.nodes = [RedisServer(**self._options) for _ in range(size)]
        edges = [SLOTS * number // size for number in range(size + 1)]
        for node, first, end in zip(self.nodes, edges, edges[1:], strict=False):
            node.cli("CLUSTER", "ADDSLOTSRANGE", first, end - 1)
            node.cli("CLUSTER", "MEET", "127.0.0.1", self.nodes[0].port)
        self._await(lambda: all(self._is_whole(node) for node in self.nodes), "the cluster to come up")

    @property
    def url(self) -> str:
        """The first node's."""
        return self.nodes[0].url

    def server_of(self, prefix: str, partition: int) -> RedisServer:
        """The primary that serves a partition."""
        slot = slot_of(prefix, partition)
        asked = next(node for node in self.nodes if node.running)
        [port] = [nodes[0][1] for first, last, *nodes in _slots(asked) if first <= slot <= last]
        return next(node for node in self.nodes if node.port == port)

    def spread(self, prefixes: Callable[[], str], partitions: int) -> str:
        """A prefix with which all nodes that have slots serve a partition, and the named one does not serve the first.

        So whoever stays with the node that it was told of does not get far.
        """
        asked = next(node for node in self.nodes if node.running)
        primaries = {nodes[0][1] for _, _, *nodes in _slots(asked)}
        while True:
            prefix = prefixes()
            serving = [self.server_of(prefix, number).port for number in range(partitions)]
            if set(serving) == primaries and serving[0] != self.nodes[0].port:
                return prefix

    def move(self, slot: int, source: RedisServer, target: RedisServer) -> None:
        """A slot with all that is in it, in steps, as `redis-cli --cluster reshard` does it."""
        self.begin_move(slot, source, target)
        while self.move_keys(slot, source, target, 10):
            pass
        self.end_move(slot, target)

    def begin_move(self, slot: int, source: RedisServer, target: RedisServer) -> None:
        """From now on what the source lacks of this slot is asked of the target."""
        target.cli("CLUSTER", "SETSLOT", slot, "IMPORTING", _id(source))
        source.cli("CLUSTER", "SETSLOT", slot, "MIGRATING", _id(target))

    def move_keys(self, slot: int, source: RedisServer, target: RedisServer, at_most: int) -> int:
        """Bring some keys of a slot that is being moved to the target; returns how many there were."""
        keys: list[str] = source.cli("CLUSTER", "GETKEYSINSLOT", slot, at_most)
        if keys:
            source.cli("MIGRATE", "127.0.0.1", target.port, "", 0, 5000, "KEYS", *keys)
        return len(keys)

    def end_move(self, slot: int, target: RedisServer) -> None:
        """The target serves the slot from now on."""
        for node in (target, *(each for each in self.nodes if each is not target)):
            if node.running:
                node.cli("CLUSTER", "SETSLOT", slot, "NODE", _id(target))

    def add_replica(self, primary: RedisServer) -> RedisServer:
        """Another node that follows a primary; it has all of it when this returns."""
        replica = RedisServer(**self._options)
        self.nodes.append(replica)
        replica.cli("CLUSTER", "MEET", "127.0.0.1", primary.port)
        self._await(lambda: self._all_know(self.nodes), "the replica to be known")
        replica.cli("CLUSTER", "REPLICATE", _id(primary))
        self._await(lambda: replica.cli("INFO", "replication").get("master_link_status") == "up", "the replica to sync")
        self._await(lambda: self._all_see(replica, primary), "the replica to be known as one")
        return replica

    def fail_over(self, replica: RedisServer) -> None:
        """The replica takes the place of its primary, which is gone."""
        replica.cli("CLUSTER", "FAILOVER", "TAKEOVER")
        self._await(lambda: replica.cli("INFO", "replication")["role"] == "master", "the replica to take over")

    def await_whole(self) -> None:
        """Until all slots are served."""
        self._await(lambda: all(self._is_whole(node) for node in self.nodes), "the cluster to be whole")

    def close(self) -> None:
        """End all of it."""
        for node in self.nodes:
            node.close()

    def __enter__(self) -> RedisCluster:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _is_whole(self, node: RedisServer) -> bool:
        told = node.cli("CLUSTER", "INFO")
        return "cluster_state:ok" in told and f"cluster_slots_ok:{SLOTS}" in told and self._all_know([node])

    def _all_know(self, nodes: Iterable[RedisServer]) -> bool:
        return all(f"cluster_known_nodes:{len(self.nodes)}" in node.cli("CLUSTER", "INFO") for node in nodes)

    def _all_see(self, replica: RedisServer, primary: RedisServer) -> bool:
        ports = [
            [port for _, port, *_ in nodes]
            for node in self.nodes
            for _, _, *nodes in _slots(node)
            if nodes[0][1] == primary.port
        ]
        return all(replica.port in each for each in ports)

    def _await(self, condition: Callable[[], bool], what: str) -> None:
        give_up = time.monotonic() + PATIENCE
        while not condition():
            if time.monotonic() > give_up:
                raise RuntimeError(f"waited in vain for {what}")
            time.sleep(0.01)


def _slots(node: RedisServer) -> list[Any]:
    """Ranges: first, last, then [host, port, ...] of the primary and its replicas."""
    return list(node.cli("CLUSTER", "SLOTS"))


def _id(node: RedisServer) -> str:
    return str(node.cli("CLUSTER", "MYID"))
