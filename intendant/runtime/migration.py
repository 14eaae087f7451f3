"""Copies a whole runtime into other stores while nothing runs on it, and proves that the copy is equal.

Both sides are owned meanwhile, so that no runtime can start on either. Before anything else is written, the target
gets a mark that says that it is unfinished; it goes when the proof is done, and no runtime serves it before. The mark
is one, whatever the number of partitions, so that it comes and goes at once. Interrupted anywhere, the next migration
goes on; repeated when all is done, it proves that again and changes nothing.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection
from contextlib import asynccontextmanager, suppress
from hashlib import blake2b
from typing import Final

import anyio
import msgspec
from msgspec import Struct

from intendant.actors import state_writer
from intendant.adapters.process import current_owner
from intendant.domain.codec import digest
from intendant.domain.commit import Verdict
from intendant.domain.errors import Fenced, InvalidValue, StoreUnavailable, UnfinishedMigration
from intendant.domain.ports import ColdStore, FileStore, Store, Tenure
from intendant.domain.records import SYSTEM_TENANT
from intendant.domain.state import FILES, MIGRATION
from intendant.runtime.contents import BESIDE_IT, CONTENT, END_OF_TIME, FACTS, IN_THE_HOT_STORE, Contents
from intendant.runtime.copying import PartitionCopy, copy_beside
from intendant.runtime.history import WholeContents
from intendant.runtime.rows import Rows, entry_of

LEASE: Final = 30.0  # seconds

_encode = msgspec.msgpack.Encoder().encode


class Side(Struct, frozen=True):
    """The stores of a runtime. `cold` and `files` are None when there are none, or when they stay as they are."""

    hot: Store
    cold: ColdStore | None = None
    files: FileStore | None = None


class Proof(Struct, frozen=True):
    """A tenant in both stores: one digest over everything of it. The tenant "" is the partition itself."""

    tenant: str
    partition: int
    rows: dict[str, int]  # how many of each kind the source has
    digest: str
    target_digest: str
    differs: list[str]  # kinds

    @property
    def equal(self) -> bool:
        """Whether all of it is the same."""
        return self.digest == self.target_digest


class Migration:
    """One attempt. `copied` of `total` records are done, and `proofs` grows after that.

    `finished` says that the target may be used: that it is equal was proved, and the mark was taken away.
    """

    def __init__(self, source: Side, target: Side) -> None:
        self.finished = False
        self.total = 0
        self.proofs: list[Proof] = []
        self._source = source
        self._target = target
        self._held: dict[tuple[bool, int], Tenure] = {}
        self._copies: list[PartitionCopy] = []

    @property
    def copied(self) -> int:
        """How many records are in the target."""
        return sum(each.copied for each in self._copies)

    @property
    def begun(self) -> bool:
        """Whether the target may have been written to, by this attempt."""
        return bool(self._copies)

    @property
    def names(self) -> tuple[str, str]:
        """Source and target, without secrets."""
        return self._source.hot.name, self._target.hot.name

    @property
    def equal(self) -> bool:
        """Whether everything was compared, and is the same."""
        return bool(self.proofs) and all(each.equal for each in self.proofs)

    async def run(self) -> None:
        """Copy, and compare. If it is not `finished` afterwards, `proofs` say what differs.

        Cancelled, failed or killed anywhere, the target is marked as unfinished, and running it again goes on.
        Raises PartitionOwned when a runtime works on either side, InvalidValue when the stores don't fit each other,
        UnfinishedMigration when the source is half a copy itself, Fenced when another process took a side meanwhile.
        """
        async with self._owned(self._source, ours=True):
            await self._check_source()
            try:
                async with anyio.create_task_group() as group:
                    group.start_soon(self._keep)
                    async with self._owned(self._target, ours=False):
                        await self._run()
                    group.cancel_scope.cancel()
            except ExceptionGroup as errors:
                raise errors.exceptions[0] from None

    def _check_shape(self) -> None:
        ours, theirs = self._source.hot, self._target.hot
        if ours.partitions != theirs.partitions:
            raise InvalidValue(
                "to",
                f"{theirs.name} has {theirs.partitions} partitions and {ours.name} has {ours.partitions}; a tenant "
                f"would be sought in another one: make the target with {ours.partitions}",
            )

    async def _run(self) -> None:
        sides = [self._contents(number) for number in range(self._source.hot.partitions)]
        marked = await self._target.hot.log(0).checkpoint(MIGRATION)
        copied_before = not marked and self._records(ours=False) > 0
        if copied_before:
            self._check_ends()
        else:
            await self._copy(sides, resumed=bool(marked))
        for source, target in sides:
            await self._prove(source, target)
        if self.equal and not copied_before:
            await self._copies[0].mark(unfinished=False)
        elif copied_before and not self.equal:
            raise self._is_in_use()
        self.finished = self.equal

    async def _copy(self, sides: list[tuple[Contents, Contents]], *, resumed: bool) -> None:
        for source, target in sides:
            await self._check_target(source, target, resumed=resumed)
            await source.load(self._held[True, source.partition].next_sequence)
            await target.load(self._held[False, source.partition].next_sequence)
            await self._check_files(source)
        self._copies = [self._partition(source, target) for source, target in sides]
        self.total = self._records(ours=True)
        await self._copies[0].mark(unfinished=True)
        for copy, (source, target) in zip(self._copies, sides, strict=True):
            await copy_beside(source, target)
            await copy.run()

    def _contents(self, number: int) -> tuple[Contents, Contents]:
        count = self._source.hot.partitions
        source, target = (
            Contents(side.hot.log(number), number, count, cold=side.cold, files=side.files)
            for side in (self._source, self._target)
        )
        if self._source.cold is not None and self._target.cold is None:
            log, history, files = self._source.hot.log(number), self._source.cold, self._source.files
            source = WholeContents(log, number, count, history=history, files=files)
        return source, target

    def _partition(self, source: Contents, target: Contents) -> PartitionCopy:
        return PartitionCopy(source, target, self._held[True, source.partition], self._held[False, source.partition])

    def _records(self, *, ours: bool) -> int:
        """How many sequences a side has used."""
        return sum(tenure.next_sequence - 1 for (mine, _), tenure in self._held.items() if mine is ours)

    # --- what does not fit is refused

    async def _check_source(self) -> None:
        """Before the target is opened, which makes it where it is a file that is not there."""
        hot = self._source.hot
        name = hot.name
        if await hot.log(0).checkpoint(MIGRATION):
            raise UnfinishedMigration(f"{name} is half a copy itself; finish that migration first")
        if not self._records(ours=True):
            raise InvalidValue("from", f"{name} holds no records; is it the right store?")
        for number in range(hot.partitions):
            if self._source.cold is None and await hot.log(number).checkpoint(state_writer.CHECKPOINT):
                raise InvalidValue("from_cold", f"{name} has archived to a cold store; name it as well")

    async def _check_target(self, source: Contents, target: Contents, *, resumed: bool) -> None:
        """A target that is begun must be a part of this source; one that is not must be empty."""
        if not resumed and target.cold is not None and await target.cold.tenants(limit=2):
            raise InvalidValue("to_cold", f"{target.cold.name} is not empty; name an empty store")
        ours, theirs = (self._held[side, target.partition] for side in (True, False))
        newest = await target.log.entries(None, limit=1, newest_first=True)
        if theirs.next_sequence > ours.next_sequence or (newest and not await source.agrees(entry_of(newest[0]))):
            raise InvalidValue(
                "to", f"{self._target.hot.name} is an unfinished copy of another runtime; empty it, or name another"
            )

    async def _check_files(self, source: Contents) -> None:
        """Refuse to leave files behind."""
        for tenant in source.tenants:
            if source.files is None and await source.log.documents(tenant, FILES, limit=1):
                raise InvalidValue("from_files", f"{self._source.hot.name} refers to files; name where they lie")
            if self._target.files is None and source.files is not None and await source.files.digests(tenant):
                raise InvalidValue("to_files", f"{self._source.hot.name} has files; name where they are to lie")

    def _check_ends(self) -> None:
        """Refuse at once what can't be a copy that was finished."""
        for number in range(self._source.hot.partitions):
            if self._held[True, number].next_sequence != self._held[False, number].next_sequence:
                raise self._is_in_use()

    def _is_in_use(self) -> InvalidValue:
        ours, theirs = self._source.hot.name, self._target.hot.name
        return InvalidValue(
            "to",
            f"{theirs} holds {self._records(ours=False):,} records, and is neither an unfinished copy of {ours} nor "
            "equal to it; name an empty store",
        )

    # --- owning both sides

    @asynccontextmanager
    async def _owned(self, side: Side, *, ours: bool) -> AsyncGenerator[None]:
        """Open a side's stores and take its partitions; give them back in the end."""
        async with opened(side):
            if not ours:
                self._check_shape()
            try:
                await self._own(side.hot, ours=ours)
                yield
            finally:
                with anyio.CancelScope(shield=True):
                    await self._release(ours=ours)

    async def _own(self, store: Store, *, ours: bool) -> None:
        owner = current_owner()
        for number in range(store.partitions):
            above = 0 if ours else self._held[True, number].epoch  # fencing tokens go on rising after the move
            self._held[ours, number] = await store.log(number).acquire(owner, timeout=0, lease=LEASE, above=above)

    async def _keep(self) -> None:
        """Renew all leases, until cancelled."""
        while True:
            await anyio.sleep(LEASE / 3)
            for (ours, number), tenure in list(self._held.items()):
                store = self._source.hot if ours else self._target.hot
                if await store.log(number).renew(tenure, tenure.next_sequence) is not Verdict.OK:
                    raise Fenced(f"another process has taken partition {number} of {store.name} meanwhile")

    async def _release(self, *, ours: bool) -> None:
        hot = (self._source if ours else self._target).hot
        for number in range(hot.partitions):
            tenure = self._held.pop((ours, number), None)
            if tenure is not None:
                with suppress(StoreUnavailable):  # the lease ends by itself
                    await hot.log(number).release(tenure)

    # --- the proof

    async def _prove(self, source: Contents, target: Contents) -> None:
        """Read everything again, on both sides."""
        ends = [await each.log.position_at(END_OF_TIME) for each in (source, target)]
        for contents, end in zip((source, target), ends, strict=True):
            await contents.load(end)
        for tenant in sorted({*source.tenants, *target.tenants}):
            counts: dict[str, int] = {}
            sums: dict[str, tuple[bytes, bytes]] = {}
            for kind in (*IN_THE_HOT_STORE, *BESIDE_IT):
                among = None
                if kind == CONTENT:  # what only the target has is an orphan there, or another runtime's
                    among = {row.key async for row in source.read(kind, tenant)}
                counts[kind], ours = await _sum(source.read(kind, tenant))
                sums[kind] = ours, (await _sum(target.read(kind, tenant), among))[1]
            if tenant == SYSTEM_TENANT:
                facts = [await each.facts(end) for each, end in zip((source, target), ends, strict=True)]
                sums[FACTS] = _encode(facts[0].value), _encode(facts[1].value)
            self.proofs.append(_proof(tenant, source.partition, counts, sums))


async def _sum(rows: Rows, among: Collection[tuple[object, ...]] | None = None) -> tuple[int, bytes]:
    """How many rows there are (of those `among` which it looks, or of all), and a digest over them."""
    state, count = blake2b(digest_size=16), 0
    async for row in rows:
        if among is None or row.key in among:
            part = _encode([row.key, row.value])
            state.update(len(part).to_bytes(8, "big"))
            state.update(part)
            count += 1
    return count, state.digest()


def _proof(tenant: str, partition: int, counts: dict[str, int], sums: dict[str, tuple[bytes, bytes]]) -> Proof:
    ours, theirs = (digest(*(each[side] for each in sums.values())).hex() for side in (0, 1))
    differs = [kind for kind, (wanted, found) in sums.items() if wanted != found]
    return Proof(tenant, partition, counts, ours, theirs, differs)


@asynccontextmanager
async def opened(side: Side) -> AsyncGenerator[None]:
    """Open a side's stores, and close them in the end."""
    await side.hot.open()
    try:
        if side.cold is not None:
            await side.cold.open()
        yield
    finally:
        with anyio.CancelScope(shield=True):
            await side.hot.close()
            if side.cold is not None:
                await side.cold.close()
