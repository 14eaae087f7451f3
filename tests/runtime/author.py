"""Writes a store's contents at random, as a runtime might have: for migrations, which must bring all of it along."""

from __future__ import annotations

from random import Random

from intendant.actors import retention, state_writer
from intendant.domain import state as states
from intendant.domain.commit import (
    AddToIndex,
    AddToOutbox,
    AppendJournal,
    ClaimKey,
    Commit,
    DeleteDocument,
    DropJournal,
    MoveCheckpoint,
    Operation,
    PutDocument,
    ReleaseKey,
    RemoveFromIndex,
    ReplaceEntry,
    SettleOutbox,
    TrimLog,
)
from intendant.domain.ids import partition_of
from intendant.domain.ports import Chunk, ColdDocument, Log
from intendant.domain.records import Record, decode_entry, encode_entry
from intendant.runtime.migration import Side
from intendant.testing.conformance.pen import Pen, commit

TENANTS = ("acme", "beta", "a:b", "z")


class Author:
    """One partition's author. What it knows of the store it remembers: it is the only one that writes."""

    def __init__(self, random: Random, partition: int, partitions: int, *, archives: bool = True) -> None:
        self._random = random
        self._archives = archives
        self._partition = partition
        self._tenants = [each for each in TENANTS if partition_of(each, partitions) == partition]
        self._open: list[tuple[str, str]] = []
        self._ended: list[tuple[str, str]] = []
        self._free: list[tuple[str, str]] = []
        self._settled: set[int] = set()
        self._count = 0

    async def write(self, side: Side, batches: int) -> None:
        """Own the partition for so many batches."""
        log = side.hot.log(self._partition)
        pen = await Pen.take(log, timeout=0)
        for _ in range(batches):
            touched: set[tuple[str, str]] = set()
            commits = [await self._commit(log, pen, touched) for _ in range(self._random.randint(1, 4))]
            await pen.write(*commits)
        await log.release(pen.tenure)
        written = await log.tenants()
        await self._write_beside(side, [each for each in self._tenants if each in written], pen.next)

    async def _commit(self, log: Log, pen: Pen, touched: set[tuple[str, str]]) -> Commit:
        random = self._random
        if not self._tenants or random.random() < 0.15:
            return await self._of_the_partition(log, pen)
        tenant = random.choice(self._tenants)
        operations = await self._operations(log, tenant, touched)
        if random.random() < 0.1:
            operations.append(TrimLog(random.randint(0, pen.next)))
        if random.random() < 0.1:
            operations += await self._rewriting(log, tenant)
        return commit(tenant, *operations, records=random.randint(1, 3), session="s", execution="x")

    async def _of_the_partition(self, log: Log, pen: Pen) -> Commit:
        operations: list[Operation] = [MoveCheckpoint(state_writer.CHECKPOINT, pen.next - 1 if self._archives else 0)]
        operations.append(MoveCheckpoint(retention.CHECKPOINT, 0))
        if self._random.random() < 0.5:
            operations.append(TrimLog(self._random.randint(0, pen.next)))
        waiting = [each.position for each in await log.outbox()]
        self._random.shuffle(waiting)
        operations.append(SettleOutbox(tuple(waiting[: len(waiting) // 2])))
        return commit("", *operations)

    async def _operations(self, log: Log, tenant: str, touched: set[tuple[str, str]]) -> list[Operation]:
        random = self._random
        mine = [id for of, id in self._open if of == tenant and (tenant, id) not in touched]
        over = [id for of, id in self._ended if of == tenant and (tenant, id) not in touched]
        free = [id for of, id in self._free if of == tenant and (tenant, id) not in touched]
        choice = random.random()
        if choice < 0.3 and mine:
            id = random.choice(mine)
            return [AppendJournal(id, self._body()) for _ in range(random.randint(1, 3))]
        if choice < 0.45 and mine:
            id = self._touch(self._open, tenant, random.choice(mine), touched)
            self._ended.append((tenant, id))
            return [*await self._document(log, tenant, id), RemoveFromIndex(states.OPEN, id, 7), DropJournal(id)]
        if choice < 0.6 and over:
            id = self._touch(self._ended, tenant, random.choice(over), touched)
            self._free.append((tenant, id))
            return [DeleteDocument(states.EXECUTIONS, id), ReleaseKey(id)]
        if choice < 0.7 and free:
            id = self._touch(self._free, tenant, random.choice(free), touched)
            self._ended.append((tenant, id))
            return [PutDocument(states.EXECUTIONS, id, self._body()), ClaimKey(id, self._body())]
        if choice < 0.8:
            return [PutDocument(random.choice(states.COLLECTIONS), f"d{random.randrange(4)}", self._body())]
        self._count += 1
        id = f"{self._count:04}"
        touched.add((tenant, id))
        self._open.append((tenant, id))
        return [
            PutDocument(states.EXECUTIONS, id, self._body()),
            AddToIndex(states.OPEN, id, 7),
            ClaimKey(id, self._body()),
            *[AddToOutbox("s", self._body())] * random.randint(0, 2),
        ]

    def _touch(self, where: list[tuple[str, str]], tenant: str, id: str, touched: set[tuple[str, str]]) -> str:
        where.remove((tenant, id))
        touched.add((tenant, id))
        return id

    async def _document(self, log: Log, tenant: str, id: str) -> list[Operation]:
        kept = await log.document(tenant, states.EXECUTIONS, id)
        return [PutDocument(states.EXECUTIONS, id, self._body(), kept.since if kept else 0)]

    async def _rewriting(self, log: Log, tenant: str) -> list[Operation]:
        entries = await log.entries(tenant, limit=1000)
        if not entries:
            return []
        records = decode_entry(self._random.choice(entries))
        erased = [Record(each.type, each.session, each.execution, {"erased": True}) for each in records]
        old = records[0]
        return [ReplaceEntry(old.sequence, encode_entry(old.epoch, old.sequence, old.time, tenant, erased))]

    async def _write_beside(self, side: Side, tenants: list[str], end: int) -> None:
        random = self._random
        for tenant in tenants:
            if side.files is not None:
                await side.files.put(tenant, self._body())
            if side.cold is None:
                continue
            places = [(tenant, random.choice(states.COLLECTIONS), f"c{random.randrange(9)}") for _ in range(4)]
            for place in places:
                await side.cold.put([ColdDocument(*place, end, random.choice((None, self._body())))])
                first = random.randrange(50) * 40 + TENANTS.index(tenant) * 10 + 1
                chunk = Chunk(tenant, first, first + random.randrange(9), first + 9 + end, [self._body()])
                await side.cold.archive(self._partition, [chunk])
            if random.random() < 0.3:
                await side.cold.trim(self._partition, tenant, below=random.randrange(2000))
                await side.cold.remove(places[:1])

    def _body(self) -> bytes:
        size = self._random.choice((0, 5, 100, 60_000))
        return self._random.randbytes(size)
