"""One tenant has thousands of intents queued, another submits one now and then: it hardly waits longer than alone."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import anyio
import pytest

from intendant import Context, Intent, Limits, Realm, Runtime, Shutdown
from intendant.actors import crowding, landing
from intendant.domain.commit import RECORDS_MAX
from tests.infrastructure.tier import full

pytestmark = pytest.mark.anyio
STEPS = 3
COMMITS = STEPS + 2  # of one execution: accepted and begun, its steps, its end
SESSIONS = 60
ALONE, BESIDE, EVERY_S, MS_MAX = 50, 200, 0.1, 25.0  # of `make stress`: its executions, and how far apart
LIMITS = Limits(open=200_000)
yard = Realm("yard")


gates: list[anyio.Event] = []  # until it is set, the noisy tenant's handlers do nothing


@yard.handler
async def work(ctx: Context, given: dict[str, int]) -> int:
    if ctx.tenant_id == "noisy" and gates:
        await gates[-1].wait()
    for number in range(STEPS):
        await ctx.step(f"s{number}", _one)
    return given["n"]


async def _one() -> int:
    return 1


async def fill_up(runtime: Runtime, intents: int) -> None:
    """The noisy tenant queues so many intents, all at once."""
    sessions = [await runtime.open_session("noisy", f"s{number}") for number in range(SESSIONS)]
    share = intents // SESSIONS
    for first in range(0, share, 500):
        for session in sessions:
            count = min(500, share - first)
            await session.submit_many([Intent("yard.work", {"n": number}) for number in range(count)])


async def others_meanwhile(runtime: Runtime, tries: int) -> int:
    """How many records of others were committed at most while one execution of the quiet tenant ran."""
    session = await runtime.open_session("quiet", "s")
    most = 0
    for number in range(tries):
        before = runtime.stats().records
        assert await (await session.submit(work, {"n": number})).result(timeout=30) == number
        most = max(most, runtime.stats().records - before)
    return most


@pytest.mark.in_turn
async def test_few_of_its_neighbours_commits_go_before_its_own(runtime: Callable[..., Runtime]) -> None:
    gates.append(anyio.Event())
    async with runtime(yard, limits=LIMITS, shutdown=Shutdown(drain=0.0)) as running:
        await fill_up(running, 15 * SESSIONS)
        await others_meanwhile(running, 2)  # from now on there are several tenants
        gates.pop().set()
        most = await others_meanwhile(running, 2)
        assert running.stats().open > 0, "the neighbour was not done before"
    batches = 2 * COMMITS + 2  # for each, the one that flies and its own; what begins anew has two records
    assert 2 * COMMITS < most <= 2 * batches * crowding.BESIDE_OTHERS + RECORDS_MAX  # in the first that flies


async def test_without_turns_thousands_would(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crowding, "BESIDE_OTHERS", 100_000)
    monkeypatch.setattr(landing, "AT_ONCE", 100_000)
    with pytest.raises(AssertionError):
        await test_few_of_its_neighbours_commits_go_before_its_own(
            lambda *realms, **options: Runtime(realms, hot="memory:", **options)
        )


async def waits(runtime: Runtime, many: int, *, down_to: int = 0) -> list[float]:
    """How long the quiet tenant waits for each of so many executions, in ms; fewer, if no more than that are open."""
    session = await runtime.open_session("quiet", "s")
    found: list[float] = []
    while len(found) < many and (not down_to or runtime.stats().open > down_to):
        begun = time.perf_counter()
        await (await session.submit(work, {"n": 1})).result(timeout=60)
        found.append((time.perf_counter() - begun) * 1e3)
        await anyio.sleep(EVERY_S)
    return found


def p99(found: list[float]) -> float:
    return statistics.quantiles(found, n=100, method="inclusive")[98]


@pytest.mark.stress
@pytest.mark.alone
@pytest.mark.parametrize(("anyio_backend", "queued"), [("asyncio", 10_000), ("trio", 10_000), ("asyncio", 100_000)])
async def test_its_waits_are_short(runtime: Callable[..., Runtime], frozen: None, queued: int) -> None:
    """While from 100 % to 30 % of them are queued; new ones are queued while handlers of that tenant stand still."""
    many = full(queued)
    options: dict[str, Any] = {"limits": LIMITS, "shutdown": Shutdown(drain=0.0)}
    async with runtime(yard, **options) as running:
        alone, beside, rates = await waits(running, ALONE), list[float](), list[float]()
        while len(beside) < BESIDE:
            gates.append(anyio.Event())
            await fill_up(running, many - running.stats().open)
            await waits(running, 3)  # it has been there all the time
            gates.pop().set()
            begun, records = time.perf_counter(), running.stats().records
            beside += await waits(running, BESIDE - len(beside), down_to=3 * many // 10)
            rates.append((running.stats().records - records) / (time.perf_counter() - begun))
    print(
        f"\n{queued} queued: p50 {statistics.median(beside):.1f} ms, p99 {p99(beside):.1f} ms, at most "
        f"{max(beside):.1f} ms of {len(beside)}; alone {statistics.median(alone):.1f} and {p99(alone):.1f} ms; "
        f"{statistics.median(rates):,.0f} records/s meanwhile"
    )
    assert p99(beside) <= max(2 * p99(alone), MS_MAX)
