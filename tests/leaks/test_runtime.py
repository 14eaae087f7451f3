"""Sessions and executions that crash and end in a runtime leave nothing, nor does its whole tree; over each store."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

import anyio
import pytest

from intendant import Context, Limits, Realm, Runtime
from intendant.actors.messages import Open
from intendant.actors.session import SessionActor
from intendant.adapters.memory import MemoryColdStore, MemoryStore
from intendant.domain.errors import IntendantError
from intendant.domain.ports import Store
from intendant.supervisor import ChildCrashed, Event
from tests.infrastructure.tier import full
from tests.leaks.counting import ROUNDS, held_by, rounds

pytestmark = [pytest.mark.anyio, pytest.mark.stress]

Do = Callable[[int, int, int], Coroutine[Any, Any, None]]  # place, round, count

SIDE_BY_SIDE = 10
WRITERS = full(1_000)  # restarts of each, with all that depends on it
WAIT_MAX = 20.0


def each(hot: Store) -> int:
    """Lives of a round at each of ten places: on each loop 100,000 in memory; elsewhere what ends within a minute."""
    return max(1, full(100_000 if isinstance(hot, MemoryStore) else 20_000) // ROUNDS // SIDE_BY_SIDE)


class Boom(Exception):
    """What writers and sessions crash with."""


class Dies(BaseException):
    """No error of a handler: a crash of its actor."""


class Theatre:
    """A runtime whose sessions, executions, writers and relay crash when they are to."""

    def __init__(self, hot: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        self.armed: set[str] = set()
        self.crashes: Counter[str] = Counter()  # by what kind of actor
        self.died: set[str] = set()
        self.cold = MemoryColdStore()
        for kind, name in ((type(hot.log(0)), "commit"), (type(hot.log(0)), "outbox"), (MemoryColdStore, "put")):
            self.shake(kind, name, monkeypatch)
        self.shake_sessions(monkeypatch)
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

        self.runtime = Runtime(
            [realm],
            hot=hot,
            cold=self.cold,
            publisher=lambda _event: None,
            limits=Limits(sessions_resident=SIDE_BY_SIDE),
            on_event=self.hear,
        )
        self.stored = partial(held_by, hot, self.cold)

    def hear(self, event: Event) -> None:
        if isinstance(event, ChildCrashed):
            above, _, child = event.path.rpartition("/")
            self.crashes[above.split("/")[3] if above.count("/") > 2 else child.partition("[")[0]] += 1

    def shake(self, kind: type, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
        right = getattr(kind, name)

        async def call(store: Any, *args: Any, **options: Any) -> Any:
            if name in self.armed:
                self.armed.discard(name)
                raise Boom(name)
            return await right(store, *args, **options)

        monkeypatch.setattr(kind, name, call)

    def shake_sessions(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A session that is armed crashes when it is to be opened."""
        right = SessionActor.receive

        async def receive(actor: SessionActor, message: Any) -> None:
            id = actor._id  # pyright: ignore[reportPrivateUsage]
            if isinstance(message, Open) and id in self.armed:
                self.armed.discard(id)
                raise Boom
            await right(actor, message)

        monkeypatch.setattr(SessionActor, "receive", receive)

    async def live(self, place: int, number: int, count: int) -> None:
        """Sessions crash when they are to be opened, are open all the same, and are closed."""
        for each in range(count):
            id = f"{place}-{number}-{each}"
            self.armed.add(id)
            session = await self.runtime.open_session("acme", id)
            await session.close()

    async def execute(self, place: int, number: int, count: int) -> None:
        """Executions of a session end in their second life."""
        for each in range(count):
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
        await self.catch_up()

    async def side_by_side(self, do: Do, count: int, number: int) -> None:
        async with anyio.create_task_group() as group:
            for place in range(SIDE_BY_SIDE):
                group.start_soon(do, place, number, count)
        await self.catch_up()

    async def catch_up(self) -> None:
        with anyio.fail_after(WAIT_MAX):
            while self.runtime.stats().lag:  # noqa: ASYNC110 - nobody tells
                await anyio.sleep(0.01)


async def _one() -> int:
    return 1


async def test_sessions(hot: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    theatre = Theatre(hot, monkeypatch)
    async with theatre.runtime:
        await rounds(partial(theatre.side_by_side, theatre.live, each(hot)), theatre.stored)
    assert theatre.crashes["sessions"] >= each(hot) * SIDE_BY_SIDE * ROUNDS


async def test_executions(hot: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    theatre = Theatre(hot, monkeypatch)
    async with theatre.runtime:
        await rounds(partial(theatre.side_by_side, theatre.execute, each(hot)), theatre.stored)
    assert theatre.crashes["executions"] >= each(hot) * SIDE_BY_SIDE * ROUNDS


async def test_the_whole_tree(hot: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """What depends on a writer that crashes goes down and comes back with it."""
    theatre = Theatre(hot, monkeypatch)
    async with theatre.runtime:
        await rounds(theatre.crash_writers, theatre.stored)
    for name in ("wal-writer", "state-writer", "outbox-relay"):
        assert theatre.crashes[name] >= WRITERS
