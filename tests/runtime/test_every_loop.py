"""One pass through everything on each event loop: uvloop has a clock, threads and wake-ups of its own."""

from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import anyio.to_thread
import pytest

from intendant import Context, Event, Intent, Realm, Runtime, Shutdown, blocking
from intendant.domain.ports import Store
from intendant.domain.replay import World

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.parametrize("anyio_backend", ["asyncio", "uvloop", "trio"], indirect=True),
]


async def test_sessions_steps_events_threads_and_a_restart(
    runtime: Callable[..., Runtime],
    hot: Store,
    audit: Callable[[Store], Awaitable[World]],
    eventually: Callable[[Callable[[], Awaitable[bool]]], Awaitable[None]],
) -> None:
    realm = Realm("shop")
    gate = anyio.Event()
    counted: list[int] = []
    delivered: list[Event] = []

    def count(number: int) -> int:
        counted.append(number)
        return number

    @realm.handler
    async def order(ctx: Context, order: dict[str, int]) -> int:
        number = await ctx.step("count", count, order["number"])
        ctx.emit("ordered", number)
        if number == 0:
            await gate.wait()
        return number

    async with runtime(realm, publisher=delivered.append, shutdown=Shutdown(drain=0)) as running:
        session = await running.open_session("acme", "desk-1")
        executions = await session.submit_many([Intent(order, {"number": number}) for number in range(100)])
        with pytest.raises(TimeoutError):
            await executions[0].result(timeout=0.05)
        async for _execution, outcome in running.wait(executions[1:], timeout=30):
            assert outcome.success
        with pytest.raises(TimeoutError):
            await executions[0].result(timeout=0.01)

        def from_elsewhere() -> Any:
            door = blocking(running)
            return door.call(door.call(session.submit, order, {"number": 7}).result, timeout=10)

        assert await anyio.to_thread.run_sync(from_elsewhere) == 7
    gate.set()
    async with runtime(realm, publisher=delivered.append) as running:
        assert await running.execution("acme", executions[0].id).result(timeout=10) == 0

        async def all_delivered() -> bool:
            return not len(await running.outbox.pending("acme"))

        await eventually(all_delivered)
        world = await audit(hot)
        assert (len(world.executions), len(world.published)) == (101, 101)
    assert sorted(counted) == sorted([*range(100), 7])
    assert len(delivered) >= 101
