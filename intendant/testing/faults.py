"""A store that fails when it is told to, for crash tests: at every commit, before it is applied and after.

plan = {3: Fault.REPLY_LOST, 7: Fault.DIE_AFTER}           # or a function of the commit's number, from 1
store = FaultyStore(MemoryStore(), plan)
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping, Sequence

from intendant.domain.commit import Batch, KeysTaken, Verdict
from intendant.domain.errors import StoreUnavailable
from intendant.domain.ports import (
    Document,
    Durability,
    Holding,
    IndexMember,
    Log,
    OutboxItem,
    Owner,
    Store,
    Tenure,
    Usage,
)


class Fault(enum.Enum):
    """What happens to one call."""

    NONE = "none"
    NOT_APPLIED = "not_applied"  # StoreUnavailable, and nothing was done
    REPLY_LOST = "reply_lost"  # done, then StoreUnavailable
    DIE_BEFORE = "die_before"  # ProcessDied, and nothing was done
    DIE_AFTER = "die_after"  # done, then ProcessDied


class ProcessDied(BaseException):
    """Stands for the death of the process: whoever catches it must do nothing more that the outside could see.

    From then on every call to the store but `close` raises it, because a dead process does not get any further.
    """


Plan = Mapping[int, Fault] | Callable[[int], Fault]
"""The fault of the n-th call, counted from 1 over all partitions. A mapping says only which calls are faulty."""


class FaultyStore:
    """Wraps a store, counts what is asked of it, and fails by plan.

    `commits` counts calls of `commit`, `reads` those of all reading methods; `dead` says whether it has died. The
    wrapped store is as good as new for the next process: wrap it again, or use it bare.
    """

    def __init__(self, inner: Store, plan: Plan | None = None, *, reads: Plan | None = None) -> None:
        self.inner = inner
        self.commits = 0
        self.reads = 0
        self.dead = False
        self._commit_plan = _as_function(plan)
        self._read_plan = _as_function(reads)
        self._logs: dict[int, FaultyLog] = {}

    @property
    def name(self) -> str:
        """See `Store.name`."""
        return self.inner.name

    @property
    def partitions(self) -> int:
        """See `Store.partitions`."""
        return self.inner.partitions

    @property
    def durability(self) -> Durability:
        """See `Store.durability`."""
        return self.inner.durability

    @property
    def apart(self) -> bool:
        """See `Store.apart`."""
        return self.inner.apart

    @property
    def loss_window(self) -> float:
        """See `Store.loss_window`."""
        return self.inner.loss_window

    async def usage(self) -> Usage:
        """See `Store.usage`."""
        self.check_alive()
        return await self.inner.usage()

    async def open(self) -> None:
        """See `Store.open`."""
        self.check_alive()
        await self.inner.open()

    async def close(self) -> None:
        """See `Store.close`. Also closes the wrapped store of a dead process, as the operating system would."""
        await self.inner.close()

    def log(self, partition: int) -> FaultyLog:
        """See `Store.log`."""
        if partition not in self._logs:
            self._logs[partition] = FaultyLog(self, self.inner.log(partition))
        return self._logs[partition]

    def die(self) -> None:
        """Die now: every later call raises ProcessDied."""
        self.dead = True

    def check_alive(self) -> None:
        """Raise ProcessDied if it has died."""
        if self.dead:
            raise ProcessDied

    def next_commit(self) -> Fault:
        """Count a commit and say what is to happen to it."""
        self.check_alive()
        self.commits += 1
        return self._commit_plan(self.commits)

    def next_read(self) -> Fault:
        """Count a read and say what is to happen to it."""
        self.check_alive()
        self.reads += 1
        return self._read_plan(self.reads)


class FaultyLog:
    """The log of a FaultyStore."""

    def __init__(self, store: FaultyStore, inner: Log) -> None:
        self._store = store
        self._inner = inner

    @property
    def durability(self) -> Durability:
        """See `Log.durability`."""
        return self._inner.durability

    async def holder(self) -> Holding | None:
        """See `Log.holder`."""
        self._store.check_alive()
        return await self._inner.holder()

    async def acquire(self, owner: Owner, *, timeout: float, lease: float, above: int = 0) -> Tenure:
        """See `Log.acquire`."""
        self._store.check_alive()
        return await self._inner.acquire(owner, timeout=timeout, lease=lease, above=above)

    async def renew(self, tenure: Tenure, next_sequence: int) -> Verdict:
        """See `Log.renew`."""
        self._store.check_alive()
        return await self._inner.renew(tenure, next_sequence)

    async def release(self, tenure: Tenure) -> None:
        """See `Log.release`."""
        self._store.check_alive()
        await self._inner.release(tenure)

    async def commit(self, batch: Batch) -> Verdict | KeysTaken:
        """See `Log.commit`; fails by plan."""
        fault = self._store.next_commit()
        self._fail_before(fault)
        answer = await self._inner.commit(batch)
        self._fail_after(fault)
        return answer

    async def scrub(self) -> None:
        """See `Log.scrub`."""
        self._store.check_alive()
        await self._inner.scrub()

    async def document(self, tenant: str, collection: str, key: str) -> Document | None:
        """See `LogReader.document`; fails by plan, as all reads."""
        self._read()
        return await self._inner.document(tenant, collection, key)

    async def fetch(self, wanted: Sequence[tuple[str, str, str]]) -> list[Document | None]:
        """See `LogReader.fetch`."""
        self._read()
        return await self._inner.fetch(wanted)

    async def documents(
        self, tenant: str, collection: str, *, after: str = "", limit: int = 100, newest_first: bool = False
    ) -> list[Document]:
        """See `LogReader.documents`."""
        self._read()
        return await self._inner.documents(tenant, collection, after=after, limit=limit, newest_first=newest_first)

    async def journal(self, tenant: str, execution: str) -> list[bytes]:
        """See `LogReader.journal`."""
        self._read()
        return await self._inner.journal(tenant, execution)

    async def journals(self, wanted: Sequence[tuple[str, str]]) -> list[list[bytes]]:
        """See `LogReader.journals`."""
        self._read()
        return await self._inner.journals(wanted)

    async def index(self, name: str, *, after: IndexMember | None = None, limit: int = 1000) -> list[IndexMember]:
        """See `LogReader.index`."""
        self._read()
        return await self._inner.index(name, after=after, limit=limit)

    async def key(self, tenant: str, key: str) -> bytes | None:
        """See `LogReader.key`."""
        self._read()
        return await self._inner.key(tenant, key)

    async def keys(self, tenant: str, *, after: str = "", limit: int = 1000) -> list[tuple[str, bytes]]:
        """See `LogReader.keys`."""
        self._read()
        return await self._inner.keys(tenant, after=after, limit=limit)

    async def tenants(self, *, after: str = "", limit: int = 1000) -> list[str]:
        """See `LogReader.tenants`."""
        self._read()
        return await self._inner.tenants(after=after, limit=limit)

    async def outbox(self, *, after: int = 0, limit: int = 256, tenant: str | None = None) -> list[OutboxItem]:
        """See `LogReader.outbox`."""
        self._read()
        return await self._inner.outbox(after=after, limit=limit, tenant=tenant)

    async def checkpoint(self, name: str) -> int:
        """See `LogReader.checkpoint`."""
        self._read()
        return await self._inner.checkpoint(name)

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
        self._read()
        return await self._inner.entries(tenant, first=first, last=last, limit=limit, newest_first=newest_first)

    async def position_at(self, time: int) -> int:
        """See `LogReader.position_at`."""
        self._read()
        return await self._inner.position_at(time)

    def _read(self) -> None:
        fault = self._store.next_read()
        self._fail_before(fault)
        self._fail_after(fault)  # a read changes nothing: before and after are the same

    def _fail_before(self, fault: Fault) -> None:
        if fault is Fault.NOT_APPLIED:
            raise StoreUnavailable(f"{self._store.name}: planned fault, nothing was done")
        if fault is Fault.DIE_BEFORE:
            self._store.die()
            raise ProcessDied

    def _fail_after(self, fault: Fault) -> None:
        if fault is Fault.REPLY_LOST:
            raise StoreUnavailable(f"{self._store.name}: planned fault, the reply is lost")
        if fault is Fault.DIE_AFTER:
            self._store.die()
        self._store.check_alive()


def _as_function(plan: Plan | None) -> Callable[[int], Fault]:
    if plan is None:
        return lambda _: Fault.NONE
    return plan if callable(plan) else lambda number: plan.get(number, Fault.NONE)
