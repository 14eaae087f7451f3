"""The audit finds every difference between the hot store's derived data and the fold of its log."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import apsw
import msgspec
import pytest

from intendant import Status
from intendant.adapters.memory import MemoryStore
from intendant.adapters.memory.partition import Partition
from intendant.adapters.sqlite import SqliteStore
from intendant.adapters.sqlite.driver import Connection
from intendant.domain.codec import encode
from intendant.domain.ports import Document, OutboxItem
from intendant.domain.records import LogRecord
from intendant.domain.state import ExecutionState
from tests.runtime.trading import again, audited, counts, rewrite, trade, wait_for_delivery

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


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
    partition.keys.remove(("acme", "order-2"))


def swap_key(partition: Partition) -> None:
    partition.keys.put(("acme", "order-2"), partition.keys.values["acme", "order-3"])


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


def drop_timer(partition: Partition) -> None:
    partition.indexes["timers"].remove(partition.indexes["timers"].order()[0])


def set_timer(partition: Partition) -> None:
    member = partition.indexes["timers"].after(None, 1)[0]
    later = msgspec.structs.replace(member, score=member.score + 1)
    partition.indexes["timers"].put((later.score, later.tenant, later.member), later)


def drop_signal(partition: Partition) -> None:
    rows = next(iter(partition.journals.values()))
    rows[:] = [row for row in rows if row[1][:1] != b"s"]


async def test_faults_in_timers_and_signals_are_found() -> None:
    store = MemoryStore()
    await wait_for_delivery(store)
    assert (await audited(store)).sound
    clean = store.snapshot()
    for plant in (drop_timer, set_timer, drop_signal):
        store.restore(clean)
        plant(store.log(0).shared.partition)
        found = await audited(store)
        assert counts(found) == {"diverged": 1}, (plant, found.findings)


@pytest.mark.parametrize("type", ["signal_received", "timer_set"])
async def test_what_waits_record_twice_is_a_duplicate(type: str) -> None:
    store = MemoryStore()
    await wait_for_delivery(store)
    rewrite(store, again(type))
    assert counts(await audited(store))["duplicated"] == 1


async def test_an_end_that_hides_a_signal_is_broken() -> None:
    store = MemoryStore()
    await wait_for_delivery(store)

    def end(records: list[LogRecord]) -> list[LogRecord]:
        raw = msgspec.Raw(encode({"result": None, "at": 1}))
        signal = next(each for each in records if each.type == "signal_received")
        return [*records, msgspec.structs.replace(signal, type="execution_completed", raw=raw)]

    rewrite(store, end)
    found = await audited(store)
    assert any("undelivered signals" in each.text for each in found.findings if each.kind == "broken")


@pytest.mark.parametrize("kind", ["duplicated", "broken"])
async def test_a_cancel_that_comes_twice_or_from_nowhere_is_found(kind: str) -> None:
    store = MemoryStore()
    await wait_for_delivery(store)

    def forge(records: list[LogRecord]) -> list[LogRecord]:
        signal = next(each for each in records if each.type == "signal_received")
        request = msgspec.structs.replace(signal, type="cancel_requested", raw=msgspec.Raw(encode({"at": 1})))
        end = msgspec.structs.replace(request, type="execution_cancelled")
        return [*records, request, request] if kind == "duplicated" else [*records, end]

    rewrite(store, forge)
    found = [each for each in (await audited(store)).findings if each.kind == kind]
    assert [("was recorded twice" in each.text or "was not to be cancelled" in each.text) for each in found] == [True]


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
