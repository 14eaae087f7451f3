"""A store around another one: each call is passed on, after whoever stands between was asked."""

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


class StoreAround:
    """A store that is `inner`, but for its logs, which subclasses make in `log`."""

    def __init__(self, inner: Store) -> None:
        self.inner = inner

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
        return await self.inner.usage()

    async def open(self) -> None:
        """See `Store.open`."""
        await self.inner.open()

    async def close(self) -> None:
        """See `Store.close`."""
        await self.inner.close()


class LogAround:
    """A log that asks `before` and `before_read` first. What these raise, the call raises, and nothing was done."""

    def __init__(self, inner: Log) -> None:
        self.inner = inner

    async def before(self, call: str, /) -> None:
        """`call` is the name of a method that reads nothing and commits nothing."""

    async def before_read(self, call: str, /) -> None:
        """`call` is the name of a method that reads."""

    @property
    def durability(self) -> Durability:
        """See `Log.durability`."""
        return self.inner.durability

    async def commit(self, batch: Batch) -> Verdict | KeysTaken:
        """See `Log.commit`."""
        return await self.inner.commit(batch)

    async def holder(self) -> Holding | None:
        """See `Log.holder`."""
        await self.before("holder")
        return await self.inner.holder()

    async def acquire(self, owner: Owner, *, timeout: float, lease: float, above: int = 0) -> Tenure:
        """See `Log.acquire`."""
        await self.before("acquire")
        return await self.inner.acquire(owner, timeout=timeout, lease=lease, above=above)

    async def renew(self, tenure: Tenure, next_sequence: int) -> Verdict:
        """See `Log.renew`."""
        await self.before("renew")
        return await self.inner.renew(tenure, next_sequence)

    async def release(self, tenure: Tenure) -> None:
        """See `Log.release`."""
        await self.before("release")
        await self.inner.release(tenure)

    async def scrub(self) -> None:
        """See `Log.scrub`."""
        await self.before("scrub")
        await self.inner.scrub()

    async def document(self, tenant: str, collection: str, key: str) -> Document | None:
        """See `LogReader.document`."""
        await self.before_read("document")
        return await self.inner.document(tenant, collection, key)

    async def fetch(self, wanted: Sequence[tuple[str, str, str]]) -> list[Document | None]:
        """See `LogReader.fetch`."""
        await self.before_read("fetch")
        return await self.inner.fetch(wanted)

    async def documents(
        self, tenant: str, collection: str, *, after: str = "", limit: int = 100, newest_first: bool = False
    ) -> list[Document]:
        """See `LogReader.documents`."""
        await self.before_read("documents")
        return await self.inner.documents(tenant, collection, after=after, limit=limit, newest_first=newest_first)

    async def journal(self, tenant: str, execution: str) -> list[bytes]:
        """See `LogReader.journal`."""
        await self.before_read("journal")
        return await self.inner.journal(tenant, execution)

    async def journals(self, wanted: Sequence[tuple[str, str]]) -> list[list[bytes]]:
        """See `LogReader.journals`."""
        await self.before_read("journals")
        return await self.inner.journals(wanted)

    async def index(self, name: str, *, after: IndexMember | None = None, limit: int = 1000) -> list[IndexMember]:
        """See `LogReader.index`."""
        await self.before_read("index")
        return await self.inner.index(name, after=after, limit=limit)

    async def key(self, tenant: str, key: str) -> bytes | None:
        """See `LogReader.key`."""
        await self.before_read("key")
        return await self.inner.key(tenant, key)

    async def keys(self, tenant: str, *, after: str = "", limit: int = 1000) -> list[tuple[str, bytes]]:
        """See `LogReader.keys`."""
        await self.before_read("keys")
        return await self.inner.keys(tenant, after=after, limit=limit)

    async def tenants(self, *, after: str = "", limit: int = 1000) -> list[str]:
        """See `LogReader.tenants`."""
        await self.before_read("tenants")
        return await self.inner.tenants(after=after, limit=limit)

    async def outbox(self, *, after: int = 0, limit: int = 256, tenant: str | None = None) -> list[OutboxItem]:
        """See `LogReader.outbox`."""
        await self.before_read("outbox")
        return await self.inner.outbox(after=after, limit=limit, tenant=tenant)

    async def checkpoint(self, name: str) -> int:
        """See `LogReader.checkpoint`."""
        await self.before_read("checkpoint")
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
        """See `LogReader.entries`."""
        await self.before_read("entries")
        return await self.inner.entries(tenant, first=first, last=last, limit=limit, newest_first=newest_first)

    async def position_at(self, time: int) -> int:
        """See `LogReader.position_at`."""
        await self.before_read("position_at")
        return await self.inner.position_at(time)
