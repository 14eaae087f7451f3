"""Several partitions: served side by side, by one process or by several, and lost one at a time."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from intendant import (
    AcknowledgedDataMissing,
    Context,
    Event,
    Execution,
    Fenced,
    IntendantError,
    NotOwner,
    PartitionOwned,
    Realm,
    Runtime,
    RuntimeStopped,
    Shutdown,
    Status,
)
from intendant.actors.ring import RING_BYTES
from intendant.adapters.memory import MemoryColdStore, MemoryStore
from intendant.domain.commit import Batch, Verdict
from intendant.domain.ids import partition_of
from intendant.domain.ports import Chunk, Owner
from intendant.supervisor import ChildCrashed, ChildExited, ChildStarting
from intendant.supervisor import Event as SupervisorEvent
from intendant.testing.clock import virtual_backend

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("rare_looks")]
COUNT = 4
FOLLOWERS = ("state-writer", "outbox-relay", "retention", "eraser")
NOTHING: dict[str, Any] = {}
shop = Realm("shop")


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    return virtual_backend(request.param)


@shop.handler
async def greet(ctx: Context, nothing: dict[str, Any]) -> str:
    ctx.emit("greeted", {})
    return f"hello {ctx.tenant_id}"


@shop.handler
async def wait(ctx: Context, nothing: dict[str, Any]) -> None:
    await anyio.sleep_forever()


def swallow(event: Event) -> None:
    """Publish nowhere."""


def tenant_of(partition: int) -> str:
    """A tenant that lives in this partition."""
    return next(name for name in (f"tenant-{n}" for n in range(1_000)) if partition_of(name, COUNT) == partition)


TENANTS = [tenant_of(number) for number in range(COUNT)]


@asynccontextmanager
async def runtime(store: MemoryStore, **options: Any) -> AsyncGenerator[Runtime]:
    options.setdefault("shutdown", Shutdown(drain=0))
    async with Runtime([shop], hot=store, **options) as running:
        yield running


async def greet_all(running: Runtime, tenants: list[str]) -> None:
    for tenant in tenants:
        session = await running.open_session(tenant, "desk-1")
        execution = await session.submit(greet, NOTHING)
        assert await execution.result(timeout=10) == f"hello {tenant}"


def answer(store: MemoryStore, partition: int, verdict: Verdict, patch: pytest.MonkeyPatch) -> None:
    async def refuse(batch: Batch) -> Verdict:
        return verdict

    patch.setattr(store.log(partition), "commit", refuse)


def questions(running: Runtime, tenant: str) -> list[Callable[[], Awaitable[object]]]:
    session = running.session(tenant, "desk-1")
    return [
        lambda: running.open_session(tenant, "desk-1"),
        lambda: running.create_session(tenant, "desk-2"),
        lambda: running.sessions(tenant),
        lambda: running.executions(tenant),
        lambda: session.submit(greet, NOTHING),
        session.close,
        session.view,
        lambda: running.state.session(tenant, "desk-1"),
        lambda: running.state.set_session(tenant, "desk-1", {}),
        lambda: running.wal.query(tenant),
        lambda: running.wal.replay(tenant),
        lambda: running.outbox.pending(tenant),
        lambda: running.outbox.dead_letters(tenant),
    ]


async def check_refused(running: Runtime, tenant: str, kind: type[IntendantError], match: str) -> None:
    for question in questions(running, tenant):
        with anyio.fail_after(1), pytest.raises(kind, match=match):
            await question()
    with pytest.raises(kind, match=match):
        running.execution(tenant, "e")
    with pytest.raises(kind, match=match):
        running.wal.tail(tenant)


async def test_every_tenant_is_served_by_its_partition() -> None:
    store = MemoryStore(partitions=COUNT)
    published: list[Event] = []
    async with runtime(store, publisher=published.append, cold=MemoryColdStore()) as running:
        assert running.ready
        await greet_all(running, TENANTS)
        for number, tenant in enumerate(TENANTS):
            assert len(await running.executions(tenant)) == len(await running.sessions(tenant)) == 1
            assert [log for log in range(COUNT) if await store.log(log).entries(tenant)] == [number]
        await anyio.sleep(5)
        assert {event.tenant for event in published} == set(TENANTS)
        stats = running.stats()
        assert (stats.sessions, stats.published, stats.lag, stats.lost) == (COUNT, COUNT, 0, ())


async def test_what_is_open_in_any_partition_is_resumed() -> None:
    store = MemoryStore(partitions=COUNT)
    async with runtime(store) as running:
        opened = [await (await running.open_session(tenant, "desk-1")).submit(wait, NOTHING) for tenant in TENANTS]
    async with runtime(store) as running:
        await anyio.sleep(1)
        assert (running.stats().open, running.stats().running) == (COUNT, COUNT)
        for execution in opened:
            assert await running.execution(execution.tenant, execution.id).status() is Status.RUNNING


async def test_two_processes_share_a_store() -> None:
    store = MemoryStore(partitions=COUNT)
    async with runtime(store, own=[0, 2]) as even, runtime(store.twin(), own={1, 3}, name="odd") as odd:
        await greet_all(even, [TENANTS[0], TENANTS[2]])
        await greet_all(odd, [TENANTS[1], TENANTS[3]])
        await anyio.sleep(6)
        for running, tenant in ((even, TENANTS[1]), (odd, TENANTS[2])):
            number = partition_of(tenant, COUNT)
            await check_refused(running, tenant, NotOwner, rf"partition {number}, .* process \d+ on .* owns it")
            with pytest.raises(NotOwner) as caught:
                await running.open_session(tenant)
            assert caught.value.partition == number
            assert caught.value.pid > 0


async def test_a_partition_that_nobody_serves_says_so() -> None:
    async with runtime(MemoryStore(partitions=COUNT), own=[1]) as running:
        await check_refused(running, TENANTS[0], NotOwner, "nobody was seen to own it")
        await greet_all(running, [TENANTS[1]])


async def test_own_is_checked_when_the_store_is_open(monkeypatch: pytest.MonkeyPatch) -> None:
    store = MemoryStore(partitions=COUNT)
    with pytest.raises(ValueError, match="own names 4, -1; the store has 4: 0 to 3"):
        async with runtime(store, own=[0, 4, -1]):
            pytest.fail("was entered")
    with pytest.raises(ValueError, match="own names no partition"):
        async with runtime(store, own=[]):
            pytest.fail("was entered")
    monkeypatch.setenv("INTENDANT_OWN", "1, x")
    with pytest.raises(ValueError, match="INTENDANT_OWN names ' x'; the store has 4: 0 to 3"):
        async with runtime(store):
            pytest.fail("was entered")
    monkeypatch.setenv("INTENDANT_OWN", "1, 3")
    async with runtime(store) as running:
        await greet_all(running, [TENANTS[1], TENANTS[3]])
        await check_refused(running, TENANTS[0], NotOwner, "partition 0")
    async with runtime(store, own=[0]) as running:
        await greet_all(running, [TENANTS[0]])


@pytest.mark.parametrize(("verdict", "kind"), [(Verdict.FENCED, Fenced), (Verdict.GAP, AcknowledgedDataMissing)])
async def test_a_lost_partition_leaves_the_others_alone(
    verdict: Verdict, kind: type[IntendantError], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    store = MemoryStore(partitions=COUNT)
    waited: list[IntendantError] = []

    async def wait_for(execution: Execution[None]) -> None:
        try:
            await execution.result()
        except IntendantError as error:
            waited.append(error)

    async with runtime(store, publisher=swallow, cold=MemoryColdStore()) as running:
        await greet_all(running, TENANTS)
        execution = await running.session(TENANTS[2], "desk-1").submit(wait, NOTHING)
        async with anyio.create_task_group() as group:
            group.start_soon(wait_for, execution)
            await anyio.sleep(1)
            answer(store, 2, verdict, monkeypatch)
            with anyio.fail_after(5), pytest.raises(kind):
                await running.open_session(TENANTS[2], "desk-2")
        assert [type(error) for error in waited] == [kind]
        await check_refused(running, TENANTS[2], kind, "partition 2")
        others = [each for each in TENANTS if each != TENANTS[2]]
        await greet_all(running, others)
        await anyio.sleep(3_600)
        await greet_all(running, others)
        assert running.failed is None
        assert running.ready
        await anyio.sleep(1)
        stats = running.stats()
        assert (stats.open, stats.running, stats.sessions, stats.lag, stats.lost) == (0, 0, COUNT - 1, 0, (2,))
        critical = [each.message.splitlines()[0] for each in caplog.records if each.levelno == logging.CRITICAL]
        assert critical == ["partition 2 is lost to runtime 'default'"]
        assert sum("crashed" in each.message for each in caplog.records) < 10


async def test_the_last_lost_partition_takes_the_runtime_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    store = MemoryStore(partitions=COUNT)
    with pytest.raises(RuntimeStopped, match="gave up"):  # noqa: PT012  the block is the life of the runtime
        async with runtime(store, own=[1, 3]) as running:
            for number in (1, 3):
                answer(store, number, Verdict.FENCED, monkeypatch)
                with anyio.fail_after(5), pytest.raises(Fenced):
                    await running.open_session(TENANTS[number])
            assert isinstance(running.failed, Fenced)
            assert not running.ready
            await check_refused(running, TENANTS[1], Fenced, "another owner")


async def test_a_partition_that_crashes_again_and_again_is_lost_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    store = MemoryStore(partitions=COUNT)

    async def crash(batch: Batch) -> Verdict:
        raise LookupError("a bug of the adapter")

    async with runtime(store) as running:
        await greet_all(running, TENANTS)
        monkeypatch.setattr(store.log(1), "commit", crash)
        with anyio.fail_after(60), pytest.raises(RuntimeStopped, match="partition 1 gave up: LookupError"):
            await running.open_session(TENANTS[1], "desk-2", timeout=50)
        await greet_all(running, [TENANTS[0], TENANTS[2], TENANTS[3]])
        assert running.failed is None
        assert running.stats().lost == (1,)


async def test_partitions_are_waited_for_at_the_same_time() -> None:
    store = MemoryStore(partitions=COUNT)
    async with runtime(store):
        began = anyio.current_time()
        with pytest.raises(PartitionOwned):
            async with runtime(store.twin(), name="late", takeover_timeout=5.0):
                pytest.fail("was entered")
        assert anyio.current_time() - began == pytest.approx(5.0, abs=0.5)


async def test_what_is_free_is_taken_while_the_rest_is_waited_for() -> None:
    store = MemoryStore(partitions=COUNT)
    await store.open()
    twin = store.twin()
    tenure = await store.log(0).acquire(Owner("other-host", "boot", 2, "start"), timeout=0, lease=3_600)

    async def look() -> None:
        await anyio.sleep(1)
        holders = [await store.log(number).holder() for number in range(1, COUNT)]
        assert [holder is not None and holder.owner.pid != 2 for holder in holders] == [True] * (COUNT - 1)
        await store.log(0).release(tenure)

    async with anyio.create_task_group() as group:
        group.start_soon(look)
        async with runtime(twin, takeover_timeout=30.0) as running:
            await greet_all(running, TENANTS)


class BrokenColdStore(MemoryColdStore):
    """A cold store that can't take one partition, and has no reason for it."""

    async def archive(self, partition: int, chunks: Sequence[Chunk]) -> None:
        if partition == 2:
            raise LookupError("a bug")
        await super().archive(partition, chunks)


async def test_what_follows_a_lost_partition_ends_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    store = MemoryStore(partitions=COUNT)
    told: list[SupervisorEvent] = []
    async with runtime(store, publisher=swallow, cold=BrokenColdStore(), on_event=told.append) as running:
        await greet_all(running, TENANTS)
        await anyio.sleep(60)
        assert sum(isinstance(each, ChildCrashed) for each in told) > 5
        told.clear()  # before the fence: the partition may have gone when the call below returns
        answer(store, 2, Verdict.FENCED, monkeypatch)
        with pytest.raises(Fenced):
            await running.open_session(TENANTS[2], "desk-2")
        await anyio.sleep(3_600)
        exited = {each.path for each in told if isinstance(each, ChildExited)}
        projections = {f"intendant/projections/{name}[2]" for name in FOLLOWERS}
        assert exited == {"intendant/partitions/partition[2]", *projections}
        assert sum(isinstance(each, ChildStarting) for each in told) <= 1


async def test_what_others_give_up_in_time_is_taken_over_and_a_failed_start_gives_back_what_it_took() -> None:
    store, twin = MemoryStore(partitions=COUNT), None
    await store.open()
    twin = store.twin()
    neighbour = Owner("other-host", "boot", 2, "start")
    tenures = [await store.log(number).acquire(neighbour, timeout=0, lease=3_600) for number in range(COUNT)]
    await store.log(0).release(tenures[0])
    with pytest.raises(PartitionOwned, match="owned by process 2 on other-host"):
        async with runtime(twin, takeover_timeout=2.0):
            pytest.fail("was entered")
    await twin.open()
    assert await twin.log(0).holder() is None
    await twin.close()

    async def leave() -> None:
        await anyio.sleep(3)
        for number in range(1, COUNT):
            await store.log(number).release(tenures[number])

    async with anyio.create_task_group() as group:
        group.start_soon(leave)
        began = anyio.current_time()
        async with runtime(twin, takeover_timeout=30.0) as running:
            assert anyio.current_time() - began == pytest.approx(3.0, abs=0.5)
            await greet_all(running, TENANTS)


async def test_a_store_that_went_back_in_time_is_mended_partition_by_partition(
    caplog: pytest.LogCaptureFixture,
) -> None:
    store = MemoryStore(partitions=COUNT)
    async with runtime(store) as running:
        await greet_all(running, TENANTS)
        snapshot = store.snapshot()
        ids = [(await running.session(tenant, "desk-1").submit(greet, {"again": 1})) for tenant in TENANTS]
        for execution in ids:
            await execution.result(timeout=5)
        store.restore(snapshot)
        await anyio.sleep(5)  # the heartbeats of idle partitions find out
        for execution in ids:
            assert await running.execution(execution.tenant, execution.id).status() is Status.COMPLETED
        await greet_all(running, TENANTS)
        assert running.stats().restored >= 2 * COUNT
        assert running.failed is None
    assert sum(each.levelno == logging.CRITICAL for each in caplog.records) == COUNT


async def test_one_partition_is_lost_when_the_ring_does_not_reach_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("intendant.actors.ring._BATCH_BYTES", RING_BYTES / 3)
    store = MemoryStore(partitions=COUNT)
    async with runtime(store) as running:
        await greet_all(running, TENANTS)
        store.log(3).shared.partition = MemoryStore(partitions=COUNT).log(3).shared.partition
        with anyio.fail_after(5), pytest.raises(AcknowledgedDataMissing, match=r"partition 3: .* 1 to \d+ were ack"):
            await running.open_session(TENANTS[3], "desk-2")
        await greet_all(running, TENANTS[:3])
        assert running.stats().lost == (3,)
