"""The audit finds what is planted: losses, duplicates, broken logs, derived data that differ; and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import anyio
import apsw
import msgspec
import pytest
from msgspec import Struct

from intendant import Context, Outcome, Realm, Runtime, Shutdown, Status
from intendant.adapters.memory import MemoryStore
from intendant.adapters.memory.partition import Entries, Partition
from intendant.adapters.sqlite import SqliteStore
from intendant.adapters.sqlite.driver import Connection
from intendant.domain.codec import encode
from intendant.domain.ports import Document, OutboxItem, Store
from intendant.domain.records import LogRecord, Record, decode_entry, encode_entry
from intendant.domain.state import ExecutionState
from intendant.runtime.audit import Audit, Told, audit

pytestmark = pytest.mark.anyio
shop = Realm("shop")


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


class Order(Struct):
    number: int


async def weigh(number: int) -> int:
    return number * 2


@shop.handler
async def sell(ctx: Context, order: Order) -> int:
    weight = await ctx.step("weigh", weigh, order.number)
    ctx.emit("sold", order.number)
    if order.number % 4 == 3:
        raise ValueError("sold out")
    return weight


@shop.handler
async def reserve(ctx: Context, order: Order) -> None:
    await ctx.step("weigh", weigh, order.number)
    await anyio.sleep_forever()


class Trade(Struct):
    """What a scenario leaves: what callers were told, and the outcomes, by number."""

    told: Told
    outcomes: list[Outcome[int]]
    reserved: str


async def trade(store: Store, orders: int = 6) -> Trade:
    """Some orders, and one that stays open in its handler; their events wait; a document of the user's own."""
    told, outcomes = Told(), list[Outcome[int]]()
    async with Runtime([shop], hot=store, shutdown=Shutdown(drain=0.0)) as runtime:
        session = await runtime.open_session("acme", "desk")
        for number in range(orders):
            execution = await session.submit(sell, Order(number), idempotency_key=f"order-{number}")
            told.accept("acme", execution.id, f"order-{number}")
            outcomes.append(await execution.outcome())
            told.end(outcomes[-1])
        await runtime.state.set_session("acme", "desk", {"open": True})
        open_one = await session.submit(reserve, Order(9), idempotency_key="reserved")
        told.accept("acme", open_one.id, "reserved")
        while (await runtime.wal.query("acme", type="step_completed", execution=open_one.id)).items == []:
            await anyio.lowlevel.checkpoint()
    return Trade(told, outcomes, open_one.id)


async def audited(store: Store, told: Told | None = None, *, all_ended: bool = False) -> Audit:
    await store.open()
    try:
        return await audit(store.log(0), told, all_ended=all_ended)
    finally:
        await store.close()


def counts(found: Audit) -> dict[str, int]:
    kinds = ("lost", "duplicated", "broken", "diverged")
    return {kind: getattr(found, kind) for kind in kinds if getattr(found, kind)}


# --- clean


async def test_a_clean_store_is_sound_and_counted(tmp_path: Path) -> None:
    for store in (MemoryStore(), SqliteStore(tmp_path / "shop.db")):
        traded = await trade(store)
        found = await audited(store, traded.told)
        assert found.sound, found.findings
        assert found.executions == {Status.COMPLETED: 5, Status.FAILED: 1, Status.RUNNING: 1}
        assert found.told == found.executions
        assert (found.sessions, found.steps, found.events) == (1, 7, 6)
        assert found.records == 1 + 1 + 7 + 7 + 7 + 6 + 1  # opened, session, accepted, started, steps, ends, state set


async def test_settled_events_and_dead_letters_are_sound() -> None:
    store = MemoryStore()
    async with Runtime([shop], hot=store, publisher=lambda _: None) as runtime:
        session = await runtime.open_session("acme", "desk")
        for number in range(3):
            await (await session.submit(sell, Order(number))).result()
        while runtime.stats().published < 3:
            await anyio.lowlevel.checkpoint()
    found = await audited(store)
    assert found.sound, found.findings
    assert found.events == 3


async def test_a_resumed_store_is_sound() -> None:
    store = MemoryStore()
    await trade(store)
    traded = await trade(store, orders=3)  # the same keys: nothing new but the events' own
    found = await audited(store, traded.told)
    assert found.sound, found.findings


async def test_an_empty_store_is_sound() -> None:
    found = await audited(MemoryStore())
    assert found.sound
    assert found.records == 0


# --- what callers were told


async def test_what_was_told_and_is_not_there_is_lost() -> None:
    store = MemoryStore()
    traded = await trade(store)
    told, outcome = traded.told, traded.outcomes[0]
    told.accept("acme", "0" * 32, "never-stored")
    told.accept("other", outcome.execution_id, "order-0")  # another tenant's: not there under this one
    told.end(msgspec.structs.replace(outcome, execution_id="1" * 32))
    assert counts(await audited(store, told)) == {"lost": 3}


@pytest.mark.parametrize("change", [{"result": 99}, {"status": Status.FAILED}, {"status": Status.CANCELLED}])
async def test_an_end_told_otherwise_than_it_is_stored_is_lost(change: dict[str, Any]) -> None:
    store = MemoryStore()
    outcome = (await trade(store)).outcomes[1]
    told = Told()
    told.end(msgspec.structs.replace(outcome, **change))
    found = await audited(store, told)
    assert counts(found) == {"lost": 1}
    assert outcome.execution_id in str(found.findings[0])


async def test_an_end_told_of_an_open_execution_is_lost() -> None:
    store = MemoryStore()
    traded = await trade(store)
    traded.told.end(msgspec.structs.replace(traded.outcomes[0], execution_id=traded.reserved))
    assert counts(await audited(store, traded.told)) == {"lost": 1}


async def test_what_never_ended_is_lost_where_all_was_to_end() -> None:
    store = MemoryStore()
    traded = await trade(store)
    found = await audited(store, traded.told, all_ended=True)
    assert counts(found) == {"lost": 1}
    assert f"{traded.reserved} never ended" in str(found.findings[0])


async def test_another_key_than_the_log_has_is_lost() -> None:
    store = MemoryStore()
    outcome = (await trade(store)).outcomes[0]
    told = Told()
    told.accept("acme", outcome.execution_id, "order-1")
    assert counts(await audited(store, told)) == {"lost": 1}


async def test_contradictions_between_callers_are_duplicates() -> None:
    store = MemoryStore()
    traded = await trade(store)
    told, (first, second, *_) = traded.told, traded.outcomes
    told.accept("acme", second.execution_id, "order-0")  # two executions of one key, and two keys of one execution
    told.end(msgspec.structs.replace(first, result=1))  # two ends
    assert counts(await audited(store, told)) == {"duplicated": 3}


# --- the log

Change = Callable[[list[LogRecord]], list[LogRecord]]


def rewrite(store: MemoryStore, change: Change, *, number: bool = True) -> None:
    """Replace the log by a changed one; `number` makes its sequences gapless again, as a forger would."""
    partition = store.log(0).shared.partition
    old = [record for body in partition.entries.bodies for record in decode_entry(body)]
    partition.entries = Entries()
    for place, record in enumerate(change(old), 1):
        sequence = place if number else record.sequence
        plain = Record(record.type, record.session, record.execution, record.raw)
        body = encode_entry(record.epoch, sequence, record.time, record.tenant, [plain])
        partition.entries.add(sequence, 1, record.time, body)


def again(type: str, place: int = 0) -> Change:
    def change(records: list[LogRecord]) -> list[LogRecord]:
        return [*records, [record for record in records if record.type == type][place]]

    return change


@pytest.mark.parametrize(
    ("type", "kind"),
    [
        ("execution_completed", "duplicated"),
        ("execution_failed", "duplicated"),
        ("session_created", "duplicated"),
        ("intent_received", "duplicated"),
        ("step_completed", "broken"),  # of an execution that has ended
        ("execution_started", "broken"),
    ],
)
async def test_a_record_that_stands_twice_is_found(type: str, kind: str) -> None:
    store = MemoryStore()
    await trade(store)
    rewrite(store, again(type))
    assert counts(await audited(store))[kind] == 1


@pytest.mark.parametrize("type", ["step_completed", "execution_started"])
async def test_what_an_open_execution_did_twice_is_a_duplicate(type: str) -> None:
    store = MemoryStore()
    await trade(store)
    rewrite(store, again(type, place=-1))
    assert counts(await audited(store))["duplicated"] == 1


async def test_a_key_claimed_by_two_executions_is_a_duplicate() -> None:
    store = MemoryStore()
    await trade(store)

    def change(records: list[LogRecord]) -> list[LogRecord]:
        first = next(record for record in records if record.type == "intent_received")
        return [*records, msgspec.structs.replace(first, execution="2" * 32)]

    rewrite(store, change)
    assert counts(await audited(store))["duplicated"] == 1


@pytest.mark.parametrize("type", ["intent_received", "execution_started", "step_completed", "execution_completed"])
async def test_every_record_that_is_missing_is_found(type: str) -> None:
    """Even when the gap is closed by numbering anew, something derived, or told, gives it away."""
    store = MemoryStore()
    traded = await trade(store)
    bodies = store.log(0).shared.partition.entries.bodies
    for place in range(sum(record.type == type for body in bodies for record in decode_entry(body))):

        def without(records: list[LogRecord], place: int = place) -> list[LogRecord]:
            dropped = [record for record in records if record.type == type][place]
            return [record for record in records if record is not dropped]

        snapshot = store.snapshot()
        rewrite(store, without)
        assert not (await audited(store, traded.told)).sound
        store.restore(snapshot)
        rewrite(store, without, number=False)
        assert not (await audited(store, traded.told)).sound  # a gap, or behind the last record what it led to
        store.restore(snapshot)
    assert (await audited(store, traded.told)).sound


async def test_a_lost_tail_is_found() -> None:
    store = MemoryStore()
    traded = await trade(store)
    rewrite(store, lambda records: records[:-5])
    found = await audited(store, traded.told)
    assert found.lost == 2  # an end that was told, and what was accepted last
    assert found.diverged >= 1


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"time": 1}, "time goes back"),
        ({"epoch": 0}, "epoch 0 wrote after epoch 1"),
        ({"raw": msgspec.Raw(b"\xc1")}, "can't be read"),
        ({"raw": msgspec.Raw(b"\x80")}, "can't be read"),
    ],
)
async def test_a_record_that_can_not_be_is_found(change: dict[str, Any], text: str) -> None:
    store = MemoryStore()
    await trade(store)
    rewrite(store, lambda records: [*records[:4], msgspec.structs.replace(records[4], **change), *records[5:]])
    found = await audited(store)
    assert found.broken >= 1
    assert any(text in str(finding) for finding in found.findings)


@pytest.mark.parametrize("place", [0, 5, -1])
async def test_damaged_entries_are_found_and_read_over(place: int) -> None:
    store = MemoryStore()
    await trade(store)
    bodies = store.log(0).shared.partition.entries.bodies
    bodies[place] = bodies[place][:-1] + b"\x00"
    found = await audited(store)
    assert found.broken >= 1
    assert any("checksum" in str(finding) for finding in found.findings)


async def test_a_log_of_nothing_but_damage_comes_to_an_end() -> None:
    store = MemoryStore()
    await trade(store)
    entries = store.log(0).shared.partition.entries
    entries.bodies = [b"\x01\x00\x00 damaged" + bytes([place]) for place, _ in enumerate(entries.bodies)]
    found = await audited(store)
    assert found.broken == len(entries.bodies)
    assert len(found.findings) <= 100


# --- derived data


def change_state(partition: Partition, **changes: Any) -> None:
    documents = partition.documents["acme", "executions"]
    document = documents.after(None, 1)[0]
    state = msgspec.msgpack.decode(document.body, type=ExecutionState)
    body = encode(msgspec.structs.replace(state, **changes))
    documents.put(document.key, msgspec.structs.replace(document, body=body))


def drop_document(collection: str) -> Callable[[Partition], None]:
    def plant(partition: Partition) -> None:
        documents = partition.documents["acme", collection]
        documents.remove(documents.order()[-1])

    return plant


def add_document(partition: Partition) -> None:
    partition.documents["acme", "executions"].put("f" * 32, Document("f" * 32, b"\x80", 1, 1))


def begin_late(partition: Partition) -> None:
    documents = partition.documents["acme", "executions"]
    document = documents.after(None, 1)[0]
    documents.put(document.key, msgspec.structs.replace(document, since=document.version))


def change_user_document(partition: Partition) -> None:
    documents = partition.documents["acme", "session_data"]
    documents.put("desk", msgspec.structs.replace(documents.values["desk"], body=encode({"open": False})))


def drop_row(partition: Partition) -> None:
    next(iter(partition.journals.values())).clear()


def keep_journal(partition: Partition) -> None:
    ended = partition.documents["acme", "executions"].order()[0]
    partition.journals["acme", ended] = list(next(iter(partition.journals.values())))


def damage_row(partition: Partition) -> None:
    rows = next(iter(partition.journals.values()))
    rows[0] = (rows[0][0], b"c\xc1")


def drop_key(partition: Partition) -> None:
    del partition.keys["acme", "order-2"]


def swap_key(partition: Partition) -> None:
    partition.keys["acme", "order-2"] = partition.keys["acme", "order-3"]


def close_open(partition: Partition) -> None:
    partition.indexes["open"].remove(partition.indexes["open"].order()[0])


def reopen(partition: Partition) -> None:
    ended = partition.documents["acme", "executions"].order()[0]
    member = msgspec.structs.replace(partition.indexes["open"].after(None, 1)[0], member=ended)
    partition.indexes["open"].put((0, "acme", ended), member)


def drop_event(partition: Partition) -> None:
    partition.outbox.remove(partition.outbox.order()[1])


def add_event(partition: Partition) -> None:
    item = partition.outbox.after(None, 1)[0]
    partition.outbox.put(7, msgspec.structs.replace(item, position=7))


def swap_event(partition: Partition) -> None:
    first, second = partition.outbox.after(None, 2)
    partition.outbox.put(first.position, OutboxItem(first.position, "acme", "desk", first.time, second.body))


def run_ahead(partition: Partition) -> None:
    partition.checkpoints["cold"] = 10_000


PLANTS: list[Callable[[Partition], None]] = [
    *map(drop_document, ("executions", "sessions", "session_data")),
    lambda partition: change_state(partition, status=Status.FAILED),
    lambda partition: change_state(partition, result=msgspec.Raw(encode(5))),
    lambda partition: change_state(partition, session="elsewhere"),
    add_document,
    begin_late,
    change_user_document,
    drop_row,
    damage_row,
    keep_journal,
    drop_key,
    swap_key,
    close_open,
    reopen,
    drop_event,
    add_event,
    swap_event,
    run_ahead,
]


async def test_each_fault_in_derived_data_is_found() -> None:
    store = MemoryStore()
    traded = await trade(store)
    clean = store.snapshot()
    for plant in PLANTS:
        store.restore(clean)
        plant(store.log(0).shared.partition)
        found = await audited(store, traded.told)
        assert counts(found) == {"diverged": 1}, (plant, found.findings)
    store.restore(clean)
    assert (await audited(store, traded.told)).sound


async def test_dead_letters_are_compared() -> None:
    store = MemoryStore()
    traded = await trade(store)
    partition = store.log(0).shared.partition

    def dead(records: list[LogRecord]) -> list[LogRecord]:
        event = f"{traded.outcomes[0].execution_id}-0"
        raw = msgspec.Raw(encode({"published": [], "at": 0, "dead": [event]}))
        return [*records, msgspec.structs.replace(records[-1], type="event_published", raw=raw)]

    rewrite(store, dead)
    assert counts(await audited(store)) == {"diverged": 2}  # its letter is missing, and it still waits in the outbox
    partition.outbox.remove(partition.outbox.order()[0])
    assert counts(await audited(store)) == {"diverged": 1}
    letter = f"{traded.outcomes[0].execution_id}-0"
    partition.documents["acme", "dead_letters"] = documents = type(partition.documents["acme", "sessions"])()
    documents.put(letter, Document(letter, b"", 1, 1))
    assert counts(await audited(store)) == {}
    documents.put("another", Document("another", b"", 1, 1))
    assert counts(await audited(store)) == {"diverged": 1}


@pytest.mark.parametrize(
    ("statement", "kind"),
    [
        (
            "DELETE FROM entries WHERE sequence = (SELECT sequence FROM entries ORDER BY sequence LIMIT 1 OFFSET 4)",
            "broken",
        ),
        ("DELETE FROM documents WHERE collection = 'sessions'", "diverged"),
        ("DELETE FROM keys WHERE key = 'order-1'", "diverged"),
        ("DELETE FROM journal", "diverged"),
        ("DELETE FROM outbox WHERE position = (SELECT max(position) FROM outbox)", "diverged"),
        ("DELETE FROM indexes", "diverged"),
    ],
)
async def test_faults_in_a_file_are_found(tmp_path: Path, statement: str, kind: str) -> None:
    path = tmp_path / "shop.db"
    traded = await trade(SqliteStore(path))
    connection = cast("Connection", apsw.Connection(str(path)))
    connection.execute(statement)
    connection.close()
    found = await audited(SqliteStore(path), traded.told)
    assert counts(found)[kind] >= 1, found.findings
