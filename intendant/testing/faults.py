"""A store that fails when it is told to, for crash tests: at every commit, before it is applied and after.

plan = {3: Fault.REPLY_LOST, 7: Fault.DIE_AFTER}           # or a function of the commit's number, from 1
store = FaultyStore(MemoryStore(), plan)
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping

from intendant.domain.commit import Batch, KeysTaken, Verdict
from intendant.domain.errors import StoreUnavailable
from intendant.domain.ports import Log, Store, Usage
from intendant.testing.around import LogAround, StoreAround


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


class FaultyStore(StoreAround):
    """Wraps a store, counts what is asked of it, and fails by plan.

    `commits` counts calls of `commit`, `reads` those of all reading methods; `dead` says whether it has died. The
    wrapped store is as good as new for the next process: wrap it again, or use it bare.
    """

    def __init__(self, inner: Store, plan: Plan | None = None, *, reads: Plan | None = None) -> None:
        super().__init__(inner)
        self.commits = 0
        self.reads = 0
        self.dead = False
        self._commit_plan = _as_function(plan)
        self._read_plan = _as_function(reads)
        self._logs: dict[int, FaultyLog] = {}

    async def usage(self) -> Usage:
        """See `Store.usage`."""
        self.check_alive()
        return await super().usage()

    async def open(self) -> None:
        """See `Store.open`. Once it has died only `close` is done, as the operating system would do it."""
        self.check_alive()
        await super().open()

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


class FaultyLog(LogAround):
    """The log of a FaultyStore."""

    def __init__(self, store: FaultyStore, inner: Log) -> None:
        super().__init__(inner)
        self._store = store

    async def before(self, _call: str, /) -> None:
        """A dead process does not get any further."""
        self._store.check_alive()

    async def before_read(self, _call: str, /) -> None:
        """Every read fails by plan."""
        fault = self._store.next_read()
        self._fail_before(fault)
        self._fail_after(fault)  # a read changes nothing: before and after are the same

    async def commit(self, batch: Batch) -> Verdict | KeysTaken:
        """See `Log.commit`; fails by plan."""
        fault = self._store.next_commit()
        self._fail_before(fault)
        answer = await super().commit(batch)
        self._fail_after(fault)
        return answer

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
