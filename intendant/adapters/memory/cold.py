"""Cold state in memory."""

from __future__ import annotations

from collections.abc import Sequence

from intendant.adapters.memory.partition import Sorted
from intendant.domain.errors import StoreUnavailable
from intendant.domain.ports import Chunk, ColdDocument
from intendant.domain.refused import REFUSED, ends_below, letter_of_chunk, letter_of_document


class MemoryColdStore:
    """A cold store in memory. Its data outlive `close()`. Tombstones lie apart, so that no read meets them."""

    def __init__(self) -> None:
        self.name = "memory:"
        self._open = False
        self._documents: dict[tuple[str, str], Sorted[str, ColdDocument]] = {}  # by tenant and collection
        self._chunks: dict[tuple[int, str], Sorted[int, Chunk]] = {}  # by partition and tenant
        self._buried_documents: dict[tuple[str, str, str], int] = {}  # and the version of each
        self._buried_chunks: dict[tuple[int, str], dict[int, Chunk]] = {}

    async def open(self) -> None:
        """Make it usable."""
        self._open = True

    async def close(self) -> None:
        """Make it unusable until it is opened again. The data stay."""
        self._open = False

    async def archive(self, partition: int, chunks: Sequence[Chunk]) -> None:
        """See `ColdStore.archive`."""
        self._check()
        for chunk in chunks:
            place = (partition, chunk.tenant)
            live = self._chunks.setdefault(place, Sorted())
            buried = self._buried_chunks.setdefault(place, {})
            kept = live.values.get(chunk.first) or buried.get(chunk.first)
            if kept is not None and chunk.version <= kept.version:
                continue
            if chunk.entries:
                buried.pop(chunk.first, None)
                live.put(chunk.first, chunk)
            else:
                live.remove(chunk.first)
                buried[chunk.first] = chunk

    async def put(self, documents: Sequence[ColdDocument]) -> None:
        """See `ColdStore.put`."""
        self._check()
        for document in documents:
            place = (document.tenant, document.collection, document.key)
            live = self._documents.setdefault(place[:2], Sorted())
            kept = live.values.get(document.key)
            newest = self._buried_documents.get(place) if kept is None else kept.version
            if newest is not None and document.version <= newest:
                continue
            if document.body is None:
                live.remove(document.key)
                self._buried_documents[place] = document.version
            else:
                self._buried_documents.pop(place, None)
                live.put(document.key, document)

    async def document(self, tenant: str, collection: str, key: str) -> ColdDocument | None:
        """See `ColdStore.document`."""
        self._check()
        documents = self._documents.get((tenant, collection))
        return None if documents is None else documents.values.get(key)

    async def documents(
        self, tenant: str, collection: str, *, after: str = "", limit: int = 100, newest_first: bool = False
    ) -> list[ColdDocument]:
        """See `ColdStore.documents`."""
        self._check()
        documents = self._documents.get((tenant, collection))
        if documents is None:
            return []
        return documents.before(after or None, limit) if newest_first else documents.after(after or None, limit)

    async def chunks(
        self,
        partition: int,
        tenant: str | None,
        *,
        first: int = 0,
        last: int | None = None,
        limit: int = 100,
        newest_first: bool = False,
    ) -> list[Chunk]:
        """See `ColdStore.chunks`."""
        self._check()
        found = [
            chunk
            for (of_partition, of), chunks in self._chunks.items()
            if of_partition == partition and tenant in (of, None)
            for chunk in chunks.values.values()
            if chunk.last >= first and (last is None or chunk.first <= last)
        ]
        return sorted(found, key=lambda chunk: chunk.first, reverse=newest_first)[:limit]

    async def tail(self, partition: int) -> int:
        """See `ColdStore.tail`."""
        self._check()
        live = [chunks.values for (of, _), chunks in self._chunks.items() if of == partition]
        buried = [chunks for (of, _), chunks in self._buried_chunks.items() if of == partition]
        return max((chunk.last for chunks in (*live, *buried) for chunk in chunks.values()), default=0)

    async def tenants(self, *, after: str = "", limit: int = 1000) -> list[str]:
        """See `ColdStore.tenants`."""
        self._check()
        found = {tenant for (tenant, _), documents in self._documents.items() if documents.values}
        found |= {tenant for (_, tenant), chunks in self._chunks.items() if chunks.values}
        return sorted(tenant for tenant in found if tenant > after or not after)[:limit]

    async def remove(self, documents: Sequence[tuple[str, str, str]]) -> None:
        """See `ColdStore.remove`."""
        self._check()
        for tenant, collection, key in documents:
            self._remove(tenant, collection, key)
            self._remove(tenant, REFUSED, letter_of_document(collection, key))

    async def trim(self, partition: int, tenant: str, *, below: int) -> None:
        """See `ColdStore.trim`."""
        self._check()
        live = self._chunks.get((partition, tenant), Sorted())
        for first in [first for first, chunk in live.values.items() if chunk.last < below]:
            live.remove(first)
        buried = self._buried_chunks.get((partition, tenant), {})
        for first in [first for first, chunk in buried.items() if chunk.last < below]:
            del buried[first]
        prefix, letters = letter_of_chunk(partition, None), self._documents.get((tenant, REFUSED), Sorted())
        for letter in list(letters.values.values()):
            if letter.key.startswith(prefix) and ends_below(letter, below):
                letters.remove(letter.key)

    def _remove(self, tenant: str, collection: str, key: str) -> None:
        self._buried_documents.pop((tenant, collection, key), None)
        if (tenant, collection) in self._documents:
            self._documents[tenant, collection].remove(key)

    def _check(self) -> None:
        if not self._open:
            raise StoreUnavailable("memory: is not open; nothing was read or written")
