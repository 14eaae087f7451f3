"""A runtime under load over a hot store and ArangoDB's stand-in, and the comparison of cold state with the log."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import anyio

from intendant import Context, Event, Realm, Runtime
from intendant.adapters.arango import ArangoColdStore
from intendant.domain import state as states
from intendant.domain.ports import ColdStore, LogReader, Store
from intendant.domain.records import SYSTEM_TENANT, decode_entry

TENANTS = ("acme", "beta", "gamma")
CALLERS = 6
PAUSE = 0.01  # seconds between two intents of a caller
CATCH_UP_MAX = 90.0  # seconds
COLLECTIONS = (states.SESSIONS, states.EXECUTIONS, states.SESSION_DATA, states.EXECUTION_DATA)
EVERYTHING: dict[str, Any] = {"limit": 1_000_000}
shop = Realm("shop")


@shop.handler
async def sell(ctx: Context, order: dict[str, Any]) -> dict[str, Any]:
    async def pay() -> int:
        return int(order["n"]) * 2

    paid = await ctx.step("pay", pay)
    ctx.emit("sold", order)
    return {**order, "paid": paid}


async def nothing(event: Event) -> None:
    """Publish nowhere."""


class Load:
    """Callers that submit without end. `waits` holds how long each intent took from submitting to its result."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self.waits: list[float] = []
        self.stopping = False
        self._count = 0

    @property
    def archived(self) -> int:
        """How many records cold state has, of those since the runtime was entered."""
        stats = self.runtime.stats()
        return stats.records - stats.lag

    async def run(self) -> None:
        """Until `stopping`; every intent that was begun comes to its end."""
        async with anyio.create_task_group() as group:
            for caller in range(CALLERS):
                group.start_soon(self._call, caller)

    async def go_on(self, seconds: float, fewest: int) -> None:
        """So long, or longer if this machine is so busy that fewer intents have come to their end."""
        await anyio.sleep(seconds)
        with anyio.fail_after(60):
            while len(self.waits) < fewest:  # noqa: ASYNC110  nobody announces it
                await anyio.sleep(0.01)

    def take_waits(self) -> list[float]:
        """How long each took since this was last asked."""
        waits, self.waits = self.waits, []
        return waits

    async def _call(self, caller: int) -> None:
        tenant = TENANTS[caller % len(TENANTS)]
        session = await self.runtime.open_session(tenant, f"s{caller}")
        while not self.stopping:
            self._count += 1
            number, began = self._count, anyio.current_time()
            execution = await session.submit("shop.sell", {"n": number}, idempotency_key=f"k{number}")
            assert await execution.result() == {"n": number, "paid": 2 * number}
            self.waits.append(anyio.current_time() - began)
            if number % 7 == 0:
                await self.runtime.state.set_session(tenant, session.id, {"last": number})
            await anyio.sleep(PAUSE)


@asynccontextmanager
async def loaded(hot: Store, cold: ColdStore) -> AsyncGenerator[Load]:
    """A runtime under load for as long as the block runs; behind it all is archived, and nothing was restarted."""
    async with Runtime([shop], hot=hot, cold=cold, publisher=nothing) as runtime:
        load = Load(runtime)
        async with anyio.create_task_group() as group:
            group.start_soon(load.run)
            yield load
            load.stopping = True
        await caught_up(runtime)
        assert runtime.stats().restarts == 0, "an outage restarts nothing"


async def caught_up(runtime: Runtime) -> None:
    with anyio.fail_after(CATCH_UP_MAX):
        while runtime.stats().lag:  # noqa: ASYNC110  nobody announces it
            await anyio.sleep(0.05)


async def compare(hot: Store, url: str) -> int:
    """Hold cold state against a hot store that still has everything; returns how many records were compared."""
    cold = ArangoColdStore(url)
    await hot.open()
    await cold.open()
    log, compared = hot.log(0), 0
    for tenant in (*TENANTS, SYSTEM_TENANT):
        compared += await _compare_records(log, cold, tenant)
    for tenant in TENANTS:
        for collection in COLLECTIONS:
            await _compare_documents(log, cold, tenant, collection)
    await cold.close()
    await hot.close()
    return compared


async def _compare_records(log: LogReader, cold: ColdStore, tenant: str) -> int:
    chunks = await cold.chunks(0, tenant, **EVERYTHING)
    archived = [record for chunk in chunks for entry in chunk.entries for record in decode_entry(entry)]
    logged = [record for entry in await log.entries(tenant, **EVERYTHING) for record in decode_entry(entry)]
    assert archived == logged, f"{tenant!r}: {len(archived)} records are archived, {len(logged)} were logged"
    return len(logged)


async def _compare_documents(log: LogReader, cold: ColdStore, tenant: str, collection: str) -> None:
    hot = {each.key: (each.version, each.body) for each in await log.documents(tenant, collection, **EVERYTHING)}
    kept = {each.key: (each.version, each.body) for each in await cold.documents(tenant, collection, **EVERYTHING)}
    assert kept == hot, f"{collection} of {tenant}"
