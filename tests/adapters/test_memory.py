"""What only the store in memory has: twins, snapshots, lives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import anyio
import pytest

from intendant.adapters.memory import MemoryStore
from intendant.domain.commit import PutDocument, Verdict
from intendant.domain.errors import InternalError, PartitionOwned
from intendant.domain.ports import Durability, Store
from intendant.testing.clock import virtual_backend
from intendant.testing.conformance.commits import all_of, one_of_everything
from intendant.testing.conformance.pen import LEASE_S, Pen, commit, owner

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend(virtual_time: Any) -> Any:
    return virtual_time


async def opened(make: Callable[[], MemoryStore] = MemoryStore) -> MemoryStore:
    store = make()
    await store.open()
    return store


async def test_it_is_a_store() -> None:
    store: Store = MemoryStore()
    assert (store.name, store.partitions, store.durability) == ("memory:", 1, Durability.MEMORY)
    assert store.log(0) is store.log(0)
    with pytest.raises(InternalError, match="no partition 1"):
        store.log(1)


async def test_data_outlive_closing_and_their_owner_does_not() -> None:
    store = await opened()
    pen = await Pen.take(store.log(0))
    await pen.write(one_of_everything())
    await store.close()
    await store.open()
    assert await pen.send(pen.seal(commit("t"))) is Verdict.OK, "nobody has taken over yet"
    again = await Pen.take(store.log(0), timeout=0)
    assert again.next == pen.next
    assert await pen.send(pen.seal(commit("t"))) is Verdict.FENCED


async def test_opening_again_without_closing_is_a_new_process() -> None:
    store = await opened()
    await Pen.take(store.log(0))
    twin = await opened(store.twin)
    with pytest.raises(PartitionOwned):
        await twin.log(0).acquire(owner(), timeout=1, lease=LEASE_S)
    await store.open()
    await Pen.take(twin.log(0), timeout=0)


async def test_a_snapshot_does_not_change_and_can_be_gone_back_to() -> None:
    store = await opened()
    pen = await Pen.take(store.log(0))
    await pen.write(one_of_everything())
    await store.log(0).documents("t", "documents")  # from now on it keeps an order, which a copy must not share
    before, snapshot = await all_of(store.log(0)), store.snapshot()
    for turn in range(2):
        batch = await pen.write(
            one_of_everything(mark=f"after{turn}"), commit("t", PutDocument("documents", "d1", b"new"))
        )
        store.restore(snapshot)
        assert await all_of(store.log(0)) == before
        assert await pen.send(pen.seal(commit("t"))) is Verdict.GAP, "the log is shorter than the writer knows"
        assert await pen.send(batch) is Verdict.OK, "and takes again what it has lost"
        store.restore(snapshot)
        pen.next = batch.first


def test_a_crash_of_the_whole_loop_can_be_recovered_from() -> None:
    store = MemoryStore()

    async def crash() -> None:
        await store.open()
        pen = await Pen.take(store.log(0))
        await pen.write(one_of_everything())
        raise KeyboardInterrupt

    async def recover() -> None:
        await store.open()
        pen = await Pen.take(store.log(0), timeout=0)
        assert pen.next == 3
        await pen.write(one_of_everything(mark="2"))
        await store.close()

    for backend in ("asyncio", "trio"):
        name, options = virtual_backend(backend)
        with pytest.raises(KeyboardInterrupt):
            anyio.run(crash, backend=name, backend_options=options)
        anyio.run(recover, backend="trio")
        store = MemoryStore()
