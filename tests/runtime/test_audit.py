"""The audit finds what is planted in what callers were told and in the log; and nothing in a clean store."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import msgspec
import pytest

from intendant import Runtime, Status
from intendant.adapters.memory import MemoryStore
from intendant.adapters.sqlite import SqliteStore
from intendant.domain.records import LogRecord, decode_entry
from intendant.runtime.audit import Told
from tests.runtime.trading import Order, again, audited, counts, rewrite, sell, shop, trade

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


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
