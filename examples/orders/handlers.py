"""The work of the shop: one handler, its steps, and what undoes them. Nothing here knows of HTTP, files or processes.

reserved ── paid? ── charged ── parcel ready ── picked up? ── shipped
              │                                    │
              └── unpaid, withdrawn ───────────────┴── withdrawn, lost: the saga undoes what was done
"""

from __future__ import annotations

import itertools
from datetime import timedelta
from typing import Literal

from msgspec import Struct

from examples.orders.world import Entry, Ledger
from intendant import Context, Realm, Retry, Step, StepFailed

REMIND_AFTER = timedelta(days=1)
PAY_WITHIN = timedelta(days=3)
PICK_UP_WITHIN = timedelta(days=7)
PRICE = 4

orders = Realm("orders")
ledger = Ledger()


# --- what is said

State = Literal["shipped", "sold_out", "declined", "unpaid", "withdrawn", "lost"]


class Order(Struct):
    """What a customer wants."""

    number: str
    item: str
    pieces: int


class News(Struct):
    """What somebody tells an order: the customer paid, or wants it no more; the carrier has the parcel."""

    kind: Literal["paid", "withdrawn", "picked_up"]
    card: str = ""


class Receipt(Struct):
    """How an order ended."""

    order: str
    state: State
    euros: int = 0


# --- steps, and what undoes them


class SoldOut(Exception):
    """There are not as many pieces; trying again would not help."""


class Declined(Exception):
    """The bank says no; trying again would not help."""


PATIENT = Retry(attempts=5, initial=timedelta(milliseconds=200), never=(SoldOut, Declined))


async def reserve(step: Step, order: Order) -> None:
    """Take the pieces from the shelves, under a key that is the same at every attempt."""
    if step.idempotency_key not in ledger.entries and ledger.free(order.item) < order.pieces:
        raise SoldOut(f"{ledger.free(order.item)} {order.item} left")
    ledger.book(Entry(step.idempotency_key, "reserved", order.number, order.item, pieces=order.pieces))


async def release(step: Step, reserved: None, order: Order) -> None:
    """Put them back. `step.undoes` is the key they were taken under, should that have come to pass."""
    ledger.reverse(step.idempotency_key, step.undoes, "released")


async def charge(step: Step, order: Order, card: str) -> int:
    """Take the money."""
    if card == "stolen":
        raise Declined(f"card {card!r}")
    euros = PRICE * order.pieces
    ledger.book(Entry(step.idempotency_key, "charged", order.number, euros=euros))
    return euros


async def refund(step: Step, euros: int | None, order: Order, card: str) -> None:
    """Give it back; also when the process died before it was recorded how much it was."""
    ledger.reverse(step.idempotency_key, step.undoes, "refunded")


async def pack(step: Step, order: Order) -> None:
    """Make a parcel, and let the carrier know."""
    ledger.book(Entry(step.idempotency_key, "packed", order.number))


async def unpack(step: Step, packed: None, order: Order) -> None:
    """The carrier need not come."""
    ledger.reverse(step.idempotency_key, step.undoes, "unpacked")


# --- the order

REFUSALS: dict[str, State] = {"SoldOut": "sold_out", "Declined": "declined"}


class GivenUp(Exception):
    """Why an order is not to go on. Raised inside of the saga, it makes it undo."""

    def __init__(self, state: State) -> None:
        super().__init__(state)
        self.state: State = state


@orders.handler
async def place(ctx: Context, order: Order) -> Receipt:
    """An order from the shelves to the carrier. It may take a week, and as many restarts."""
    stage = "reserving"
    ctx.on_query("stage", lambda: stage)
    try:
        async with ctx.saga("order") as saga:
            await saga.step("reserve", reserve, order, retry=PATIENT, undo=release)
            stage = "waiting for payment"
            card = await payment(ctx, order)
            stage = "charging"
            euros = await saga.step("charge", charge, order, card, retry=PATIENT, undo=refund)
            await saga.step("pack", pack, order, retry=PATIENT, undo=unpack)
            stage = "waiting for the carrier"
            await pick_up(ctx)
    except GivenUp as reason:
        receipt = Receipt(order.number, reason.state)
    except StepFailed as error:
        if error.kind not in REFUSALS:
            raise
        receipt = Receipt(order.number, REFUSALS[error.kind])
    else:
        receipt = Receipt(order.number, "shipped", euros)
    ctx.emit(f"order.{receipt.state}", {"order": order.number})
    return receipt


async def payment(ctx: Context, order: Order) -> str:
    """The card to charge. Whoever says nothing for a day is reminded; after three, the order is given up."""
    try:
        return (await hear(ctx, "paid", within=REMIND_AFTER)).card
    except TimeoutError:
        ctx.emit("order.reminder", {"order": order.number})
    try:
        return (await hear(ctx, "paid", within=PAY_WITHIN - REMIND_AFTER, key="reminded")).card
    except TimeoutError:
        raise GivenUp("unpaid") from None


async def pick_up(ctx: Context) -> None:
    """The parcel is the carrier's; from here on nothing can be undone."""
    try:
        await hear(ctx, "picked_up", within=PICK_UP_WITHIN)
    except TimeoutError:
        raise GivenUp("lost") from None


async def hear(ctx: Context, kind: str, *, within: timedelta, key: str | None = None) -> News:
    """The next news of this kind. A withdrawal ends the order; what is out of place, a second payment, is let go."""
    until = ctx.now() + within
    with ctx.scope(kind, key=key):
        for number in itertools.count(1):
            left = max(until - ctx.now(), timedelta())
            news = await ctx.wait_signal("news", type=News, timeout=left, key=str(number))
            if news.kind == "withdrawn":
                raise GivenUp("withdrawn")
            if news.kind == kind:
                return news
    raise AssertionError("it counts for ever")
