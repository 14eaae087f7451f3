"""A store in memory, for tests and for work that may be lost: it dies with the process and gives level `memory`.

It keeps every other promise of the ports, without threads and without sleeping except while waiting in `acquire`, so
that it also serves simulated time. Its data outlive `close()`: a test may crash a runtime and recover over the same
`MemoryStore`. Opening it again counts as a new process, and what the earlier opening owned is free at once.
"""

from __future__ import annotations

import os
from typing import Final

import anyio

from intendant.adapters.checks import check_batch
from intendant.adapters.memory.partition import Life, Partition
from intendant.domain.commit import Batch, KeysTaken, Verdict
from intendant.domain.errors import InternalError, PartitionOwned, StoreUnavailable
from intendant.domain.ports import Document, Durability, IndexMember, OutboxItem, Owner, Tenure
from intendant.parking import Seam, current_seam

POLL_MIN_S: Final = 0.001  # less may not move a clock at all
POLL_S: Final = 0.05  # how often a waiting process looks whether the partition is free


class MemorySnapshot:
    """What a MemoryStore held at one moment; opaque, and unchanged by what happens later."""

    __slots__ = ("_partition",)

    def __init__(self, partition: Partition) -> None:
        self._partition = partition.copy()

    def partition(self) -> Partition:
        """A copy of the data."""
        return self._partition.copy()


class Shared:
    """What twins have in common."""

    __slots__ = ("partition",)

    def __init__(self) -> None:
        self.partition = Partition()


class MemoryStore:
    """A store of one partition in memory."""

    def __init__(self, log: MemoryLog | None = None) -> None:
        self.name = "memory:"
        self.partitions = 1
        self.durability = Durability.MEMORY
        self._log = MemoryLog() if log is None else log

    async def open(self) -> None:
        """Make it usable on the running event loop. What an earlier opening of this object owned is free."""
        self._log.open(current_seam())

    async def close(self) -> None:
        """Make it unusable until it is opened again. The data stay; what it owned is free."""
        self._log.close()

    def log(self, partition: int) -> MemoryLog:
        """The partition's log; the same object each time."""
        if partition != 0:
            raise InternalError(f"there is no partition {partition}: a MemoryStore has one")
        return self._log

    def twin(self) -> MemoryStore:
        """Another store over the same data, not open yet: what a second process would have."""
        return MemoryStore(type(self._log)(self._log.shared))

    def snapshot(self) -> MemorySnapshot:
        """What it holds now, ownership and all, to go back to with `restore`. Cheap: bodies are shared."""
        return MemorySnapshot(self._log.shared.partition)

    def restore(self, snapshot: MemorySnapshot) -> None:
        """Go back to a snapshot, as a store does that lost its last writes. May be done any number of times."""
        self._log.shared.partition = snapshot.partition()


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

    async def acquire(self, owner: Owner, *, timeout: float, lease: float) -> Tenure:
        """See `Log.acquire`. The lease runs by the event loop's clock."""
        started = self._now()
        while not self._is_free():
            waited = self._now() - started
            if waited >= timeout:
                raise self._owned(waited)
            await anyio.sleep(min(POLL_S, max(timeout - waited, POLL_MIN_S)))
        ownership = self.shared.partition.ownership
        ownership.epoch += 1
        ownership.token = os.urandom(16)
        ownership.owner, ownership.life = owner, self._life
        ownership.lease, ownership.since = lease, self._now()
        ownership.lease_until = ownership.since + lease
        return Tenure(0, ownership.epoch, ownership.token, ownership.next_sequence, ownership.last_time)

    async def renew(self, tenure: Tenure) -> bool:
        """See `Log.renew`."""
        now, ownership = self._now(), self.shared.partition.ownership
        if not ownership.is_held(tenure.epoch, tenure.token):
            return False
        ownership.lease_until = now + ownership.lease
        return True

    async def release(self, tenure: Tenure) -> None:
        """See `Log.release`."""
        self._now()
        ownership = self.shared.partition.ownership
        if ownership.is_held(tenure.epoch, tenure.token):
            ownership.token = b""

    async def commit(self, batch: Batch) -> Verdict | KeysTaken:
        """See `Log.commit`. Never waits."""
        now, partition = self._now(), self.shared.partition
        check_batch(batch, 0)
        verdict = partition.judge(batch)
        if verdict is Verdict.OK:
            partition.check(batch)
            taken = partition.taken(batch)
            if taken is not None:
                return taken
            partition.apply(batch)
        if verdict is not Verdict.FENCED:
            partition.ownership.lease_until = now + partition.ownership.lease
        return verdict

    async def document(self, tenant: str, collection: str, key: str) -> Document | None:
        """See `LogReader.document`."""
        documents = self._partition().documents.get((tenant, collection))
        return None if documents is None else documents.values.get(key)

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

    async def index(self, name: str, *, after: IndexMember | None = None, limit: int = 1000) -> list[IndexMember]:
        """See `LogReader.index`."""
        index = self._partition().indexes.get(name)
        if index is None:
            return []
        return index.after(None if after is None else (after.score, after.tenant, after.member), limit)

    async def key(self, tenant: str, key: str) -> bytes | None:
        """See `LogReader.key`."""
        return self._partition().keys.get((tenant, key))

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
        entries = partition.entries if tenant is None else partition.entries_of.get(tenant)
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

    def _is_free(self) -> bool:
        now, ownership = self._now(), self.shared.partition.ownership
        return (
            not ownership.token
            or ownership.life is None
            or ownership.life is self._life
            or ownership.life.over
            or now >= ownership.lease_until
        )

    def _owned(self, waited: float) -> PartitionOwned:
        ownership = self.shared.partition.ownership
        host, pid = ("", 0) if ownership.owner is None else (ownership.owner.host, ownership.owner.pid)
        return PartitionOwned(0, host, pid, self._now() - ownership.since, waited)


def _closed() -> StoreUnavailable:
    return StoreUnavailable("memory: is not open; nothing was read or written")
