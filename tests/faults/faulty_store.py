"""A store that fails as planned."""

from __future__ import annotations

from collections.abc import Sequence

from intendant.domain.commit import Batch, KeysTaken, Verdict
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


class Plan:
    """Told of every call of the store, before and after; what it raises, the store raises. This one lets all pass."""

    async def before_commit(self, number: int, batch: Batch) -> None: ...

    async def after_commit(self, number: int, batch: Batch) -> None: ...

    async def before_read(self, number: int, what: str) -> None: ...


class FaultyStore:
    """A store around another one that does what its plan says."""

    def __init__(self, inner: Store, plan: Plan) -> None:
        self.inner = inner
        self._log = FaultyLog(inner.log(0), plan)

    @property
    def name(self) -> str:
        return self.inner.name

    @property
    def partitions(self) -> int:
        return self.inner.partitions

    @property
    def durability(self) -> Durability:
        return self.inner.durability

    @property
    def apart(self) -> bool:
        return self.inner.apart

    @property
    def loss_window(self) -> float:
        return self.inner.loss_window

    async def usage(self) -> Usage:
        return await self.inner.usage()

    async def open(self) -> None:
        await self.inner.open()

    async def close(self) -> None:
        await self.inner.close()

    def log(self, partition: int) -> FaultyLog:
        return self._log


class FaultyLog:
    """The log of a FaultyStore."""

    def __init__(self, inner: Log, plan: Plan) -> None:
        self.inner = inner
        self.plan = plan
        self.commits = 0
        self.reads = 0

    @property
    def durability(self) -> Durability:
        return self.inner.durability

    async def commit(self, batch: Batch) -> Verdict | KeysTaken:
        self.commits += 1
        number = self.commits
        await self.plan.before_commit(number, batch)
        verdict = await self.inner.commit(batch)
        await self.plan.after_commit(number, batch)
        return verdict

    async def holder(self) -> Holding | None:
        return await self.inner.holder()

    async def acquire(self, owner: Owner, *, timeout: float, lease: float, above: int = 0) -> Tenure:
        return await self.inner.acquire(owner, timeout=timeout, lease=lease, above=above)

    async def renew(self, tenure: Tenure, next_sequence: int) -> Verdict:
        await self._read("renew")
        return await self.inner.renew(tenure, next_sequence)

    async def release(self, tenure: Tenure) -> None:
        await self.inner.release(tenure)

    async def scrub(self) -> None:
        await self.inner.scrub()

    async def document(self, tenant: str, collection: str, key: str) -> Document | None:
        await self._read("document")
        return await self.inner.document(tenant, collection, key)

    async def fetch(self, wanted: Sequence[tuple[str, str, str]]) -> list[Document | None]:
        await self._read("fetch")
        return await self.inner.fetch(wanted)

    async def keys(self, tenant: str, *, after: str = "", limit: int = 1000) -> list[tuple[str, bytes]]:
        await self._read("keys")
        return await self.inner.keys(tenant, after=after, limit=limit)

    async def tenants(self, *, after: str = "", limit: int = 1000) -> list[str]:
        await self._read("tenants")
        return await self.inner.tenants(after=after, limit=limit)

    async def documents(
        self, tenant: str, collection: str, *, after: str = "", limit: int = 100, newest_first: bool = False
    ) -> list[Document]:
        await self._read("documents")
        return await self.inner.documents(tenant, collection, after=after, limit=limit, newest_first=newest_first)

    async def journal(self, tenant: str, execution: str) -> list[bytes]:
        await self._read("journal")
        return await self.inner.journal(tenant, execution)

    async def journals(self, wanted: Sequence[tuple[str, str]]) -> list[list[bytes]]:
        await self._read("journals")
        return await self.inner.journals(wanted)

    async def index(self, name: str, *, after: IndexMember | None = None, limit: int = 1000) -> list[IndexMember]:
        await self._read("index")
        return await self.inner.index(name, after=after, limit=limit)

    async def key(self, tenant: str, key: str) -> bytes | None:
        await self._read("key")
        return await self.inner.key(tenant, key)

    async def outbox(self, *, after: int = 0, limit: int = 256, tenant: str | None = None) -> list[OutboxItem]:
        await self._read("outbox")
        return await self.inner.outbox(after=after, limit=limit, tenant=tenant)

    async def checkpoint(self, name: str) -> int:
        await self._read("checkpoint")
        return await self.inner.checkpoint(name)

    async def entries(
        self,
        tenant: str | None,
        *,
        first: int = 0,
        last: int | None = None,
        limit: int = 100,
        newest_first: bool = False,
    ) -> list[bytes]:
        await self._read("entries")
        return await self.inner.entries(tenant, first=first, last=last, limit=limit, newest_first=newest_first)

    async def position_at(self, time: int) -> int:
        await self._read("position_at")
        return await self.inner.position_at(time)

    async def _read(self, what: str) -> None:
        self.reads += 1
        await self.plan.before_read(self.reads, what)
