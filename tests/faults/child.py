"""The processes that are killed: a parent that has imported everything, and forks one child for each order it gets.

It reads orders, one JSON object a line, from its standard input, and answers each with a line: the child's process id,
or, for `wait`, how that child ended. What a child has to tell it appends to a file, line by line, each before or just
after it happened, so that what is in the file is true whenever the child dies.

    P life tenant key             about to submit                  A life tenant key execution   was told: accepted
    B life tenant key path        a step's body begins             S life tenant key path        its result was returned
    R life tenant key result      was told: this is the result
    kills key                                      its body ends the process
    ended type execution status code               an execution has ended
    serving, leaving, left, owned, refused, failed                 what a process that serves or waits tells, with times
"""

from __future__ import annotations

import gc
import json
import os
import random
import signal
import sys
import threading
import time
import traceback
import zlib
from collections.abc import Awaitable, Callable
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import anyio.abc
import msgspec

from intendant import (
    Context,
    Execution,
    IntendantError,
    Limits,
    NotOwner,
    OutcomeUnknown,
    PartitionOwned,
    Realm,
    Retry,
    Retryable,
    Runtime,
    Shutdown,
    Step,
)
from tests.faults import sleepers

TENANTS = ("acme", "beta", "gamma")
SESSIONS = ("s1", "s2", "s3", "s4")
IN_FLIGHT = 64
AWAITS = 2  # the rest of a key's number, divided by four, for those that wait for a signal
TWICE = Retry(attempts=2, initial=timedelta(milliseconds=2))
SETTLED_MAX = 20.0  # seconds that counts may take until they are as before


class Task(msgspec.Struct):
    """What the load asks for."""

    key: str
    mixed: bool = False  # it meets timers, signals and retries, too


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
    """Three steps, the second in a thread, with an event between them; before the last one `between`."""
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
        await between(ctx, task, partial(book.note, "B", ctx.tenant_id, task.key))
        for path in recorded_between(base, mixed=task.mixed):
            book.note("S", ctx.tenant_id, task.key, path)
        total += await ctx.step("s2", lambda: waiting("s2", 2))
        book.note("S", ctx.tenant_id, task.key, "s2")
        return int(total)

    return load


async def between(ctx: Context, task: Task, note: Callable[[str], None]) -> None:
    """By the key: a saga that is undone; of mixed ones also a timer, a wait for a signal, a step that fails once."""
    kind = zlib.crc32(task.key.encode()) % 4
    if kind == 0:
        await undo_one(ctx, note)
    elif task.mixed and kind == 1:
        await ctx.sleep(timedelta(milliseconds=random.randint(1, 20)))
    elif task.mixed and kind == AWAITS:
        await ctx.wait_signal("go", type=str)
    elif task.mixed:
        await ctx.step("again", partial(fail_once, note), retry=TWICE)


def recorded_between(base: int, *, mixed: bool) -> tuple[str, ...]:
    """The steps of `between`."""
    return ("try/hold", "undo(try/hold)") if base % 4 == 0 else ("again",) if mixed and base % 4 == 3 else ()


async def fail_once(note: Callable[[str], None], step: Step) -> None:
    """Its first attempt fails; it is recorded that it has."""
    note("again")
    await anyio.sleep(random.random() * 0.01)
    if step.attempt == 1:
        raise ConnectionError("not yet")


async def undo_one(ctx: Context, note: Callable[[str], None]) -> None:
    """A saga of one step, whose block fails."""

    async def hold() -> int:
        note("try/hold")
        await anyio.sleep(random.random() * 0.01)
        return 7

    async def release(step: Step, held: int | None) -> None:
        note("undo(try/hold)")
        if held != 7:
            raise ValueError(f"{held} was held")
        await anyio.sleep(random.random() * 0.01)

    try:
        async with ctx.saga("try") as saga:
            await saga.step("hold", hold, undo=release)
            raise LookupError("refused")
    except LookupError:
        return


class Load:
    """Submits until SIGTERM, then waits for what is open, or leaves at once; notes what it is told.

    A patient one makes a call again that found no store, and notes the error's code: E life code.
    """

    def __init__(self, runtime: Runtime, book: Book, order: dict[str, Any]) -> None:
        self._runtime = runtime
        self._book = book
        self._order = order
        self._tenants: list[str] = order.get("tenants", TENANTS)
        self._patient: bool = order.get("patient", False)
        self._draining: bool = order["drain"]
        self._room = anyio.Semaphore(IN_FLIGHT)
        self._count = 0

    async def run(self) -> None:
        """Open the sessions, take up what was open, submit anew what was in doubt; then, unless draining, go on."""
        async with anyio.create_task_group() as watch:
            await watch.start(self._await_term, watch.cancel_scope)
            if foreign := self._order.get("foreign"):
                await self._ask_elsewhere(foreign)
            for tenant in self._tenants:
                for session in SESSIONS:
                    await self._surely(partial(self._runtime.open_session, tenant, session))
            async with anyio.create_task_group() as group:
                for tenant, key, execution in self._order["open"]:
                    group.start_soon(self._ask_again, tenant, key, execution)
                for tenant, key in self._order["doubt"]:
                    group.start_soon(self._submit, tenant, key)
                while not self._draining:
                    await self._room.acquire()
                    self._count += 1
                    group.start_soon(self._one, *self._next())
            watch.cancel_scope.cancel()

    def _next(self) -> tuple[str, str]:
        """Some tenant, and a key; two tenants in turn use the same one."""
        return self._tenants[self._count % len(self._tenants)], f"L{self._book.life}-{self._count // 2}"

    async def _await_term(self, all_of_it: anyio.CancelScope, *, task_status: anyio.abc.TaskStatus[None]) -> None:
        with anyio.open_signal_receiver(signal.SIGTERM) as signals:
            task_status.started()
            async for _ in signals:
                self._draining = True
                if self._order.get("leave", False):
                    all_of_it.cancel()

    async def _ask_elsewhere(self, tenant: str) -> None:
        try:
            await self._runtime.open_session(tenant, "s1")
        except NotOwner as error:
            self._book.note("elsewhere", error.partition, error.host, error.pid)

    async def _one(self, tenant: str, key: str) -> None:
        self._book.note("P", tenant, key)
        try:
            await self._submit(tenant, key)
        finally:
            self._room.release()

    async def _ask_again(self, tenant: str, key: str, execution: str) -> None:
        """After many lives these are thousands: all at once would hold the loop for longer than a store's timeout."""
        async with self._room:
            await self._result(tenant, key, self._runtime.execution(tenant, execution))

    async def _submit(self, tenant: str, key: str) -> None:
        session = self._runtime.session(tenant, SESSIONS[zlib.crc32(key.encode()) % len(SESSIONS)])
        submit = partial(session.submit, "load.work", {"key": key, "mixed": True}, idempotency_key=key)
        execution: Execution[Any] = await self._surely(submit)
        self._book.note("A", tenant, key, execution.id)
        await self._result(tenant, key, execution)

    async def _result(self, tenant: str, key: str, execution: Execution[Any]) -> None:
        if zlib.crc32(key.encode()) % 4 == AWAITS:  # whether an earlier life has sent it, nobody knows
            await self._surely(partial(execution.signal, "go", key, id=key))
        self._book.note("R", tenant, key, await self._surely(execution.result))

    async def _surely(self, call: Callable[[], Awaitable[Any]]) -> Any:
        while True:
            try:
                return await call()
            except (Retryable, OutcomeUnknown) as error:
                if not self._patient:
                    raise
                self._book.note("E", error.code)
                await anyio.sleep(0.02)


async def load(order: dict[str, Any], book: Book) -> int:
    """Be loaded until killed, or told by SIGTERM to come to an end; draining: until everything has ended."""
    runtime = Runtime([make_realm(book)], hot=order["hot"], publisher=lambda _event: None, **order.get("options", {}))
    try:
        async with runtime:
            book.note("serving", os.getpid(), time.monotonic())
            await Load(runtime, book, order).run()
            book.note("restored", runtime.stats().restored)
    except Exception:
        if runtime.failed is None:
            raise
        book.note("failed", type(runtime.failed).__name__)
        return 5
    return 0


async def serve(order: dict[str, Any], book: Book) -> int:
    """Wait for the store if need be, then serve small requests until SIGTERM comes or nothing is accepted any more."""
    runtime = Runtime(
        [make_realm(book)],
        hot=order["hot"],
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


async def poison(order: dict[str, Any], book: Book) -> int:
    """Run handlers of which some kill the process, each in its way, until all of them have ended."""
    realm, dying = make_realm(book), threading.Lock()

    @realm.handler
    async def kill(ctx: Context, task: Task) -> None:
        def end() -> None:
            dying.acquire()  # for good: another thread is not to tell that it kills while this one does
            book.note("kills", task.key)
            os.kill(os.getpid(), signal.SIGKILL) if task.key == "signal" else os._exit(9)

        await ctx.step("end", end)

    async with Runtime([realm], hot=order["hot"]) as runtime:
        session = await runtime.open_session("acme", "s1")
        submitted = [
            await session.submit(type, {"key": key}, idempotency_key=key)
            for type, keys in (("load.kill", order["kills"]), ("load.work", order["works"]))
            for key in keys
        ]
        async for execution, outcome in runtime.wait(submitted):
            code = outcome.error.code if outcome.error else "-"
            book.note("ended", outcome.type, execution.id, outcome.status, code)
    return 0


class Round(msgspec.Struct):
    """What the soak measures after a round."""

    completed: int
    rss: int
    seconds: float
    alive: dict[str, int]


async def soak(order: dict[str, Any], book: Book) -> int:
    """Identical rounds of many intents over many sessions in one process; counts after each."""
    from intendant.actors.direct_cell import DirectCell
    from intendant.actors.endings import Ending
    from intendant.actors.execution import ExecutionActor
    from intendant.actors.ref import Question
    from intendant.parking import Reply

    watched: list[type[Any]] = [DirectCell, Ending, ExecutionActor, Question, Reply]
    realm = Realm("load")

    @realm.handler
    async def work(ctx: Context, task: Task) -> int:
        return await ctx.step("s0", lambda: _number(task.key))

    async def _number(key: str) -> int:
        return zlib.crc32(key.encode())

    limits = Limits(running=order["running"])
    before: dict[str, int] = {}
    async with Runtime([realm], hot=order["hot"], limits=limits, timeout=600.0) as runtime:
        for number in range(order["rounds"]):
            began = time.monotonic()
            completed = await _round(runtime, order, number)
            seconds = time.monotonic() - began
            alive = await _settled(runtime, watched, before if number > 1 else {})
            before = dict(alive)
            alive["workers"] = sum((task.name or "").endswith("worker") for task in anyio.get_running_tasks())
            told = Round(completed, _rss(), seconds, alive)
            book.note("round", msgspec.json.encode(told).decode().replace(" ", ""))
    return 0


async def _settled(runtime: Runtime, watched: list[type[Any]], before: dict[str, int]) -> dict[str, int]:
    """Count until it is as before; where nothing was before, until it is as at the last look."""
    give_up = time.monotonic() + SETTLED_MAX
    alive, expected = _alive(runtime, watched), before
    while alive != expected and time.monotonic() < give_up:
        expected = before or alive
        await anyio.sleep(0.05)
        alive = _alive(runtime, watched)
    return alive


def _alive(runtime: Runtime, watched: list[type[Any]]) -> dict[str, int]:
    """How many there are of these objects, of tasks but workers, which come and go, and of what the runtime counts."""
    gc.collect()
    objects = gc.get_objects()
    alive = {kind.__name__: sum(type(each) is kind for each in objects) for kind in watched}
    del objects
    tasks = sum(not (task.name or "").endswith("worker") for task in anyio.get_running_tasks())
    stats = runtime.stats()
    return alive | {
        "tasks": tasks,
        "open": stats.open,
        "running": stats.running,
        "sessions": stats.sessions,
    }


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
    if bug := order.get("bug"):
        from tests.faults.redis.bugs import BUGS

        BUGS[bug]()
    runs = {"load": load, "serve": serve, "soak": soak, "poison": poison}
    runs |= {"begin_waiting": sleepers.begin, "finish_waiting": sleepers.finish}
    run = runs[order["do"]]
    backend = order["backend"]
    options = {"use_uvloop": True} if backend == "uvloop" else {}
    try:
        return anyio.run(run, order, book, backend="trio" if backend == "trio" else "asyncio", backend_options=options)
    except BaseException:
        book.note("crashed", os.getpid())
        traceback.print_exc()
        return 1


def wait(pid: int, patience: float) -> int:
    """A child's exit code, or 1000 when it has not ended in that time."""
    deadline = time.monotonic() + patience
    while True:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > deadline:
            return 1000
        time.sleep(0.001)


def main() -> None:
    """Take orders until the end of the input."""
    for line in sys.stdin:
        order = json.loads(line)
        if order["do"] == "wait":
            answer = wait(order["pid"], order["patience"])
        else:
            answer = os.fork()
            if answer == 0:
                signal.signal(signal.SIGINT, signal.SIG_DFL)
                os._exit(be(order))
        sys.stdout.write(f"{answer}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
