"""What an execution costs in commits: acceptance and end; a step is one more, with an undo two, a sleep two.

Events and chance cost none.
"""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import anyio
import pytest

from intendant import Context, Event, Intent, Limits, Realm, Runtime, Status, Step, UnknownQuery
from intendant.domain.ports import Store
from intendant.domain.replay import World

pytestmark = pytest.mark.anyio

shop = Realm("shop")


@shop.handler
async def nothing(ctx: Context, order: dict[str, Any]) -> None: ...


@shop.handler
async def free_things(ctx: Context, order: dict[str, Any]) -> float:
    for number in range(20):
        ctx.emit("happened", number)
        ctx.artifact("newest", number)
    ctx.now()
    ctx.logger.info("free")
    return ctx.random.random()


@shop.handler
async def steps(ctx: Context, order: dict[str, int]) -> None:
    for number in range(order["steps"]):
        await ctx.step("step", one, key=str(number))
        ctx.emit("stepped", number)


@shop.handler
async def sleep(ctx: Context, order: dict[str, int]) -> None:
    ctx.emit("sleeps")
    for number in range(order["sleeps"]):
        await ctx.sleep(timedelta(milliseconds=1), key=str(number))


@shop.handler
async def wait(ctx: Context, order: dict[str, Any]) -> None:
    await ctx.wait_signal("go", timeout=timedelta(milliseconds=order["limit"]))


@shop.handler
async def saga(ctx: Context, order: dict[str, Any]) -> None:
    async with ctx.saga("all") as all:
        ctx.emit("begins")
        for number in range(order["steps"]):
            await all.step("step", one, undo=undo if order["undoable"] else None, key=str(number))
        if order["fails"]:
            raise ValueError("no")


@shop.handler
async def fail(ctx: Context, order: dict[str, Any]) -> None:
    raise ValueError("no")


def drop(event: Event) -> None: ...


async def one() -> int:
    return 1


async def undo(step: Step, result: int | None) -> None: ...


@pytest.mark.parametrize(
    ("type", "parameters", "commits", "records"),
    [
        ("shop.nothing", {"a": 1}, 2, 3),
        ("shop.free_things", {"a": 1}, 2, 3),
        ("shop.fail", {"a": 1}, 2, 3),
        ("shop.steps", {"steps": 1}, 3, 4),
        ("shop.steps", {"steps": 5}, 7, 8),
        ("shop.sleep", {"sleeps": 1}, 4, 5),
        ("shop.sleep", {"sleeps": 3}, 8, 9),
        ("shop.wait", {"limit": 1}, 4, 5),
        ("shop.saga", {"steps": 0, "undoable": True, "fails": False}, 2, 3),
        ("shop.saga", {"steps": 3, "undoable": False, "fails": False}, 5, 6),
        ("shop.saga", {"steps": 3, "undoable": True, "fails": False}, 8, 9),  # each undo is noted before its step
        ("shop.saga", {"steps": 3, "undoable": True, "fails": True}, 13, 14),  # failed, three undos, undone
        ("shop.unheard_of", {"a": 1}, 2, 2),
    ],
)
async def test_commits_and_records_of_an_execution(
    runtime: Callable[..., Runtime], type: str, parameters: dict[str, int], commits: int, records: int
) -> None:
    async with runtime(shop) as running:
        session = await running.open_session("acme", "desk-1")
        before = running.stats()
        await (await session.submit(type, parameters)).outcome(timeout=10)
        after = running.stats()
        assert (after.commits - before.commits, after.records - before.records) == (commits, records)


async def test_a_signal_is_a_commit_and_a_wait_is_one(runtime: Callable[..., Runtime]) -> None:
    """Whichever comes first; queries, and that the handler waits, cost none."""
    async with runtime(shop, limits=Limits(resident=0)) as running:
        session = await running.open_session("acme", "desk-1")
        before = running.stats()
        execution = await session.submit(wait, {"limit": 3_600_000})
        while await execution.status() is not Status.WAITING:  # noqa: ASYNC110
            await anyio.sleep(0.001)
        with pytest.raises(UnknownQuery):
            await execution.query("anything")
        await execution.signal("other", id="unwanted")
        await execution.signal("go")
        await execution.outcome(timeout=10)
        after = running.stats()
        assert after.records - before.records == 6  # accepted, started, waits, two signals, end
        assert after.commits - before.commits <= 5


async def test_commits_of_sessions_keys_and_lists(runtime: Callable[..., Runtime]) -> None:
    async with runtime(shop) as running:
        first = running.stats().commits
        session = await running.open_session("acme", "desk-1")
        assert running.stats().commits == first + 1
        await running.open_session("acme", "desk-1")
        execution = await session.submit(nothing, {"a": 1}, idempotency_key="k")
        await execution.outcome(timeout=10)
        before = running.stats().commits
        again = await session.submit(nothing, {"a": 1}, idempotency_key="k")
        await again.outcome(timeout=10)
        await again.view()
        await running.executions("acme")
        await running.wal.query("acme")
        await running.outbox.pending("acme")
        assert running.stats().commits == before


async def test_many_at_once_share_batches(
    runtime: Callable[..., Runtime], hot: Store, audit: Callable[[Store], Awaitable[World]]
) -> None:
    async with runtime(shop) as running:
        session = await running.open_session("acme", "desk-1")
        before = running.stats().commits
        executions = await session.submit_many([Intent(nothing, {"a": place}) for place in range(200)])
        assert running.stats().commits == before + 1
        async for _ in running.wait(executions, timeout=10):
            pass
        assert running.stats().commits - before < 100
        await audit(hot)


async def test_a_relay_round_is_one_record(
    runtime: Callable[..., Runtime], eventually: Callable[[Callable[[], Awaitable[bool]]], Awaitable[None]]
) -> None:
    async with runtime(shop, publisher=drop) as running:
        session = await running.open_session("acme", "desk-1")
        before = running.stats()
        await (await session.submit(free_things, {"a": 1})).outcome(timeout=10)

        async def published() -> bool:
            return running.stats().published == 20

        await eventually(published)
        assert (running.stats().commits - before.commits, running.stats().records - before.records) == (3, 4)
