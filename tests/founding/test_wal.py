"""Founding behaviours 23 to 31: the write-ahead log, appended to through a writer of the test's own."""

from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import anyio
import pytest

from intendant.actors.wal_writer import WalWriter, WriterSettings
from intendant.adapters.process import current_owner
from intendant.domain.commit import Commit
from intendant.domain.ports import Log, Store
from intendant.domain.records import FOUNDING_TYPES, LogRecord, Record, decode_entry
from intendant.parking import current_seam

pytestmark = pytest.mark.anyio

MORNING = datetime(2026, 1, 1, 8, tzinfo=UTC)


class SetClock:
    """A clock that stands until it is set."""

    def __init__(self) -> None:
        self.time = MORNING

    def now(self) -> int:
        return microseconds(self.time)


def microseconds(time: datetime) -> int:
    return (time - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


class Wal:
    """A log, with a writer of its own."""

    def __init__(self, log: Log, writer: WalWriter, clock: SetClock) -> None:
        self.clock = clock
        self._log = log
        self._writer = writer

    async def append(self, type: str, tenant: str = "acme", payload: dict[str, Any] | None = None) -> LogRecord:
        receipt = await self._writer.commit(Commit(tenant, [Record(type, "desk-1", "run-1", payload or {})], ()))
        (appended,) = await self.read(tenant, first=receipt.first)
        return appended

    async def read(
        self,
        tenant: str = "acme",
        *,
        type: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        first: int = 0,
        newest_first: bool = False,
    ) -> list[LogRecord]:
        if since is not None:
            first = await self._log.position_at(microseconds(since))
        last = None if until is None else await self._log.position_at(microseconds(until)) - 1
        entries = await self._log.entries(tenant, first=first, last=last, newest_first=newest_first)
        step = -1 if newest_first else 1
        records = [record for entry in entries for record in decode_entry(entry)[::step]]
        return [record for record in records if type in (None, record.type)]

    async def types(self, tenant: str = "acme", **filters: Any) -> list[str]:
        return [record.type for record in await self.read(tenant, **filters)]


@pytest.fixture
def opened(hot: Store) -> Callable[[], AbstractAsyncContextManager[Wal]]:
    @asynccontextmanager
    async def run() -> AsyncGenerator[Wal]:
        await hot.open()
        clock, seam = SetClock(), current_seam()
        writer = WalWriter(hot.log(0), current_owner(), 0, clock=clock, seam=seam, settings=WriterSettings())
        async with anyio.create_task_group() as group:
            await group.start(writer.run)
            yield Wal(hot.log(0), writer, clock)
            writer.stop()
        await hot.close()

    return run


Opened = Callable[[], AbstractAsyncContextManager[Wal]]


async def test_23_append_returns_the_event_with_its_type(opened: Opened) -> None:
    async with opened() as wal:
        record = await wal.append("session_created")
        assert record.type == "session_created"
        assert record.tenant == "acme"


async def test_24_events_can_be_read_back(opened: Opened) -> None:
    async with opened() as wal:
        appended = [await wal.append("session_created"), await wal.append("intent_received")]
        assert await wal.read() == appended


async def test_25_newest_first_when_read_and_sequence_strictly_increasing_in_time(opened: Opened) -> None:
    async with opened() as wal:
        appended = [await wal.append("step_completed", payload={"place": place}) for place in range(5)]
        read = await wal.read(newest_first=True)
        assert read == appended[::-1]
        assert all(newer.sequence > older.sequence for newer, older in pairwise(read))
        assert all(newer.time >= older.time for newer, older in pairwise(read))


async def test_26_read_by_event_type(opened: Opened) -> None:
    async with opened() as wal:
        for type in ("session_created", "intent_received", "session_created"):
            await wal.append(type)
        assert await wal.types(type="session_created") == ["session_created"] * 2
        assert await wal.types(type="saga_started") == []


async def test_27_read_by_date_range(opened: Opened) -> None:
    async with opened() as wal:
        for days, type in enumerate(FOUNDING_TYPES):
            wal.clock.time = MORNING + timedelta(days=days)
            await wal.append(type)
        since, until = MORNING + timedelta(days=2), MORNING + timedelta(days=5)
        assert await wal.types(since=since, until=until) == list(FOUNDING_TYPES[2:5])
        assert await wal.types(since=since) == list(FOUNDING_TYPES[2:])
        assert await wal.types(until=since) == list(FOUNDING_TYPES[:2])


async def test_28_tenants_are_isolated_in_the_log(opened: Opened) -> None:
    async with opened() as wal:
        await wal.append("session_created", "acme")
        await wal.append("intent_received", "bolt")
        assert await wal.types("acme") == ["session_created"]
        assert await wal.types("bolt") == ["intent_received"]


async def test_29_payloads_are_preserved(opened: Opened) -> None:
    payload: dict[str, Any] = {
        "text": "Grüße, 世界",
        "integer": -(2**63),
        "real": 0.1,
        "yes": True,
        "no": False,
        "nothing": None,
        "deep": {"list": [1, "two", [3.0, {"four": []}]], "empty": {}},
    }
    async with opened() as wal:
        assert (await wal.append("step_completed", payload=payload)).payload == payload


async def test_30_all_eight_founding_event_types_can_be_appended_and_read(opened: Opened) -> None:
    assert len(FOUNDING_TYPES) == 8
    async with opened() as wal:
        for type in FOUNDING_TYPES:
            await wal.append(type)
        assert await wal.types() == list(FOUNDING_TYPES)


async def test_31_empty_log_reads_as_an_empty_list(opened: Opened) -> None:
    async with opened() as wal:
        assert await wal.read() == []
