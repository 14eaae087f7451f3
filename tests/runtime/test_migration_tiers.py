"""A runtime moves between one store and two: history comes along into the one, and is archived again out of it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any

import anyio
import pytest

from intendant import Context, Event, Realm, RelaySettings, Retention, Runtime
from intendant.adapters.memory import MemoryColdStore, MemoryStore
from intendant.domain import state as states
from intendant.domain.ports import Store
from intendant.runtime.audit import Told, audit
from intendant.runtime.migration import Migration, Side
from intendant.testing.clock import VirtualClock, virtual_backend

pytestmark = pytest.mark.usefixtures("rare_looks")
HOT = 1800
KEEPING = Retention(hot=timedelta(seconds=HOT), total=timedelta(days=30))
shop = Realm("shop")


@shop.handler
async def sell(ctx: Context, order: dict[str, Any]) -> dict[str, Any]:
    ctx.emit("sold", order)
    return order


@shop.handler
async def hold(ctx: Context, order: dict[str, Any]) -> dict[str, Any]:
    await anyio.sleep(order["seconds"])
    return order


async def refuse(event: Event) -> None:
    if event.payload["n"] % 5 == 0:
        raise ValueError("nobody wants it")


class Place:
    """Stores, and runtimes on them in virtual time."""

    def __init__(self, hot: Store, cold: MemoryColdStore | None, told: Told) -> None:
        self.side = Side(hot, cold)
        self.told = told
        self.make: Callable[..., Runtime] = partial(
            Runtime,
            [shop],
            hot=hot,
            cold=cold,
            lease=300.0,
            retention=KEEPING,
            publisher=refuse,
            relay=RelaySettings(attempts=2),
        )

    async def run(self, runtime: Runtime, tenant: str, numbers: range) -> list[str]:
        session = await runtime.open_session(tenant, "s1")
        ids: list[str] = []
        for n in numbers:
            execution = await session.submit("shop.sell", {"n": n}, idempotency_key=f"k{n}")
            self.told.accept(tenant, execution.id, f"k{n}")
            self.told.end(await execution.outcome())
            ids.append(execution.id)
        return ids

    async def check(self) -> None:
        await self.side.hot.open()
        found = await audit(self.side.hot.log(0), self.told)
        await self.side.hot.close()
        assert found.sound, [str(each) for each in found.findings]


async def everything(runtime: Runtime, tenant: str) -> Any:
    executions = (await runtime.executions(tenant, limit=1000)).items
    records = (await runtime.wal.query(tenant, limit=1000)).items
    own = [[each.sequence for each in (await runtime.wal.query(tenant, execution=e.id)).items] for e in executions]
    return executions, records, own, (await runtime.outbox.dead_letters(tenant, limit=1000)).items


async def moved(source: Place, target: Place) -> None:
    migration = Migration(source.side, target.side)
    await migration.run()
    assert migration.finished, [each for each in migration.proofs if not each.equal]


def simulated(act: Callable[[], Any]) -> None:
    for name in ("asyncio", "trio"):
        backend, options = virtual_backend(name)
        anyio.run(act, backend=backend, backend_options=options)


def test_history_comes_along_into_one_store_and_is_archived_out_of_it_again() -> None:
    async def move() -> None:
        told, clock = Told(), VirtualClock()
        two, one, last = (Place(MemoryStore(), cold, told) for cold in (MemoryColdStore(), None, MemoryColdStore()))
        async with two.make(clock=clock) as runtime:
            old = await two.run(runtime, "acme", range(200)) + await two.run(runtime, "beta", range(20))
            await runtime.state.set_execution("acme", old[3], {"seen": True})
            await anyio.sleep(2 * HOT)
            assert await two.side.hot.log(0).document("acme", states.EXECUTIONS, old[0]) is None, "it has left"
            waiting = await (await runtime.open_session("acme", "s2")).submit("shop.hold", {"seconds": 9 * HOT})
            await two.run(runtime, "acme", range(200, 220))
            await anyio.sleep(60)
            before = [await everything(runtime, tenant) for tenant in ("acme", "beta")]
        assert len(before[0][3]) == 44
        await moved(two, one)
        await one.check()
        async with one.make(clock=clock) as runtime:
            assert [await everything(runtime, tenant) for tenant in ("acme", "beta")] == before
            view = await runtime.state.execution("acme", old[3])
            assert view is not None
            assert view.data == {"seen": True}
            session = await runtime.open_session("acme", "s1")
            assert (await session.submit("shop.sell", {"n": 7}, idempotency_key="k7")).id == old[7]
            await one.run(runtime, "acme", range(220, 230))
            await anyio.sleep(60)
            before = [await everything(runtime, tenant) for tenant in ("acme", "beta")]
        await moved(one, last)
        async with last.make(clock=clock) as runtime:
            await anyio.sleep(60)
            assert runtime.stats().lag == 0
            assert [await everything(runtime, tenant) for tenant in ("acme", "beta")] == before
            assert last.side.cold is not None
            assert await last.side.cold.document("acme", states.EXECUTIONS, old[0]) is not None
            await anyio.sleep(2 * HOT)
            assert await last.side.hot.log(0).document("acme", states.EXECUTIONS, old[0]) is None, "it leaves again"
            assert await runtime.execution("acme", waiting.id).result(timeout=10 * HOT) == {"seconds": 9 * HOT}
        await last.check()

    simulated(move)
