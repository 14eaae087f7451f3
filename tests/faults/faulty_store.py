"""A store that fails as planned."""

from __future__ import annotations

from intendant.domain.commit import Batch, KeysTaken, Verdict
from intendant.domain.ports import Log, Store
from intendant.testing.around import LogAround, StoreAround


class Plan:
    """Told of every call of the store, before and after; what it raises, the store raises. This one lets all pass."""

    async def before_commit(self, number: int, batch: Batch) -> None: ...

    async def after_commit(self, number: int, batch: Batch) -> None: ...

    async def before_read(self, number: int, what: str) -> None: ...


class FaultyStore(StoreAround):
    """A store of one partition around another one that does what its plan says."""

    def __init__(self, inner: Store, plan: Plan) -> None:
        super().__init__(inner)
        self._log = FaultyLog(inner.log(0), plan)

    def log(self, partition: int) -> FaultyLog:
        return self._log


class FaultyLog(LogAround):
    """The log of a FaultyStore."""

    def __init__(self, inner: Log, plan: Plan) -> None:
        super().__init__(inner)
        self.plan = plan
        self.commits = 0
        self.reads = 0

    async def commit(self, batch: Batch) -> Verdict | KeysTaken:
        self.commits += 1
        number = self.commits
        await self.plan.before_commit(number, batch)
        verdict = await super().commit(batch)
        await self.plan.after_commit(number, batch)
        return verdict

    async def before(self, call: str, /) -> None:
        if call == "renew":  # by it a writer learns that it is not the owner any more
            await self.before_read(call)

    async def before_read(self, call: str, /) -> None:
        self.reads += 1
        await self.plan.before_read(self.reads, call)
