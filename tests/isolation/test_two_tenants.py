"""Two tenants, and whatever happens at random: neither ever meets what is the other's, on any store."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import anyio
import pytest
from msgspec.structs import replace

from intendant import RelaySettings, Retention, Runtime, Shutdown
from intendant.actors import retention
from intendant.adapters.arango import ArangoColdStore
from intendant.adapters.arango import documents as arango_documents
from intendant.adapters.arango import store as arango_store
from intendant.adapters.memory import MemoryColdStore, MemoryFileStore, MemoryLog, MemoryStore
from intendant.adapters.redis import RedisStore, calls, reads
from intendant.adapters.redis import server as redis_server
from intendant.adapters.redis.keys import encoded
from intendant.adapters.sqlite import SqliteStore
from intendant.adapters.sqlite import reads as sqlite_reads
from intendant.domain import state as states
from intendant.domain.commit import Batch, KeysTaken, Verdict
from intendant.domain.ports import Chunk, ColdDocument, Document, FileStore, OutboxItem, Store
from intendant.supervisor import Backoff
from tests.adapters.arango.recorder import recorder
from tests.infrastructure.tier import scaled
from tests.isolation.diary import NAMES, House, Publisher, diary
from tests.isolation.neighbours import PATIENCE, Neighbour, neighbours

pytestmark = pytest.mark.anyio
COUNT: Final = scaled(50_000, few=1_000)  # on each loop
NOTHING_STAYS_HOT: Final = Retention(hot=timedelta(0), total=timedelta(days=30))
IMPATIENT: Final = RelaySettings(attempts=2, retry=Backoff(initial=0.001, maximum=0.001))


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """What ended leaves the hot store without rest."""
    monkeypatch.setattr(retention, "EVERY", 0.05)
    monkeypatch.setattr(redis_server, "EVERYSEC_LOSS_S", 0.1)


async def live(house: House, count: int, seed: int, **options: Any) -> None:
    """Both do so many things in all: the first half while nothing leaves the hot store, the rest while all does."""
    both = neighbours(house, seed)
    options.update(hot=house.hot, cold=house.cold, shutdown=Shutdown(drain=0.0))
    async with Runtime([diary], **options) as house.runtime:
        await _live(both, count // 4)
    leaving: dict[str, Any] = {"publisher": Publisher(), "relay": IMPATIENT, "retention": NOTHING_STAYS_HOT}
    async with Runtime([diary], **options, **leaving) as house.runtime, anyio.create_task_group() as group:
        house.published = True
        for each in both:
            group.start_soon(each.tail)
        if house.cold is not None:
            await _have_left(house, both)
        await _live(both, count // 4)
        for each in both:
            await each.check_all()
        group.cancel_scope.cancel()


async def _live(both: Sequence[Neighbour], count: int) -> None:
    async with anyio.create_task_group() as group:
        for each in both:
            group.start_soon(each.live, count)


async def _have_left(house: House, both: Sequence[Neighbour]) -> None:
    """Wait until cold state must be asked for what has ended."""
    with anyio.fail_after(PATIENCE):
        for each in both:
            while await _hot(house, each) > len(each.held):  # noqa: ASYNC110  nobody announces it
                await anyio.sleep(0.01)


async def _hot(house: House, of: Neighbour) -> int:
    return len(await house.log.documents(of.name, states.EXECUTIONS, limit=10**6))


@pytest.mark.scaled
async def test_neither_meets_what_is_the_others(hot: Store) -> None:
    cold = None if hot.name.startswith("sqlite:") else MemoryColdStore()
    files: dict[str, Any] = {} if hot.name.startswith("sqlite:") else {"files": MemoryFileStore()}
    await live(House(hot, cold), COUNT, seed=1, **files)


@pytest.mark.in_turn
async def test_nor_in_cold_state_in_arangodb(redis_url: str) -> None:
    with recorder() as server:
        house = House(RedisStore(redis_url), ArangoColdStore(server.url))
        await live(house, 1_000, seed=2, files=MemoryFileStore())


# --- what would be found: each of these forgets to ask for the tenant, at one place


class DocumentOfAnybody(MemoryLog):
    async def document(self, tenant: str, collection: str, key: str) -> Document | None:
        found = [await super(DocumentOfAnybody, self).document(each, collection, key) for each in NAMES]
        return next((document for document in found if document is not None), None)


class DocumentsOfAnybody(MemoryLog):
    async def fetch(self, wanted: Sequence[tuple[str, str, str]]) -> list[Document | None]:
        return await super().fetch([(NAMES[0], collection, key) for _, collection, key in wanted])


class ListsOfAnybody(MemoryLog):
    async def documents(self, tenant: str, collection: str, **how: Any) -> list[Document]:
        found = [await super(ListsOfAnybody, self).documents(each, collection, **how) for each in NAMES]
        return sorted((document for several in found for document in several), key=lambda document: document.key)


class JournalsOfAnybody(MemoryLog):
    async def journal(self, tenant: str, execution: str) -> list[bytes]:
        return [row for each in NAMES for row in await super(JournalsOfAnybody, self).journal(each, execution)]


class KeysOfAnybody(MemoryLog):
    async def commit(self, batch: Batch) -> Verdict | KeysTaken:
        known = self.shared.partition.keys.values
        taken = {(t, k): known[each, k] for t, k, _ in batch.claims for each in NAMES if (each, k) in known}
        return KeysTaken(taken) if taken else await super().commit(batch)


class KeyListsOfAnybody(MemoryLog):
    async def keys(self, tenant: str, **how: Any) -> list[tuple[str, bytes]]:
        return await super().keys(NAMES[0], **how)


class EntriesOfAnybody(MemoryLog):
    async def entries(self, tenant: str | None, **how: Any) -> list[bytes]:
        return await super().entries(None, **how)


class OutboxOfAnybody(MemoryLog):
    async def outbox(self, *, after: int = 0, limit: int = 256, tenant: str | None = None) -> list[OutboxItem]:
        return await super().outbox(after=after, limit=limit)


class ColdDocumentOfAnybody(MemoryColdStore):
    async def document(self, tenant: str, collection: str, key: str) -> ColdDocument | None:
        found = [await super(ColdDocumentOfAnybody, self).document(each, collection, key) for each in NAMES]
        return next((document for document in found if document is not None), None)


class ColdListsOfAnybody(MemoryColdStore):
    async def documents(self, tenant: str, collection: str, **how: Any) -> list[ColdDocument]:
        return await super().documents(NAMES[0], collection, **how)


class ChunksOfAnybody(MemoryColdStore):
    async def chunks(self, partition: int, tenant: str | None, **how: Any) -> list[Chunk]:
        return await super().chunks(partition, None, **how)


class ColdStateOfAnybody(MemoryColdStore):
    """Keeps what both have under one key."""

    async def put(self, documents: Sequence[ColdDocument]) -> None:
        await super().put(documents)
        await super().put([replace(each, tenant=name) for each in documents for name in NAMES if each.tenant in NAMES])


class FilesOfAnybody(MemoryFileStore):
    async def get(self, tenant: str, digest: str) -> bytes | None:
        return await super().get(NAMES[0], digest) or await super().get(NAMES[1], digest)


class FileListsOfAnybody(MemoryFileStore):
    async def digests(self, tenant: str) -> list[str]:
        return await super().digests(NAMES[0])


def forgetful_names(monkeypatch: pytest.MonkeyPatch, *modules: Any) -> None:
    """Both tenants have one name in the keys of Redis."""

    def forget(name: str) -> str:
        return encoded(NAMES[0] if name == NAMES[1] else name)

    for module in modules:
        monkeypatch.setattr(module, "encoded", forget)


class TestWhatWouldBeFound:
    """On one loop: what is wrong is in the store."""

    @pytest.fixture
    def anyio_backend(self) -> str:
        return "asyncio"

    @pytest.mark.parametrize(
        "log",
        [
            *(DocumentOfAnybody, DocumentsOfAnybody, ListsOfAnybody, JournalsOfAnybody, KeysOfAnybody),
            *(KeyListsOfAnybody, EntriesOfAnybody, OutboxOfAnybody),
        ],
    )
    async def test_in_a_hot_store(self, log: type[MemoryLog]) -> None:
        await self._is_found(House(MemoryStore(log()), MemoryColdStore()), MemoryFileStore())

    @pytest.mark.parametrize("cold", [ColdDocumentOfAnybody, ColdListsOfAnybody, ChunksOfAnybody, ColdStateOfAnybody])
    async def test_in_cold_state(self, cold: type[MemoryColdStore]) -> None:
        await self._is_found(House(MemoryStore(), cold()), MemoryFileStore())

    @pytest.mark.parametrize("files", [FilesOfAnybody, FileListsOfAnybody])
    async def test_in_a_file_store(self, files: type[MemoryFileStore]) -> None:
        await self._is_found(House(MemoryStore(), MemoryColdStore()), files())

    @pytest.mark.parametrize("modules", [(calls, reads), (calls,), (reads,)])
    async def test_in_the_keys_of_redis(
        self, modules: tuple[Any, ...], redis_url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        forgetful_names(monkeypatch, *modules)
        await self._is_found(House(RedisStore(redis_url), MemoryColdStore()), MemoryFileStore())

    @pytest.mark.parametrize("key", ["document_key", "list_id", "owner"])
    async def test_in_the_keys_of_arangodb(self, key: str, monkeypatch: pytest.MonkeyPatch) -> None:
        right: Callable[..., str] = getattr(arango_store, key)

        def forget(_tenant: str, *rest: str) -> str:
            return right(NAMES[0], *rest)

        for module in (arango_store, arango_documents):
            monkeypatch.setattr(module, key, forget)
        with recorder() as server:
            await self._is_found(House(MemoryStore(), ArangoColdStore(server.url)), MemoryFileStore())

    async def test_in_a_query_of_sqlite(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sqlite_reads, "_OF_TENANT", " AND :tenant = :tenant")
        await self._is_found(House(SqliteStore(tmp_path / "work.db"), None), MemoryFileStore())

    async def _is_found(self, house: House, files: FileStore) -> None:
        with pytest.raises(Exception) as found:  # noqa: PT011  of whichever look comes first
            await live(house, 2_000, seed=1, files=files)
        assert found.type in (AssertionError, ExceptionGroup)
        assert found.type is not ExceptionGroup or not found.group_contains(TimeoutError)
