from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from intendant.adapters.files import DirectoryFileStore
from intendant.adapters.memory import MemoryColdStore, MemoryFileStore
from intendant.adapters.memory.partition import Sorted
from intendant.domain.errors import InternalError, StoreUnavailable
from intendant.domain.ports import Chunk, ColdDocument, ColdStore, FileStore
from intendant.domain.records import DamagedEntry
from intendant.testing.conformance import (
    COLD_CHECKS,
    FILE_CHECKS,
    BrokenPromise,
    OpenCold,
    OpenFiles,
    check_cold,
    check_files,
)
from intendant.testing.conformance.cold import ColdCheck
from intendant.testing.conformance.files import FileCheck

pytestmark = pytest.mark.anyio


def memory_cold(kind: type[MemoryColdStore] = MemoryColdStore) -> OpenCold:
    store = kind()

    @asynccontextmanager
    async def open_cold() -> AsyncGenerator[ColdStore]:
        await store.open()
        try:
            yield store
        finally:
            await store.close()

    return open_cold


def files_of(files: FileStore) -> OpenFiles:
    @asynccontextmanager
    async def open_files() -> AsyncGenerator[FileStore]:
        yield files

    return open_files


@pytest.mark.parametrize("check", COLD_CHECKS, ids=lambda check: check.__name__)
async def test_cold_memory(check: ColdCheck) -> None:
    await check(memory_cold())


async def test_cold_closed() -> None:
    with pytest.raises(StoreUnavailable):
        await MemoryColdStore().put([])


class NewestWriteWins(MemoryColdStore):
    async def put(self, documents: Sequence[ColdDocument]) -> None:
        self._documents.clear()
        await super().put(documents)


class ForgetsTombstones(MemoryColdStore):
    async def put(self, documents: Sequence[ColdDocument]) -> None:
        await super().put(documents)
        self._buried_documents.clear()


class TellsTombstones(MemoryColdStore):
    async def documents(self, tenant: str, collection: str, **options: Any) -> list[ColdDocument]:
        found = await super().documents(tenant, collection, **options)
        buried = [place for place in self._buried_documents if place[:2] == (tenant, collection)]
        return [*found, *(ColdDocument(*place, 1, None) for place in buried)]


class ShortPages(MemoryColdStore):
    """Counts tombstones, and then leaves them out."""

    async def documents(self, tenant: str, collection: str, *, limit: int = 100, **options: Any) -> list[ColdDocument]:
        buried = sum(1 for place in self._buried_documents if place[:2] == (tenant, collection))
        return await super().documents(tenant, collection, limit=max(limit - buried, 1), **options)


class KeepsATrace(MemoryColdStore):
    """Removing a document leaves a tombstone."""

    async def remove(self, documents: Sequence[tuple[str, str, str]]) -> None:
        for place in documents:
            found = await self.document(*place)
            await self.put([ColdDocument(*place, found.version + 1 if found else 1, None)])


class OneChunkForEver(MemoryColdStore):
    """The first one that came to a place stays there."""

    async def archive(self, partition: int, chunks: Sequence[Chunk]) -> None:
        kept = self._chunks
        await super().archive(
            partition,
            [each for each in chunks if each.first not in kept.get((partition, each.tenant), Sorted()).values],
        )


class ForgetsBuriedChunks(MemoryColdStore):
    async def archive(self, partition: int, chunks: Sequence[Chunk]) -> None:
        await super().archive(partition, chunks)
        self._buried_chunks.clear()


class TailOfTheLiving(MemoryColdStore):
    async def tail(self, partition: int) -> int:
        return max([each.last for each in await self.chunks(partition, None, limit=10**6)], default=0)


class BoundaryChunkLost(MemoryColdStore):
    """Forgets the chunk that begins before the range and reaches into it."""

    async def chunks(self, partition: int, tenant: str | None, *, first: int = 0, **options: Any) -> list[Chunk]:
        found = await super().chunks(partition, tenant, first=first, **options)
        return [chunk for chunk in found if chunk.first >= first]


class ChunksByTenant(MemoryColdStore):
    async def chunks(self, partition: int, tenant: str | None, **options: Any) -> list[Chunk]:
        return sorted(await super().chunks(partition, tenant, **options), key=lambda chunk: chunk.tenant)


class ChunksOfAllPartitions(MemoryColdStore):
    async def archive(self, partition: int, chunks: Sequence[Chunk]) -> None:
        await super().archive(0, chunks)

    async def chunks(self, partition: int, tenant: str | None, **options: Any) -> list[Chunk]:
        return await super().chunks(0, tenant, **options)


class TrimsTooMuch(MemoryColdStore):
    """Also what holds the sequence."""

    async def trim(self, partition: int, tenant: str, *, below: int) -> None:
        holding = await self.chunks(partition, tenant, first=below, last=below - 1)
        await super().trim(partition, tenant, below=max([below, *(chunk.last + 1 for chunk in holding)]))


class TrimsEveryTenant(MemoryColdStore):
    async def trim(self, partition: int, tenant: str, *, below: int) -> None:
        for each in await self.tenants():
            await super().trim(partition, each, below=below)


class TenantsOfTombstones(MemoryColdStore):
    async def tenants(self, *, after: str = "", limit: int = 1000) -> list[str]:
        buried = {place[0] for place in self._buried_documents if place[0] > after}
        return sorted({*await super().tenants(after=after, limit=limit), *buried})[:limit]


class TenantsOfDocuments(MemoryColdStore):
    async def tenants(self, *, after: str = "", limit: int = 1000) -> list[str]:
        found = {tenant for (tenant, _), documents in self._documents.items() if documents.values}
        return sorted(tenant for tenant in found if tenant > after or not after)[:limit]


COLD_BUGS: list[type[MemoryColdStore]] = [
    NewestWriteWins,
    ForgetsTombstones,
    TellsTombstones,
    ShortPages,
    KeepsATrace,
    OneChunkForEver,
    ForgetsBuriedChunks,
    TailOfTheLiving,
    BoundaryChunkLost,
    ChunksByTenant,
    ChunksOfAllPartitions,
    TrimsTooMuch,
    TrimsEveryTenant,
    TenantsOfTombstones,
    TenantsOfDocuments,
]


@pytest.mark.parametrize("bug", COLD_BUGS)
async def test_the_cold_suite_finds_planted_bugs(bug: type[MemoryColdStore]) -> None:
    with pytest.raises(BrokenPromise):
        await check_cold(lambda: memory_cold(bug))


@pytest.mark.parametrize("check", FILE_CHECKS, ids=lambda check: check.__name__)
class TestFiles:
    async def test_memory(self, check: FileCheck) -> None:
        await check(files_of(MemoryFileStore()))

    async def test_directory(self, check: FileCheck, tmp_path: Path) -> None:
        await check(files_of(DirectoryFileStore(tmp_path / "not" / "there" / "yet")))


class SharedFiles(MemoryFileStore):
    async def get(self, tenant: str, digest: str) -> bytes | None:
        return next((found for found in [c.get(digest) for c in self._contents.values()] if found is not None), None)


async def test_the_file_suite_finds_planted_bugs() -> None:
    with pytest.raises(BrokenPromise):
        await check_files(lambda: files_of(SharedFiles()))


async def test_no_id_becomes_a_name(tmp_path: Path) -> None:
    files = DirectoryFileStore(tmp_path)
    for tenant in ("../up", "A", "a", "nul", "a/b"):
        await files.put(tenant, b"content")
    names = [path.relative_to(tmp_path).as_posix() for path in tmp_path.glob("**/*")]  # noqa: ASYNC240
    assert len(names) == 10
    assert all(set(name) <= set("0123456789abcdef/") for name in names)


async def test_damage_is_noticed_and_mended_by_putting_again(tmp_path: Path) -> None:
    files = DirectoryFileStore(tmp_path)
    digest = await files.put("t", b"content")
    (place,) = tmp_path.glob(f"*/{digest}")  # noqa: ASYNC240
    for damage in (b"contend", b"", b"content and more"):
        place.write_bytes(damage)
        with pytest.raises(DamagedEntry, match=digest) as raised:
            await files.get("t", digest)
        assert isinstance(raised.value, InternalError)
        await files.put("t", b"content")
        assert await files.get("t", digest) == b"content"


async def test_a_put_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = DirectoryFileStore(tmp_path)
    await files.put("t", b"before")

    def broken(_: object) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr("os.fsync", broken)
    with pytest.raises(StoreUnavailable, match="the disk is full"):
        await files.put("t", b"content")
    monkeypatch.undo()
    assert len([path for path in tmp_path.glob("*/*")]) == 1  # noqa: ASYNC240, C416
    assert len(await files.digests("t")) == 1


async def test_a_cancelled_put_keeps_all_or_nothing(tmp_path: Path) -> None:
    files = DirectoryFileStore(tmp_path)
    content = bytes(1_000_000)
    with anyio.move_on_after(0):
        await files.put("t", content)
    for digest in await files.digests("t"):
        assert await files.get("t", digest) == content
