"""What `intendant.testing` ships beside the suites: stores that fail by plan, and virtual time."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest

from intendant.adapters.memory import MemoryStore
from intendant.domain.commit import Verdict
from intendant.domain.errors import StoreUnavailable
from intendant.domain.ports import Clock, Store
from intendant.testing.clock import STARTED_AT, VirtualClock, virtual_backends
from intendant.testing.conformance import check_log
from intendant.testing.conformance.commits import one_of_everything
from intendant.testing.conformance.pen import Pen, commit
from intendant.testing.faults import Fault, FaultyStore, Plan, ProcessDied
from tests.adapters.conftest import opener

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend(virtual_time: Any) -> Any:
    return virtual_time


async def faulty(plan: Plan, **options: Plan) -> tuple[FaultyStore, Pen]:
    store = FaultyStore(MemoryStore(), plan, **options)
    await store.open()
    return store, await Pen.take(store.log(0))


async def test_without_a_plan_it_is_the_store_it_wraps() -> None:
    def new_place() -> Any:
        store = MemoryStore()
        return opener(lambda: FaultyStore(store.twin()))

    await check_log(new_place)


async def test_what_is_not_applied_leaves_nothing() -> None:
    store, pen = await faulty({2: Fault.NOT_APPLIED})
    await pen.write(one_of_everything(mark="1"))
    batch = pen.seal(one_of_everything(mark="2"))
    with pytest.raises(StoreUnavailable):
        await pen.send(batch)
    assert await store.log(0).key("t", "k2") is None
    assert await pen.send(batch) is Verdict.OK
    assert store.commits == 3


async def test_a_lost_reply_is_applied() -> None:
    store, pen = await faulty({1: Fault.REPLY_LOST})
    batch = pen.seal(one_of_everything())
    with pytest.raises(StoreUnavailable):
        await pen.send(batch)
    assert await store.log(0).key("t", "k1") == b"value"
    assert await pen.send(batch) is Verdict.DUP


@pytest.mark.parametrize(("fault", "applied"), [(Fault.DIE_BEFORE, False), (Fault.DIE_AFTER, True)])
async def test_the_dead_do_nothing_more(fault: Fault, applied: bool) -> None:
    inner = MemoryStore()
    store = FaultyStore(inner, lambda number: fault if number == 2 else Fault.NONE)
    await store.open()
    pen = await Pen.take(store.log(0))
    await pen.write(commit("t"))
    with pytest.raises(ProcessDied):
        await pen.write(one_of_everything())
    log = store.log(0)
    calls: list[Callable[[], Awaitable[Any]]] = [
        lambda: log.commit(pen.seal(commit("t"))),
        lambda: log.renew(pen.tenure, 1),
        lambda: log.release(pen.tenure),
        lambda: log.key("t", "k"),
        lambda: Pen.take(log),
        store.open,
    ]
    for call in calls:
        with pytest.raises(ProcessDied):
            await call()
    await store.close()
    await inner.open()
    assert (await inner.log(0).key("t", "k1") is not None) == applied
    assert (await Pen.take(inner.log(0), timeout=0)).next == (4 if applied else 2)


async def test_reads_fail_by_a_plan_of_their_own() -> None:
    store, _ = await faulty({}, reads={2: Fault.NOT_APPLIED, 3: Fault.REPLY_LOST, 5: Fault.DIE_AFTER})
    log = store.log(0)
    assert await log.documents("t", "c") == []
    for _ in range(2):
        with pytest.raises(StoreUnavailable):
            await log.index("i")
    assert await log.position_at(0) == 1
    with pytest.raises(ProcessDied):
        await log.outbox()
    assert store.reads == 5


async def test_a_death_is_no_exception_that_handlers_catch() -> None:
    assert not issubclass(ProcessDied, Exception)
    store: Store = FaultyStore(MemoryStore())
    assert store.name == "memory:"


async def test_hours_pass_in_no_time() -> None:
    started, clock = time.monotonic(), VirtualClock()
    follows: Clock = clock
    assert follows.now() == STARTED_AT
    woken: list[int] = []

    async def sleep(hours: int) -> None:
        await anyio.sleep(hours * 3600)
        woken.append(hours)

    with anyio.fail_after(10 * 3600):
        async with anyio.create_task_group() as group:
            for hours in (3, 1, 2):
                group.start_soon(sleep, hours)
    assert woken == [1, 2, 3]
    assert clock.now() == STARTED_AT + 3 * 3600 * 1_000_000
    clock.shift(-60)
    assert clock.now() == STARTED_AT + (3 * 3600 - 60) * 1_000_000
    with pytest.raises(TimeoutError):
        with anyio.fail_after(3600):
            await anyio.sleep_forever()
    assert time.monotonic() - started < 5


def test_every_backend_is_there() -> None:
    assert [name for name, _ in virtual_backends()] == ["asyncio", "trio"]
