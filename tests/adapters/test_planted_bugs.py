"""A suite is worth what it finds: each of these stores has one bug, and the suite must name a promise it breaks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from msgspec.structs import replace

from intendant.adapters.memory import MemoryLog
from intendant.domain.commit import Batch, KeysTaken, Verdict
from intendant.domain.errors import InternalError
from intendant.domain.ports import Document, Holding, IndexMember, OutboxItem, Owner, Tenure
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
            for tenant, collection, key, since, version, body in batch.puts:
                documents = self.shared.partition.documents[tenant, collection]
                documents.put(key, Document(key, body, since, version))
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
        for (of, name), value in self.shared.partition.keys.values.items():
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
    async def acquire(self, owner: Owner, *, timeout: float, lease: float, above: int = 0) -> Tenure:
        self.shared.partition.ownership.lease_until = 0
        return await super().acquire(owner, timeout=timeout, lease=lease, above=above)


class NeverTakesOver(MemoryLog):
    async def acquire(self, owner: Owner, *, timeout: float, lease: float, above: int = 0) -> Tenure:
        return await super().acquire(owner, timeout=min(timeout, 1), lease=10**9, above=above)


class SameEpoch(MemoryLog):
    async def acquire(self, owner: Owner, *, timeout: float, lease: float, above: int = 0) -> Tenure:
        tenure = await super().acquire(owner, timeout=timeout, lease=lease, above=above)
        self.shared.partition.ownership.epoch = 1
        return Tenure(0, 1, tenure.token, tenure.next_sequence, tenure.last_time)


class SameToken(MemoryLog):
    async def acquire(self, owner: Owner, *, timeout: float, lease: float, above: int = 0) -> Tenure:
        tenure = await super().acquire(owner, timeout=timeout, lease=lease, above=above)
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
    async def renew(self, tenure: Tenure, next_sequence: int) -> Verdict:
        until = self.shared.partition.ownership.lease_until
        held = await super().renew(tenure, next_sequence)
        self.shared.partition.ownership.lease_until = until
        return held


class ServesWhenClosed(MemoryLog):
    def close(self) -> None:
        pass


class NothingIsLost(MemoryLog):
    """A store that went back in time, and calls its owner a stranger."""

    async def commit(self, batch: Batch) -> Verdict | KeysTaken:
        answer = await super().commit(batch)
        return Verdict.FENCED if answer is Verdict.LOST else answer


class EverythingIsLost(MemoryLog):
    async def commit(self, batch: Batch) -> Verdict | KeysTaken:
        answer = await super().commit(batch)
        return Verdict.LOST if answer is Verdict.FENCED else answer


class RenewsBlindly(MemoryLog):
    """Does not compare the log's end."""

    async def renew(self, tenure: Tenure, next_sequence: int) -> Verdict:
        return await super().renew(tenure, 0)


class EpochsRepeat(MemoryLog):
    """Does not look at the epoch it was told."""

    async def acquire(self, owner: Owner, *, timeout: float, lease: float, above: int = 0) -> Tenure:
        return await super().acquire(owner, timeout=timeout, lease=lease)


class ForgetsTheNewestBatch(MemoryLog):
    async def acquire(self, owner: Owner, *, timeout: float, lease: float, above: int = 0) -> Tenure:
        tenure = await super().acquire(owner, timeout=timeout, lease=lease, above=above)
        return replace(tenure, last_digest=b"")


class HeldForEver(MemoryLog):
    """Tells a holder whose lease is over."""

    async def holder(self) -> Holding | None:
        self.shared.partition.ownership.lease_until = 10**9
        return await super().holder()


class TrimsNothing(MemoryLog):
    async def commit(self, batch: Batch) -> Verdict | KeysTaken:
        return await super().commit(replace(batch, trims=[]))


class TrimsTheBoundary(MemoryLog):
    """Also the entry that holds the sequence."""

    async def commit(self, batch: Batch) -> Verdict | KeysTaken:
        return await super().commit(replace(batch, trims=[(tenant, below + 1) for tenant, below in batch.trims]))


class TrimsEveryTenant(MemoryLog):
    async def commit(self, batch: Batch) -> Verdict | KeysTaken:
        tenants = [tenant for tenant in self.shared.partition.entries_of if tenant]
        trims = [(each, below) for tenant, below in batch.trims for each in ([tenant] if not tenant else tenants)]
        return await super().commit(replace(batch, trims=trims))


class TrimsItsOwnOnly(MemoryLog):
    """Reading all tenants still shows what is trimmed."""

    async def commit(self, batch: Batch) -> Verdict | KeysTaken:
        entries = self.shared.partition.entries.copy()
        answer = await super().commit(batch)
        if answer is Verdict.OK and batch.trims:
            for _, first, count, body in batch.entries:
                entries.add(first, count, batch.time, body)
            self.shared.partition.entries = entries
        return answer


class NoFloor(MemoryLog):
    """Reading all tenants begins with whatever is there."""

    async def commit(self, batch: Batch) -> Verdict | KeysTaken:
        answer = await super().commit(batch)
        self.shared.partition.floor = 0
        return answer


class FloorSinks(MemoryLog):
    async def commit(self, batch: Batch) -> Verdict | KeysTaken:
        answer = await super().commit(batch)
        if answer is Verdict.OK:
            for tenant, below in batch.trims:
                self.shared.partition.floor = self.shared.partition.floor if tenant else below
        return answer


class TrimsFirst(MemoryLog):
    """Before it adds what the batch adds."""

    async def commit(self, batch: Batch) -> Verdict | KeysTaken:
        trims = [(tenant, min(below, batch.first)) for tenant, below in batch.trims]
        return await super().commit(replace(batch, trims=trims))


class TailOfWhatIsLeft(MemoryLog):
    """Takes the log's end from the entries that are there."""

    async def acquire(self, owner: Owner, *, timeout: float, lease: float, above: int = 0) -> Tenure:
        tenure = await super().acquire(owner, timeout=timeout, lease=lease, above=above)
        return replace(tenure, next_sequence=max([1, *self.shared.partition.entries.ends]))


class PositionOverGaps(MemoryLog):
    """Stops at a gap."""

    async def position_at(self, time: int) -> int:
        found, entries = await super().position_at(time), self.shared.partition.entries
        gaps = [end for end, first in zip(entries.ends, entries.firsts[1:], strict=False) if end < first]
        return min([found, *gaps])


class RewritesNothing(MemoryLog):
    async def commit(self, batch: Batch) -> Verdict | KeysTaken:
        return await super().commit(replace(batch, replaces=[]))


class RewritesForOneReader(MemoryLog):
    """Reading all tenants still shows what was rewritten."""

    async def commit(self, batch: Batch) -> Verdict | KeysTaken:
        entries = self.shared.partition.entries
        before = dict(zip(entries.firsts, entries.bodies, strict=True))
        answer = await super().commit(batch)
        for _, first, _ in batch.replaces if answer is Verdict.OK else ():
            if first in before:
                self.shared.partition.entries.replace(first, before[first])
        return answer


class RewritesAnyTenant(MemoryLog):
    async def commit(self, batch: Batch) -> Verdict | KeysTaken:
        owners = {first: tenant for tenant, own in self.shared.partition.entries_of.items() for first in own.firsts}
        replaces = [(owners.get(first, tenant), first, body) for tenant, first, body in batch.replaces]
        return await super().commit(replace(batch, replaces=replaces))


class RewritingMovesTime(MemoryLog):
    """A rewritten entry gets the time of the batch that rewrote it."""

    async def commit(self, batch: Batch) -> Verdict | KeysTaken:
        answer = await super().commit(batch)
        entries = self.shared.partition.entries
        for _, first, _ in batch.replaces if answer is Verdict.OK else ():
            if first in entries.firsts:
                entries.times[entries.firsts.index(first)] = batch.time
        return answer


class KeysOfAll(MemoryLog):
    async def keys(self, tenant: str, *, after: str = "", limit: int = 1000) -> list[tuple[str, bytes]]:
        values = self.shared.partition.keys.values
        return sorted((key, value) for (_, key), value in values.items() if key > after)[:limit]


class TenantsWithoutThePartition(MemoryLog):
    async def tenants(self, *, after: str = "", limit: int = 1000) -> list[str]:
        return [tenant for tenant in await super().tenants(after=after, limit=limit) if tenant]


class TenantsWithDocuments(MemoryLog):
    """Tenants that have documents, whatever became of their log."""

    async def tenants(self, *, after: str = "", limit: int = 1000) -> list[str]:
        known = {tenant for tenant, _ in self.shared.partition.documents} | set(self.shared.partition.entries_of)
        return sorted(tenant for tenant in known if tenant > after or not after)[:limit]


class FetchesSorted(MemoryLog):
    async def fetch(self, wanted: Sequence[tuple[str, str, str]]) -> list[Document | None]:
        return await super().fetch(sorted(wanted))


class FetchesWhatIsThere(MemoryLog):
    async def fetch(self, wanted: Sequence[tuple[str, str, str]]) -> list[Document | None]:
        return [document for document in await super().fetch(wanted) if document is not None]


class JournalsSorted(MemoryLog):
    async def journals(self, wanted: Sequence[tuple[str, str]]) -> list[list[bytes]]:
        return await super().journals(sorted(wanted))


BUGS: list[type[MemoryLog]] = [
    NothingIsLost,
    EverythingIsLost,
    RenewsBlindly,
    EpochsRepeat,
    ForgetsTheNewestBatch,
    HeldForEver,
    TrimsNothing,
    TrimsTheBoundary,
    TrimsEveryTenant,
    TrimsItsOwnOnly,
    NoFloor,
    FloorSinks,
    TrimsFirst,
    TailOfWhatIsLeft,
    PositionOverGaps,
    RewritesNothing,
    RewritesForOneReader,
    RewritesAnyTenant,
    RewritingMovesTime,
    KeysOfAll,
    TenantsWithoutThePartition,
    TenantsWithDocuments,
    FetchesSorted,
    FetchesWhatIsThere,
    JournalsSorted,
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
    assert len(LOG_CHECKS) > 40
