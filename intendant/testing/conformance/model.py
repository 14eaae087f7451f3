"""A log as simple as it can be told, and a random life of a store compared with it step by step."""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Final

from msgspec.structs import replace

from intendant.domain.commit import (
    AddToIndex,
    AddToOutbox,
    AppendJournal,
    Batch,
    ClaimKey,
    Commit,
    DeleteDocument,
    DropJournal,
    KeysTaken,
    MoveCheckpoint,
    Operation,
    PutDocument,
    ReleaseKey,
    RemoveFromIndex,
    ReplaceEntry,
    SettleOutbox,
    TrimLog,
    Verdict,
)
from intendant.domain.ports import Document, IndexMember, LogReader, OutboxItem, Store
from intendant.testing.conformance.pen import Pen, commit
from intendant.testing.conformance.promise import OpenStore, promise, same

BATCHES: Final = 1000
_TENANTS: Final = ("a", "a:b", "b", "{a}")
_NAMES: Final = ("k", "b:k", "\u00e9", "k2", "K", "a")
_COLLECTIONS: Final = ("c", "c:b")


class Model:
    """What a log must hold after the batches it was given: plain containers, sorted whenever they are read."""

    def __init__(self) -> None:
        self.entries: list[tuple[str, int, int, int, bytes]] = []  # tenant, first, count, time, entry
        self.documents: dict[tuple[str, str, str], Document] = {}
        self.journals: dict[tuple[str, str], list[bytes]] = {}
        self.indexes: set[tuple[str, int, str, str]] = set()
        self.keys: dict[tuple[str, str], bytes] = {}
        self.outbox: dict[int, OutboxItem] = {}
        self.checkpoints: dict[str, int] = {}
        self.firsts: list[int] = []  # where each batch begins
        self.end = 1
        self.floor = 0  # where reading all tenants begins

    def taken(self, batch: Batch) -> dict[tuple[str, str], bytes]:
        """Keys of the batch that are claimed, with what."""
        return {(t, k): self.keys[t, k] for t, k, _ in batch.claims if (t, k) in self.keys}

    def apply(self, batch: Batch) -> None:
        """Apply a batch that follows the last one."""
        self.entries.extend((tenant, first, count, batch.time, entry) for tenant, first, count, entry in batch.entries)
        self.keys.update({(tenant, key): value for tenant, key, value in batch.claims})
        for release in batch.releases:
            self.keys.pop(release, None)
        for tenant, collection, key, since, version, body in batch.puts:
            self.documents[tenant, collection, key] = Document(key, body, since, version)
        for place in batch.deletes:
            self.documents.pop(place, None)
        for tenant, execution, _, body in batch.journal:
            self.journals.setdefault((tenant, execution), []).append(body)
        for drop in batch.drops:
            self.journals.pop(drop, None)
        self.indexes.difference_update(batch.index_removes)
        self.indexes.update(batch.index_adds)
        self.outbox.update({item[0]: OutboxItem(*item) for item in batch.outbox_adds})
        for position in batch.outbox_settles:
            self.outbox.pop(position, None)
        self.checkpoints.update(batch.checkpoints)
        for tenant, first, body in batch.replaces:
            self.entries = [(*e[:4], body) if (e[0], e[1]) == (tenant, first) else e for e in self.entries]
        for tenant, below in batch.trims:
            self.entries = [each for each in self.entries if each[0] != tenant or each[1] + each[2] > below]
            self.floor = self.floor if tenant else max(self.floor, below)
        self.end = batch.first + batch.count
        self.firsts.append(batch.first)

    def from_floor(self) -> list[bytes]:
        """What reading all tenants shows."""
        return [entry for _, first, count, _, entry in self.entries if first + count > self.floor]


async def a_random_life_follows_the_model(open_store: OpenStore, *, batches: int = BATCHES, seed: int = 1) -> None:
    """Batches of every kind, right and wrong, takeovers and reopening: every read is what the model says."""
    async with AsyncExitStack() as stack:
        life = _Life(random.Random(seed), await stack.enter_async_context(open_store()))
        await life.begin()
        for number in range(1, batches + 1):
            await life.step()
            for _ in range(2):
                await life.compare_one()
            if number % 250 == 0 or number == batches:
                await life.compare_all()
            if number % 100 == 0:
                await life.store.log(0).release(life.pen.tenure)
                await stack.aclose()
                life.store = await stack.enter_async_context(open_store())
                await life.begin()


class _Life:
    """The store and the model, side by side; `random` decides everything."""

    pen: Pen

    def __init__(self, random: random.Random, store: Store) -> None:
        self.random = random
        self.store = store
        self.model = Model()
        self.last: Batch | None = None

    async def begin(self) -> None:
        """Become the owner, as a process does that starts."""
        self.pen = await Pen.take(self.store.log(0))
        same(self.pen.next, self.model.end, "where the log ends for a new owner")
        self.last = None

    async def step(self) -> None:
        """Send one batch, mostly a right one."""
        pen, chance = self.pen, self.random.random()
        if chance < 0.05:
            await self.begin()
        elif chance < 0.10 and self.last is not None:
            same(await pen.send(self.last), Verdict.DUP, "the last batch again")
        elif chance < 0.15:
            await self._send_wrong()
        else:
            await self._send(pen.seal(*self._commits()))

    async def _send_wrong(self) -> None:
        batch = self.pen.seal(*self._commits())
        wrong = {
            Verdict.GAP: replace(batch, first=batch.first + self.random.randint(1, 9)),
            Verdict.FENCED: replace(batch, epoch=batch.epoch - 1),
            Verdict.LOST: replace(batch, epoch=batch.epoch + 1),
        }
        if batch.first > 1:
            wrong[Verdict.CONFLICT] = replace(batch, first=self.random.randrange(1, batch.first), digest=b"another")
        verdict = self.random.choice(list(wrong))
        same(await self.pen.send(wrong[verdict]), verdict, f"a batch made to be answered {verdict}")

    async def _send(self, batch: Batch) -> None:
        taken = self.model.taken(batch)
        if taken:
            same(await self.pen.send(batch), KeysTaken(taken), "a batch with taken keys")
            return
        same(await self.pen.send(batch), Verdict.OK, "a right batch")
        self.model.apply(batch)
        self.last = batch if batch.count else self.last

    def _commits(self) -> list[Commit]:
        claimed: set[tuple[str, str]] = set()
        commits: list[Commit] = []
        for _ in range(self.random.choice((1, 1, 2, 5, 12))):
            tenant = self.random.choice(_TENANTS)
            operations: list[Operation] = []
            for _ in range(self.random.randint(0, 5)):
                operation = self._operation()
                if isinstance(operation, ClaimKey):
                    if (tenant, operation.key) in claimed:
                        continue
                    claimed.add((tenant, operation.key))
                operations.append(operation)
            commits.append(commit(tenant, *operations, records=self.random.randint(1, 3)))
        if self.random.random() < 0.05 and self.model.firsts:
            commits.append(commit("", TrimLog(self.random.choice(self.model.firsts[-10:]))))
        if self.random.random() < 0.05:
            return [Commit("", [], [MoveCheckpoint(self.random.choice(_NAMES), self.random.randrange(99))])]
        return commits

    def _operation(self) -> Operation:
        choose = self.random.choice
        body = self.random.randbytes(self.random.randrange(20))
        positions = tuple(choose([*self.model.outbox, 1]) for _ in range(3))
        makers: list[Callable[[], Operation]] = [
            lambda: PutDocument(choose(_COLLECTIONS), choose(_NAMES), body, choose((0, 1, 7))),
            lambda: PutDocument(choose(_COLLECTIONS), choose(_NAMES), body),
            lambda: DeleteDocument(choose(_COLLECTIONS), choose(_NAMES)),
            lambda: AppendJournal(choose(_NAMES), body),
            lambda: AppendJournal(choose(_NAMES), body),
            lambda: DropJournal(choose(_NAMES)),
            lambda: AddToIndex(choose(_COLLECTIONS), choose(_NAMES), choose((-1, 0, 1, 2**60))),
            lambda: RemoveFromIndex(choose(_COLLECTIONS), choose(_NAMES), choose((-1, 0, 1, 2**60))),
            lambda: ClaimKey(f"{choose(_NAMES)}{self.random.randrange(200)}", body),
            lambda: ReleaseKey(f"{choose(_NAMES)}{self.random.randrange(200)}"),
            lambda: AddToOutbox(choose(_NAMES), body),
            lambda: SettleOutbox(positions),
            lambda: MoveCheckpoint(choose(_NAMES), self.random.randrange(1000)),
            lambda: TrimLog(self.random.randint(0, self.model.end // 2)),
            lambda: ReplaceEntry(self.random.randint(self.model.end // 2, self.model.end), body),
        ]
        return choose(makers)()

    async def compare_one(self) -> None:
        """Compare one read, chosen with its arguments at random."""
        await self.random.choice(
            (self._documents, self._index, self._outbox, self._entries, self._positions, self._small)
        )(self.store.log(0))

    async def compare_all(self) -> None:
        """Compare everything that can be read."""
        log, model = self.store.log(0), self.model
        for tenant in _TENANTS:
            for collection in _COLLECTIONS:
                found = await log.documents(tenant, collection, limit=1000)
                own = [d for (t, c, _), d in sorted(model.documents.items()) if (t, c) == (tenant, collection)]
                same(found, own, f"documents of {tenant!r} in {collection!r}")
            own_keys = [(k, v) for (t, k), v in sorted(model.keys.items()) if t == tenant]
            same(await log.keys(tenant, limit=10**6), own_keys, f"keys of {tenant!r}")
            for name in _NAMES:
                same(await log.journal(tenant, name), model.journals.get((tenant, name), []), f"the journal {name!r}")
        for name in _COLLECTIONS:
            own_members = [IndexMember(*member[1:]) for member in sorted(model.indexes) if member[0] == name]
            same(await log.index(name), own_members, f"the index {name!r}")
        for (tenant, key), value in model.keys.items():
            same(await log.key(tenant, key), value, f"the key {key!r} of {tenant!r}")
        same(await log.outbox(limit=10**6), [item for _, item in sorted(model.outbox.items())], "the outbox")
        same(await log.entries(None, limit=10**6), model.from_floor(), "the log")
        same(await log.tenants(), sorted({entry[0] for entry in model.entries}), "tenants")
        same({name: await log.checkpoint(name) for name in model.checkpoints}, model.checkpoints, "checkpoints")

    async def _documents(self, log: LogReader) -> None:
        tenant, collection = self.random.choice(_TENANTS), self.random.choice(_COLLECTIONS)
        after, limit = self.random.choice(("", "a", "b:k", "k", "zzz")), self.random.randint(1, 4)
        newest_first = self.random.random() < 0.5
        own = [d for (t, c, _), d in sorted(self.model.documents.items()) if (t, c) == (tenant, collection)]
        if newest_first:
            own = [d for d in reversed(own) if not after or d.key < after]
        else:
            own = [d for d in own if d.key > after]
        found = await log.documents(tenant, collection, after=after, limit=limit, newest_first=newest_first)
        same(found, own[:limit], f"documents of {tenant!r} in {collection!r} behind {after!r}, {newest_first}")

    async def _index(self, log: LogReader) -> None:
        name, limit = self.random.choice(_COLLECTIONS), self.random.randint(1, 8)
        after = IndexMember(self.random.choice((-1, 0, 1)), self.random.choice(_TENANTS), self.random.choice(_NAMES))
        behind = (name, after.score, after.tenant, after.member)
        own = [IndexMember(*m[1:]) for m in sorted(self.model.indexes) if m[0] == name and m > behind]
        same(await log.index(name, after=after, limit=limit), own[:limit], f"the index {name!r} behind {after}")

    async def _outbox(self, log: LogReader) -> None:
        tenant = self.random.choice((None, *_TENANTS))
        after, limit = self.random.choice([0, *self.model.outbox]), self.random.randint(1, 8)
        items = [item for position, item in sorted(self.model.outbox.items()) if position > after]
        own = [item for item in items if tenant in (None, item.tenant)]
        found = await log.outbox(after=after, limit=limit, tenant=tenant)
        same(found, own[:limit], f"the outbox of {tenant!r} behind {after}")

    async def _entries(self, log: LogReader) -> None:
        tenant, limit = self.random.choice((None, *_TENANTS)), self.random.randint(1, 8)
        first, newest_first = self.random.randint(0, self.model.end + 2), self.random.random() < 0.5
        last = self.random.choice((None, first, first + 5, first + 100))
        own = [
            entry
            for of, begin, count, _, entry in self.model.entries
            if tenant in (None, of) and begin + count > first and (last is None or begin <= last)
            if tenant is not None or begin + count > self.model.floor
        ]
        expected = own[::-1] if newest_first else own
        found = await log.entries(tenant, first=first, last=last, limit=limit, newest_first=newest_first)
        same(found, expected[:limit], f"entries of {tenant!r} in {first}..{last}, newest first: {newest_first}")

    async def _positions(self, log: LogReader) -> None:
        time = self.random.randint(0, self.pen.time + 20)
        found, entries = await log.position_at(time), self.model.entries
        missed = [each[1] for each in entries if each[1] < found and each[3] >= time]
        early = [each[1] for each in entries if each[1] >= max(found, self.model.floor) and each[3] < time]
        same((missed, early), ([], []), f"records on the wrong side of {found}, the position of {time}")
        promise(found <= self.model.end, f"the position of {time} is in the log, or its end: {found}")

    async def _small(self, log: LogReader) -> None:
        tenant, name = self.random.choice(_TENANTS), self.random.choice(_NAMES)
        collection = self.random.choice(_COLLECTIONS)
        key = f"{name}{self.random.randrange(200)}"
        model = self.model
        same(
            await log.document(tenant, collection, name), model.documents.get((tenant, collection, name)), "a document"
        )
        same(await log.journal(tenant, name), model.journals.get((tenant, name), []), "a journal")
        same(await log.key(tenant, key), model.keys.get((tenant, key)), "a key")
        journals = [model.journals.get((tenant, each), []) for each in _NAMES]
        same(await log.journals([(tenant, each) for each in _NAMES]), journals, "journals of their executions")
        wanted = [(tenant, collection, each) for each in _NAMES]
        same(await log.fetch(wanted), [model.documents.get(each) for each in wanted], "documents by their keys")
        same(await log.checkpoint(name), model.checkpoints.get(name, 0), "a checkpoint")
