"""Hot, cold and log held against each other: a working pair is sound, and every planted fault is found."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from copy import deepcopy
from datetime import timedelta
from typing import Any

import anyio
import pytest
from msgspec.structs import replace

from intendant import Context, Realm, Retention, Runtime
from intendant.adapters.memory import MemoryColdStore, MemoryStore
from intendant.cli.archive import as_object, print_json, print_table
from intendant.domain import state as states
from intendant.domain.commit import Commit, PutDocument
from intendant.domain.ports import Chunk, ColdDocument
from intendant.domain.records import Record, decode_entry, encode_entry
from intendant.runtime.migration import Side, opened
from intendant.runtime.verification import Verification
from intendant.testing.clock import VirtualClock, virtual_backend
from intendant.testing.conformance.pen import Pen

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("rare_looks")]
HOT = 1800
shop = Realm("shop")


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    return virtual_backend(request.param)


@shop.handler
async def sell(ctx: Context, order: dict[str, Any]) -> dict[str, Any]:
    ctx.emit("sold", order)
    return order


class Stores:
    """A hot and a cold store that a runtime has worked on: acme's first executions have left the hot one."""

    def __init__(self) -> None:
        self.hot = MemoryStore()
        self.cold = MemoryColdStore()
        self.old: list[str] = []
        self.new: list[str] = []

    def runtime(self) -> Runtime:
        return Runtime(
            [shop],
            hot=self.hot,
            cold=self.cold,
            clock=VirtualClock(),
            lease=300.0,
            retention=Retention(hot=timedelta(seconds=HOT), total=timedelta(days=30)),
            publisher=lambda _: None,
        )

    async def work(self, runtime: Runtime, count: int) -> list[str]:
        ids: list[str] = []
        for tenant in ("acme", "beta"):
            session = await runtime.open_session(tenant, "s1")
            for n in range(count):
                execution = await session.submit("shop.sell", {"n": n})
                await execution.result()
                ids.append(execution.id)
            await runtime.state.set_execution(tenant, ids[-1], {"seen": count})
        await anyio.sleep(10)
        return ids

    async def fill(self) -> Stores:
        async with self.runtime() as runtime:
            self.old = await self.work(runtime, 150)
            await anyio.sleep(2 * HOT)
            self.new = await self.work(runtime, 20)
        await self.hot.open()
        await self.cold.open()
        assert await self.hot.log(0).document("acme", states.EXECUTIONS, self.old[0]) is None
        return self

    async def copied(self) -> Stores:
        """The same once more, to be spoiled; open on this event loop."""
        copy = Stores()
        copy.hot.restore(self.hot.snapshot())
        copy.cold, copy.old, copy.new = deepcopy(self.cold), self.old, self.new
        await copy.hot.open()
        await copy.cold.open()
        return copy

    async def verified(self) -> Verification:
        found = Verification()
        async with opened(Side(self.hot, self.cold)):
            await found.run([self.hot.log(0)], self.cold)
        await self.cold.open()
        return found

    async def chunk(self, place: int) -> Chunk:
        return (await self.cold.chunks(0, "acme", limit=100))[place]

    async def spoil(self, collection: str, id: str, **changes: Any) -> None:
        """Change a document in the cold store, whatever its version."""
        document = await self.cold.document("acme", collection, id)
        assert document is not None
        await self.cold.remove([("acme", collection, id)])
        await self.cold.put([replace(document, **changes)])


_filled: list[Stores] = []


async def filled() -> Stores:
    """Stores that a runtime has worked on: once for all tests, each of which gets a copy."""
    if not _filled:
        _filled.append(await Stores().fill())
    return await _filled[0].copied()


async def test_a_working_pair_is_sound_also_beside_its_owner(capsys: pytest.CaptureFixture[str]) -> None:
    stores = await Stores().fill()
    found = await stores.verified()
    assert found.sound, found.faults
    assert (found.lag, found.records > 1000, found.chunks > 3, found.documents > 300) == (0, True, True, True)
    print_table(found)
    assert "sound" in capsys.readouterr().out
    async with stores.runtime() as runtime, anyio.create_task_group() as group:
        group.start_soon(stores.work, runtime, 100)
        for _ in range(10):
            beside = Verification()
            await beside.run([stores.hot.log(0)], stores.cold)
            assert beside.sound, beside.faults
            await anyio.sleep(HOT / 5)


async def test_how_far_cold_state_is_behind_is_told_and_no_fault() -> None:
    stores = await filled()
    async with Runtime([shop], hot=stores.hot) as runtime:
        await (await (await runtime.open_session("acme", "s2")).submit("shop.sell", {"n": 1})).result()
    found = await stores.verified()
    assert found.sound, found.faults
    assert found.lag > 0


async def test_after_an_erasure_it_is_sound() -> None:
    stores = await filled()
    async with stores.runtime() as runtime:
        await runtime.erase_session("acme", "s1")
        await anyio.sleep(60)
        beside = Verification()
        await beside.run([stores.hot.log(0)], stores.cold)
        assert beside.sound, beside.faults
        await runtime.erase_tenant("beta")
        await anyio.sleep(60)
    found = await stores.verified()
    assert found.sound, found.faults


# --- planted faults


async def missing_chunk_that_the_hot_log_has(stores: Stores) -> None:
    chunk = await stores.chunk(-1)
    await stores.cold.archive(0, [replace(chunk, version=chunk.version + 1, entries=[])])


async def missing_chunk_of_history(stores: Stores) -> None:
    chunk = await stores.chunk(0)
    await stores.cold.archive(0, [replace(chunk, version=chunk.version + 1, entries=[])])


async def altered_entry(stores: Stores, place: int = -1) -> None:
    chunk = await stores.chunk(place)
    records = decode_entry(chunk.entries[0])
    first, payload = records[0], {"altered": True}
    altered = [Record(each.type, each.session, each.execution, payload) for each in records]
    entry = encode_entry(first.epoch, first.sequence, first.time, "acme", altered)
    await stores.cold.archive(0, [replace(chunk, version=chunk.version + 1, entries=[entry, *chunk.entries[1:]])])


async def altered_history(stores: Stores) -> None:
    await altered_entry(stores, 0)


async def an_entry_of_another_place(stores: Stores) -> None:
    chunk, first = await stores.chunk(-1), await stores.chunk(0)
    entries = [first.entries[0], *chunk.entries]
    await stores.cold.archive(0, [replace(chunk, version=chunk.version + 1, entries=entries)])


async def cold_ahead(stores: Stores) -> None:
    document = await stores.cold.document("acme", states.EXECUTIONS, stores.new[0])
    assert document is not None
    await stores.cold.put([replace(document, version=document.version + 10_000)])


async def archived_ahead(stores: Stores) -> None:
    chunk = await stores.chunk(-1)
    await stores.cold.archive(0, [replace(chunk, first=10**6, last=10**6 + 9, version=10**6 + 9)])


async def stale_document(stores: Stores) -> None:
    await stores.spoil(states.EXECUTIONS, stores.new[0], version=1)


async def different_document(stores: Stores) -> None:
    await stores.spoil(states.EXECUTION_DATA, stores.new[19], body=b"\x01")


async def missing_document(stores: Stores) -> None:
    await stores.cold.remove([("acme", states.EXECUTIONS, stores.new[0])])


async def missing_history(stores: Stores) -> None:
    await stores.cold.remove([("acme", states.EXECUTIONS, stores.old[0])])


async def history_that_is_not_what_the_log_leads_to(stores: Stores) -> None:
    document = await stores.cold.document("acme", states.EXECUTIONS, stores.old[1])
    assert document is not None
    assert document.body is not None
    await stores.spoil(states.EXECUTIONS, stores.old[1], body=document.body.replace(b"completed", b"cancelled"))


async def another_tenants_document(stores: Stores) -> None:
    document = await stores.cold.document("beta", states.EXECUTIONS, stores.new[-1])
    assert document is not None
    await stores.cold.put([replace(document, tenant="acme")])


async def another_tenants_records(stores: Stores) -> None:
    chunk, other = await stores.chunk(-1), (await stores.cold.chunks(0, "beta", limit=1))[0]
    entries = [*chunk.entries, other.entries[0]]
    await stores.cold.archive(0, [replace(chunk, version=chunk.version + 1, entries=entries)])


async def a_hot_document_that_the_log_does_not_lead_to(stores: Stores) -> None:
    log = stores.hot.log(0)
    hot = await log.document("acme", states.EXECUTION_DATA, stores.new[19])
    assert hot is not None
    pen = await Pen.take(log, timeout=0)
    record = Record("state_set", "", "", {"collection": states.EXECUTION_DATA, "key": stores.new[19], "value": 7})
    await pen.write(Commit("acme", [record], [PutDocument(states.EXECUTION_DATA, stores.new[19], b"\x08")]))
    await log.release(pen.tenure)


async def a_document_that_is_in_cold_state_only(stores: Stores) -> None:
    await stores.cold.put([ColdDocument("acme", states.FILES, "zz", 5, b"\x80")])


@pytest.mark.parametrize(
    ("plant", "kinds"),
    [
        (missing_chunk_that_the_hot_log_has, {"missing"}),
        (missing_chunk_of_history, {"missing"}),
        (altered_entry, {"different"}),
        (altered_history, {"different"}),
        (an_entry_of_another_place, {"different"}),
        (cold_ahead, {"ahead"}),
        (archived_ahead, {"ahead"}),
        (stale_document, {"stale"}),
        (different_document, {"different"}),
        (missing_document, {"missing"}),
        (missing_history, {"missing"}),
        (history_that_is_not_what_the_log_leads_to, {"diverged"}),
        (another_tenants_document, {"foreign"}),
        (another_tenants_records, {"foreign"}),
        (a_hot_document_that_the_log_does_not_lead_to, {"diverged"}),
        (a_document_that_is_in_cold_state_only, {"missing"}),
    ],
)
async def test_a_planted_fault_is_found(
    plant: Callable[[Stores], Awaitable[None]], kinds: set[str], capsys: pytest.CaptureFixture[str]
) -> None:
    stores = await filled()
    await plant(stores)
    found = await stores.verified()
    assert not found.sound
    assert kinds <= {kind for _, kind in found.counts}, found.faults
    assert {tenant for tenant, _ in found.counts} <= {"acme", ""}
    print_table(found)
    print_json(found)
    said = capsys.readouterr().out
    assert "NOT SOUND" in said
    assert all(each["text"] in said and each["remedy"] in said for each in as_object(found)["findings"])
