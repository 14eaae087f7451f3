"""Files that nothing refers to any more: found when the log that named them is gone, deleted when that is sure.

A file is deleted only if the log named it once, so that what somebody keeps for other purposes stays. From the moment
it is looked at, puts of the same content are watched: one that comes saves it. It is deleted when an hour has passed,
every execution that was open at that moment has ended (what it had put it has recorded by now, or never will), and no
document, journal or waiting event names it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Final

import anyio

from intendant.actors.tiers import Tiers
from intendant.domain import state as states
from intendant.domain.digests import named_in
from intendant.domain.ids import first_id
from intendant.domain.ports import FileStore, IndexMember, LogReader

ORPHANS_MAX: Final = 4_096  # of a tenant that are looked at at a time
GRACE: Final = 3_600_000_000  # µs that who puts content has to say so
_PAGE: Final = 256
_INDEX_PAGE: Final = 1_000

Digest = tuple[str, str]  # tenant and digest


class WatchedFiles:
    """A file store that notes which of the watched files are put again. Fulfils FileStore."""

    def __init__(self, inner: FileStore) -> None:
        self._inner = inner
        self._since: dict[Digest, int] = {}  # since when each is watched: µs since 1970 UTC
        self._putting: Counter[str] = Counter()  # puts that are under way, by tenant
        self._deleting: dict[str, anyio.Event] = {}  # by tenant

    async def put(self, tenant: str, content: bytes) -> str:
        """See `FileStore.put`."""
        while tenant in self._deleting:
            await self._deleting[tenant].wait()
        self._putting[tenant] += 1
        try:
            digest = await self._inner.put(tenant, content)
            self._since.pop((tenant, digest), None)
        finally:
            self._putting[tenant] -= 1
            if not self._putting[tenant]:
                del self._putting[tenant]
        return digest

    async def get(self, tenant: str, digest: str) -> bytes | None:
        """See `FileStore.get`."""
        return await self._inner.get(tenant, digest)

    async def delete(self, tenant: str, digest: str) -> None:
        """See `FileStore.delete`."""
        await self._inner.delete(tenant, digest)

    async def digests(self, tenant: str) -> list[str]:
        """See `FileStore.digests`."""
        return await self._inner.digests(tenant)

    async def clear(self, tenant: str) -> None:
        """See `FileStore.clear`; what is put meanwhile comes after it."""
        while tenant in self._deleting:
            await self._deleting[tenant].wait()
        done = self._deleting[tenant] = anyio.Event()
        try:
            await self._inner.clear(tenant)
        finally:
            del self._deleting[tenant]
            done.set()

    def watch(self, tenant: str, digest: str, now: int) -> None:
        """Note from now on whether it is put again."""
        self._since[tenant, digest] = now

    def forget(self, tenant: str, digest: str) -> None:
        """Watch it no more."""
        self._since.pop((tenant, digest), None)

    def watched_since(self, tenant: str, digest: str) -> int | None:
        """Since when it is watched, and was not put again; None if it was, or is not watched."""
        return self._since.get((tenant, digest))

    async def delete_unused(self, tenant: str, digest: str) -> bool:
        """Delete it if it was not put again; while anything of the tenant is being put, nothing is deleted."""
        if tenant in self._putting or (tenant, digest) not in self._since:
            return False
        done = self._deleting[tenant] = anyio.Event()
        try:
            await self._inner.delete(tenant, digest)
        finally:
            del self._deleting[tenant]
            done.set()
        return True


class Orphans:
    """Looks after the files of one partition's tenants. It remembers from sweep to sweep what it has looked at."""

    def __init__(self, log: LogReader, tiers: Tiers, files: WatchedFiles) -> None:
        self._log = log
        self._tiers = tiers
        self._files = files
        self._looked_at: set[Digest] = set()

    async def digests(self, tenant: str) -> frozenset[str]:
        """The files that a tenant has."""
        return frozenset(await self._files.digests(tenant))

    async def collect(
        self, tenant: str, orphans: list[str], now: int, rest: Callable[[], Awaitable[None]]
    ) -> tuple[list[str], list[str]]:
        """Delete what may be; returns what was deleted, and what is to be looked at again."""
        again: list[str] = []
        ready: list[str] = []
        oldest = await self._oldest_open(tenant)
        for digest in orphans:
            since = self._files.watched_since(tenant, digest)
            if (tenant, digest) not in self._looked_at:
                self._looked_at.add((tenant, digest))
                self._files.watch(tenant, digest, now)
                again.append(digest)
            elif since is None:
                self._forget(tenant, digest)  # it was put again: the log names it once more
            elif now - since < GRACE or oldest < first_id(since):
                again.append(digest)
            else:
                ready.append(digest)
        deleted: list[str] = []
        used = await self._referred_to(tenant, frozenset(ready), rest)
        for digest in ready:
            if digest not in used and not await self._files.delete_unused(tenant, digest):
                again.append(digest)
                continue
            if digest not in used:
                deleted.append(digest)
            self._forget(tenant, digest)
        return deleted, again

    def _forget(self, tenant: str, digest: str) -> None:
        self._looked_at.discard((tenant, digest))
        self._files.forget(tenant, digest)

    async def _open(self, tenant: str) -> AsyncGenerator[str]:
        """The tenant's open executions."""
        after: IndexMember | None = None
        while page := await self._log.index(states.OPEN, after=after, limit=_INDEX_PAGE):
            for each in page:
                if each.tenant == tenant:
                    yield each.member
            after = page[-1]

    async def _oldest_open(self, tenant: str) -> str:
        """Ids sort by time. Higher than any id when nothing is open."""
        return min([each async for each in self._open(tenant)], default="~")

    async def _referred_to(self, tenant: str, digests: frozenset[str], rest: Callable[[], Awaitable[None]]) -> set[str]:
        """Those that a document, a journal or a waiting event of the tenant names."""
        found: set[str] = set()
        if not digests:
            return found
        async for execution in self._open(tenant):
            found |= named_in(await self._log.journal(tenant, execution), digests)
        after_event = 0
        while events := await self._log.outbox(after=after_event, limit=_PAGE, tenant=tenant):
            found |= named_in([each.body for each in events], digests)
            after_event = events[-1].position
        for collection in states.CONTENT:
            after = ""
            while page := await self._tiers.documents(tenant, collection, after=after, limit=_PAGE):
                found |= named_in([each.body for each in page], digests)
                after = page[-1].key
                await rest()
        return found
