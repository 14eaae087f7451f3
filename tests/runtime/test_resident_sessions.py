"""Sessions leave memory and come back, and nobody notices."""

from __future__ import annotations

import random
from datetime import timedelta
from typing import Any

import anyio
import pytest

from intendant import (
    Context,
    IntendantError,
    Limits,
    OutcomeUnknown,
    Realm,
    Runtime,
    SessionClosed,
    SessionExists,
    Shutdown,
    UnknownSession,
)
from intendant.actors.sessions import ResidentSession
from intendant.adapters.memory import MemoryLog, MemoryStore
from intendant.domain.commit import Batch, KeysTaken, Verdict
from intendant.domain.ports import Document
from intendant.runtime.audit import audit
from intendant.testing.clock import VirtualClock, virtual_backend

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("rare_looks")]

FEW = Limits(sessions_resident=2, session_idle=3.0)
shop = Realm("shop")


@shop.handler
async def echo(ctx: Context, given: dict[str, int]) -> int:
    return given["n"]


@shop.handler
async def nap(ctx: Context, given: dict[str, int]) -> int:
    await ctx.sleep(timedelta(seconds=given["n"] % 7))
    return given["n"]


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    return virtual_backend(request.param)


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commits and reads take their time, a chance to leave meanwhile."""
    commit, document, chance = MemoryLog.commit, MemoryLog.document, random.Random(1)

    async def commit_slowly(self: MemoryLog, batch: Batch) -> Verdict | KeysTaken:
        await anyio.sleep(chance.choice([0.0, 0.1, 4.0]))
        verdict = await commit(self, batch)
        await anyio.sleep(chance.choice([0.0, 0.1, 4.0]))
        return verdict

    async def read_slowly(self: MemoryLog, tenant: str, collection: str, key: str) -> Document | None:
        found = await document(self, tenant, collection, key)
        await anyio.sleep(chance.choice([0.0, 0.5]))
        return found

    monkeypatch.setattr(MemoryLog, "commit", commit_slowly)
    monkeypatch.setattr(MemoryLog, "document", read_slowly)


def runtime_over(store: MemoryStore, clock: VirtualClock, limits: Limits = FEW) -> Runtime:
    return Runtime([shop], hot=store, clock=clock, limits=limits, shutdown=Shutdown(drain=0), lease=1e6)


async def test_they_leave_when_nobody_asks_and_beyond_the_limit_those_asked_longest_ago() -> None:
    async with runtime_over(MemoryStore(), VirtualClock()) as running:
        sessions = [await running.open_session("acme", f"desk-{n}", user_id=f"user-{n}") for n in range(5)]
        assert running.stats().sessions == 2
        await anyio.sleep(3.1)
        assert running.stats().sessions == 0
        for number, session in enumerate(sessions):
            assert await (await session.submit(echo, {"n": number})).result() == number
            assert (await session.view()).user_id == f"user-{number}"
        with pytest.raises(SessionExists):
            await running.create_session("acme", "desk-0")
        await sessions[1].close()
        await anyio.sleep(10)
        with pytest.raises(SessionClosed):
            await sessions[1].submit(echo, {"n": 1})
        assert running.stats().sessions == 1


async def open_and_lose_patience(running: Runtime) -> int:
    """Nobody waits for a session that is being made, others come, and it is asked for; how often it was made."""
    for id in ("desk", "other-1", "other-2", "other-3"):
        with pytest.raises(OutcomeUnknown):
            await running.open_session("acme", id, timeout=0.01)
    await running.open_session("acme", "desk")
    return len((await running.wal.query("acme", type="session_created", session="desk")).items)


@pytest.mark.parametrize("planted", [False, True], ids=["", "planted"])
async def test_what_is_on_its_way_keeps_it_also_when_nobody_waits(
    planted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Planted: what is on its way is forgotten."""
    commit = MemoryLog.commit

    async def commit_slowly(self: MemoryLog, batch: Batch) -> Verdict | KeysTaken:
        await anyio.sleep(1.0)
        return await commit(self, batch)

    if planted:
        monkeypatch.setattr(ResidentSession, "may_leave", property(lambda self: self.cell.idle))
    async with runtime_over(MemoryStore(), VirtualClock()) as running:
        monkeypatch.setattr(MemoryLog, "commit", commit_slowly)
        assert await open_and_lose_patience(running) == (2 if planted else 1)


class Desk:
    """A tenant's sessions, whatever happens to them, and what its callers were told."""

    def __init__(self, seed: int) -> None:
        self.store = MemoryStore()
        self.clock = VirtualClock()
        self.found: list[str] = []
        self._chance = random.Random(seed)
        self._open: set[str] = set()
        self._closed: set[str] = set()
        self._executions: dict[str, str] = {}
        self._results: dict[str, int] = {}

    async def live(self, lives: int) -> list[str]:
        """Some lives of a runtime, each with some clients; then whatever is wrong."""
        for _ in range(lives):
            async with runtime_over(self.store, self.clock) as running, anyio.create_task_group() as group:
                for _ in range(4):
                    group.start_soon(self._client, running)
        async with runtime_over(self.store, self.clock) as running:
            for id, number in self._results.items():
                if await running.execution("acme", id).result() != number:
                    self.found.append(f"{id} has another result than {number}")
            await anyio.sleep(10)
            if running.stats().sessions:
                self.found.append("some stay in memory")
        await self.store.open()
        self.found += map(str, (await audit(self.store.log(0), all_ended=True)).findings)
        await self.store.close()
        return self.found

    async def _client(self, running: Runtime) -> None:
        for _ in range(8):
            try:
                await self._call(running, f"desk-{self._chance.randrange(5)}")
            except OutcomeUnknown:
                pass
            except IntendantError as error:
                self.found.append(repr(error))
            await anyio.sleep(self._chance.choice([0.0, 0.0, 0.3, 3.5]))

    async def _call(self, running: Runtime, id: str) -> None:
        timeout = self._chance.choice([0.0, 0.2, 60.0, 60.0])
        match self._chance.randrange(6):
            case 0 | 1:
                await running.open_session("acme", id, timeout=timeout)
                self._open.add(id)
            case 2 if self._chance.random() < 0.3:
                await self._close(running, id)
            case _:
                await self._submit(running, id, timeout)

    async def _close(self, running: Runtime, id: str) -> None:
        known = id in self._open
        try:
            await running.session("acme", id).close()
            self._closed.add(id)
        except UnknownSession as error:
            if known:
                self.found.append(repr(error))

    async def _submit(self, running: Runtime, id: str, timeout: float) -> None:
        number, known, closed = self._chance.randrange(1_000), id in self._open, id in self._closed
        key = f"key-{self._chance.randrange(40)}-{number}"
        handler = self._chance.choice([echo, nap])
        try:
            session = running.session("acme", id)
            execution = await session.submit(handler, {"n": number}, idempotency_key=key, timeout=timeout)
        except (UnknownSession, SessionClosed) as error:
            if known and not isinstance(error, SessionClosed):
                self.found.append(repr(error))
            return
        if closed:
            self.found.append(f"{id} was closed, and took {key}")
        if self._executions.setdefault(key, execution.id) != execution.id:
            self.found.append(f"{key} has two executions")
        self._results[execution.id] = number


@pytest.mark.usefixtures("slow")
@pytest.mark.parametrize("seed", range(4))
async def test_whatever_happens_nobody_notices(seed: int) -> None:
    assert await Desk(seed).live(3) == []
