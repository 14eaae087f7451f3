"""A file store for one run of a handler, which notes what was put: nobody else knows of it before it is recorded."""

from __future__ import annotations

from msgspec import Struct

from intendant.domain.ports import FileStore


class NotedFiles(Struct, gc=False):
    """Fulfils FileStore. `put_here` are the digests of what was put through it."""

    _inner: FileStore
    put_here: frozenset[str] = frozenset()  # shared by all that put nothing, which are most

    async def put(self, tenant: str, content: bytes) -> str:
        """See `FileStore.put`."""
        digest = await self._inner.put(tenant, content)
        self.put_here |= {digest}
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
        """See `FileStore.clear`."""
        await self._inner.clear(tenant)
