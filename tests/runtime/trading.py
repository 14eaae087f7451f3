"""A scenario for audits: a shop, what its callers were told, and a forger of its log."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import anyio
import anyio.lowlevel
from msgspec import Struct

from intendant import Context, Outcome, Realm, Runtime, Shutdown
from intendant.adapters.memory import MemoryStore
from intendant.adapters.memory.partition import Entries
from intendant.domain.ports import Store
from intendant.domain.records import LogRecord, Record, decode_entry, encode_entry
from intendant.runtime.audit import Audit, Told, audit

shop = Realm("shop")


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


@shop.handler
async def deliver(ctx: Context, order: Order) -> None:
    """Waits for two things at a time, and was sent a third."""

    async def wait(name: str) -> None:
        await ctx.wait_signal(name, timeout=timedelta(days=1))

    async with anyio.create_task_group() as group:
        for name in ("packed", "paid"):
            group.start_soon(wait, name)


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


async def wait_for_delivery(store: Store) -> str:
    """One execution that stays open, with two timers, and a signal that nobody has waited for. Its id."""
    async with Runtime([shop], hot=store, shutdown=Shutdown(drain=0.0)) as runtime:
        session = await runtime.open_session("acme", "desk")
        execution = await session.submit(deliver, Order(1), idempotency_key="delivery")
        await execution.signal("lost", "letter", id="letter-1")
        while len((await runtime.wal.query("acme", type="timer_set")).items) < 2:
            await anyio.lowlevel.checkpoint()
    return execution.id


async def audited(store: Store, told: Told | None = None, *, all_ended: bool = False) -> Audit:
    await store.open()
    try:
        return await audit(store.log(0), told, all_ended=all_ended)
    finally:
        await store.close()


def counts(found: Audit) -> dict[str, int]:
    kinds = ("lost", "duplicated", "broken", "diverged")
    return {kind: getattr(found, kind) for kind in kinds if getattr(found, kind)}


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
