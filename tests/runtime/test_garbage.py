"""Executions leave nothing to Python's collector of circles: what they held is freed when they end.

A circle for each execution would make collections frequent and long: tens of milliseconds in which nobody is served.
"""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager, suppress

import pytest

from intendant import Context, Execution, Realm, Runtime
from intendant.domain.errors import ExecutionEnded, ExecutionFailed

pytestmark = pytest.mark.anyio
MANY = 20
yard = Realm("yard")


async def _one() -> int:
    return 1


@yard.handler
async def plain(ctx: Context, given: dict[str, int]) -> int:
    return given["n"]


@yard.handler
async def steps(ctx: Context, given: dict[str, int]) -> int:
    return sum([await ctx.step(f"s{number}", _one) for number in range(given["n"] % 3)])


@yard.handler
async def waits(ctx: Context, given: dict[str, int]) -> int:
    return int(await ctx.wait_signal("go", type=int))


@yard.handler
async def parent(ctx: Context, given: dict[str, int]) -> int:
    child = await ctx.submit(plain, given)
    return await child.result()


@yard.handler
async def fails(ctx: Context, given: dict[str, int]) -> int:
    raise ValueError(given["n"])


async def ended(execution: Execution[int]) -> None:
    with suppress(ExecutionEnded):
        await execution.signal("go", 1)
    with suppress(ExecutionFailed):
        await execution.result(timeout=30)


@contextmanager
def circles(found: Counter[str]) -> Generator[None]:
    """Counts what only the collector would free of what is made meanwhile."""
    gc.disable()
    gc.freeze()  # what earlier tests left is not looked at, and need not be later
    try:
        yield
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        found.update(type(each).__name__ for each in gc.garbage)
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()


@pytest.mark.parametrize("type", ["plain", "steps", "waits", "parent", "fails"])
async def test_an_execution_that_has_ended_leaves_no_circle(type: str) -> None:
    async with Runtime([yard], hot="memory:") as running:
        session = await running.open_session("acme", "s")

        async def run(count: int) -> None:
            for number in range(count):
                await ended(await session.submit(f"yard.{type}", {"n": number}))

        await run(2)
        found = Counter[str]()
        with circles(found):
            await run(MANY)
        assert found.total() < MANY, f"for {MANY} executions: {found.most_common(12)}"
