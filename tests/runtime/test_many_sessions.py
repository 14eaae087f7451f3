"""Very many sessions are known, and only the busy ones are in memory."""

from __future__ import annotations

import os
import random
import time
from pathlib import Path

import anyio
import pytest

from intendant import Context, Limits, Realm, Runtime, Shutdown
from intendant.adapters.redis import RedisStore
from intendant.adapters.sqlite import SqliteStore
from intendant.domain.ports import Store
from tests.infrastructure.tier import STRESS, scaled

pytestmark = pytest.mark.anyio

SESSIONS = scaled(1_000_000, few=2_000)  # on SQLite
ON_REDIS = max(SESSIONS // 10, 500)
RESIDENT = max(SESSIONS // 100, 50)
CALLERS = 64
ASKED = 200  # of those that are not in memory
SECONDS = 0.01 if STRESS else 0.1  # that one may take to answer, in the middle; in make test others run beside it
ROOM = 512  # MiB that a million of them may take of this process, with what SQLite and Python keep

desk = Realm("desk")


@desk.handler
async def echo(ctx: Context, given: dict[str, int]) -> int:
    return given["n"]


def resident_mib() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


async def open_many(running: Runtime, count: int) -> None:
    numbers = iter(range(count))

    async def some() -> None:
        for number in numbers:
            await running.open_session("acme", f"desk-{number}")

    async with anyio.create_task_group() as group:
        for _ in range(CALLERS):
            group.start_soon(some)


async def ask_some(running: Runtime, count: int) -> list[float]:
    """How long random sessions take to have an intent done, in order."""
    chance, took = random.Random(5), list[float]()
    for number in chance.sample(range(count), ASKED):
        began = time.perf_counter()
        execution = await running.session("acme", f"desk-{number}").submit(echo, {"n": number})
        assert await execution.result() == number
        took.append(time.perf_counter() - began)
    return sorted(took)


async def live(store: Store, count: int, resident: int) -> None:
    limits, before = Limits(sessions_resident=resident), resident_mib()
    async with Runtime([desk], hot=store, limits=limits, shutdown=Shutdown(drain=0)) as running:
        began = time.perf_counter()
        await open_many(running, count)
        opened = time.perf_counter() - began
        assert running.stats().sessions <= resident + CALLERS
        took = await ask_some(running, count)
        assert running.stats().sessions <= resident
        grown = resident_mib() - before
        median, worst = took[ASKED // 2], took[-1]
        rates = f"{count / opened:,.0f} opened/s, {grown:.0f} MiB more, {resident:,} resident"
        answers = f"one answers in {median * 1e3:.2f} ms, {worst * 1e3:.2f} ms at most"
        print(f"\n{store.name.partition(':')[0]}: {count:,} sessions, {rates}; {answers}")
        assert median < SECONDS
        assert grown < ROOM


@pytest.mark.scaled
@pytest.mark.alone
@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"] if not STRESS else ["asyncio"])
async def test_sqlite(anyio_backend: str, tmp_path: Path) -> None:
    await live(SqliteStore(tmp_path / "work.db"), SESSIONS, RESIDENT)


@pytest.mark.scaled
@pytest.mark.alone
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_redis(anyio_backend: str, redis_url: str) -> None:
    await live(RedisStore(redis_url), ON_REDIS, max(ON_REDIS // 100, 20))
