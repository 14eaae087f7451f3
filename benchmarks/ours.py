"""Intendant itself, as a process that answers like the rivals do. argv: `actors`, or the URL of the hot store.

With `pure` before the URL, the handler without steps is one that ends in the commit that accepts it; with `cold` and a
URL before it, cold state follows into a store there. Then a measurement begins when cold state is written as fast as
the log, which is later than the hot store's loss window, and ends for the next one when there is nothing left to write.

On uvloop, with default settings: supervision, validation, state, idempotency keys and outbox are on.
"""

from __future__ import annotations

import platform
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import replace
from importlib.metadata import version
from itertools import count, cycle
from typing import Any, Final, TypeAlias

import anyio
from msgspec import Struct

from benchmarks.restarts import ENDLESS, Child
from benchmarks.rivals.protocol import BATCH, TELLS, WARM_UP_SECONDS, Request, Timed, call, serve_async
from intendant import Actor, ActorSystem, Context, Realm, Reply, Runtime
from intendant.domain.ids import partition_of
from intendant.runtime.configuration import Configuration
from intendant.supervisor import Backoff, ChildSpec, Supervisor

SESSIONS: Final = 100
ASK_SECONDS: Final = 60.0
LEAD_SECONDS: Final = 6.0  # Redis everysec may lose 2 s, and the first rounds behind that are large ones
CAUGHT_UP: Final = 100  # records behind the log: the last ones are too new to be written
LOOK_SECONDS: Final = 0.1

Handles: TypeAlias = Callable[[Context, "Work"], Coroutine[Any, Any, dict[str, Any]]]

realm = Realm("bench")


class Work(Struct, frozen=True):
    number: int


async def advance(number: int) -> int:
    return number + 1


@realm.handler
async def plain(_ctx: Context, work: Work) -> dict[str, Any]:
    return {"ok": True, "number": work.number}


@realm.handler(pure=True)
async def pure(_ctx: Context, work: Work) -> dict[str, Any]:
    return {"ok": True, "number": work.number}


@realm.handler
async def three_steps(ctx: Context, work: Work) -> dict[str, Any]:
    number = work.number
    for name in ("first", "second", "third"):
        number = await ctx.step(name, advance, number)
    return {"ok": True, "number": number}


async def executions(url: str, without_steps: Handles, cold: str | None) -> None:
    async with Runtime([realm], hot=url, cold=cold, name="bench") as runtime:
        tenant = _tenant_of(runtime.configuration())
        sessions = cycle([await runtime.open_session(tenant, f"session-{number}") for number in range(SESSIONS)])

        settings: dict[str, Any] = {
            "store": url.partition(":")[0],
            "sessions": SESSIONS,
            "cold": (cold or "none").partition(":")[0],
        }

        async def measure(request: Request) -> Timed:
            handler = three_steps if request.steps else without_steps

            async def one() -> None:
                execution = await next(sessions).submit(handler, Work(7))
                result = await execution.result()
                assert result["ok"]

            if cold is None:
                return await call(one, request)
            await call(one, replace(request, seconds=LEAD_SECONDS))
            behind, written = runtime.stats().lag, runtime.stats().records
            timed = await call(one, request)
            settings["lag_grew"] = runtime.stats().lag - behind  # of so many records:
            settings["records"] = runtime.stats().records - written
            while runtime.stats().lag > CAUGHT_UP:  # noqa: ASYNC110  nobody announces it
                await anyio.sleep(LOOK_SECONDS)
            return timed

        await serve_async(facts_of(runtime.durability, settings), measure)


def _tenant_of(here: Configuration) -> str:
    """One that lives in a partition which is served here."""
    names = (f"bench-{number}" for number in count())
    return next(name for name in names if partition_of(name, here.partitions) in here.own)


class Question(Struct, frozen=True):
    number: int
    reply: Reply[int]


class Echo(Actor[int | Question]):
    async def receive(self, message: int | Question) -> None:
        if isinstance(message, Question):
            message.reply.set(message.number)


async def actors() -> None:
    child = Child()
    supervisor = Supervisor("s", [ChildSpec("child", child.start)], intensity=ENDLESS, backoff=Backoff.none())
    async with ActorSystem() as system, anyio.create_task_group() as group:
        await group.start(supervisor.run)
        echo = system.spawn("echo", Echo)

        def question(reply: Reply[int]) -> Question:
            return Question(7, reply)

        async def tell() -> int:
            for number in range(TELLS - 1):  # with the ask they fill its mailbox, of 10,000
                echo.tell(number)
            await echo.ask(question, timeout=ASK_SECONDS)
            return TELLS - 1

        async def ask() -> int:
            for _ in range(BATCH):
                assert await echo.ask(question, timeout=ASK_SECONDS) == 7
            return BATCH

        async def restart() -> int:
            for _ in range(BATCH):
                await child.crash()
            return BATCH

        does = {"tell": tell, "ask": ask, "restarts": restart}

        async def measure(request: Request) -> Timed:
            some = does[request.measure]
            await _repeat(some, request.callers, WARM_UP_SECONDS)
            return await _repeat(some, request.callers, request.seconds)

        await serve_async(facts_of("memory", {"callers": "tasks"}), measure)
        supervisor.stop()


async def _repeat(some: Callable[[], Awaitable[int]], callers: int, seconds: float) -> Timed:
    timed = Timed()
    began = time.perf_counter()

    async def caller() -> None:
        while time.perf_counter() < began + seconds:
            did = await some()
            timed.count += did  # not in one statement: others add to it while we wait

    async with anyio.create_task_group() as group:
        for _ in range(callers):
            group.start_soon(caller)
    timed.seconds = time.perf_counter() - began
    return timed


def facts_of(durability: str, settings: dict[str, Any]) -> dict[str, object]:
    """What goes into every answer; `settings` may change between them."""
    settings |= {"python": platform.python_version(), "loop": "uvloop"}
    return {"version": f"intendant {version('intendant')}", "durability": durability, "settings": settings}


def main() -> None:
    *kind, what = sys.argv[1:]
    options = {"use_uvloop": True}
    if what == "actors":
        anyio.run(actors, backend="asyncio", backend_options=options)
    else:
        handler = pure if kind == ["pure"] else plain
        cold = kind[1] if kind[:1] == ["cold"] else None
        anyio.run(executions, what, handler, cold, backend="asyncio", backend_options=options)


if __name__ == "__main__":
    main()
