"""Reading the log: filters, both directions, pages that are complete and hold nothing twice."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import product
from typing import Any

import pytest

from intendant import Context, InvalidIntent, LogRecord, Page, Realm, Runtime

pytestmark = pytest.mark.anyio

MORNING = datetime(2026, 3, 1, 8, tzinfo=UTC)


class SetClock:
    """A clock that stands until it is set."""

    def __init__(self) -> None:
        self.time = MORNING

    def now(self) -> int:
        return (self.time - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


shop = Realm("shop")


@shop.handler
async def order(ctx: Context, order: dict[str, int]) -> int:
    return await ctx.step("double", double, order["count"])


async def double(count: int) -> int:
    return 2 * count


async def fill(running: Runtime, clock: SetClock, days: int = 6) -> list[str]:
    """One execution a day, in turn for two sessions, each among another tenant's; their ids."""
    ids: list[str] = []
    for day in range(days):
        clock.time = MORNING + timedelta(days=day)
        for tenant in ("bolt", "acme"):
            session = await running.open_session(tenant, f"desk-{day % 2}")
            execution = await session.submit(order, {"count": day})
            await execution.result(timeout=10)
            if tenant == "acme":
                ids.append(execution.id)
    return ids


async def test_filters_by_type_session_and_execution(runtime: Callable[..., Runtime]) -> None:
    clock = SetClock()
    async with runtime(shop, clock=clock) as running:
        ids = await fill(running, clock)
        of_one = await running.wal.query("acme", execution=ids[2], newest_first=False)
        assert [each.type for each in of_one] == [
            "intent_received",
            "execution_started",
            "step_completed",
            "execution_completed",
        ]
        steps = await running.wal.query("acme", type="step_completed")
        assert [each.execution for each in steps] == ids[::-1]
        of_session = await running.wal.query("acme", session="desk-1", type="execution_completed")
        assert [each.execution for each in of_session] == ids[1::2][::-1]
        assert all(each.session == "desk-1" for each in of_session)
        assert len(await running.wal.query("acme", execution="ghost")) == 0
        assert len(await running.wal.query("bolt", execution=ids[0])) == 0


async def test_dates_include_the_first_moment_and_not_the_last(runtime: Callable[..., Runtime]) -> None:
    clock = SetClock()
    async with runtime(shop, clock=clock) as running:
        ids = await fill(running, clock)

        async def between(since: datetime | None, until: datetime | None) -> list[str]:
            page = await running.wal.query("acme", type="intent_received", since=since, until=until, newest_first=False)
            return [each.execution for each in page]

        day = [MORNING + timedelta(days=days) for days in range(6)]
        assert await between(day[2], day[4]) == ids[2:4]
        assert await between(day[2] + timedelta(microseconds=1), None) == ids[3:]
        assert await between(None, day[1]) == ids[:1]
        assert await between(day[4], day[2]) == []
        assert await between(day[5] + timedelta(days=1), None) == []


async def test_pages_are_complete_and_hold_nothing_twice(runtime: Callable[..., Runtime]) -> None:
    clock = SetClock()
    filters: list[dict[str, Any]] = [{}, {"type": "step_completed"}, {"session": "desk-0"}]
    async with runtime(shop, clock=clock) as running:
        await fill(running, clock, 4)
        for which, newest_first in product(filters, (True, False)):
            ask = partial(running.wal.query, "acme", newest_first=newest_first, **which)
            whole = (await ask(limit=1000)).items
            sequences = [each.sequence for each in whole]
            assert sequences == sorted(sequences, reverse=newest_first)
            assert len(whole) > 3
            for limit in (1, 3):
                assert await paged(ask, limit) == whole, (which, newest_first, limit)


async def paged(ask: Callable[..., Awaitable[Page[LogRecord]]], limit: int) -> list[LogRecord]:
    """What a query finds, page by page."""
    found: list[LogRecord] = []
    cursor = None
    while True:
        page = await ask(limit=limit, cursor=cursor)
        assert len(page) <= limit
        found += page.items
        cursor = page.cursor
        if cursor is None:
            return found


async def test_pages_do_not_shift_while_the_log_grows(runtime: Callable[..., Runtime]) -> None:
    clock = SetClock()
    async with runtime(shop, clock=clock) as running:
        await fill(running, clock, 2)
        first = await running.wal.query("acme", limit=3)
        await fill(running, clock, 2)
        second = await running.wal.query("acme", limit=100, cursor=first.cursor)
        sequences = [each.sequence for each in [*first, *second]]
        assert sequences == sorted(sequences, reverse=True)
        assert len(set(sequences)) == len(sequences)


async def test_more_records_than_one_read_takes(runtime: Callable[..., Runtime]) -> None:
    async with runtime() as running:
        for place in range(300):
            await running.state.set_execution("acme", "run", {"place": place})
        newest = await running.wal.query("acme", type="state_set", limit=1000)
        oldest = await running.wal.query("acme", type="state_set", limit=1000, newest_first=False)
        assert len(newest) == 300
        assert newest.items == oldest.items[::-1]


async def test_record_times_never_decrease_when_the_clock_goes_back(runtime: Callable[..., Runtime]) -> None:
    clock = SetClock()
    async with runtime(clock=clock) as running:
        for hours in (5, 1, 3, 0, 6):
            clock.time = MORNING + timedelta(hours=hours)
            await running.state.set_execution("acme", "run", {"hours": hours})
        times = [each.time for each in await running.wal.query("acme", newest_first=False)]
        assert times == sorted(times)
        assert len(set(times)) == 2


async def test_replay_folds_a_tenant_and_an_execution(runtime: Callable[..., Runtime]) -> None:
    clock = SetClock()
    async with runtime(shop, clock=clock) as running:
        ids = await fill(running, clock, 3)
        world = await running.wal.replay("acme")
        assert world.violations == []
        assert {id for _, id in world.executions} == set(ids)
        one = await running.wal.replay("acme", ids[1])
        assert one.violations == []
        assert set(one.executions) == {("acme", ids[1])}


async def test_tail_yields_what_was_and_what_comes(runtime: Callable[..., Runtime]) -> None:
    async with runtime(shop) as running:
        session = await running.open_session("acme", "desk-1")
        execution = await session.submit(order, {"count": 2})
        seen: list[str] = []
        async for record in running.wal.tail("acme", after=0):
            seen.append(record.type)
            if record.type == "execution_completed":
                break
        assert seen[0] == "session_created"
        assert await execution.result(timeout=10) == 4


async def test_tail_begins_behind_a_sequence(runtime: Callable[..., Runtime]) -> None:
    wrong: list[Any] = [-1, "7", True, 1.5]
    async with runtime() as running:
        for after in wrong:
            with pytest.raises(InvalidIntent, match="after"):
                running.wal.tail("acme", after=after)


UNFIT: list[tuple[str, dict[str, Any]]] = [
    ("type", {"type": "nothing_of_ours"}),
    ("limit", {"limit": 0}),
    ("limit", {"limit": -1}),
    ("limit", {"limit": 10_001}),
    ("limit", {"limit": "5"}),
    ("limit", {"limit": True}),
    ("cursor", {"cursor": "later"}),
    ("cursor", {"cursor": "-5"}),
    ("cursor", {"cursor": 7}),
    ("cursor", {"cursor": "9" * 40}),
    ("since", {"since": datetime(2026, 1, 1)}),
    ("until", {"until": "2026-01-01"}),
    ("execution", {"execution": "../up"}),
    ("session", {"session": ""}),
]


async def test_filters_that_can_not_be_are_named(runtime: Callable[..., Runtime]) -> None:
    async with runtime() as running:
        for field, filters in UNFIT:
            with pytest.raises(InvalidIntent) as raised:
                await running.wal.query("acme", **filters)
            assert raised.value.field == field
