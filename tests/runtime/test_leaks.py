"""What crashed, restarted and ended leaves nothing: no task, thread, file or object, and no growth.

Each kind of actor is started, crashed and ended in rounds alike; from the second round on all counts must be the same.
`make test` does so a few hundred times; `make stress` 200,000 times for actors and children, and as many times less for
the rest as one of them costs more.
"""

from __future__ import annotations

import gc
import logging
import os
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import anyio
import pytest

from intendant import Actor, ActorStopped, ActorSystem, Context, Realm, Runtime
from intendant.actors.messages import Settled
from intendant.actors.session import SessionActor
from intendant.adapters.memory import MemoryColdStore
from intendant.domain.errors import IntendantError
from intendant.domain.ports import Store
from intendant.supervisor import (
    Backoff,
    ChildCrashed,
    ChildSpec,
    DynamicSupervisor,
    Event,
    Intensity,
    Restart,
    Started,
)
from intendant.supervisor.child import Child
from intendant.supervisor.dynamic import _Record as DynamicRecord  # pyright: ignore[reportPrivateUsage]
from tests.infrastructure.tier import STRESS, scaled

pytestmark = pytest.mark.anyio

ACTORS = scaled(200_000, few=2_000)
EXECUTIONS = scaled(20_000, few=50)
WRITERS = scaled(1_000, few=15)  # restarts of each writer
ROUNDS = 5
RSS_MAX = 1.05  # of what it was after the second round, and a little for what the interpreter keeps
RSS_SLACK = 2 << 20  # bytes
SETTLED_MAX = 2.0  # seconds
WAIT_MAX = 20.0
OURS = tuple(f"intendant.{name}" for name in ("actors", "parking", "runtime", "steps", "supervisor", "context"))


class Boom(Exception):
    """What actors crash with."""


def alive() -> Counter[str]:
    """What there is of our classes and of tests'; tasks but workers, which come and go; threads; files.

    Not what remembered crashes hold: up to five of each child are kept, with the frames of their tracebacks, and how
    many of those that went down with a writer crashed on their way is chance.
    """
    for each in gc.get_objects():
        if isinstance(each, Child | DynamicRecord) and each.crashes:
            each.crashes.clear()
    gc.collect()
    kinds: list[type[Any]] = [type(each) for each in gc.get_objects()]
    counts = Counter(kind.__qualname__ for kind in kinds if str(kind.__module__).startswith((*OURS, __name__)))
    for name in ("Worker", "_AsyncioParking", "_TrioParking"):
        del counts[name]
    counts["tasks"] = sum(not (task.name or "").endswith("worker") for task in anyio.get_running_tasks())
    counts["threads"] = sum(not each.name.startswith("AnyIO worker") for each in threading.enumerate())
    counts["files"] = len(list(Path("/proc/self/fd").iterdir()))
    return counts


async def settled(before: Counter[str] | None) -> Counter[str]:
    """Count until it is as before; where nothing was before, until it is as at the last look."""
    last = now = alive()
    with anyio.move_on_after(SETTLED_MAX):
        while now != before:  # nobody tells
            await anyio.sleep(0.05)
            last, now = now, alive()
            if before is None and now == last:
                break
    return now


def rss() -> int:
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def rounds(do: Callable[[int], Awaitable[None]], *, grows: bool = False) -> None:
    """`grows`: what is stored grows, and is no leak."""
    counts: list[Counter[str]] = []
    sizes: list[int] = []
    for number in range(ROUNDS):
        await do(number)
        counts.append(await settled(counts[-1] if number > 1 else None))
        sizes.append(rss())
    for later in counts[2:]:
        assert later - counts[1] == Counter(), "more than there was"
    assert STRESS < 1 or grows or sizes[-1] <= sizes[1] * RSS_MAX + RSS_SLACK, sizes
    print(f"\n{ROUNDS} rounds: RSS {[size >> 20 for size in sizes]} MiB, alive {sum(counts[-1].values())}")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nobody waits before a restart, and what is in a tree for good gives up never; crashes are not logged.

    Nor for what a server may lose: the state writer would be three seconds behind, at each of its crashes.
    What earlier tests have left is not looked through, over and over.
    """
    gc.collect()
    gc.freeze()

    def soon(*_args: object) -> float:
        return 0.0

    endless = Intensity.unlimited(1.0)
    monkeypatch.setattr(Backoff, "delay", soon)
    monkeypatch.setattr("intendant.adapters.redis.server.EVERYSEC_LOSS_S", 0.0)
    monkeypatch.setattr("intendant.runtime.tree.Intensity", Mock(return_value=endless, unlimited=Intensity.unlimited))
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


# ---------------------------------------------------------------------- without a store


class Shaky(Actor[Any]):
    async def receive(self, message: Any) -> None:
        if message is None:
            raise Boom
        message.set(1)


@pytest.mark.scaled
@pytest.mark.in_turn
async def test_actors_that_crash_and_end() -> None:
    async with ActorSystem(intensity=Intensity(1, 0.2), dead_letters=10) as system:
        system._supervisor._pace._spacing = 0.0  # pyright: ignore[reportPrivateUsage]

        async def one_after_another(place: int, number: int) -> None:
            for each in range(ACTORS // ROUNDS // 10):
                name = f"{place}-{number}-{each}"
                ref = system.spawn(name, Shaky)
                ref.tell(None)
                assert await ref.ask(lambda reply: reply, timeout=60.0) == 1
                if each % 2:
                    system.stop(name)
                else:
                    ref.tell(None)  # one crash too many
                    with suppress(ActorStopped):
                        await ref.ask(lambda reply: reply, timeout=60.0)
                        system.stop(name)  # a busy machine has crashed it too late to be one too many

        async def once(number: int) -> None:
            async with anyio.create_task_group() as group:
                for place in range(10):
                    group.start_soon(one_after_another, place, number)
            with anyio.fail_after(WAIT_MAX):
                while len(system):  # noqa: ASYNC110 - nobody tells
                    await anyio.sleep(0.001)
            await echo(number)

        async def echo(number: int) -> None:
            """A crash of today, lest the last one be kept for ever by who waits for the next."""
            ref = system.spawn(f"echo-{number}", Shaky)
            assert await ref.ask(lambda reply: reply, timeout=60.0) == 1
            system.stop(f"echo-{number}")

        await rounds(once)


@pytest.mark.scaled
@pytest.mark.in_turn
async def test_children_that_crash_and_end() -> None:
    dynamic = DynamicSupervisor("d", restarts_per_second=float("inf"), on_give_up=lambda _child, _cause: None)

    async def live_twice(child: list[anyio.Event], status: Started) -> None:
        status.started()
        if len(child) == 1:
            child.append(anyio.Event())
            raise Boom
        child[0].set()
        await anyio.sleep_forever()

    async def one_after_another(place: int, number: int) -> None:
        for each in range(ACTORS // ROUNDS // 10):
            child = [anyio.Event()]
            id = f"{place}-{number}-{each}"

            async def start(status: Started, child: list[anyio.Event] = child) -> None:
                await live_twice(child, status)

            dynamic.start_child(ChildSpec(id, start, Restart.TRANSIENT))
            await child[0].wait()
            dynamic.stop_child(id)

    async def once(number: int) -> None:
        async with anyio.create_task_group() as group:
            for place in range(10):
                group.start_soon(one_after_another, place, number)
        while len(dynamic):  # noqa: ASYNC110 - nobody tells
            await anyio.sleep(0.001)

    async with anyio.create_task_group() as group:
        await group.start(dynamic.run)
        await rounds(once)
        dynamic.stop()


# ---------------------------------------------------------------------- with a store


class Dies(BaseException):
    """No error of a handler: a crash of its actor."""


class Theatre:
    """A runtime whose sessions, executions, writers and relay crash when they are to."""

    def __init__(self, hot: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        self.armed: set[str] = set()
        self.crashes: Counter[str] = Counter()
        self.shake(type(hot.log(0)), "commit", monkeypatch)
        self.shake(type(hot.log(0)), "outbox", monkeypatch)
        self.shake(MemoryColdStore, "put", monkeypatch)
        self.died: set[str] = set()
        realm = Realm("work")

        @realm.handler
        async def twice(ctx: Context, parameters: dict[str, Any]) -> int:
            await ctx.step("one", _one)
            if parameters["key"] not in self.died:
                self.died.add(parameters["key"])
                raise Dies
            self.died.discard(parameters["key"])
            ctx.emit("done", {})
            return 1

        self.shake_sessions(monkeypatch)
        self.runtime = Runtime(
            [realm], hot=hot, cold=MemoryColdStore(), publisher=lambda _event: None, on_event=self.hear
        )

    def hear(self, event: Event) -> None:
        if isinstance(event, ChildCrashed):
            self.crashes[event.path.rpartition("/")[2].partition("[")[0]] += 1

    def shake(self, kind: type, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
        right = getattr(kind, name)

        async def call(store: Any, *args: Any, **options: Any) -> Any:
            if name in self.armed:
                self.armed.discard(name)
                raise Boom(name)
            return await right(store, *args, **options)

        monkeypatch.setattr(kind, name, call)

    def shake_sessions(self, monkeypatch: pytest.MonkeyPatch) -> None:
        right = SessionActor.receive

        async def receive(actor: SessionActor, message: Any) -> None:
            if isinstance(message, Settled) and "session" in self.armed:
                self.armed.discard("session")
                raise Boom("session")
            await right(actor, message)

        monkeypatch.setattr(SessionActor, "receive", receive)

    async def execute(self, place: int, number: int, count: int) -> None:
        for each in range(count):
            if each % 10 == 0:
                self.armed.add("session")
            await self.one(place, f"{place}-{number}-{each}")

    async def one(self, place: int, key: str) -> None:
        """Ask until there is an answer: while something restarts there is none."""
        with anyio.fail_after(WAIT_MAX):
            while True:
                try:
                    session = await self.runtime.open_session("acme", f"s{place}")
                    execution = await session.submit("work.twice", {"key": key}, idempotency_key=key)
                    assert await execution.result(timeout=30.0) == 1
                except IntendantError:
                    await anyio.sleep(0.005)
                else:
                    return

    async def crash_writers(self, number: int) -> None:
        for each in range(WRITERS // ROUNDS):
            for what in ("commit", "put", "outbox"):
                self.armed.add(what)
                await self.one(0, f"writers-{number}-{each}-{what}")
                with anyio.fail_after(WAIT_MAX):
                    while what in self.armed:  # noqa: ASYNC110 - nobody tells
                        await anyio.sleep(0.001)

    async def catch_up(self) -> None:
        with anyio.fail_after(WAIT_MAX):
            while self.runtime.stats().lag:  # noqa: ASYNC110 - nobody tells
                await anyio.sleep(0.01)


async def _one() -> int:
    return 1


@pytest.mark.stress
async def test_sessions_executions_writers_and_the_relay(hot: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    theatre = Theatre(hot, monkeypatch)

    async def once(number: int) -> None:
        async with anyio.create_task_group() as group:
            for place in range(10):
                group.start_soon(theatre.execute, place, number, EXECUTIONS // ROUNDS // 10)
        await theatre.crash_writers(number)
        await theatre.catch_up()

    async with theatre.runtime:
        await rounds(once, grows=True)
    assert theatre.crashes["wal-writer"] >= WRITERS
    assert theatre.crashes["state-writer"] >= WRITERS
    assert theatre.crashes["outbox-relay"] >= WRITERS
    print(f"crashes: {dict(theatre.crashes.most_common(5))}")
