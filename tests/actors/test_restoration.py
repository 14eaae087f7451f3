"""A store that went back in time: what was acknowledged is put back, or the partition stops and names it."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from intendant.actors.wal_writer import KeyClaimed, WalWriter, WriterSettings
from intendant.adapters.memory import MemorySnapshot, MemoryStore
from intendant.domain.commit import (
    AddToOutbox,
    AppendJournal,
    Batch,
    ClaimKey,
    Commit,
    KeysTaken,
    PutDocument,
    Receipt,
    Verdict,
)
from intendant.domain.errors import AcknowledgedDataMissing, ActorStopped, Fenced, StoreUnavailable
from intendant.domain.ports import Log, Owner, Tenure
from intendant.domain.records import SYSTEM_TENANT, LogRecord, Record, decode_entry
from intendant.parking import Reply, current_seam
from intendant.supervisor import Started
from intendant.testing.clock import virtual_backend

pytestmark = pytest.mark.anyio
OWNER = Owner("host", "boot", 1, "start")
NEIGHBOUR = Owner("other-host", "other-boot", 2, "start")
SETTINGS = WriterSettings(lease=10.0, takeover_timeout=1.0)


class StillClock:
    def now(self) -> int:
        return 1_000_000


def commit(name: str, *keys: str) -> Commit:
    record = Record("state_set", "session", name, {"name": name})
    body = name.encode()
    claims = [ClaimKey(key, body) for key in keys]
    return Commit(
        "acme", [record], [PutDocument("data", name, body), AppendJournal("e", body), AddToOutbox("s", body), *claims]
    )


def writer_of(log: Log, owner: Owner = OWNER, settings: WriterSettings = SETTINGS) -> WalWriter:
    return WalWriter(log, owner, 0, clock=StillClock(), seam=current_seam(), settings=settings)


async def run(writer: WalWriter, *, task_status: Started) -> None:
    await writer.run(task_status)


@asynccontextmanager
async def writing(log: Log, owner: Owner = OWNER, settings: WriterSettings = SETTINGS) -> AsyncGenerator[WalWriter]:
    writer = writer_of(log, owner, settings)
    async with anyio.create_task_group() as group:
        await group.start(run, writer)
        yield writer
        writer.stop()


@asynccontextmanager
async def opened(*stores: MemoryStore) -> AsyncGenerator[None]:
    for store in stores:
        await store.open()
    yield
    for store in stores:
        await store.close()


async def records(log: Log) -> list[LogRecord]:
    return [each for entry in await log.entries(None, limit=10_000) for each in decode_entry(entry)]


async def contents(log: Log) -> tuple[list[str], list[bytes], list[bytes], int]:
    """What the commits of `commit` have left: names in the log, in the journal, in the outbox; documents."""
    names = [each.execution for each in await records(log) if each.tenant != SYSTEM_TENANT]
    outbox = [each.body for each in await log.outbox(limit=10_000)]
    return names, await log.journal("acme", "e"), outbox, len(await log.documents("acme", "data", limit=10_000))


class Wrapped:
    """A log whose commits are seen, and may be answered, before they reach the store."""

    def __init__(self, log: Log) -> None:
        self.log = log
        self.before: Callable[[Batch], Awaitable[Verdict | KeysTaken | None]] | None = None
        self.after: Callable[[Batch], Awaitable[None]] | None = None

    def __getattr__(self, name: str) -> object:
        return getattr(self.log, name)

    async def commit(self, batch: Batch) -> Verdict | KeysTaken:
        if self.before is not None and (answer := await self.before(batch)) is not None:
            return answer
        answer = await self.log.commit(batch)
        if self.after is not None:
            await self.after(batch)
        return answer


async def test_what_the_next_commit_finds_missing_is_put_back_first(caplog: pytest.LogCaptureFixture) -> None:
    store = MemoryStore()
    async with opened(store), writing(store.log(0)) as writer:
        await writer.commit(commit("one", "k1"))
        snapshot = store.snapshot()
        for name in ("two", "three"):
            await writer.commit(commit(name, f"key of {name}"))
        store.restore(snapshot)
        receipt = await writer.commit(commit("four"))
        assert receipt.first == 5
        names, journal, outbox, documents = await contents(store.log(0))
        assert names == ["one", "two", "three", "four"]
        assert journal == outbox == [b"one", b"two", b"three", b"four"]
        assert documents == 4
        assert await store.log(0).key("acme", "key of three") == b"three"
        assert writer.restored == 2
    assert [each.levelno for each in caplog.records if "put back" in each.message] == [logging.CRITICAL]
    assert "sequences 3 to 4" in caplog.text


async def test_what_was_put_back_keeps_its_entries_and_a_new_epoch_begins_behind_it() -> None:
    store = MemoryStore()
    async with opened(store), writing(store.log(0)) as writer:
        snapshot = store.snapshot()
        await writer.commit(commit("one"))
        before = await store.log(0).entries("acme")
        store.restore(snapshot)
        await writer.commit(commit("two"))
        await anyio.wait_all_tasks_blocked()
        assert (await store.log(0).entries("acme"))[: len(before)] == before
        written = await records(store.log(0))
        assert [each.sequence for each in written] == list(range(1, len(written) + 1))
        assert [each.epoch for each in written] == sorted(each.epoch for each in written)
        assert [each.type for each in written].count("writer_opened") == 2


async def test_an_idle_writer_finds_out_by_its_heartbeat() -> None:
    store = MemoryStore()
    async with opened(store), writing(store.log(0)) as writer:
        await writer.commit(commit("one"))
        snapshot = store.snapshot()
        await writer.commit(commit("two"))
        store.restore(snapshot)
        await anyio.sleep(4)
        assert (await contents(store.log(0)))[0] == ["one", "two"]
        assert writer.restored == 1
        await writer.commit(commit("three"))


async def test_a_store_that_forgot_the_owner_gives_a_higher_epoch_and_all_back() -> None:
    store = MemoryStore()
    async with opened(store):
        empty = store.snapshot()
        async with writing(store.log(0)) as writer:
            for name in ("one", "two"):
                await writer.commit(commit(name))
            epoch = (await records(store.log(0)))[-1].epoch
            store.restore(empty)
            await writer.commit(commit("three"))
            assert (await contents(store.log(0)))[0] == ["one", "two", "three"]
            tenure = await store.log(0).acquire(OWNER, timeout=0, lease=10)
            assert tenure.epoch > epoch + 1


async def test_nothing_is_acknowledged_while_the_store_goes_back_again_and_again() -> None:
    store = MemoryStore()
    async with opened(store):
        log = Wrapped(store.log(0))
        async with writing(log) as writer:  # type: ignore[arg-type]  # the rest of the port is passed on
            snapshot = store.snapshot()
            for name in ("one", "two", "three"):
                await writer.commit(commit(name))
            times = 0

            async def go_back(batch: Batch) -> Verdict | None:
                nonlocal times
                if batch.first == 3 and times < 4:  # in the middle of putting back
                    times += 1
                    store.restore(snapshot)
                return None

            log.before = go_back
            store.restore(snapshot)
            await writer.commit(commit("four"))
            assert times == 4
            assert (await contents(store.log(0)))[0] == ["one", "two", "three", "four"]


async def test_a_store_that_never_keeps_anything_ends_it() -> None:
    store = MemoryStore()
    async with opened(store):
        log = Wrapped(store.log(0))

        async def refuse(batch: Batch) -> Verdict | None:
            return Verdict.GAP if batch.first > 1 else None

        log.before = refuse
        with pytest.RaisesGroup(pytest.RaisesExc(AcknowledgedDataMissing, match="8 times in a row, before sequence 2")):
            async with writing(log) as writer:  # type: ignore[arg-type]
                with pytest.raises(ActorStopped):
                    await writer.commit(commit("one"))
                await anyio.sleep(1)


async def test_a_batch_whose_reply_was_lost_is_found_in_the_log_and_not_sent_twice() -> None:
    store = MemoryStore()
    async with opened(store):
        log = Wrapped(store.log(0))
        async with writing(log) as writer:  # type: ignore[arg-type]
            await writer.commit(commit("one"))
            said: list[str] = []

            async def lie(batch: Batch) -> Verdict | None:
                if batch.first == 3 and said == ["lost"]:
                    said.append("forgot")
                    return Verdict.LOST
                return None

            async def lose(batch: Batch) -> None:
                if batch.first == 3 and not said:
                    said.append("lost")
                    raise StoreUnavailable("the reply is lost")

            log.after, log.before = lose, lie
            await writer.commit(commit("two"))
            assert said == ["lost", "forgot"]
            assert (await contents(store.log(0)))[:3] == (["one", "two"], [b"one", b"two"], [b"one", b"two"])
            assert writer.restored == 0


async def test_a_batch_in_flight_may_lose_its_keys_after_the_restoration_and_is_renumbered() -> None:
    store = MemoryStore()
    async with opened(store), writing(store.log(0)) as writer:
        await writer.commit(commit("one", "k"))
        snapshot = store.snapshot()
        await writer.commit(commit("two"))
        store.restore(snapshot)
        late, other = writer.append(commit("late", "k")), writer.append(commit("other"))
        with pytest.raises(KeyClaimed):
            await late.wait(current_seam())
        assert (await other.wait(current_seam())).first == 4
        assert (await contents(store.log(0)))[0] == ["one", "two", "other"]


async def test_what_the_ring_does_not_hold_any_more_is_named() -> None:
    store = MemoryStore()
    async with opened(store):
        settings = WriterSettings(lease=10.0, ring=12_000)
        with pytest.RaisesGroup(
            pytest.RaisesExc(AcknowledgedDataMissing, match=r"partition 0: .* 2 to 21 were acknowledged, and 2 to \d+ ")
        ):
            async with writing(store.log(0), settings=settings) as writer:
                snapshot = store.snapshot()
                for number in range(20):
                    await writer.commit(commit(str(number)))
                store.restore(snapshot)
                with pytest.raises(ActorStopped):
                    await writer.commit(commit("late"))
                await anyio.sleep(1)
        assert (await contents(store.log(0)))[0] == []


@asynccontextmanager
async def high_epoch(store: MemoryStore) -> AsyncGenerator[WalWriter]:
    """A writer with one commit whose epoch is higher than what an empty store gives next."""
    for _ in range(3):
        await store.log(0).acquire(OWNER, timeout=0, lease=10)
    async with writing(store.log(0)) as writer:
        await writer.commit(commit("ours"))
        yield writer


async def test_a_neighbour_who_took_the_partition_meanwhile_keeps_it() -> None:
    store = MemoryStore()
    twin = store.twin()
    async with opened(store, twin):
        empty = store.snapshot()
        with pytest.RaisesGroup(pytest.RaisesExc(Fenced, match="process 2 on other-host has taken partition 0")):
            async with high_epoch(store):
                store.restore(empty)
                async with writing(twin.log(0), NEIGHBOUR) as neighbour:
                    await neighbour.commit(commit("theirs"))
                    await anyio.sleep(30)
        assert (await contents(twin.log(0)))[0] == ["theirs"]


async def test_a_neighbour_who_wrote_and_left_has_replaced_what_was_acknowledged() -> None:
    store = MemoryStore()
    twin = store.twin()
    async with opened(store, twin):
        empty = store.snapshot()
        with pytest.RaisesGroup(pytest.RaisesExc(AcknowledgedDataMissing, match="something else has written it")):
            async with high_epoch(store):
                store.restore(empty)
                async with writing(twin.log(0), NEIGHBOUR) as neighbour:
                    for number in range(3):
                        await neighbour.commit(commit(f"theirs {number}"))
                await anyio.sleep(10)
        assert (await contents(twin.log(0)))[0] == ["theirs 0", "theirs 1", "theirs 2"]


async def test_a_writer_that_is_started_again_puts_back_what_it_had_acknowledged() -> None:
    store = MemoryStore()
    async with opened(store):
        writer = writer_of(store.log(0))
        snapshots: list[MemorySnapshot] = []
        async with anyio.create_task_group() as group:
            await group.start(run, writer)
            snapshots.append(store.snapshot())
            await writer.commit(commit("one"))
            writer.stop()
        store.restore(snapshots[0])
        async with anyio.create_task_group() as group:
            await group.start(run, writer)
            await writer.commit(commit("two"))
            assert (await contents(store.log(0)))[0] == ["one", "two"]
            assert writer.restored == 1
            writer.stop()


async def test_a_writer_that_is_started_again_goes_on_behind_what_others_wrote() -> None:
    store = MemoryStore()
    twin = store.twin()
    async with opened(store, twin):
        writer = writer_of(store.log(0))
        async with anyio.create_task_group() as group:
            await group.start(run, writer)
            await writer.commit(commit("one"))
            writer.stop()
        async with writing(twin.log(0), NEIGHBOUR) as neighbour:
            await neighbour.commit(commit("theirs"))
        async with anyio.create_task_group() as group:
            await group.start(run, writer)
            await writer.commit(commit("two"))
            writer.stop()
        assert (await contents(store.log(0)))[0] == ["one", "theirs", "two"]


async def test_an_outage_in_the_middle_of_putting_back_is_waited_out() -> None:
    store = MemoryStore()
    async with opened(store):
        log = Wrapped(store.log(0))
        failures = 0
        async with writing(log) as writer:  # type: ignore[arg-type]
            snapshot = store.snapshot()
            for name in ("one", "two"):
                await writer.commit(commit(name))
            store.restore(snapshot)

            async def fail(batch: Batch) -> Verdict | None:
                nonlocal failures
                failures += 1
                if failures % 2:
                    raise StoreUnavailable("planned")
                return None

            async def lose(batch: Batch) -> None:
                if failures % 3 == 0:
                    raise StoreUnavailable("reply lost")

            log.before, log.after = fail, lose
            await writer.commit(commit("three"))
            log.before = log.after = None
            assert (await contents(store.log(0)))[:3] == (
                ["one", "two", "three"],
                [b"one", b"two", b"three"],
                [b"one", b"two", b"three"],
            )


async def test_a_stop_does_not_wait_for_ever_for_a_store_that_went_away_in_the_middle() -> None:
    store = MemoryStore()
    async with opened(store):
        log = Wrapped(store.log(0))
        replies: list[Reply[Receipt]] = []

        async def fail(batch: Batch) -> Verdict | None:
            if batch.epoch > 1:
                raise StoreUnavailable("for good")
            return None

        log.before = fail
        with anyio.fail_after(10), pytest.RaisesGroup(ActorStopped):
            async with writing(log) as writer:  # type: ignore[arg-type]
                snapshot = store.snapshot()
                await writer.commit(commit("one"))
                store.restore(snapshot)
                replies.append(writer.append(commit("two")))
                await anyio.sleep(1)
        with pytest.raises(ActorStopped):
            await replies[0].wait(current_seam())


async def test_what_does_not_fit_any_more_is_never_forced() -> None:
    store = MemoryStore()
    async with opened(store):
        log = Wrapped(store.log(0))

        async def taken(batch: Batch) -> KeysTaken | None:
            return KeysTaken({("acme", "k"): b"somebody"}) if batch.epoch > 1 and batch.claims else None

        with pytest.RaisesGroup(pytest.RaisesExc(AcknowledgedDataMissing, match="from sequence 2 on does not fit")):
            async with writing(log) as writer:  # type: ignore[arg-type]
                snapshot = store.snapshot()
                await writer.commit(commit("one", "k"))
                store.restore(snapshot)
                log.before = taken
                with pytest.raises(ActorStopped):
                    await writer.commit(commit("two"))
                await anyio.sleep(1)
        assert (await contents(store.log(0)))[0] == []


async def test_an_owner_that_only_the_past_knows_is_outlasted() -> None:
    store = MemoryStore()
    twin = store.twin()
    async with opened(store, twin):
        tenure = await twin.log(0).acquire(NEIGHBOUR, timeout=0, lease=8)
        snapshot = store.snapshot()
        await twin.log(0).release(tenure)
        async with writing(store.log(0)) as writer:
            await writer.commit(commit("one"))
            store.restore(snapshot)
            await writer.commit(commit("two"))
            assert (await contents(store.log(0)))[0] == ["one", "two"]


@pytest.mark.parametrize("pause", [0.0, 1.0])
async def test_a_writer_that_is_to_stop_does_not_outlast_it(pause: float) -> None:
    store = MemoryStore()
    twin = store.twin()
    async with opened(store, twin):
        tenure = await twin.log(0).acquire(NEIGHBOUR, timeout=0, lease=1e6)
        snapshot = store.snapshot()
        await twin.log(0).release(tenure)
        settings = WriterSettings(lease=100.0)
        replies: list[Reply[Receipt]] = []
        began = anyio.current_time()
        with pytest.RaisesGroup(ActorStopped):
            async with writing(store.log(0), settings=settings) as writer:
                store.restore(snapshot)
                replies.append(writer.append(commit("one")))
                await anyio.sleep(pause)
        assert anyio.current_time() - began < 10
        assert isinstance(replies[0].error, ActorStopped)


class SlowToGrant(Wrapped):
    """A log that grants at once, and tells so late."""

    async def acquire(self, owner: Owner, *, timeout: float, lease: float, above: int = 0) -> Tenure:
        tenure = await self.log.acquire(owner, timeout=timeout, lease=lease, above=above)
        if above:
            await anyio.sleep(60)
        return tenure


async def test_a_heartbeat_is_not_fenced_by_the_tenure_that_its_own_writer_is_getting() -> None:
    store = MemoryStore()
    async with opened(store), writing(SlowToGrant(store.log(0))) as writer:  # type: ignore[arg-type]
        await writer.commit(commit("one"))
        snapshot = store.snapshot()
        await writer.commit(commit("two"))
        store.restore(snapshot)
        await writer.commit(commit("three"))
        assert (await contents(store.log(0)))[0] == ["one", "two", "three"]


async def test_what_was_put_back_counts_as_young() -> None:
    store = MemoryStore()
    async with opened(store), writing(store.log(0)) as writer:
        await writer.commit(commit("one"))
        await anyio.sleep(5)
        snapshot = store.snapshot()
        await writer.commit(commit("two"))
        await anyio.sleep(2)
        assert (writer.settled(1), writer.settled(3), writer.settled(60)) == (3, 2, 0)
        store.restore(snapshot)
        await writer.commit(commit("three"))
        await anyio.sleep(0.5)
        assert writer.settled(0) == writer.committed
        assert writer.settled(1) == 2


LIFE = st.lists(st.one_of(st.just("commit"), st.just("snapshot"), st.just("restore"), st.just("idle")), max_size=25)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@settings(max_examples=40)
@given(LIFE)
def test_whatever_a_store_forgets_the_log_holds_what_was_acknowledged(backend: str, life: list[str]) -> None:
    async def live() -> None:
        store = MemoryStore()
        acknowledged: list[str] = []
        async with opened(store):
            snapshots = [store.snapshot()]
            async with writing(store.log(0)) as writer:
                for number, event in enumerate(life):
                    if event == "commit":
                        await writer.commit(commit(str(number)))
                        acknowledged.append(str(number))
                    elif event == "snapshot":
                        snapshots.append(store.snapshot())
                    elif event == "restore":
                        store.restore(snapshots[number % len(snapshots)])
                    else:
                        await anyio.sleep(4)
                await writer.commit(commit("end"))
            bodies = [name.encode() for name in [*acknowledged, "end"]]
            assert await contents(store.log(0)) == ([*acknowledged, "end"], bodies, bodies, len(bodies))
            written = await records(store.log(0))
            assert [each.sequence for each in written] == list(range(1, len(written) + 1))

    name, options = virtual_backend(backend)
    anyio.run(live, backend=name, backend_options=options)
