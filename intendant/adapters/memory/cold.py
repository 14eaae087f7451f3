"""Cold state in memory."""

from __future__ import annotations

from collections.abc import Sequence

from intendant.domain.errors import StoreUnavailable
from intendant.domain.ports import ColdDocument


class MemoryColdStore:
    """A cold store in memory. Its data outlive `close()`."""

    def __init__(self) -> None:
        self._open = False
        self._documents: dict[tuple[str, str, str], ColdDocument] = {}
        self._archive: dict[tuple[int, str, int], bytes] = {}

    async def open(self) -> None:
        """Make it usable."""
        self._open = True

    async def close(self) -> None:
        """Make it unusable until it is opened again. The data stay."""
        self._open = False

    async def archive(self, partition: int, entries: Sequence[tuple[str, int, bytes]]) -> None:
        """See `ColdStore.archive`."""
        self._check()
        for tenant, first, entry in entries:
            self._archive.setdefault((partition, tenant, first), entry)

    async def put(self, documents: Sequence[ColdDocument]) -> None:
        """See `ColdStore.put`."""
        self._check()
        for document in documents:
            place = (document.tenant, document.collection, document.key)
            kept = self._documents.get(place)
            if kept is None or document.version > kept.version:
                self._documents[place] = document

    async def document(self, tenant: str, collection: str, key: str) -> ColdDocument | None:
        """See `ColdStore.document`."""
        self._check()
        document = self._documents.get((tenant, collection, key))
        return None if document is None or document.body is None else document

    async def archived(self, partition: int, tenant: str | None = None) -> list[bytes]:
        """See `ColdStore.archived`."""
        self._check()
        found = [
            (first, entry)
            for (of_partition, of_tenant, first), entry in self._archive.items()
            if of_partition == partition and (tenant is None or of_tenant == tenant)
        ]
        return [entry for _, entry in sorted(found)]

    def _check(self) -> None:
        if not self._open:
            raise StoreUnavailable("memory: is not open; nothing was read or written")
