"""The audit knows sagas: what can't follow in a log, and what an end must tell of them."""

from __future__ import annotations

from typing import Any

import anyio
import msgspec
import pytest

from intendant import Context, Realm, Runtime, Shutdown, Step
from intendant.adapters.memory import MemoryStore
from intendant.domain.codec import encode
from intendant.domain.records import LogRecord
from tests.runtime.trading import Change, again, audited, counts, rewrite

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def forget(step: Step, result: None) -> None: ...


async def undo_one(store: MemoryStore, *, end: bool) -> None:
    """An execution with a saga that was undone; it stays open behind it, or ends."""
    shop, undone = Realm("shop"), anyio.Event()

    @shop.handler
    async def place(ctx: Context, order: dict[str, Any]) -> None:
        try:
            async with ctx.saga("place") as saga:
                for name in "ab":
                    await saga.step(name, lambda: None, undo=forget)
                raise ValueError("changed my mind")
        except ValueError:
            undone.set()
            if not end:
                await anyio.sleep_forever()

    async with Runtime([shop], hot=store, shutdown=Shutdown(drain=0.0)) as runtime:
        session = await runtime.open_session("acme", "desk")
        execution = await session.submit(place, {"a": 1})
        await undone.wait()
        if end:
            assert (await execution.outcome()).sagas


@pytest.mark.parametrize("type", ["saga_started", "saga_compensating", "saga_compensated"])
async def test_what_sagas_record_twice_is_a_duplicate(type: str) -> None:
    store = MemoryStore()
    await undo_one(store, end=False)
    assert (await audited(store)).sound
    rewrite(store, again(type))
    assert counts(await audited(store))["duplicated"] == 1


def without(type: str, path: str = "") -> Change:
    """A log without one record."""

    def change(records: list[LogRecord]) -> list[LogRecord]:
        found = next(each for each in records if each.type == type and path in each.payload.get("path", ""))
        return [each for each in records if each is not found]

    return change


def swap_undos(records: list[LogRecord]) -> list[LogRecord]:
    """The step that began first is undone first."""
    first, second = (place for place, each in enumerate(records) if "undo(" in each.payload.get("path", ""))
    records[first], records[second] = records[second], records[first]
    return records


def go_forward(records: list[LogRecord]) -> list[LogRecord]:
    """A step goes forward in a saga that has failed."""
    undo = next(each for each in records if "undo(" in each.payload.get("path", ""))
    step = msgspec.structs.replace(undo, raw=msgspec.Raw(encode({**undo.payload, "path": "place/late", "saga": True})))
    return [*records, step]


@pytest.mark.parametrize(
    "change",
    [
        without("saga_started"),
        without("saga_compensating"),
        without("step_completed", "undo("),
        swap_undos,
        go_forward,
    ],
)
async def test_what_no_saga_can_have_recorded_is_broken(change: Change) -> None:
    store = MemoryStore()
    await undo_one(store, end=False)
    rewrite(store, change)
    assert counts(await audited(store))["broken"] >= 1


async def test_an_end_that_hides_a_saga_is_broken() -> None:
    store = MemoryStore()
    await undo_one(store, end=True)
    assert (await audited(store)).sound

    def hide(records: list[LogRecord]) -> list[LogRecord]:
        return [
            msgspec.structs.replace(each, raw=msgspec.Raw(encode({"result": None, "at": each.payload["at"]})))
            if each.type == "execution_completed"
            else each
            for each in records
        ]

    rewrite(store, hide)
    found = await audited(store)
    assert any("are not told as they were" in each.text for each in found.findings if each.kind == "broken")
