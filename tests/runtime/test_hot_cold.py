"""Hot and cold: the state writer follows the log and never runs ahead of it; reads find what is in either store."""

from __future__ import annotations

import inspect
import logging
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import anyio
import pytest

from intendant import AcknowledgedDataMissing, Context, LogRecord, Realm, Retention, Runtime, Stopped, StoreUnavailable
from intendant.actors import state_writer, tiers
from intendant.actors.state_writer import RECORDS_MAX, StateWriter
from intendant.actors.wal_writer import WalWriter, WriterSettings
from intendant.adapters.memory import MemoryColdStore, MemoryStore
from intendant.adapters.process import current_owner
from intendant.domain import state as states
from intendant.domain.archive import Piece
from intendant.domain.codec import encode
from intendant.domain.commit import Commit, PutDocument, TrimLog, Verdict, seal
from intendant.domain.ports import Chunk, ColdDocument, LogReader
from intendant.domain.records import Record, decode_entry
from intendant.domain.retention import FLOOR, Floor
from intendant.parking import current_seam
from intendant.supervisor import Backoff
from intendant.testing.clock import VirtualClock, virtual_backend
from tests.infrastructure.turns import Turns

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("rare_looks")]
TENANTS = ("acme", "beta", "gamma")
shop = Realm("shop")


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    return virtual_backend(request.param)


@shop.handler
async def sell(ctx: Context, order: dict[str, Any]) -> dict[str, Any]:
    ctx.emit("sold", order)
    return order


@shop.handler
async def rest(ctx: Context, order: dict[str, Any]) -> None:
    await anyio.sleep_forever()


# --- stores


class WatchedColdStore(MemoryColdStore):
    """May be down or badly set up, and notes what comes in."""

    def __init__(self) -> None:
        super().__init__()
        self.error: Exception | None = None
        self.largest = 0  # records that came at once
        self.documents_at_once = 0
        self.newest = 0  # the highest sequence that has come
        self.calls = 0

    async def archive(self, partition: int, chunks: Sequence[Chunk]) -> None:
        self._meet()
        await super().archive(partition, chunks)
        records = sum(len(decode_entry(entry)) for chunk in chunks for entry in chunk.entries)
        self.largest = max(self.largest, records)
        self.newest = max(self.newest, *(chunk.last for chunk in chunks))
        assert all(chunk.last == chunk.version for chunk in chunks)
        assert all(sum(len(decode_entry(entry)) for entry in chunk.entries) <= 512 for chunk in chunks)

    async def put(self, documents: Sequence[ColdDocument]) -> None:
        self._meet()
        await super().put(documents)
        self.documents_at_once = max(self.documents_at_once, len(documents))
        self.newest = max(self.newest, *(document.version for document in documents))

    async def tail(self, partition: int) -> int:
        self._meet()
        return await super().tail(partition)

    async def document(self, tenant: str, collection: str, key: str) -> ColdDocument | None:
        self._meet()
        return await super().document(tenant, collection, key)

    async def documents(self, tenant: str, collection: str, **which: Any) -> list[ColdDocument]:
        self._meet()
        return await super().documents(tenant, collection, **which)

    async def chunks(self, partition: int, tenant: str | None, **which: Any) -> list[Chunk]:
        self._meet()
        return await super().chunks(partition, tenant, **which)

    def _meet(self) -> None:
        self.calls += 1
        if self.error is not None:
            raise self.error


class Died(BaseException):
    """The process does not get any further."""


class Calls:
    """Counts calls to stores; dies at one of them, before it or after."""

    def __init__(self, die_at: int = 0, *, after: bool = False) -> None:
        self.count = 0
        self.dead = False
        self.delay = 0.0  # seconds
        self._die_at = die_at
        self._after = after

    async def around(self, call: Callable[..., Awaitable[Any]], *arguments: Any, **named: Any) -> Any:
        await anyio.sleep(self.delay)
        self.count += 1
        self._pass(self.count == self._die_at and not self._after)
        answer = await call(*arguments, **named)
        self._pass(self.count == self._die_at and self._after)
        await anyio.sleep(self.delay)
        return answer

    def _pass(self, dies: bool) -> None:
        self.dead = self.dead or dies
        if self.dead:
            raise Died


class Through:
    """An object whose calls go through `Calls`."""

    def __init__(self, inner: Any, calls: Calls) -> None:
        self._inner = inner
        self._calls = calls

    def log(self, partition: int) -> Any:
        return Through(self._inner.log(partition), self._calls)

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if not inspect.iscoroutinefunction(found) or name in ("open", "close"):
            return found
        return partial(self._calls.around, found)


# --- helpers


async def sold(runtime: Runtime, number: int, *, tenant: str = "") -> str:
    tenant = tenant or TENANTS[number % 3]
    session = await runtime.open_session(tenant, f"s{number % 4}")
    execution = await session.submit("shop.sell", {"n": number}, idempotency_key=f"k{number}")
    await execution.result()
    await runtime.state.set_session(tenant, f"s{number % 4}", {"last": number})
    if number % 5 == 0:
        await runtime.state.set_execution(tenant, execution.id, {"seen": number})
    return execution.id


async def differences(log: LogReader, cold: MemoryColdStore, tenants: Sequence[str] = TENANTS) -> list[str]:
    """How cold state differs from a hot store that still has everything."""
    found: list[str] = []
    await cold.open()
    wanted = await log.entries(None, limit=1_000_000)
    archived = [
        entry for chunk in await MemoryColdStore.chunks(cold, 0, None, limit=1_000_000) for entry in chunk.entries
    ]
    if sorted(archived, key=first_of) != wanted:
        found.append(f"the archive has {len(archived)} entries, the log {len(wanted)}")
    for tenant in tenants:
        for collection in (states.SESSIONS, states.EXECUTIONS, states.SESSION_DATA, states.EXECUTION_DATA):
            hot = {
                each.key: (each.version, each.body) for each in await log.documents(tenant, collection, limit=10_000)
            }
            kept = await MemoryColdStore.documents(cold, tenant, collection, limit=10_000)
            if {each.key: (each.version, each.body) for each in kept} != hot:
                found.append(f"{collection} of {tenant}")
    return found


def first_of(entry: bytes) -> int:
    return decode_entry(entry)[0].sequence


async def caught_up(runtime: Runtime, within: float = 10.0) -> None:
    with anyio.fail_after(within):
        while runtime.stats().lag:  # noqa: ASYNC110  nobody announces it
            await anyio.sleep(0.05)


async def made(count: int) -> MemoryStore:
    """A hot store with a history, and without cold state."""
    store = MemoryStore()
    async with Runtime([shop], hot=store, clock=VirtualClock()) as runtime:
        for number in range(count):
            await sold(runtime, number)
    return store


# --- the state writer


async def test_an_outage_of_thirty_seconds_under_load_makes_a_lag_that_falls_to_nothing() -> None:
    hot, cold = MemoryStore(), WatchedColdStore()
    lags: list[int] = []
    restarts = 0
    async with Runtime([shop], hot=hot, cold=cold, clock=VirtualClock()) as runtime:
        for number in range(400):
            if number == 50:
                cold.error = StoreUnavailable("planted: down")
            if number == 350:  # 30 seconds later
                cold.error = None
                await caught_up(runtime, 6.0)
            await sold(runtime, number)
            await anyio.sleep(0.1)
            lags.append(runtime.stats().lag)
        await caught_up(runtime)
        restarts = runtime.stats().restarts
        assert await differences(hot.log(0), cold) == []
    assert max(lags[:50]) < 30, "a healthy cold store is never far behind"
    assert lags[60:350] == sorted(lags[60:350])
    assert lags[349] > 1000
    assert restarts == 0, "an outage restarts nothing"
    assert cold.largest <= RECORDS_MAX + 512
    assert cold.documents_at_once <= 512


async def test_rounds_are_bounded_and_documents_are_written_once_a_round(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state_writer, "RECORDS_MAX", 50)
    store = await made(60)
    cold = WatchedColdStore()
    async with living(store, cold, Calls()) as writer:
        await archived_all(writer)
    await store.open()
    assert await differences(store.log(0), cold) == []
    await store.close()
    assert cold.largest <= 50 + 128


async def test_two_pieces_are_written_side_by_side(monkeypatch: pytest.MonkeyPatch) -> None:
    class SlowColdStore(MemoryColdStore):
        writing = most = 0

        async def put(self, documents: Sequence[ColdDocument]) -> None:
            self.writing += 1
            self.most = max(self.most, self.writing)
            await anyio.sleep(0.01)  # of virtual time, which passes when all that write at once have come here
            await super().put(documents)
            self.writing -= 1

    monkeypatch.setattr(state_writer, "_PUT", 4)
    cold = SlowColdStore()
    async with living(await made(60), cold, Calls()) as writer:
        await archived_all(writer)
    assert cold.most == 2


async def test_others_get_turns_while_a_round_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state_writer, "_AT_A_TIME", 8)
    add, turns = Piece.add, Turns(monkeypatch)
    read: Counter[int] = Counter()  # records, in each turn
    largest = 0

    def noting(piece: Piece, entry: bytes) -> None:
        nonlocal largest
        before = piece.records
        add(piece, entry)
        read[turns.given] += piece.records - before
        largest = max(largest, piece.records - before)

    monkeypatch.setattr(Piece, "add", noting)
    async with living(await made(60), MemoryColdStore(), Calls()) as writer:
        await archived_all(writer)
    assert read.total() > 100
    assert max(read.values()) < 8 + 2 * largest


async def test_a_crash_anywhere_is_made_good(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state_writer, "RECORDS_MAX", 40)
    monkeypatch.setattr(state_writer, "_PAGE", 8)
    monkeypatch.setattr(state_writer, "_FETCH", 4)
    monkeypatch.setattr(state_writer, "_PUT", 8)
    store = await made(24)
    beginning = store.snapshot()
    for after in (False, True):
        at = 0
        died = True
        while died:
            at += 1
            store.restore(beginning)
            cold = MemoryColdStore()
            calls = Calls(at, after=after)
            try:
                async with living(store, cold, calls) as writer:
                    await archived_all(writer, calls)
            except* Died:
                pass
            died = calls.dead
            async with living(store, cold, Calls()) as writer:
                await archived_all(writer)
            await store.open()
            assert await differences(store.log(0), cold) == [], f"died at call {at}, after it: {after}"
            await store.close()
        assert at > 30


@asynccontextmanager
async def living(store: MemoryStore, cold: MemoryColdStore, calls: Calls) -> AsyncGenerator[StateWriter]:
    """A log's writer and a state writer, alone."""
    await store.open()
    await cold.open()
    seam = current_seam()
    log: Any = Through(store.log(0), calls)
    writer = WalWriter(log, current_owner(), 0, clock=VirtualClock(), seam=seam, settings=WriterSettings())
    archiver: Any = Through(cold, calls)
    state_writer = StateWriter(log, archiver, writer, seam, Backoff())
    try:
        async with anyio.create_task_group() as group:
            await group.start(_run, writer)
            await group.start(_run, state_writer)
            yield state_writer
            state_writer.stop()
            writer.stop()
    finally:
        await store.close()
        await cold.close()


async def _run(actor: Any, *, task_status: Any) -> None:
    await actor.run(task_status)


async def archived_all(writer: StateWriter, calls: Calls | None = None) -> None:
    while writer.lag and not (calls and calls.dead):  # noqa: ASYNC110  nobody announces it
        await anyio.sleep(0.05)


class ForgetfulStore(MemoryStore):
    """May lose what it wrote within two seconds."""

    def __init__(self) -> None:
        super().__init__()
        self.loss_window = 2.0


async def test_never_ahead_of_what_the_hot_store_may_lose() -> None:
    hot, cold = ForgetfulStore(), WatchedColdStore()
    written: list[tuple[float, int]] = []  # when the log had come how far
    ahead: list[int] = []
    began = 0

    async def work(runtime: Runtime, first: int, count: int) -> None:
        for number in range(first, first + count):
            await sold(runtime, number)
            await runtime.state.set_session("acme", "busy", {"n": number})  # changes all the time
            written.append((anyio.current_time(), hot.log(0).shared.partition.ownership.next_sequence - 1))
            await anyio.sleep(0.13)
            old = [sequence for time, sequence in written if time <= anyio.current_time() - 1.7]
            if cold.newest > max([began, *old[-1:]]):
                ahead.append(number)

    with anyio.fail_after(300):  # a partition that stopped would leave callers waiting
        async with Runtime([shop], hot=hot, cold=cold, clock=VirtualClock()) as runtime:
            await work(runtime, 0, 100)
            busy = await MemoryColdStore.document(cold, "acme", states.SESSION_DATA, "busy")
            assert busy is not None, "a document that is always too new is archived all the same"
            past = hot.snapshot()
            await work(runtime, 100, 13)  # 1.7 seconds
        hot.restore(past)
        written.clear()
        began = hot.log(0).shared.partition.ownership.next_sequence - 1
        assert cold.newest <= began
        async with Runtime([shop], hot=hot, cold=cold, clock=VirtualClock()) as runtime:
            await work(runtime, 200, 60)
            await caught_up(runtime)
            await anyio.sleep(3)
            assert await differences(hot.log(0), cold) == []
    assert ahead == []


async def test_a_hot_store_that_lost_everything_stops_its_partition(caplog: pytest.LogCaptureFixture) -> None:
    cold = WatchedColdStore()
    async with Runtime([shop], hot=MemoryStore(), cold=cold, clock=VirtualClock()) as runtime:
        for number in range(10):
            await sold(runtime, number)
        await caught_up(runtime)
    tail = await cold.tail(0) if await reopened(cold) else 0
    with pytest.raises(Stopped) as failure:
        async with Runtime([shop], hot=MemoryStore(), cold=cold, clock=VirtualClock()) as runtime:
            await runtime.open_session("acme", "s")
    missing = failure.value.__cause__ or failure.value
    assert isinstance(missing, AcknowledgedDataMissing)
    assert f"up to sequence {tail}" in str(missing)
    assert "ends at 1:" in str(missing)
    assert any(record.levelno == logging.CRITICAL for record in caplog.records)


async def reopened(cold: MemoryColdStore) -> bool:
    await cold.open()
    return True


async def test_a_cold_store_that_is_badly_set_up_is_asked_again_later(caplog: pytest.LogCaptureFixture) -> None:
    hot, cold = MemoryStore(), WatchedColdStore()
    cold.error = Stopped("the database is missing: create it")
    async with Runtime([shop], hot=hot, cold=cold, clock=VirtualClock()) as runtime:
        await sold(runtime, 1)
        await anyio.sleep(600)
        assert cold.calls < 12, "not before somebody may have changed something"
        assert runtime.stats().lag > 0
        assert runtime.stats().restarts == 0
        cold.error = None
        await caught_up(runtime, 301)
        assert await differences(hot.log(0), cold) == []
    assert "the database is missing: create it" in caplog.text


# --- reads


HOUR = timedelta(hours=1)
SHORT = Retention(hot=HOUR, total=timedelta(days=30))


async def answers(runtime: Runtime, until: datetime) -> dict[str, list[Any]]:
    """What a caller may ask about the time until then."""
    found: dict[str, list[Any]] = {}
    for tenant in TENANTS:
        executions = await every(partial(runtime.executions, tenant, limit=7))
        past = [each for each in executions if each.accepted_at < until]
        found[f"executions of {tenant}"] = past
        found[f"sessions of {tenant}"] = (await runtime.sessions(tenant)).items
        found[f"data of {tenant}"] = await every(partial(runtime.state.execution_data, tenant, limit=3))
        for newest_first in (True, False):
            for name, which in _queries(past, until).items():
                found[f"{name} of {tenant}, newest first: {newest_first}"] = await every(
                    partial(runtime.wal.query, tenant, newest_first=newest_first, limit=5, **which)
                )
        found[f"events of {tenant}"] = [
            each.id for each in await every(partial(runtime.outbox.published, tenant, limit=9))
        ]
    return found


def _queries(executions: Sequence[Any], until: datetime) -> dict[str, dict[str, Any]]:
    middle = executions[len(executions) // 2]
    return {
        "all": {"until": until},
        "types": {"type": "execution_completed", "until": until},
        "sessions": {"session": "s1", "until": until},
        "dates": {"since": middle.accepted_at, "until": executions[1].accepted_at},
        "old dates": {"since": executions[-1].accepted_at, "until": middle.accepted_at},
        "one": {"execution": middle.id, "until": until},
        "the oldest": {"execution": executions[-1].id, "until": until},
    }


async def every(page: Callable[..., Awaitable[Any]]) -> list[Any]:
    found: list[Any] = []
    cursor: str | None = None
    while True:
        answer = await page(cursor=cursor)
        found += answer.items
        cursor = answer.cursor
        if cursor is None:
            return found


async def nothing(event: object) -> None:
    """Publish nowhere."""


async def test_what_has_left_the_hot_store_is_read_as_before() -> None:
    hot, cold, clock = MemoryStore(), WatchedColdStore(), VirtualClock()
    async with Runtime([shop], hot=hot, cold=cold, clock=clock, retention=SHORT, publisher=nothing) as runtime:
        for number in range(60):
            await sold(runtime, number)
            await anyio.sleep(30)  # half an hour in all
        now = datetime.fromtimestamp(clock.now() / 1e6, UTC)
        before = await answers(runtime, now)
        assert await hot.log(0).entries("acme", last=10)
        for number in (61, 62, 63, 64, 66, 67, 68):
            await sold(runtime, number)
        await anyio.sleep(4000)  # the oldest have left, the newest have not
        assert not await hot.log(0).entries("acme", last=10)
        after = await answers(runtime, now)
        assert after.keys() == before.keys()
        for question, answer in before.items():
            newer = len(after[question]) - len(answer) if "events" in question else 0
            assert after[question][newer:] == answer, question
        records = await tailed(runtime, "beta", len(before["all of beta, newest first: False"]))
        assert records == before["all of beta, newest first: False"]
        world = await runtime.wal.replay("gamma")
        assert len(world.executions) == len(await every(partial(runtime.executions, "gamma")))


async def tailed(runtime: Runtime, tenant: str, count: int) -> list[LogRecord]:
    found: list[LogRecord] = []
    async for record in runtime.wal.tail(tenant, after=0):
        found.append(record)
        if len(found) == count:
            return found
    return found


async def test_what_may_be_in_cold_state_is_never_said_to_be_missing() -> None:
    hot, cold = MemoryStore(), WatchedColdStore()
    async with Runtime([shop], hot=hot, cold=cold, clock=VirtualClock(), retention=SHORT, publisher=nothing) as runtime:
        session = await runtime.open_session("acme", "s")
        execution = await session.submit("shop.sell", {"n": 1}, idempotency_key="k")
        assert await execution.result() == {"n": 1}
        await anyio.sleep(2 * 3600)
        assert await hot.log(0).document("acme", states.EXECUTIONS, execution.id) is None
        assert await runtime.state.execution("acme", "nobody") is None
        again = await session.submit("shop.sell", {"n": 1}, idempotency_key="k")
        assert again.id == execution.id, "a key holds as long as its execution is kept anywhere"
        assert await again.result() == {"n": 1}
        for error in (StoreUnavailable("planted: down"), Stopped("planted: forbidden")):
            cold.error = error
            for ask in (
                lambda: runtime.state.execution("acme", execution.id),
                lambda: runtime.execution("acme", "nobody").outcome(timeout=5),
                lambda: runtime.state.execution("acme", "nobody"),
                lambda: runtime.executions("acme"),
                lambda: runtime.wal.query("acme"),
                lambda: runtime.wal.query("acme", newest_first=False),
                lambda: runtime.wal.replay("acme"),
            ):
                with pytest.raises(StoreUnavailable):
                    await ask()
            assert len(await runtime.wal.query("acme", limit=1)) == 1, "what is hot is read without cold state"
        cold.error = None
        assert (await execution.outcome()).success


async def test_the_newest_version_is_read_however_far_cold_state_is_behind() -> None:
    hot, cold = MemoryStore(), WatchedColdStore()
    async with Runtime([shop], hot=hot, cold=cold, clock=VirtualClock()) as runtime:
        id = await sold(runtime, 1, tenant="acme")
        for version in range(20):
            await runtime.state.set_execution("acme", id, {"version": version})
            view = await runtime.state.execution("acme", id)
            assert view is not None
            assert view.data == {"version": version}
            assert (await runtime.state.execution_data("acme")).items == [(id, {"version": version})]
            await anyio.sleep(0.09)


class Trimming:
    """Reads a log; when entries are asked for the n-th time, what stands below some sequence leaves just before."""

    def __init__(self, store: MemoryStore, at: int, below: int) -> None:
        self.asked = 0
        self._store = store
        self._at = at
        self._below = below

    async def entries(self, tenant: str | None, **which: Any) -> list[bytes]:
        self.asked += 1
        if self.asked == self._at:
            await self._trim(str(tenant))
        return await self._store.log(0).entries(tenant, **which)

    async def _trim(self, tenant: str) -> None:
        log = self._store.log(0)
        tenure = await log.acquire(current_owner(), timeout=1, lease=1)
        floor = PutDocument(states.RETENTION, FLOOR, encode(Floor(below=self._below)))
        commit = Commit(tenant, [Record("content_expired", "", "", {})], [TrimLog(self._below), floor])
        first, time = tenure.next_sequence, tenure.last_time
        batch, _ = seal([commit], partition=0, epoch=tenure.epoch, token=tenure.token, first=first, time=time)
        assert await log.commit(batch) is Verdict.OK

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store.log(0), name)


@pytest.mark.parametrize("newest_first", [True, False])
async def test_what_leaves_between_two_reads_is_neither_missed_nor_read_twice(
    newest_first: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiers, "_ENTRIES", 4)
    monkeypatch.setattr(tiers, "_MORE", 1)
    store, cold = await made(40), MemoryColdStore()
    async with living(store, cold, Calls()) as writer:
        await archived_all(writer)
    await store.open()
    await cold.open()
    beginning = store.snapshot()
    end = store.log(0).shared.partition.ownership.next_sequence - 1
    wanted = await read_all(store.log(0), cold, end, newest_first=newest_first)
    assert len(wanted) > 60
    asked = 0
    for at in range(1, 20):
        for below in range(1, end, 17):
            store.restore(beginning)
            log: Any = Trimming(store, at, below)
            assert await read_all(log, cold, end, newest_first=newest_first) == wanted, (at, below)
            asked = max(asked, log.asked)
    assert asked > 9


async def read_all(log: LogReader, cold: MemoryColdStore, end: int, *, newest_first: bool) -> list[int]:
    records = tiers.Tiers(log, cold, 0).records("acme", first=1, last=end, newest_first=newest_first)
    found: list[int] = []
    while page := await records.read():
        found += [record.sequence for record in page]
    return found


@pytest.mark.in_turn
async def test_readers_see_no_gap_and_nothing_old_while_history_leaves() -> None:
    hot, cold, clock = MemoryStore(), WatchedColdStore(), VirtualClock()
    calls = Calls()
    through: Any = Through(hot, calls)
    slow_cold: Any = Through(cold, calls)
    ids: list[str] = []
    async with Runtime([shop], hot=through, cold=slow_cold, clock=clock, retention=SHORT, publisher=nothing) as runtime:
        for number in range(40):
            ids.append(await sold(runtime, number, tenant="acme"))
            await anyio.sleep(60)
        until = datetime.fromtimestamp(clock.now() / 1e6, UTC)
        wanted = [each.sequence for each in await every(partial(runtime.wal.query, "acme", until=until))]
        rounds = 0
        calls.delay = 0.25  # so that every answer comes from another moment
        async with anyio.create_task_group() as group:
            reading = [_looks, _lists, _queries_forth, _queries_back]
            for each in reading:
                group.start_soon(each, runtime, ids, wanted, until)
            while await hot.log(0).entries("acme", last=wanted[0]):  # until all of it has left
                await anyio.sleep(60)
                rounds += 1
            group.cancel_scope.cancel()
    assert rounds > 30


async def _looks(runtime: Runtime, ids: list[str], _wanted: list[int], _until: datetime) -> None:
    versions: dict[str, int] = {}
    while True:
        for number, id in enumerate(ids):
            view = await runtime.state.execution("acme", id)
            assert view is not None
            assert view.status == "completed"
            if number % 5 == 0:
                seen = (view.data or {}).get("version", 0)
                assert seen >= versions.get(id, 0), "an older version than was seen before"
                if number % 10 == 0:
                    versions[id] = seen + 1
                    await runtime.state.set_execution("acme", id, {"version": seen + 1})
        await anyio.sleep(1)


async def _lists(runtime: Runtime, ids: list[str], _wanted: list[int], _until: datetime) -> None:
    while True:
        found = [each.id for each in await every(partial(runtime.executions, "acme", limit=6))]
        assert found == ids[::-1]
        data = await every(partial(runtime.state.execution_data, "acme", limit=2))
        assert [id for id, _ in data] == ids[::5]
        await anyio.sleep(1)


async def _queries_forth(runtime: Runtime, _ids: list[str], wanted: list[int], until: datetime) -> None:
    while True:
        found = await every(partial(runtime.wal.query, "acme", until=until, newest_first=False, limit=50))
        assert [each.sequence for each in found] == wanted[::-1]
        await anyio.sleep(1)


async def _queries_back(runtime: Runtime, _ids: list[str], wanted: list[int], until: datetime) -> None:
    while True:
        found = await every(partial(runtime.wal.query, "acme", until=until, limit=50))
        assert [each.sequence for each in found] == wanted
        await anyio.sleep(1)
