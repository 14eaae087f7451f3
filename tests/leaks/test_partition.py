"""A partition's writers and its relay, that crash again and again, leave nothing; each alone, over each store."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import anyio
import pytest
from msgspec import Raw

from intendant.actors.outbox_event import OutboxEvent
from intendant.actors.outbox_relay import OutboxRelay, RelaySettings
from intendant.actors.state_writer import StateWriter
from intendant.actors.wal_writer import WalWriter, WriterSettings
from intendant.adapters.clock import SystemClock
from intendant.adapters.memory import MemoryColdStore, MemoryStore
from intendant.adapters.process import current_owner
from intendant.domain.codec import encode
from intendant.domain.commit import AddToOutbox, Commit
from intendant.domain.ports import Store
from intendant.domain.records import Record
from intendant.domain.state import Event
from intendant.parking import current_seam
from intendant.supervisor import Backoff, ChildSpec, Intensity, Started, Supervisor
from tests.infrastructure.tier import scaled
from tests.leaks.counting import ROUNDS, held_by, rounds

pytestmark = [pytest.mark.anyio, pytest.mark.scaled, pytest.mark.in_turn]

WAIT_MAX = 600.0  # seconds
SEEN = Commit("acme", [Record("execution_started", "s", "e", {})], [])
EMITTED = Commit("acme", SEEN.records, [AddToOutbox("s", encode(OutboxEvent("e-0", "e", "done", Raw(b"\x80"))))])


class Boom(Exception):
    """What they crash with."""


class Fault:
    """Strikes as often as it is to."""

    def __init__(self) -> None:
        self._left = 0
        self._over = anyio.Event()

    def strike(self) -> None:
        if self._left:
            self._left -= 1
            raise Boom
        self._over.set()

    async def spend(self, count: int, begin: Callable[[], object], _round: int) -> None:
        self._left, self._over = count, anyio.Event()
        begin()
        with anyio.fail_after(WAIT_MAX):
            await self._over.wait()


def count(hot: Store) -> int:
    """Crashes of a round. On each loop 100,000 in all in memory; elsewhere what ends within a minute."""
    return scaled(100_000 if isinstance(hot, MemoryStore) else 20_000, few=100) // ROUNDS


def writer_over(hot: Store) -> WalWriter:
    settings = WriterSettings(ring=1 << 20)  # bytes, which are full soon
    return WalWriter(hot.log(0), current_owner(), 0, clock=SystemClock(), seam=current_seam(), settings=settings)


@asynccontextmanager
async def running(hot: Store, *children: ChildSpec) -> AsyncGenerator[None]:
    await hot.open()
    supervisor = Supervisor("partition", children, intensity=Intensity.unlimited(0.1))
    async with anyio.create_task_group() as group:
        await group.start(supervisor.run)
        yield
        supervisor.stop()
    await hot.close()


async def test_the_wal_writer(hot: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    fault = Fault()
    writer = writer_over(hot)
    right = type(hot.log(0)).commit
    opened = False  # the first commit of a life

    async def commit(log: Any, *args: Any, **options: Any) -> Any:
        if opened:
            fault.strike()
        return await right(log, *args, **options)

    async def live(status: Started) -> None:
        nonlocal opened
        opened = False
        await writer.run(Opened(status))

    class Opened:
        def __init__(self, status: Started) -> None:
            self.status = status

        def started(self, value: object = None) -> None:
            nonlocal opened
            opened = True
            self.status.started(value)
            writer.append(SEEN)

    monkeypatch.setattr(type(hot.log(0)), "commit", commit)
    async with running(hot, ChildSpec("wal-writer", live, stop=writer.stop)):
        await rounds(partial(fault.spend, count(hot), lambda: writer.append(SEEN)), partial(held_by, hot))


async def test_the_state_writer(hot: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    fault = Fault()
    writer = writer_over(hot)
    cold = MemoryColdStore()
    await cold.open()
    state_writer = StateWriter(hot.log(0), cold, writer, current_seam(), Backoff())
    right = MemoryColdStore.put

    async def put(cold: MemoryColdStore, *args: Any) -> None:
        fault.strike()
        await right(cold, *args)

    def begin() -> None:
        writer.append(SEEN).on_settled(lambda _reply: state_writer.wake())

    monkeypatch.setattr(MemoryColdStore, "put", put)
    async with running(
        hot,
        ChildSpec("wal-writer", writer.run, stop=writer.stop),
        ChildSpec("state-writer", state_writer.run, stop=state_writer.stop),
    ):
        await rounds(partial(fault.spend, count(hot), begin), partial(held_by, hot))


async def test_the_outbox_relay(hot: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """It crashes at its second look of each life, while an event is being published."""
    fault = Fault()
    writer = writer_over(hot)
    right = type(hot.log(0)).outbox
    looks = 0

    class Slow:
        async def publish(self, event: Event) -> None:
            relay.wake()
            await anyio.sleep_forever()

    async def outbox(log: Any, **options: Any) -> Any:
        nonlocal looks
        looks += 1
        if looks > 1:
            fault.strike()
        return await right(log, **options)

    async def live(status: Started) -> None:
        nonlocal looks
        looks = 0
        await relay.run(status)

    seam = current_seam()
    relay = OutboxRelay(hot.log(0), Slow(), writer, SystemClock(), seam, RelaySettings(deadline=1e6))
    monkeypatch.setattr(type(hot.log(0)), "outbox", outbox)
    monkeypatch.setattr("intendant.actors.outbox_relay._ROUND_SECONDS", 0.0)
    async with running(hot, ChildSpec("wal-writer", writer.run, stop=writer.stop), ChildSpec("outbox-relay", live)):
        await writer.commit(EMITTED)
        await rounds(partial(fault.spend, count(hot), relay.wake), partial(held_by, hot))
