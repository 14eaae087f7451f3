"""The orders example, in virtual time: how an order may end, and that after any crash each thing was done once."""

from __future__ import annotations

from datetime import timedelta
from typing import Literal

import pytest

from examples.orders import handlers
from examples.orders.handlers import News, Order, Receipt, State, place
from examples.orders.world import Ledger
from intendant import Realm
from intendant.testing.runtime import TestRuntime

ORDER = Order("order-1", "tea", 3)
DONE = ["reserved", "charged", "packed"]


@pytest.fixture
def realm() -> Realm:
    return handlers.orders


@pytest.fixture
def runtime(intendant_runtime: TestRuntime) -> TestRuntime:
    return intendant_runtime  # tests of this repository have another `runtime`


@pytest.fixture(autouse=True)
def ledger(monkeypatch: pytest.MonkeyPatch) -> Ledger:
    monkeypatch.setattr(handlers, "ledger", Ledger())
    return handlers.ledger


async def test_an_order_is_shipped(runtime: TestRuntime, ledger: Ledger) -> None:
    execution = await runtime.start(place, ORDER)
    await execution.signal("news", News("paid", "visa"), id="paid")
    await execution.signal("news", News("paid", "visa again"), id="twice")  # out of place: it is let go
    await execution.signal("news", News("picked_up"))
    assert await execution.result() == Receipt("order-1", "shipped", 12)
    assert ledger.of("order-1") == DONE
    assert (ledger.free("tea"), ledger.earned()) == (2, 12)
    assert (await runtime.log(execution)).events == [("order.shipped", {"order": "order-1"})]


async def test_who_does_not_pay_is_reminded_once(runtime: TestRuntime, ledger: Ledger) -> None:
    execution = await runtime.start(place, ORDER)
    assert await execution.result() == Receipt("order-1", "unpaid")  # three days, in no time
    log = await runtime.log(execution)
    assert [name for name, _ in log.events] == ["order.reminder", "order.unpaid"]
    assert ledger.of("order-1") == ["reserved", "released"]


@pytest.mark.intendant(clock="hand", stores=["memory"])
async def test_who_is_reminded_may_still_pay(runtime: TestRuntime) -> None:
    execution = await runtime.start(place, ORDER)
    await runtime.clock.advance(timedelta(days=2))
    assert await execution.query("stage") == "waiting for payment"
    await execution.signal("news", News("paid", "visa"))
    await execution.signal("news", News("picked_up"))
    assert (await execution.result()).state == "shipped"


@pytest.mark.intendant(stores=["memory"])
@pytest.mark.parametrize(
    ("news", "state", "undone"),
    [
        ([News("withdrawn")], "withdrawn", ["released"]),
        ([News("paid"), News("withdrawn")], "withdrawn", ["unpacked", "refunded", "released"]),
        ([News("paid", "stolen")], "declined", ["released"]),
        ([News("paid")], "lost", ["unpacked", "refunded", "released"]),
    ],
)
async def test_what_is_given_up_is_undone(
    runtime: TestRuntime, ledger: Ledger, news: list[News], state: State, undone: list[str]
) -> None:
    execution = await runtime.start(place, ORDER)
    for each in news:
        await execution.signal("news", each)
    assert await execution.result() == Receipt("order-1", state)
    assert ledger.of("order-1")[-len(undone) :] == undone
    assert (ledger.free("tea"), ledger.earned()) == (5, 0)


@pytest.mark.intendant(stores=["memory"])
async def test_what_is_sold_out_is_told(runtime: TestRuntime, ledger: Ledger) -> None:
    assert (await runtime.run(place, Order("order-1", "cups", 3))).state == "sold_out"
    assert ledger.of("order-1") == []


@pytest.mark.intendant(stores=["memory"])
async def test_a_bank_that_is_away_is_asked_again(runtime: TestRuntime, ledger: Ledger) -> None:
    charge = runtime.stub_step("order/charge", raises=ConnectionError("away"), times=2, calls=handlers.charge)
    execution = await runtime.start(place, ORDER)
    await execution.signal("news", News("paid", "visa"))
    await execution.signal("news", News("picked_up"))
    assert (await execution.result()).euros == 12
    assert charge.attempts == 3


@pytest.mark.in_turn
@pytest.mark.intendant(stores=["memory"])
@pytest.mark.parametrize("last", ["picked_up", "withdrawn"])
async def test_whenever_it_crashes_everything_is_done_once(
    runtime: TestRuntime, ledger: Ledger, last: Literal["picked_up", "withdrawn"]
) -> None:
    async for _ in runtime.every_crash():
        ledger.entries.clear()
        execution = await runtime.start(place, ORDER)
        await execution.signal("news", News("paid", "visa"), id="paid")
        await execution.signal("news", News(last), id=last)
        await execution.result()
        undone = ["unpacked", "refunded", "released"] if last == "withdrawn" else []
        assert ledger.of("order-1") == DONE + undone


@pytest.mark.intendant(always_replay=True, stores=["memory"])
async def test_it_does_the_same_whenever_it_is_run_again(runtime: TestRuntime) -> None:
    execution = await runtime.start(place, ORDER)
    await execution.signal("news", News("paid", "visa"))
    await execution.signal("news", News("picked_up"))
    assert (await execution.result()).state == "shipped"
