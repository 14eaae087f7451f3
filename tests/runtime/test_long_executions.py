"""Executions with very many steps or signals: what one more costs does not grow with how many there were."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import anyio
import msgspec
import pytest

import intendant
from intendant import Context, Execution, Realm, Runtime, Shutdown
from intendant.adapters.memory import MemoryStore
from intendant.domain.journal import Journal, Row
from tests.infrastructure.tier import full

pytestmark = pytest.mark.anyio
MakeRuntime = Callable[..., Runtime]
AT_ONCE = 64  # signals under way
GROWTH_MAX = 2.0  # of what one costs, when there are four times as many: if it grew with their number, it would be 4
OURS = str(Path(intendant.__file__).parent)
NOISE = 0.01  # seconds of this process
FEW, LINES_MAX = 50, 1.1  # lines of ours that run for each, when there are four times as many
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
    """Seconds of this process until all is recorded, and from a restart until the handler is there again."""
    handler = steps if kind == "steps" else signals
    async with runtime(long, shutdown=NO_DRAIN, timeout=600.0) as running:
        session = await running.open_session("acme", f"{kind}{count}")
        begun = time.process_time()
        execution = await session.submit(handler, Length(count))
        if kind == "signals":
            await send_all(execution, count)
        await came_to(execution, "signal(end)")
        took = time.process_time() - begun
    begun = time.process_time()
    async with runtime(long, shutdown=NO_DRAIN, timeout=600.0) as running:
        again = running.execution("acme", execution.id)
        await came_to(again, "signal(end)")
        resumed = time.process_time() - begun
        await again.signal("end", 7)
        assert await again.result(timeout=600) == count + 7
    return took, resumed


@pytest.mark.in_turn
@pytest.mark.parametrize(("kind", "count"), [("steps", 1_000), ("signals", 200)])
async def test_many_steps_and_signals(runtime: MakeRuntime, kind: str, count: int) -> None:
    await live(runtime, kind, count)


@pytest.mark.stress
@pytest.mark.alone
@pytest.mark.parametrize(("kind", "count"), [("steps", 50_000), ("signals", 10_000)])
async def test_what_one_costs_does_not_grow(runtime: MakeRuntime, frozen: None, kind: str, count: int) -> None:
    count = full(count)
    found = {number: await live(runtime, kind, number) for number in (count // 4, count // 2, count)}
    for number, (took, resumed) in found.items():
        print(f"\n{number} {kind}: {took:.2f} s, {1e6 * took / number:.0f} µs each; resumed in {resumed:.2f} s")
    for first, last in zip(found[count // 4], found[count], strict=True):
        assert last / 4 <= GROWTH_MAX * first + NOISE


class Lines:
    """Counts the lines of ours that run in this thread, each turn of a loop included."""

    def __init__(self) -> None:
        self.count = 0

    def __enter__(self) -> Lines:
        self._before = sys.gettrace()
        sys.settrace(self._called)
        return self

    def __exit__(self, *_: object) -> None:
        sys.settrace(self._before)

    def _called(self, frame: FrameType, _event: str, _argument: object) -> Any:
        return self._line if frame.f_code.co_filename.startswith(OURS) else None

    def _line(self, _frame: FrameType, event: str, _argument: object) -> Any:
        self.count += event == "line"
        return self._line


async def lines_of(kind: str, count: int) -> tuple[int, int]:
    """How many lines run until all is recorded, and from a restart to the end."""
    handler, store = (steps if kind == "steps" else signals), MemoryStore()
    with Lines() as recording:
        async with Runtime([long], hot=store, shutdown=NO_DRAIN) as running:
            execution = await (await running.open_session("acme", "s")).submit(handler, Length(count))
            if kind == "signals":
                await send_all(execution, count)
            await came_to(execution, "signal(end)")
    with Lines() as resuming:
        async with Runtime([long], hot=store, shutdown=NO_DRAIN) as running:
            again = running.execution("acme", execution.id)
            await again.signal("end", 7)
            assert await again.result(timeout=60) == count + 7
    return recording.count, resuming.count


async def check_lines(kind: str) -> None:
    one, few, many = [await lines_of(kind, count + 1) for count in (0, FEW, 4 * FEW)]
    for when, none, first, last in zip(("recorded", "resumed"), one, few, many, strict=True):
        growth = (last - none) / 4 / (first - none)
        print(
            f"\n{kind}, {when}: {(first - none) // FEW} lines for each, {growth:.3f} times that with four times as many"
        )
        assert growth <= LINES_MAX, f"{when}: {growth:.3f}"


@pytest.mark.in_turn
@pytest.mark.parametrize("kind", ["steps", "signals"])
async def test_no_more_lines_run_for_one_when_there_are_many(kind: str) -> None:
    await check_lines(kind)


@pytest.mark.in_turn
async def test_what_looks_at_all_that_was_recorded_each_time_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A planted fault: every row that is folded is compared with all before."""
    add = Journal.add

    def look_at_all(self: Journal, row: Row) -> bool:
        for path in self.steps:
            Journal.of([path.encode()] * 0)  # a line of ours for each
        return add(self, row)

    monkeypatch.setattr(Journal, "add", look_at_all)
    with pytest.raises(AssertionError, match="resumed: "):
        await check_lines("steps")
