"""A process with very many executions that wait: half for a time, half for a signal."""

from __future__ import annotations

import gc
import os
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Protocol

import anyio
import msgspec

from intendant import Context, Intent, Limits, Realm, Runtime, Shutdown, Status
from intendant.adapters.clock import SystemClock

SESSIONS: Final = 100
AT_ONCE: Final = 250  # intents in one call, and signals side by side


class Book(Protocol):
    """What a process tells, so that it is known when it is dead."""

    def note(self, kind: str, *words: object) -> None: ...


class Wait(msgspec.Struct):
    """What to wait for: the time `until`, in seconds since 1970, or else the signal "go"."""

    number: int
    until: float = 0.0


def make_realm() -> Realm:
    realm = Realm("yard")

    @realm.handler
    async def wait(ctx: Context, given: Wait) -> int:
        first: int = await ctx.step("first", lambda: given.number)
        if given.until:
            await ctx.sleep_until(datetime.fromtimestamp(given.until, UTC))
        else:
            first = await ctx.wait_signal("go", type=int)
        return first + await ctx.step("last", lambda: 1)

    return realm


class Later(SystemClock):
    """The clock of a machine on which so many seconds have passed meanwhile."""

    def __init__(self, seconds: float) -> None:
        self._passed = round(seconds * 1e6)

    def now(self) -> int:
        return super().now() + self._passed


def runtime_over(order: dict[str, Any], later: float = 0.0) -> Runtime:
    limits, clock = Limits(open=order["count"] + 1_000, resident=order["resident"]), Later(later)
    shutdown = Shutdown(drain=0.0)
    return Runtime([make_realm()], hot=order["hot"], limits=limits, shutdown=shutdown, timeout=600.0, clock=clock)


async def begin(order: dict[str, Any], book: Book) -> int:
    """Accept them all, wait until all of them wait, tell what that costs, and go on until killed."""
    async with runtime_over(order) as runtime:
        share = order["count"] // SESSIONS
        sessions = [
            await runtime.open_session("acme", f"s{number}", concurrency=share + 1) for number in range(SESSIONS)
        ]
        before = _rss()
        for first in range(0, share, AT_ONCE):
            for place, session in enumerate(sessions):
                numbers = [place * share + each for each in range(first, min(first + AT_ONCE, share))]
                waits = [Wait(number, order["until"] if number % 2 else 0.0) for number in numbers]
                intents = [
                    Intent("yard.wait", msgspec.to_builtins(each), idempotency_key=str(each.number)) for each in waits
                ]
                await session.submit_many(intents)
        while runtime.stats().running:  # noqa: ASYNC110  nobody announces it
            await anyio.sleep(0.05)
        stats = runtime.stats()
        book.note("waiting", stats.open, stats.waiting, _rss() - before, time.time())
        await anyio.sleep_forever()
    return 0


async def finish(order: dict[str, Any], book: Book) -> int:
    """Send the signals, wait for all ends, and tell how many there were, and when."""
    began = time.monotonic()
    async with runtime_over(order, order["later"]) as runtime:
        book.note("resumed", runtime.stats().open, time.monotonic() - began)
        ids: dict[str, int] = {}
        cursor: str | None = None
        while True:
            page = await runtime.executions("acme", type="yard.wait", limit=1_000, cursor=cursor)
            ids |= {each.id: int(each.key) for each in page.items}
            cursor = page.cursor
            if cursor is None:
                break
        waiting = iter([(id, number) for id, number in ids.items() if number % 2 == 0])

        async def send() -> None:
            for id, number in waiting:
                await runtime.execution("acme", id).signal("go", number, id=str(number))

        async with anyio.create_task_group() as group:
            for _ in range(AT_ONCE):
                group.start_soon(send)
        right = 0
        async for execution, outcome in runtime.wait([runtime.execution("acme", id) for id in ids], timeout=900.0):
            right += outcome.status is Status.COMPLETED and outcome.result == ids[execution.id] + 1
        book.note("finished", len(ids), right, time.monotonic() - began)
    return 0


def _rss() -> int:
    gc.collect()
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
