"""Executions with very many steps or signals: what one more costs does not grow with how many there were."""

from __future__ import annotations

import time
from collections.abc import Callable

import anyio
import msgspec
import pytest

from intendant import Context, Execution, Realm, Runtime, Shutdown
from tests.infrastructure.tier import full

pytestmark = pytest.mark.anyio
MakeRuntime = Callable[..., Runtime]
AT_ONCE = 64  # signals under way
GROWTH_MAX = 2.0  # of what one costs, when there are four times as many: if it grew with their number, it would be 4
NO_DRAIN = Shutdown(drain=0.0)
long = Realm("long")


class Length(msgspec.Struct):
    count: int


@long.handler
async def steps(ctx: Context, length: Length) -> int:
    for number in range(length.count):
        await ctx.step("s", _one, key=str(number))
    return length.count + await ctx.wait_signal("end", type=int)


@long.handler
async def signals(ctx: Context, length: Length) -> int:
    total = 0
    for number in range(length.count):
        total += await ctx.wait_signal("go", type=int, key=str(number))
    return total + await ctx.wait_signal("end", type=int)


async def _one() -> int:
    return 1


async def send_all(execution: Execution[int], count: int) -> None:
    numbers = iter(range(count))

    async def send() -> None:
        for number in numbers:
            await execution.signal("go", 1, id=str(number))

    async with anyio.create_task_group() as group:
        for _ in range(AT_ONCE):
            group.start_soon(send)


async def came_to(execution: Execution[int], wait: str) -> None:
    while (progress := await execution.progress()) is None or wait not in progress.waiting:  # noqa: ASYNC110  nobody announces it
        await anyio.sleep(0.01)


async def live(runtime: MakeRuntime, kind: str, count: int) -> tuple[float, float]:
    """Seconds until all is recorded, and from a restart until the handler is there again."""
    handler = steps if kind == "steps" else signals
    async with runtime(long, shutdown=NO_DRAIN, timeout=600.0) as running:
        session = await running.open_session("acme", f"{kind}{count}")
        begun = time.perf_counter()
        execution = await session.submit(handler, Length(count))
        if kind == "signals":
            await send_all(execution, count)
        await came_to(execution, "signal(end)")
        took = time.perf_counter() - begun
    begun = time.perf_counter()
    async with runtime(long, shutdown=NO_DRAIN, timeout=600.0) as running:
        again = running.execution("acme", execution.id)
        await came_to(again, "signal(end)")
        resumed = time.perf_counter() - begun
        await again.signal("end", 7)
        assert await again.result(timeout=600) == count + 7
    return took, resumed


@pytest.mark.parametrize(("kind", "count"), [("steps", 400), ("signals", 200)])
async def test_many_steps_and_signals(runtime: MakeRuntime, kind: str, count: int) -> None:
    await live(runtime, kind, count)


@pytest.mark.stress
@pytest.mark.parametrize(("kind", "count"), [("steps", 50_000), ("signals", 10_000)])
async def test_what_one_costs_does_not_grow(runtime: MakeRuntime, kind: str, count: int) -> None:
    count = full(count)
    found = {number: await live(runtime, kind, number) for number in (count // 4, count // 2, count)}
    for number, (took, resumed) in found.items():
        print(f"\n{number} {kind}: {took:.2f} s, {1e6 * took / number:.0f} µs each; resumed in {resumed:.2f} s")
    for first, last in zip(found[count // 4], found[count], strict=True):
        assert last / 4 <= GROWTH_MAX * first + 0.1
