"""Files in memory."""

from __future__ import annotations

from hashlib import blake2b


class MemoryFileStore:
    """A file store in memory: dies with the process."""

    def __init__(self) -> None:
        self._contents: dict[str, dict[str, bytes]] = {}

    async def put(self, tenant: str, content: bytes) -> str:
        """See `FileStore.put`."""
        digest = blake2b(content, digest_size=32).hexdigest()
        self._contents.setdefault(tenant, {})[digest] = bytes(content)
        return digest

    async def get(self, tenant: str, digest: str) -> bytes | None:
        """See `FileStore.get`."""
        return self._contents.get(tenant, {}).get(digest)

    async def delete(self, tenant: str, digest: str) -> None:
        """See `FileStore.delete`."""
        self._contents.get(tenant, {}).pop(digest, None)

    async def digests(self, tenant: str) -> list[str]:
        """See `FileStore.digests`."""
        return sorted(self._contents.get(tenant, {}))

    async def clear(self, tenant: str) -> None:
        """See `FileStore.clear`."""
        self._contents.pop(tenant, None)
