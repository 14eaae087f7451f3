"""Which server serves a partition: the one that the URL names, or a node of the cluster that it belongs to.

A node is asked for the whole map of the cluster, any one that was heard of: the named one may be gone. What it says is
remembered for each partition, until something goes wrong there.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Any, Final

from msgspec import Struct

from intendant.adapters.redis.address import Address
from intendant.adapters.redis.connection import Connection
from intendant.adapters.redis.keys import slot_of
from intendant.domain.errors import StoreUnavailable

UNKNOWN: Final = "?"  # what a node says of another one that has no name, where names are preferred


class Range(Struct, frozen=True):
    """Slots from `first` to `last`, and who serves them: the primary, then its replicas."""

    first: int
    last: int
    nodes: tuple[Address, ...]


class Nodes:
    """The servers of a store. Without a cluster there is one."""

    def __init__(self, address: Address, *, clustered: bool) -> None:
        self.clustered = clustered
        self._named = address
        self._known = deque([address])  # who may be asked, the one that was asked last at the end
        self._serving: dict[int, Address] = {}

    async def serving(self, partition: int) -> Address:
        """The node that serves a partition. Raises StoreUnavailable when none does, or none that is known answers."""
        if not self.clustered:
            return self._named
        address = self._serving.get(partition)
        if address is None:
            address = await self._find(partition)
        return address

    async def serving_any(self, partitions: Iterable[int]) -> list[Address]:
        """All nodes that serve any of the partitions, each once."""
        if not self.clustered:
            return [self._named]
        return list(dict.fromkeys([await self.serving(partition) for partition in partitions]))

    def forget(self, partition: int) -> None:
        """Something went wrong: perhaps another node serves the partition by now."""
        self._serving.pop(partition, None)

    def forget_all(self) -> None:
        """Something went wrong on some node."""
        self._serving.clear()

    async def _find(self, partition: int) -> Address:
        slot = slot_of(self._named.prefix, partition)
        for each in await self._map():
            if each.first <= slot <= each.last:
                self._serving[partition] = each.nodes[0]
                return each.nodes[0]
        raise StoreUnavailable(
            f"{self._named.name}: the cluster does not serve slot {slot}, where partition {partition} lies; "
            "look at CLUSTER INFO and CLUSTER SHARDS"
        )

    async def _map(self) -> list[Range]:
        """What the next node says that answers. Each time another one is asked first: one may be wrong."""
        failure: StoreUnavailable | None = None
        for _ in range(len(self._known)):
            asked = self._known[0]
            self._known.rotate(-1)
            try:
                async with await Connection.make(asked) as connection:
                    [told] = await connection.call(("CLUSTER", "SLOTS"))
            except StoreUnavailable as error:
                failure = failure or error
                continue
            ranges = ranges_of(told, asked)
            self._hear_of(ranges)
            return ranges
        assert failure is not None  # noqa: S101  the named one is always known
        raise failure

    def _hear_of(self, ranges: list[Range]) -> None:
        if not ranges:  # it was taken out of the cluster, and knows of nobody
            return
        heard = {node for each in ranges for node in each.nodes} | {self._named}
        kept = [node for node in self._known if node in heard]
        self._known = deque([*sorted(heard.difference(kept), key=lambda node: node.name), *kept])


def ranges_of(told: list[Any], asked: Address) -> list[Range]:
    """What CLUSTER SLOTS tells, of a node that was asked at this address."""
    ranges: list[Range] = []
    for first, last, *nodes in told:
        ranges.append(Range(first, last, tuple(_address(host, port, asked) for host, port, *_ in nodes)))
    return ranges


def _address(host: bytes | None, port: int, asked: Address) -> Address:
    name = (host or b"").decode("utf-8", "replace")
    if name == UNKNOWN:
        raise StoreUnavailable(
            f"{asked.name}: a node of the cluster has no name; set cluster-announce-hostname on each, "
            "or cluster-preferred-endpoint-type ip"
        )
    return asked.at(name, port)
