"""A runtime moves into other stores whole, whatever interrupts it, and nothing half is ever used."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Struct
from msgspec.structs import replace

from intendant import (
    Context,
    InvalidValue,
    PartitionOwned,
    Realm,
    Runtime,
    Shutdown,
    StoreUnavailable,
    UnfinishedMigration,
)
from intendant.adapters.files import DirectoryFileStore
from intendant.adapters.memory import MemoryColdStore, MemoryFileStore, MemoryStore
from intendant.adapters.redis import RedisStore
from intendant.adapters.sqlite import SqliteStore
from intendant.domain import state as states
from intendant.domain.commit import Batch, KeysTaken, Verdict
from intendant.domain.ports import Store
from intendant.runtime.migration import Migration, Side, opened
from intendant.testing.clock import virtual_backend
from intendant.testing.conformance.pen import LEASE_S, Pen, commit, owner
from intendant.testing.faults import Fault, FaultyStore, Plan
from tests.runtime.author import TENANTS, Author

EXAMPLES = 10


class Order(Struct):
    number: int


def memory_side(partitions: int = 1) -> Side:
    return Side(MemoryStore(partitions=partitions), MemoryColdStore(), MemoryFileStore())


def simulated(act: Callable[..., Any], *arguments: Any) -> None:
    """Run on both event loops, in virtual time."""
    for name in ("asyncio", "trio"):
        backend, options = virtual_backend(name)
        anyio.run(act, *arguments, backend=backend, backend_options=options)


async def written(seed: int, side: Side, batches: int) -> list[Author]:
    random, count = Random(seed), side.hot.partitions
    authors = [Author(random, number, count) for number in range(count)]
    await go_on(side, authors, batches)
    return authors


async def go_on(side: Side, authors: list[Author], batches: int) -> None:
    async with opened(side):
        for author in authors:
            await author.write(side, batches)


async def all_of(side: Side) -> dict[str, Any]:
    """Everything, as the store in memory holds it."""
    assert isinstance(side.hot, MemoryStore)
    assert isinstance(side.cold, MemoryColdStore)
    found: dict[str, Any] = {}
    for number in range(side.hot.partitions):
        kept = side.hot.log(number).shared.partition
        end = kept.ownership.next_sequence
        found[f"end {number}"] = (end, kept.ownership.last_time)
        found[f"entries {number}"] = {
            tenant: list(zip(own.firsts, own.ends, own.times, own.bodies, strict=True))
            for tenant, own in kept.entries_of.items()
        }
        found[f"shown {number}"] = kept.entries.read(kept.floor, None, 10**6, newest_first=False)
        found[f"documents {number}"] = {name: own.values for name, own in kept.documents.items() if own.values}
        found[f"journals {number}"] = {name: [body for _, body in rows] for name, rows in kept.journals.items()}
        found[f"indexes {number}"] = {name: own.values for name, own in kept.indexes.items() if own.values}
        found[f"keys {number}"] = kept.keys.values
        found[f"outbox {number}"] = kept.outbox.values
        found[f"checkpoints {number}"] = {name: at for name, at in kept.checkpoints.items() if at}
        await side.cold.open()
        found[f"chunks {number}"] = await side.cold.chunks(number, None, limit=10**6)
    for tenant in TENANTS:
        found[f"files of {tenant}"] = await side.files.digests(tenant) if side.files else []
        for collection in states.COLLECTIONS:
            found[f"cold {collection} of {tenant}"] = await side.cold.documents(tenant, collection, limit=10**6)
    await side.cold.close()
    return found


async def moved(source: Side, target: Side) -> Migration:
    migration = Migration(source, target)
    try:
        await migration.run()
    except StoreUnavailable:
        assert not migration.finished
        raise
    assert migration.finished, [each for each in migration.proofs if not each.equal]
    assert migration.copied == migration.total
    return migration


@settings(max_examples=EXAMPLES)
@given(st.integers(0, 2**32), st.integers(1, 3), st.integers(1, 40))
def test_everything_is_moved(seed: int, partitions: int, batches: int) -> None:
    async def move() -> None:
        source, target = memory_side(partitions), memory_side(partitions)
        await written(seed, source, batches)
        before = await all_of(source)
        migration = await moved(source, target)
        assert await all_of(source) == before, "the source is as it was"
        assert await all_of(target) == before
        assert sum(each.rows["documents"] for each in migration.proofs) == sum(
            len(own) for name, each in before.items() if name.startswith("documents") for own in each.values()
        )

    simulated(move)


@settings(max_examples=EXAMPLES)
@given(st.integers(0, 2**32), st.integers(1, 2), st.sampled_from([Fault.NOT_APPLIED, Fault.REPLY_LOST]), st.booleans())
def test_it_goes_on_wherever_it_was_cut_off(seed: int, partitions: int, fault: Fault, grows: bool) -> None:
    async def move() -> None:
        source, target = memory_side(partitions), memory_side(partitions)
        authors = await written(seed, source, 12)
        for attempt in range(1, 200):
            plan: Plan = {2 + attempt % 3: fault}
            try:
                await moved(source, Side(FaultyStore(target.hot, plan), target.cold, target.files))
            except StoreUnavailable:
                if grows and attempt < 8:
                    await go_on(source, authors, 2)
                continue
            break
        else:
            pytest.fail("it never came to its end")
        assert await all_of(target) == await all_of(source)

    simulated(move)


def test_repeated_when_all_is_done_it_proves_that_again() -> None:
    async def move() -> None:
        source, target = memory_side(2), memory_side(2)
        authors = await written(12, source, 20)
        first = await moved(source, target)
        again = Migration(source, Side(FaultyStore(target.hot, lambda _: Fault.NOT_APPLIED), target.cold, target.files))
        await again.run()
        assert again.finished
        assert again.proofs == first.proofs
        await go_on(source, authors, 1)
        with pytest.raises(InvalidValue, match="neither an unfinished copy"):
            await Migration(source, target).run()

    simulated(move)


def test_an_unfinished_copy_of_another_runtime_is_refused() -> None:
    async def move() -> None:
        target = memory_side()
        cut_off = Side(FaultyStore(target.hot, {4: Fault.NOT_APPLIED}), target.cold, target.files)
        for time, error in ((100, StoreUnavailable), (200, InvalidValue)):
            source = memory_side()
            await source.hot.open()
            pen = await Pen.take(source.hot.log(0))
            for number in range(5):
                await pen.write(commit("acme"), time=time + number)
            await pen.log.release(pen.tenure)
            with pytest.raises(error, match=r"planned fault|unfinished copy of another runtime"):
                await Migration(source, cut_off).run()

    simulated(move)


def test_cut_off_at_any_batch_the_next_one_ends_equal() -> None:
    async def move() -> None:
        source, batches = memory_side(), 0
        await written(150, source, 100)
        while True:
            batches += 1
            target = memory_side()
            try:
                await moved(
                    source, Side(FaultyStore(target.hot, {batches: Fault.NOT_APPLIED}), target.cold, target.files)
                )
            except StoreUnavailable:
                await moved(source, target)
            else:
                break
        assert batches > 40

    simulated(move)


class Cancelling(FaultyStore):
    """Cancels a scope in the middle of the n-th commit."""

    def __init__(self, inner: Store, number: int, scope: anyio.CancelScope) -> None:
        super().__init__(inner)
        self._number = number
        self._scope = scope

    def next_commit(self) -> Fault:
        fault = super().next_commit()
        if self.commits == self._number:
            self._scope.cancel()
        return fault


def test_a_cancel_at_every_batch_leaves_what_can_be_finished() -> None:
    async def move() -> None:
        source, target = memory_side(), memory_side()
        await written(4711, source, 25)
        cancelled = 0
        while True:
            scope = anyio.CancelScope()
            migration = Migration(source, Side(Cancelling(target.hot, 3, scope), target.cold, target.files))
            with scope:
                await migration.run()
            for side in (source, target):
                await side.hot.open()
                assert await side.hot.log(0).holder() is None, "nobody owns it afterwards"
            if migration.finished:
                assert not await target.hot.log(0).checkpoint(states.MIGRATION)
                break
            cancelled += 1
            assert cancelled < 100, "it comes to an end"
        assert cancelled > 5, "it was cancelled often"
        assert await all_of(target) == await all_of(source)

    simulated(move)


def sqlite_side(folder: Path) -> Side:
    folder.mkdir()
    return Side(SqliteStore(folder / "x.db"), MemoryColdStore(), DirectoryFileStore(folder / "x.db.files"))


@pytest.mark.anyio
async def test_through_a_file_and_a_server_and_back(
    tmp_path: Path, test_redis: str, fresh_prefix: Callable[[], str]
) -> None:
    def server_side() -> Side:
        return Side(RedisStore(f"{test_redis}?prefix={fresh_prefix()}"), MemoryColdStore(), MemoryFileStore())

    first = memory_side()
    authors = await written(1, first, 60)
    for number in range(2):
        last = memory_side()
        places = [first, sqlite_side(tmp_path / f"{number}"), server_side(), last]
        for source, target in pairwise(places if number else [first, places[2], places[1], last]):
            await moved(source, target)
        assert await all_of(last) == await all_of(first)
        await go_on(last, authors, 20)
        first = last


class Lossy(FaultyStore):
    """Forgets one thing of one batch."""

    def log(self, partition: int) -> Any:
        return LossyLog(self, self.inner.log(partition))


class LossyLog:
    def __init__(self, store: FaultyStore, inner: Any) -> None:
        self._store = store
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def commit(self, batch: Batch) -> Verdict | KeysTaken:
        found: Verdict | KeysTaken = await self._inner.commit(replace(batch, puts=batch.puts[1:]))
        return found


def test_what_differs_is_named_and_the_target_is_not_used() -> None:
    async def move() -> None:
        source, target = memory_side(), memory_side()
        await written(7, source, 30)
        migration = Migration(source, Side(Lossy(target.hot), target.cold, target.files))
        await migration.run()
        assert not migration.equal
        assert not migration.finished
        assert {kind for each in migration.proofs for kind in each.differs} == {"documents"}
        with pytest.raises(UnfinishedMigration, match="run the same `intendant migrate` again"):
            async with Runtime([], hot=target.hot):
                pass
        with pytest.raises(UnfinishedMigration, match="half a copy itself"):
            await Migration(target, memory_side()).run()

    simulated(move)


def test_what_does_not_fit_is_refused() -> None:
    async def move() -> None:
        source = memory_side()
        await written(7, source, 30)
        with pytest.raises(InvalidValue, match="make the target with 1"):
            await Migration(source, memory_side(2)).run()
        with pytest.raises(InvalidValue, match="archived to a cold store"):
            await Migration(Side(source.hot, None, None), Side(MemoryStore(), None, None)).run()
        with pytest.raises(InvalidValue, match="holds no records"):
            await Migration(memory_side(), memory_side()).run()
        with pytest.raises(InvalidValue, match=r"to_files: .* name where they are to lie"):
            await Migration(source, Side(MemoryStore(), MemoryColdStore(), None)).run()
        with pytest.raises(InvalidValue, match=r"from_files: .* name where they lie"):
            await Migration(Side(source.hot, source.cold), memory_side()).run()
        full = memory_side()
        await written(8, full, 5)
        with pytest.raises(InvalidValue, match=r"holds \d+ records, and is neither"):
            await Migration(source, Side(full.hot, MemoryColdStore(), None)).run()
        with pytest.raises(InvalidValue, match="not empty"):
            await Migration(source, Side(MemoryStore(), full.cold, None)).run()

    simulated(move)


@pytest.mark.parametrize("busy", ["source", "target"])
def test_a_store_in_use_is_refused(busy: str) -> None:
    async def move() -> None:
        source, target = memory_side(), memory_side()
        await written(1, source, 5)
        hot = (source if busy == "source" else target).hot
        assert isinstance(hot, MemoryStore)
        twin = hot.twin()
        await twin.open()
        await twin.log(0).acquire(owner("desk"), timeout=0, lease=LEASE_S)
        with pytest.raises(PartitionOwned) as raised:
            await Migration(source, target).run()
        assert (raised.value.host, raised.value.pid) == ("host-desk", 4711)

    simulated(move)


@pytest.mark.anyio
async def test_a_runtime_goes_on_in_its_new_place(tmp_path: Path, hot: Store) -> None:
    ran: list[str] = []
    desk = Realm("desk")
    go, all_ran = anyio.Event(), anyio.Event()

    @desk.handler
    async def work(ctx: Context, order: Order) -> int:
        number = order.number

        async def note() -> int:
            ran.append(f"step {number}")
            if len(ran) == 6:
                all_ran.set()
            return number

        found = await ctx.step("note", note)
        if number % 2:
            await go.wait()
        return found

    source = Side(SqliteStore(tmp_path / "old.db"), None, DirectoryFileStore(tmp_path / "old.db.files"))
    target = Side(hot, None, MemoryFileStore())
    async with Runtime([desk], hot=source.hot, shutdown=Shutdown(drain=0)) as runtime:
        session = await runtime.open_session("acme", "s1")
        executions = [await session.submit(work, Order(number), idempotency_key=f"k{number}") for number in range(6)]
        for execution in executions[::2]:
            await execution.result()
        with anyio.fail_after(10):
            await all_ran.wait()
    await moved(source, target)
    go.set()
    async with Runtime([desk], hot=target.hot) as runtime:
        for number, execution in enumerate(executions):
            assert await runtime.execution("acme", execution.id).result(timeout=10) == number
        session = await runtime.open_session("acme", "s1")
        again = await session.submit(work, Order(3), idempotency_key="k3")
        assert again.id == executions[3].id
    assert sorted(ran) == [f"step {number}" for number in range(6)], "no step ran again"


def test_all_collections_and_indexes_are_known() -> None:
    names = {name: value for name, value in vars(states).items() if name.isupper() and isinstance(value, str)}
    del names["MIGRATION"]  # a checkpoint
    assert sorted(names.values()) == sorted([*states.COLLECTIONS, *states.INDEXES])
