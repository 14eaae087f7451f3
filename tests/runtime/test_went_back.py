"""Executions over a store that goes back in time again and again: what was acknowledged is there at the end."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest

from intendant import Context, Event, Execution, Realm, Runtime, Shutdown
from intendant.adapters.memory import MemoryColdStore, MemoryStore
from intendant.domain.ports import Store
from intendant.domain.replay import World
from intendant.testing.clock import VirtualClock, virtual_backend

pytestmark = pytest.mark.anyio
Audit = Callable[[Store], Awaitable[World]]
EXECUTIONS = 25


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    return virtual_backend(request.param)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("cold", [False, True])
async def test_nothing_acknowledged_is_missing(seed: int, cold: bool, audit: Audit) -> None:
    chance = random.Random(seed)
    realm, store = Realm("shop"), MemoryStore()
    ran: Counter[str] = Counter()
    published: Counter[str] = Counter()
    executions: list[Execution[int]] = []

    @realm.handler
    async def work(ctx: Context, parameters: dict[str, Any]) -> int:
        async def add(number: int) -> int:
            ran[f"{ctx.execution_id}/{number}"] += 1
            await anyio.sleep(chance.random())
            return number

        total = 0
        for number in range(3):
            total += await ctx.step(f"add-{number}", add, number)
            ctx.emit("added", {"number": number})
        return total

    async def publish(event: Event) -> None:
        published[event.id] += 1

    async def go_back() -> None:
        while True:
            snapshot = store.snapshot()
            await anyio.sleep(chance.random() * 3)
            store.restore(snapshot)

    options: dict[str, Any] = {"cold": MemoryColdStore()} if cold else {}
    async with Runtime(
        [realm], hot=store, publisher=publish, clock=VirtualClock(), shutdown=Shutdown(drain=0), **options
    ) as running:
        session = await running.open_session("acme", "desk-1")
        async with anyio.create_task_group() as group:
            group.start_soon(go_back)
            for number in range(EXECUTIONS):
                executions.append(await session.submit(work, {"number": number}, idempotency_key=str(number)))
                await anyio.sleep(chance.random() / 2)
            for execution in executions:
                assert await execution.result(timeout=600) == 3
            group.cancel_scope.cancel()
        await anyio.sleep(30)
        for number, execution in enumerate(executions):
            again = await session.submit(work, {"number": number}, idempotency_key=str(number))
            assert again.id == execution.id
        assert running.failed is None
        assert running.stats().restored > 0
        assert running.stats().lag == 0
        world = await audit(store)
    assert len(world.executions) == EXECUTIONS
    assert world.open == set()
    assert not world.outbox
    assert set(ran.values()) == {1}
    assert len(published) == 3 * EXECUTIONS
