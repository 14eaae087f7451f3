"""The processes that are killed: a parent that has imported everything, and forks one child for each order it gets.

It reads orders, one JSON object a line, from its standard input, and answers each with a line: the child's process id,
or, for `wait`, how that child ended. What a child has to tell it appends to a file, line by line, each before or just
after it happened, so that what is in the file is true whenever the child dies.

    P life tenant key             about to submit                  A life tenant key execution   was told: accepted
    B life tenant key path        a step's body begins             S life tenant key path        its result was returned
    R life tenant key result      was told: this is the result
    serving, leaving, left, owned, refused, failed                 what a process that serves or waits tells, with times
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
import traceback
import zlib
from pathlib import Path
from typing import Any

import anyio
import msgspec

from intendant import Context, Execution, IntendantError, Limits, PartitionOwned, Realm, Runtime, Shutdown

TENANTS = ("acme", "beta", "gamma")
SESSIONS = ("s1", "s2", "s3", "s4")
IN_FLIGHT = 64


class Task(msgspec.Struct):
    """What the load asks for."""

    key: str


class Book:
    """The file that survives."""

    def __init__(self, path: str, life: int) -> None:
        self.life = life
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)

    def note(self, kind: str, *words: object) -> None:
        """One line, in one write."""
        os.write(self._file, (" ".join([kind, str(self.life), *map(str, words)]) + "\n").encode())


def expected(key: str) -> int:
    """What the load's handler returns for this key."""
    return zlib.crc32(key.encode()) * 3 + 3


def make_realm(book: Book) -> Realm:
    """Three steps, the second in a thread, with an event between them."""
    load = Realm("load")

    @load.handler
    async def work(ctx: Context, task: Task) -> int:
        base = zlib.crc32(task.key.encode())

        async def waiting(path: str, number: int) -> int:
            book.note("B", ctx.tenant_id, task.key, path)
            await anyio.sleep(random.random() * 0.02)
            return base + number

        def working() -> int:
            book.note("B", ctx.tenant_id, task.key, "s1")
            return base + 1

        total = await ctx.step("s0", lambda: waiting("s0", 0))
        book.note("S", ctx.tenant_id, task.key, "s0")
        ctx.emit("begun", task.key)
        total += await ctx.step("s1", working)
        book.note("S", ctx.tenant_id, task.key, "s1")
        total += await ctx.step("s2", lambda: waiting("s2", 2))
        book.note("S", ctx.tenant_id, task.key, "s2")
        return int(total)

    return load


class Load:
    """Submits without end, and notes what it is told."""

    def __init__(self, runtime: Runtime, book: Book) -> None:
        self._runtime = runtime
        self._book = book
        self._room = anyio.Semaphore(IN_FLIGHT)
        self._count = 0

    async def run(self, order: dict[str, Any]) -> None:
        """Open the sessions, take up what was open, submit anew what was in doubt; then, unless draining, go on."""
        for tenant in TENANTS:
            for session in SESSIONS:
                await self._runtime.open_session(tenant, session)
        async with anyio.create_task_group() as group:
            for tenant, key, execution in order["open"]:
                group.start_soon(self._result, tenant, key, self._runtime.execution(tenant, execution))
            for tenant, key in order["doubt"]:
                group.start_soon(self._submit, tenant, key)
            while not order["drain"]:
                await self._room.acquire()
                self._count += 1
                group.start_soon(self._one, random.choice(TENANTS), f"L{self._book.life}-{self._count}")

    async def _one(self, tenant: str, key: str) -> None:
        self._book.note("P", tenant, key)
        try:
            await self._submit(tenant, key)
        finally:
            self._room.release()

    async def _submit(self, tenant: str, key: str) -> None:
        session = self._runtime.session(tenant, SESSIONS[zlib.crc32(key.encode()) % len(SESSIONS)])
        execution = await session.submit("load.work", {"key": key}, idempotency_key=key)
        self._book.note("A", tenant, key, execution.id)
        await self._result(tenant, key, execution)

    async def _result(self, tenant: str, key: str, execution: Execution[Any]) -> None:
        self._book.note("R", tenant, key, await execution.result())


async def load(order: dict[str, Any], book: Book) -> int:
    """Be loaded until killed; draining: until everything has ended."""
    runtime = Runtime([make_realm(book)], hot=f"sqlite:{order['path']}", publisher=lambda _event: None)
    async with runtime:
        book.note("serving", os.getpid(), time.monotonic())
        await Load(runtime, book).run(order)
    return 0


async def serve(order: dict[str, Any], book: Book) -> int:
    """Wait for the store if need be, then serve small requests until SIGTERM comes or nothing is accepted any more."""
    runtime = Runtime(
        [make_realm(book)],
        hot=f"sqlite:{order['path']}",
        takeover_timeout=order["takeover"],
        lease=order["lease"],
        shutdown=Shutdown(drain=0.2),
    )
    code = 0
    try:
        async with runtime:
            with anyio.open_signal_receiver(signal.SIGTERM) as signals:
                book.note("serving", os.getpid(), time.monotonic())
                async with anyio.create_task_group() as group:

                    async def leave() -> None:
                        async for _ in signals:
                            group.cancel_scope.cancel()
                            return

                    group.start_soon(leave)
                    code = await _serve_requests(runtime, book)
                    group.cancel_scope.cancel()
            book.note("leaving", os.getpid(), time.monotonic())
        book.note("left", os.getpid(), time.monotonic())
    except PartitionOwned as error:
        book.note("owned", error.host, error.pid, error.age)
        return 3
    except IntendantError as error:
        book.note("failed", type(runtime.failed).__name__, type(error).__name__)
        return code or 5
    return code


async def _serve_requests(runtime: Runtime, book: Book) -> int:
    session = await runtime.open_session("acme", "s1")
    count = 0
    while True:
        count += 1
        key = f"L{book.life}-{count}"
        book.note("P", "acme", key)
        try:
            execution = await session.submit("load.work", {"key": key}, idempotency_key=key)
        except IntendantError as error:
            book.note("refused", error.code)
            return 4
        book.note("A", "acme", key, execution.id)
        await anyio.sleep(0.005)


class Round(msgspec.Struct):
    """What the soak measures after a round."""

    completed: int
    rss: int
    seconds: float
    alive: dict[str, int]


async def soak(order: dict[str, Any], book: Book) -> int:
    """Identical rounds of many intents over many sessions in one process; counts after each."""
    import gc

    from intendant.actors.actor import Cell
    from intendant.actors.endings import Ending
    from intendant.actors.execution import ExecutionActor
    from intendant.actors.ref import Question
    from intendant.parking import Reply

    watched: list[type[Any]] = [Cell, Ending, ExecutionActor, Question, Reply]
    realm = Realm("load")

    @realm.handler
    async def work(ctx: Context, task: Task) -> int:
        return await ctx.step("s0", lambda: _number(task.key))

    async def _number(key: str) -> int:
        return zlib.crc32(key.encode())

    limits = Limits(running=order["running"])
    async with Runtime([realm], hot=f"sqlite:{order['path']}", limits=limits, timeout=600.0) as runtime:
        for number in range(order["rounds"]):
            began = time.monotonic()
            completed = await _round(runtime, order, number)
            seconds = time.monotonic() - began
            await anyio.sleep(0.05)  # workers that were busy park
            gc.collect()
            objects = gc.get_objects()
            alive = {kind.__name__: sum(type(each) is kind for each in objects) for kind in watched}
            del objects
            names = [task.name or "" for task in anyio.get_running_tasks()]
            workers = sum(name.endswith("worker") for name in names)
            stats = runtime.stats()
            alive |= {
                "tasks": len(names) - workers,
                "workers": workers,
                "open": stats.open,
                "running": stats.running,
                "sessions": stats.sessions,
            }
            told = Round(completed, _rss(), seconds, alive)
            book.note("round", msgspec.json.encode(told).decode().replace(" ", ""))
    return 0


async def _round(runtime: Runtime, order: dict[str, Any], number: int) -> int:
    completed = 0
    each = order["intents"] // order["sessions"]

    async def client(place: int) -> None:
        nonlocal completed
        session = await runtime.open_session(TENANTS[place % len(TENANTS)], f"s{place}")
        executions: list[Execution[Any]] = []
        for intent in range(each):
            key = f"r{number}-{place}-{intent}"
            executions.append(await session.submit("load.work", {"key": key}, idempotency_key=key))
        for execution in executions:
            await execution.result()
            completed += 1

    async with anyio.create_task_group() as group:
        for place in range(order["sessions"]):
            group.start_soon(client, place)
    return completed


def _rss() -> int:
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")


def be(order: dict[str, Any]) -> int:
    """Be the child that the order asks for."""
    book = Book(order["book"], order["life"])
    run = {"load": load, "serve": serve, "soak": soak}[order["do"]]
    backend = order["backend"]
    options = {"use_uvloop": True} if backend == "uvloop" else {}
    try:
        return anyio.run(run, order, book, backend="trio" if backend == "trio" else "asyncio", backend_options=options)
    except BaseException:
        book.note("crashed", os.getpid())
        traceback.print_exc()
        return 1


def main() -> None:
    """Take orders until the end of the input."""
    for line in sys.stdin:
        order = json.loads(line)
        if order["do"] == "wait":
            answer = os.waitstatus_to_exitcode(os.waitpid(order["pid"], 0)[1])
        else:
            answer = os.fork()
            if answer == 0:
                signal.signal(signal.SIGINT, signal.SIG_DFL)
                os._exit(be(order))
        sys.stdout.write(f"{answer}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
