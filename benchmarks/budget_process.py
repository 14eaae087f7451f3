"""What `budget.py` has done in a process of its own: argv are what, how many, and the stores' URLs.

It answers with one line of JSON on its standard output. Default settings, but for how many may be there at all; the
collector looks seldom, as in all that is compared.
"""

from __future__ import annotations

import json
import os
import random
import re
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import anyio
from msgspec import Struct

from benchmarks.rivals.protocol import have_the_collector_look_seldom
from intendant import Context, Intent, Limits, Realm, Runtime, Shutdown
from intendant.adapters.clock import SystemClock
from intendant.adapters.process import current_owner
from intendant.adapters.sqlite import SqliteStore
from intendant.domain import state as states
from intendant.domain.commit import Commit, PutDocument, seal
from intendant.domain.ids import Ids
from intendant.domain.records import Record

TENANT: Final = "bench"
SESSIONS: Final = 100
AT_ONCE: Final = 250  # intents in one call
CALLERS: Final = 64
BATCH: Final = 64  # commits, of RECORDS each
RECORDS: Final = 4
ASKED: Final = 200
LAG_LOOK_SECONDS: Final = 0.25
LAG_RATE: Final = 10_100  # executions a second: what the budget wants, and 1 % so that it is not missed by a hair

realm = Realm("bench")
have_come = 0  # handlers, to their wait


class Work(Struct, frozen=True):
    number: int


@realm.handler
async def plain(_ctx: Context, work: Work) -> int:
    return work.number


@realm.handler
async def wait(ctx: Context, work: Work) -> int:
    global have_come  # noqa: PLW0603
    await ctx.step("first", _one)
    have_come += 1
    return work.number + await ctx.wait_signal("go", type=int)


async def _one() -> int:
    return 1


def runtime_over(hot: str, count: int) -> Runtime:
    limits = Limits(open=count + 1_000, sessions_resident=count + 1_000)
    return Runtime([realm], hot=hot, limits=limits, shutdown=Shutdown(drain=0.0), timeout=600.0)


async def first(hot: str, _count: int) -> dict[str, Any]:
    """One execution, from an empty store on."""
    began = time.perf_counter()
    async with runtime_over(hot, 0) as runtime:
        entered = time.perf_counter()
        assert await (await (await runtime.open_session(TENANT, "s")).submit(plain, Work(7))).result() == 7
        return {"entered_ms": (entered - began) * 1e3, "result_ms": (time.perf_counter() - entered) * 1e3}


async def idle(hot: str, count: int) -> dict[str, Any]:
    """Sessions that stay in memory and have nothing to do."""
    async with runtime_over(hot, count) as runtime:
        await _open_sessions(runtime, range(1_000))
        before = _rss()
        await _open_sessions(runtime, range(1_000, 1_000 + count))
        return {"resident": runtime.stats().sessions, "bytes": (_rss() - before) / count}


async def _open_sessions(runtime: Runtime, numbers: range) -> None:
    each = iter(numbers)

    async def some() -> None:
        for number in each:
            await runtime.open_session(TENANT, f"session-{number}")

    async with anyio.create_task_group() as group:
        for _ in range(CALLERS):
            group.start_soon(some)


async def begin(hot: str, count: int) -> dict[str, Any]:
    """Executions that wait for a signal, until this process is killed."""
    async with runtime_over(hot, count) as runtime:
        await _submit(runtime, "bench.wait", count)
        while have_come < count:  # noqa: ASYNC110  nobody announces it
            await anyio.sleep(0.05)
        print(json.dumps({"open": runtime.stats().open}), flush=True)
        await anyio.sleep_forever()
    return {}


async def _submit(runtime: Runtime, type: str, count: int) -> None:
    share = count // SESSIONS
    sessions = [
        await runtime.open_session(TENANT, f"session-{number}", concurrency=share + 1) for number in range(SESSIONS)
    ]
    for start in range(0, share, AT_ONCE):
        for session in sessions:
            numbers = range(start, min(start + AT_ONCE, share))
            await session.submit_many([Intent(type, {"number": number}) for number in numbers])


async def resume(hot: str, count: int) -> dict[str, Any]:
    """Until the handlers of all that were found open have come as far as they were."""
    began = time.perf_counter()
    async with runtime_over(hot, count) as runtime:
        entered = time.perf_counter()
        assert runtime.stats().open == count
        while have_come < count:  # noqa: ASYNC110  nobody announces it
            await anyio.sleep(0.01)
        return {"entered_s": entered - began, "seconds": time.perf_counter() - began}


async def fill(hot: str, count: int) -> dict[str, Any]:
    """Executions that have ended."""
    async with runtime_over(hot, count) as runtime:
        began = time.perf_counter()
        await _submit(runtime, "bench.plain", count)
        while runtime.stats().open:  # noqa: ASYNC110  nobody announces it
            await anyio.sleep(0.05)
        return {"stored": count, "seconds": time.perf_counter() - began}


async def records(hot: str, count: int) -> dict[str, Any]:
    """Records of executions, written as the WAL writer would."""
    store, clock, ids = SqliteStore(hot.removeprefix("sqlite:")), SystemClock(), Ids()
    await store.open()
    log, began = store.log(0), time.perf_counter()
    tenure = await log.acquire(current_owner(), timeout=5.0, lease=600.0)
    sequence = tenure.next_sequence
    try:
        for number in range(0, count, BATCH * RECORDS):
            now = clock.now()
            commits = [_execution(ids.make(now), f"session-{(number + each) % 1_000}") for each in range(BATCH)]
            batch, _ = seal(commits, partition=0, epoch=tenure.epoch, token=tenure.token, first=sequence, time=now)
            await log.commit(batch)
            sequence += batch.count
        await log.release(tenure)
    finally:
        await store.close()
    return {"records": sequence - tenure.next_sequence, "seconds": time.perf_counter() - began}


def _execution(id: str, session: str) -> Commit:
    payload = {"path": "first", "value": 7, "at": 1}
    made = [Record("step_completed", session, id, payload) for _ in range(RECORDS)]
    return Commit(TENANT, made, [PutDocument(states.EXECUTIONS, id, b"{}")])


async def lag(hot: str, seconds: int, cold: str) -> dict[str, Any]:
    """64 callers for so long, and how old the oldest record was meanwhile that cold state lacked.

    They ask for no more than LAG_RATE a second, all of them together: what is more is neither wanted nor kept.
    """
    begun, done, ages = 0, 0, list[float]()
    async with Runtime([realm], hot=hot, cold=cold) as runtime, anyio.create_task_group() as group:
        sessions = [await runtime.open_session(TENANT, f"session-{number}") for number in range(SESSIONS)]
        start = time.perf_counter()
        end = start + seconds

        async def call(number: int) -> None:
            nonlocal begun, done
            while (now := time.perf_counter()) < end:
                begun += 1
                if (early := start + begun / LAG_RATE - now) > 0:
                    await anyio.sleep(early)
                await (await sessions[number].submit(plain, Work(number))).result()
                done += 1

        for number in range(CALLERS):
            group.start_soon(call, number)
        while time.perf_counter() < end:
            await anyio.sleep(LAG_LOOK_SECONDS)
            (age,) = re.findall(r"^intendant_cold_lag_age\S* (\S+)$", runtime.metrics(), re.MULTILINE)
            ages.append(float(age))
    return {"per_second": done / seconds, "lag_s": max(ages), "mostly_s": statistics.median(ages)}


async def query(hot: str, _count: int) -> dict[str, Any]:
    """What pages of 100 records cost, in ms: the newest, some second, one execution, a type that is not there."""
    async with runtime_over(hot, 0) as runtime:
        newest = await runtime.wal.query(TENANT, limit=1)
        oldest = await runtime.wal.query(TENANT, limit=1, newest_first=False)
        first_at, last_at = oldest.items[0].time, newest.items[0].time
        chance = random.Random(5)

        def some_time() -> datetime:
            return datetime.fromtimestamp(chance.randint(first_at, last_at) / 1e6, UTC)

        async def near() -> None:
            since = some_time()
            await runtime.wal.query(TENANT, since=since, until=since + timedelta(seconds=1))

        async def of_one() -> None:
            since = some_time()
            (some,) = (await runtime.wal.query(TENANT, since=since, newest_first=False, limit=1)).items
            began = time.perf_counter()
            found = await runtime.wal.query(TENANT, execution=some.execution, newest_first=False, limit=RECORDS)
            alone.append((time.perf_counter() - began) * 1e3)
            assert len(found.items) == RECORDS

        alone: list[float] = []
        figures = {
            "newest_ms": await _median(lambda: runtime.wal.query(TENANT)),
            "some_second_ms": await _median(near),
        }
        await _median(of_one)
        figures["one_execution_ms"] = statistics.median(alone)
        began = time.perf_counter()
        assert not (await runtime.wal.query(TENANT, type="execution_failed")).items
        return {**figures, "all_of_it_s": time.perf_counter() - began}


async def _median(ask: Callable[[], Awaitable[object]]) -> float:
    took: list[float] = []
    for _ in range(ASKED):
        began = time.perf_counter()
        await ask()
        took.append((time.perf_counter() - began) * 1e3)
    return statistics.median(took)


def _rss() -> int:
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")


MEASURES: Final[dict[str, Callable[..., Awaitable[dict[str, Any]]]]] = {
    "first": first,
    "idle": idle,
    "begin": begin,
    "resume": resume,
    "fill": fill,
    "records": records,
    "query": query,
    "lag": lag,
}


def main() -> None:
    what, count, hot, *cold = sys.argv[1:]
    have_the_collector_look_seldom()
    answer = anyio.run(MEASURES[what], hot, int(count), *cold, backend="asyncio", backend_options={"use_uvloop": True})
    print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
