"""Cancels at any moment, over restarts: everything ends, and what callers were told is so."""

from datetime import timedelta
from random import Random
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from intendant import CancelResult, Context, Limits, Realm, Retry, Runtime, Shutdown, Status
from intendant.adapters.memory import MemoryStore
from intendant.runtime.audit import audit

pytestmark = pytest.mark.anyio

SOON = timedelta(milliseconds=2)
realm = Realm("any")


async def give(value: int) -> int:
    await anyio.lowlevel.checkpoint()
    return value


@realm.handler(retry=Retry(attempts=3, initial=SOON))
async def work(ctx: Context, given: dict[str, str]) -> int:
    kind, total = given["kind"], 0
    try:
        for number in range(3):
            total += await ctx.step("part", give, number, key=str(number))
            if kind == "sleeps":
                await ctx.sleep(SOON, key=str(number))
        if kind == "maps":
            total += sum(await ctx.map("each", give, range(5), limit=2))
        if kind == "fails":
            raise ValueError("as asked")
        return total
    finally:
        await ctx.step("clean", give, 1)


async def play(running: Runtime, random: Random, life: int, told: dict[str, CancelResult]) -> None:
    session = await running.open_session("acme", "desk-1")

    async def one(number: int) -> None:
        kind = random.choice(["steps", "sleeps", "maps", "fails"])
        execution = await session.submit("any.work", {"kind": kind}, idempotency_key=f"{life}-{number}")
        for _ in range(random.randrange(60)):
            await anyio.lowlevel.checkpoint()
        if random.random() < 0.7:
            told[execution.id] = await execution.cancel()

    with anyio.move_on_after(0.02 + 0.2 * random.random()):
        async with anyio.create_task_group() as group:
            for number in range(60):
                group.start_soon(one, number)
    if random.random() < 0.3:
        told |= await session.cancel()


@pytest.mark.parametrize("resident", [0, 5])
async def test_all_end_as_their_cancels_were_told(resident: int) -> None:
    store, told, random = MemoryStore(), dict[str, CancelResult](), Random(resident)
    options: dict[str, Any] = {"hot": store, "limits": Limits(running=20, resident=resident)}
    for life in range(4):
        async with Runtime([realm], shutdown=Shutdown(drain=0), **options) as running:
            await play(running, random, life, told)
    async with Runtime([realm], **options) as running:
        ends: dict[str, Status] = {}
        with anyio.fail_after(30):
            for view in (await running.executions("acme", limit=1_000)).items:
                ends[view.id] = (await running.execution("acme", view.id).outcome()).status
    for execution, result in told.items():
        expected = "cancelled" if result is CancelResult.REQUESTED else result.value
        assert ends[execution] == expected
    await store.open()
    found = await audit(store.log(0), all_ended=True)
    await store.close()
    assert found.sound, found.findings
