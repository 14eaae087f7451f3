"""A store in memory, for tests and for work that may be lost: it dies with the process and gives level `memory`.

It keeps every other promise of the ports, without threads and without sleeping except while waiting in `acquire`, so
that it also serves simulated time. Its data outlive `close()`: a test may crash a runtime and recover over the same
`MemoryStore`. Opening it again counts as a new process, and what the earlier opening owned is free at once.
"""

from __future__ import annotations

import os
import time
from bisect import bisect_right
from collections.abc import Sequence
from typing import Final

import anyio

from intendant.adapters.checks import check_batch
from intendant.adapters.memory.partition import Life, Partition
from intendant.domain.commit import Batch, KeysTaken, Verdict
from intendant.domain.errors import InternalError, PartitionOwned, StoreUnavailable
from intendant.domain.ports import (
    Document,
    Durability,
    Holding,
    IndexMember,
    OutboxItem,
    Owner,
    Tenure,
    Usage,
)
from intendant.parking import Seam, current_seam

POLL_MIN_S: Final = 0.001  # less may not move a clock at all
POLL_S: Final = 0.05  # how often a waiting process looks whether the partition is free


class MemorySnapshot:
    """What a MemoryStore held at one moment; opaque, and unchanged by what happens later."""

    __slots__ = ("_partitions",)

    def __init__(self, partitions: Sequence[Partition]) -> None:
        self._partitions = [each.copy() for each in partitions]

    def partitions(self) -> list[Partition]:
        """A copy of the data."""
        return [each.copy() for each in self._partitions]


class Shared:
    """What twins have in common."""

    __slots__ = ("number", "partition")

    def __init__(self, number: int = 0) -> None:
        self.number = number
        self.partition = Partition()


class MemoryStore:
    """A store in memory, of one partition or more. `log` takes the place of its first one."""

    def __init__(self, log: MemoryLog | None = None, *, partitions: int = 1) -> None:
        self.name = "memory:"
        self.partitions = partitions
        self.durability = Durability.MEMORY
        self.apart = False
        self.loss_window = 0.0  # it dies with our process, and there is nothing of it to come back
        self._logs = [MemoryLog(Shared(number)) for number in range(partitions)]
        if log is not None:
            self._logs[0] = log

    async def usage(self) -> Usage:
        """Nothing is known: its end is the process's own."""
        return Usage(0, 0)

    async def open(self) -> None:
        """Make it usable on the running event loop. What an earlier opening of this object owned is free."""
        for log in self._logs:
            log.open(current_seam())

    async def close(self) -> None:
        """Make it unusable until it is opened again. The data stay; what it owned is free."""
        for log in self._logs:
            log.close()

    def log(self, partition: int) -> MemoryLog:
        """The partition's log; the same object each time."""
        if not 0 <= partition < self.partitions:
            raise InternalError(f"there is no partition {partition}: this MemoryStore has {self.partitions}")
        return self._logs[partition]

    def twin(self) -> MemoryStore:
        """Another store over the same data, not open yet: what a second process would have."""
        twin = MemoryStore(partitions=self.partitions)
        twin._logs = [type(log)(log.shared) for log in self._logs]
        return twin

    def snapshot(self) -> MemorySnapshot:
        """What it holds now, ownership and all, to go back to with `restore`. Cheap: bodies are shared."""
        return MemorySnapshot([log.shared.partition for log in self._logs])

    def restore(self, snapshot: MemorySnapshot) -> None:
        """Go back to a snapshot, as a store does that lost its last writes. May be done any number of times."""
        for log, partition in zip(self._logs, snapshot.partitions(), strict=True):
            log.shared.partition = partition


class MemoryLog:
    """The log of a MemoryStore."""

    def __init__(self, shared: Shared | None = None) -> None:
        self.durability = Durability.MEMORY
        self.shared = Shared() if shared is None else shared
        self._life: Life | None = None
        self._seam: Seam | None = None

    def open(self, seam: Seam) -> None:
        """Begin a life; the one before is over."""
        self.close()
        self._life = Life()
        self._seam = seam

    def close(self) -> None:
        """End the life: what it owned is free."""
        if self._life is not None:
            self._life.over = True
        self._life = self._seam = None

    async def holder(self) -> Holding | None:
        """See `Log.holder`."""
        ownership = self.shared.partition.ownership
        if self._is_free(to_others=True) or ownership.owner is None:
            return None
        return Holding(ownership.owner, ownership.epoch, ownership.granted)

    async def acquire(self, owner: Owner, *, timeout: float, lease: float, above: int = 0) -> Tenure:
        """See `Log.acquire`. The lease runs by the event loop's clock."""
        started = self._now()
        while not self._is_free():
            waited = self._now() - started
            if waited >= timeout:
                raise self._owned(waited)
            await anyio.sleep(min(POLL_S, max(timeout - waited, POLL_MIN_S)))
        ownership = self.shared.partition.ownership
        ownership.epoch = max(ownership.epoch, above) + 1
        ownership.token = os.urandom(16)
        ownership.owner, ownership.life = owner, self._life
        ownership.lease, ownership.since = lease, self._now()
        ownership.lease_until = ownership.since + lease
        ownership.granted = time.time_ns() // 1000
        place = (ownership.next_sequence, ownership.last_time, ownership.last_first, ownership.last_digest)
        return Tenure(self.shared.number, ownership.epoch, ownership.token, *place)

    async def renew(self, tenure: Tenure, next_sequence: int) -> Verdict:
        """See `Log.renew`."""
        now, ownership = self._now(), self.shared.partition.ownership
        fence = ownership.fence(tenure.epoch, tenure.token)
        if fence is not Verdict.OK:
            return fence
        if ownership.next_sequence < next_sequence:
            return Verdict.GAP
        ownership.lease_until = now + ownership.lease
        return Verdict.OK

    async def release(self, tenure: Tenure) -> None:
        """See `Log.release`."""
        self._now()
        ownership = self.shared.partition.ownership
        if ownership.is_held(tenure.epoch, tenure.token):
            ownership.token = b""

    async def commit(self, batch: Batch) -> Verdict | KeysTaken:
        """See `Log.commit`. Never waits."""
        now, partition = self._now(), self.shared.partition
        check_batch(batch, self.shared.number)
        verdict = partition.judge(batch)
        if verdict is Verdict.OK:
            partition.check(batch)
            taken = partition.taken(batch)
            if taken is not None:
                return taken
            partition.apply(batch)
        if verdict not in (Verdict.FENCED, Verdict.LOST):
            partition.ownership.lease_until = now + partition.ownership.lease
        return verdict

    async def scrub(self) -> None:
        """See `Log.scrub`. What was removed is gone."""
        self._now()

    async def document(self, tenant: str, collection: str, key: str) -> Document | None:
        """See `LogReader.document`."""
        documents = self._partition().documents.get((tenant, collection))
        return None if documents is None else documents.values.get(key)

    async def fetch(self, wanted: Sequence[tuple[str, str, str]]) -> list[Document | None]:
        """See `LogReader.fetch`."""
        return [await self.document(*each) for each in wanted]

    async def documents(
        self, tenant: str, collection: str, *, after: str = "", limit: int = 100, newest_first: bool = False
    ) -> list[Document]:
        """See `LogReader.documents`."""
        documents = self._partition().documents.get((tenant, collection))
        if documents is None:
            return []
        return documents.before(after or None, limit) if newest_first else documents.after(after or None, limit)

    async def journal(self, tenant: str, execution: str) -> list[bytes]:
        """See `LogReader.journal`."""
        return [body for _, body in self._partition().journals.get((tenant, execution), ())]

    async def journals(self, wanted: Sequence[tuple[str, str]]) -> list[list[bytes]]:
        """See `LogReader.journals`."""
        return [await self.journal(*each) for each in wanted]

    async def index(self, name: str, *, after: IndexMember | None = None, limit: int = 1000) -> list[IndexMember]:
        """See `LogReader.index`."""
        index = self._partition().indexes.get(name)
        if index is None:
            return []
        return index.after(None if after is None else (after.score, after.tenant, after.member), limit)

    async def key(self, tenant: str, key: str) -> bytes | None:
        """See `LogReader.key`."""
        return self._partition().keys.values.get((tenant, key))

    async def keys(self, tenant: str, *, after: str = "", limit: int = 1000) -> list[tuple[str, bytes]]:
        """See `LogReader.keys`."""
        keys = self._partition().keys
        order = keys.order()
        start = bisect_right(order, (tenant, after))
        page = order[start : start + limit]
        return [(key, keys.values[of, key]) for of, key in page if of == tenant]

    async def tenants(self, *, after: str = "", limit: int = 1000) -> list[str]:
        """See `LogReader.tenants`."""
        return sorted(tenant for tenant in self._partition().entries_of if tenant > after or not after)[:limit]

    async def outbox(self, *, after: int = 0, limit: int = 256, tenant: str | None = None) -> list[OutboxItem]:
        """See `LogReader.outbox`."""
        outbox = self._partition().outbox
        if tenant is None:
            return outbox.after(after, limit)
        items = (item for item in outbox.after(after, len(outbox.values)) if item.tenant == tenant)
        return [item for item, _ in zip(items, range(limit), strict=False)]

    async def checkpoint(self, name: str) -> int:
        """See `LogReader.checkpoint`."""
        return self._partition().checkpoints.get(name, 0)

    async def entries(
        self,
        tenant: str | None,
        *,
        first: int = 0,
        last: int | None = None,
        limit: int = 100,
        newest_first: bool = False,
    ) -> list[bytes]:
        """See `LogReader.entries`."""
        partition = self._partition()
        if tenant is None:
            return partition.entries.read(max(first, partition.floor), last, limit, newest_first)
        entries = partition.entries_of.get(tenant)
        return [] if entries is None else entries.read(first, last, limit, newest_first)

    async def position_at(self, time: int) -> int:
        """See `LogReader.position_at`."""
        partition = self._partition()
        return partition.entries.position_at(time, partition.ownership.next_sequence)

    def _now(self) -> float:
        if self._seam is None:
            raise _closed()
        return self._seam.time()

    def _partition(self) -> Partition:
        if self._seam is None:
            raise _closed()
        return self.shared.partition

    def _is_free(self, *, to_others: bool = False) -> bool:
        now, ownership = self._now(), self.shared.partition.ownership
        return (
            not ownership.token
            or ownership.life is None
            or (ownership.life is self._life and not to_others)
            or ownership.life.over
            or now >= ownership.lease_until
        )

    def _owned(self, waited: float) -> PartitionOwned:
        ownership = self.shared.partition.ownership
        host, pid = ("", 0) if ownership.owner is None else (ownership.owner.host, ownership.owner.pid)
        return PartitionOwned(self.shared.number, host, pid, self._now() - ownership.since, waited)


def _closed() -> StoreUnavailable:
    return StoreUnavailable("memory: is not open; nothing was read or written")
