"""A suite is worth what it finds: each of these stores has one bug, and the suite must name a promise it breaks."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from intendant.adapters.memory import MemoryLog
from intendant.domain.commit import Batch, KeysTaken, Verdict
from intendant.domain.errors import InternalError
from intendant.domain.ports import Document, IndexMember, OutboxItem, Owner, Tenure
from intendant.testing.conformance import LOG_CHECKS, BrokenPromise, check_log
from tests.adapters.conftest import memory_place

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend(virtual_time: Any) -> Any:
    return virtual_time


class NoFence(MemoryLog):
    async def commit(self, batch: Batch) -> Verdict | KeysTaken:
        ownership = self.shared.partition.ownership
        return await super().commit(replace(batch, epoch=ownership.epoch, token=ownership.token))


class NoToken(MemoryLog):
    async def commit(self, batch: Batch) -> Verdict | KeysTaken:
        return await super().commit(replace(batch, token=self.shared.partition.ownership.token))


class NoEpoch(MemoryLog):
    async def commit(self, batch: Batch) -> Verdict | KeysTaken:
        return await super().commit(replace(batch, epoch=self.shared.partition.ownership.epoch))


class NoDuplicateCheck(MemoryLog):
    """Takes every batch for a new one."""

    async def commit(self, batch: Batch) -> Verdict | KeysTaken:
        end = self.shared.partition.ownership.next_sequence
        return await super().commit(replace(batch, first=end) if batch.first < end else batch)


class DuplicateWithoutDigest(MemoryLog):
    async def commit(self, batch: Batch) -> Verdict | KeysTaken:
        ownership = self.shared.partition.ownership
        return await super().commit(
            replace(batch, digest=ownership.last_digest) if batch.first == ownership.last_first else batch
        )


class GapAccepted(MemoryLog):
    async def commit(self, batch: Batch) -> Verdict | KeysTaken:
        end = self.shared.partition.ownership.next_sequence
        return await super().commit(replace(batch, first=end) if batch.first > end else batch)


class AppliesBeforeKeys(MemoryLog):
    """Writes documents, then finds that a key is taken."""

    async def commit(self, batch: Batch) -> Verdict | KeysTaken:
        answer = await super().commit(batch)
        if isinstance(answer, KeysTaken):
            for write in batch.documents:
                self.shared.partition.documents[write.tenant, write.collection].put(
                    write.key, Document(write.key, write.body or b"", write.since, write.version)
                )
        return answer


class TellsOneKey(MemoryLog):
    async def commit(self, batch: Batch) -> Verdict | KeysTaken:
        answer = await super().commit(batch)
        if isinstance(answer, KeysTaken):
            answer = KeysTaken(dict(list(answer.taken.items())[:1]))
        return answer


class TellsAllKeys(MemoryLog):
    async def commit(self, batch: Batch) -> Verdict | KeysTaken:
        answer = await super().commit(batch)
        if isinstance(answer, KeysTaken):
            answer = KeysTaken({(t, k): v for t, k, v in batch.claims} | answer.taken)
        return answer


class KeysFirst(MemoryLog):
    """Looks at the keys before the fence."""

    async def commit(self, batch: Batch) -> Verdict | KeysTaken:
        return self.shared.partition.taken(batch) or await super().commit(batch)


class LosesEvents(MemoryLog):
    """Loses the outbox of one batch in three."""

    count = 0

    async def commit(self, batch: Batch) -> Verdict | KeysTaken:
        self.count += 1
        return await super().commit(replace(batch, outbox_adds=[]) if self.count % 3 == 0 else batch)


class SwallowsNonsense(MemoryLog):
    async def commit(self, batch: Batch) -> Verdict | KeysTaken:
        try:
            return await super().commit(batch)
        except InternalError:
            return Verdict.OK


class JoinsIds(MemoryLog):
    """Builds a key by joining: `a:b` and `c` is `a` and `b:c`."""

    async def key(self, tenant: str, key: str) -> bytes | None:
        joined = f"{tenant}:{key}"
        for (of, name), value in self.shared.partition.keys.items():
            if f"{of}:{name}" == joined:
                return value
        return await super().key(tenant, key)


class FoldsCase(MemoryLog):
    async def document(self, tenant: str, collection: str, key: str) -> Document | None:
        found = await super().document(tenant, collection, key)
        return found or await super().document(tenant.lower(), collection, key)


class JournalsWithoutTenant(MemoryLog):
    async def journal(self, tenant: str, execution: str) -> list[bytes]:
        journals = self.shared.partition.journals
        return [body for (_, of), rows in journals.items() for _, body in rows if of == execution]


class OutboxOfAll(MemoryLog):
    async def outbox(self, *, after: int = 0, limit: int = 256, tenant: str | None = None) -> list[OutboxItem]:
        return await super().outbox(after=after, limit=limit)


class EntriesOfAll(MemoryLog):
    async def entries(self, tenant: str | None, **options: Any) -> list[bytes]:
        return await super().entries(None, **options)


class BoundaryLost(MemoryLog):
    """Forgets the entry that begins before the range and reaches into it."""

    async def entries(self, tenant: str | None, *, first: int = 0, **options: Any) -> list[bytes]:
        found = await super().entries(tenant, first=first, **options)
        all_firsts = self.shared.partition.entries
        starts = dict(zip(all_firsts.bodies, all_firsts.firsts, strict=True))
        return [body for body in found if starts[body] >= first]


class PositionAfter(MemoryLog):
    """Not before becomes after."""

    async def position_at(self, time: int) -> int:
        return await super().position_at(time + 1)


class IndexByMember(MemoryLog):
    async def index(self, name: str, *, after: IndexMember | None = None, limit: int = 1000) -> list[IndexMember]:
        found = await super().index(name, after=after, limit=limit)
        return sorted(found, key=lambda member: (member.score, member.member))


class OutboxByTenant(MemoryLog):
    async def outbox(self, *, after: int = 0, limit: int = 256, tenant: str | None = None) -> list[OutboxItem]:
        return sorted(await super().outbox(after=after, limit=limit, tenant=tenant), key=lambda item: item.tenant)


class StealsLiveLease(MemoryLog):
    async def acquire(self, owner: Owner, *, timeout: float, lease: float) -> Tenure:
        self.shared.partition.ownership.lease_until = 0
        return await super().acquire(owner, timeout=timeout, lease=lease)


class NeverTakesOver(MemoryLog):
    async def acquire(self, owner: Owner, *, timeout: float, lease: float) -> Tenure:
        return await super().acquire(owner, timeout=min(timeout, 1), lease=10**9)


class SameEpoch(MemoryLog):
    async def acquire(self, owner: Owner, *, timeout: float, lease: float) -> Tenure:
        tenure = await super().acquire(owner, timeout=timeout, lease=lease)
        self.shared.partition.ownership.epoch = 1
        return Tenure(0, 1, tenure.token, tenure.next_sequence, tenure.last_time)


class SameToken(MemoryLog):
    async def acquire(self, owner: Owner, *, timeout: float, lease: float) -> Tenure:
        tenure = await super().acquire(owner, timeout=timeout, lease=lease)
        self.shared.partition.ownership.token = b"0" * 16
        return Tenure(0, tenure.epoch, b"0" * 16, tenure.next_sequence, tenure.last_time)


class AnyoneReleases(MemoryLog):
    async def release(self, tenure: Tenure) -> None:
        ownership = self.shared.partition.ownership
        await super().release(Tenure(0, ownership.epoch, ownership.token, 0, 0))


class CommitsDoNotRenew(MemoryLog):
    async def commit(self, batch: Batch) -> Verdict | KeysTaken:
        until = self.shared.partition.ownership.lease_until
        answer = await super().commit(batch)
        self.shared.partition.ownership.lease_until = until
        return answer


class RenewsNothing(MemoryLog):
    async def renew(self, tenure: Tenure) -> bool:
        until = self.shared.partition.ownership.lease_until
        held = await super().renew(tenure)
        self.shared.partition.ownership.lease_until = until
        return held


class ServesWhenClosed(MemoryLog):
    def close(self) -> None:
        pass


BUGS: list[type[MemoryLog]] = [
    NoFence,
    NoToken,
    NoEpoch,
    NoDuplicateCheck,
    DuplicateWithoutDigest,
    GapAccepted,
    AppliesBeforeKeys,
    TellsOneKey,
    TellsAllKeys,
    KeysFirst,
    LosesEvents,
    SwallowsNonsense,
    JoinsIds,
    FoldsCase,
    JournalsWithoutTenant,
    OutboxOfAll,
    EntriesOfAll,
    BoundaryLost,
    PositionAfter,
    IndexByMember,
    OutboxByTenant,
    StealsLiveLease,
    NeverTakesOver,
    SameEpoch,
    SameToken,
    AnyoneReleases,
    CommitsDoNotRenew,
    RenewsNothing,
    ServesWhenClosed,
]


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.__name__)
async def test_found(bug: type[MemoryLog]) -> None:
    with pytest.raises(BrokenPromise):
        await check_log(lambda: memory_place(bug))


async def test_nothing_is_found_where_nothing_is_wrong() -> None:
    await check_log(memory_place)
    assert len(LOG_CHECKS) > 30
