"""What is found open, read for many in one go: as if each had been read by itself, whatever happens meanwhile."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import anyio
import msgspec
import pytest

from intendant import Context, Execution, Limits, Realm, Runtime, Shutdown, Status
from intendant.adapters.memory import MemoryLog, MemoryStore
from intendant.domain.errors import StoreUnavailable

pytestmark = pytest.mark.anyio

MANY = 50
LIMITS = Limits(running=20, resident=10, session_concurrency=1_000)


class Given(msgspec.Struct):
    number: int


class Waiters:
    """A realm whose handlers record a step and wait; counts what runs."""

    def __init__(self) -> None:
        self.realm = Realm("desk")
        self.ran = 0
        self.came = 0
        self.comes = anyio.Event()  # the next one
        self.realm.handler(self.wait)

    async def wait(self, ctx: Context, given: Given) -> int:
        async def first() -> int:
            self.ran += 1
            return given.number

        number = await ctx.step("first", first)
        self.came += 1
        self.comes.set()
        self.comes = anyio.Event()
        return number + await ctx.wait_signal("go", type=int)

    async def all_came(self, count: int) -> None:
        with anyio.fail_after(10):
            while self.came < count:
                await self.comes.wait()


class Watched(MemoryLog):
    """Counts reads; `gate` holds those of many up, `broken` lets them fail, `asked` is when they begin."""

    reads: list[tuple[str, int]]
    asked: anyio.Event
    gate: anyio.Event | None = None
    broken: Exception | None = None

    async def journal(self, tenant: str, execution: str) -> list[bytes]:
        self.reads.append(("journal", 1))
        return await super().journal(tenant, execution)

    async def journals(self, wanted: Sequence[tuple[str, str]]) -> list[list[bytes]]:
        self.reads.append(("journals", len(wanted)))
        self.asked.set()
        found = [await super(Watched, self).journal(*each) for each in wanted]
        if self.gate is not None:
            await self.gate.wait()
        if self.broken is not None:
            raise self.broken
        return found


@asynccontextmanager
async def over(store: MemoryStore, waiters: Waiters, **options: Any) -> AsyncGenerator[Runtime]:
    options = {"limits": LIMITS, "shutdown": Shutdown(drain=0.0), **options}
    async with Runtime([waiters.realm], hot=store, **options) as runtime:
        yield runtime


async def left_open(count: int) -> tuple[MemoryStore, Watched, list[str]]:
    """A store with executions that wait, each for its signal."""
    log, waiters = Watched(), Waiters()
    store = MemoryStore(log)
    log.reads, log.asked = [], anyio.Event()
    async with over(store, waiters, limits=Limits()) as runtime:
        session = await runtime.open_session("acme", "s", concurrency=1_000)
        ids = [(await session.submit("desk.wait", {"number": number})).id for number in range(count)]
        await waiters.all_came(count)
    log.reads, log.asked = [], anyio.Event()
    return store, log, ids


def handles(runtime: Runtime, ids: Sequence[str]) -> list[Execution[Any]]:
    return [runtime.execution("acme", id) for id in ids]


@pytest.mark.parametrize("broken", [None, StoreUnavailable("planned"), RuntimeError("planned")], ids=repr)
async def test_very_many_resume_from_few_reads_and_few_stay_in_memory(broken: Exception | None) -> None:
    store, log, ids = await left_open(MANY)
    log.broken = broken
    waiters = Waiters()
    async with over(store, waiters) as runtime:
        await waiters.all_came(MANY)
        assert waiters.ran == 0, "what is recorded never runs again"
        assert runtime.stats().waiting <= LIMITS.resident + LIMITS.resident // 8 + 1
        alone, together = (sum(read == what for read, _ in log.reads) for what in ("journal", "journals"))
        assert sum(count for read, count in log.reads if read == "journals") == MANY
        assert together <= MANY // 10
        assert alone == (MANY if broken else 0), "each reads for itself when that of many has failed"
        log.broken = None
        for number, each in enumerate(handles(runtime, ids)):
            await each.signal("go", 1_000)
            assert await each.result(timeout=5) == number + 1_000
    assert waiters.ran == 0


async def test_one_that_can_not_be_read_holds_up_nobody_else() -> None:
    store, log, ids = await left_open(12)
    rows = log.shared.partition.journals["acme", ids[5]]
    rows.insert(0, (-1, b"?of a newer release"))
    waiters = Waiters()
    async with over(store, waiters) as runtime:
        await waiters.all_came(11)
        blocked = handles(runtime, ids)[5]
        with anyio.fail_after(5):
            while (view := await blocked.view()).status is not Status.BLOCKED:  # noqa: ASYNC110
                await anyio.sleep(0.001)
        assert "its journal can't be read" in view.blocked


async def test_what_comes_while_it_is_read_is_not_lost() -> None:
    store, log, ids = await left_open(4)
    waiters = Waiters()
    gate = log.gate = anyio.Event()
    async with over(store, waiters) as runtime:
        signalled, cancelled, later, untouched = handles(runtime, ids)
        with anyio.fail_after(5):
            await log.asked.wait()
        await signalled.signal("go", 5)
        await cancelled.cancel()
        assert waiters.came == 0
        log.gate = None
        gate.set()
        assert await signalled.result(timeout=5) == 5
        assert (await cancelled.outcome(timeout=5)).status is Status.CANCELLED
        await later.signal("go", 7)
        assert await later.result(timeout=5) == 9
        assert (await untouched.view()).status is Status.WAITING


async def test_who_leaves_while_they_are_read_finds_them_again() -> None:
    store, log, ids = await left_open(8)
    log.gate = anyio.Event()
    async with over(store, Waiters()) as runtime:
        with anyio.fail_after(5):
            await log.asked.wait()
        assert runtime.stats().open == 8
    log.gate = None
    waiters = Waiters()
    async with over(store, waiters) as runtime:
        await waiters.all_came(8)
        for number, each in enumerate(handles(runtime, ids)):
            await each.signal("go", 0)
            assert await each.result(timeout=5) == number


async def test_after_a_death_suspects_are_looked_for_in_few_reads(dying: None) -> None:
    """One whose journal can't be read is no suspect, and keeps nobody from resuming."""
    store, log, ids = await left_open(MANY)
    log.shared.partition.journals["acme", ids[5]].insert(0, (-1, b"?of a newer release"))
    waiters = Waiters()
    async with over(store, waiters, limits=Limits(deaths=1, session_concurrency=1_000)):
        await waiters.all_came(MANY - 1)
        assert log.reads[0] == ("journals", MANY)
    assert waiters.ran == 0
