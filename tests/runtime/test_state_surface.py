"""What is tracked, with the user's own documents beside it; lists by page."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any

import pytest

from intendant import Context, ExecutionView, FileReference, Realm, Runtime, Status
from intendant.domain.ports import Store
from intendant.domain.replay import World

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
    if order["count"] % 2:
        raise ValueError("odd")
    return order["count"]


@shop.handler
async def other(ctx: Context, order: dict[str, int]) -> None: ...


async def test_own_documents_lie_beside_what_is_tracked_and_survive_a_restart(runtime: Callable[..., Runtime]) -> None:
    async with runtime(shop) as running:
        session = await running.open_session("acme", "desk-1", user_id="ada")
        execution = await session.submit(order, {"count": 2})
        await running.state.set_execution("acme", execution.id, {"status": "mine"})
        await running.state.set_session("acme", "desk-1", {"mood": "fine"})
        await execution.result(timeout=10)
    async with runtime(shop) as running:
        view = await running.state.execution("acme", execution.id)
        assert view is not None
        assert (view.status, view.result, view.data, view.tracked) == (Status.COMPLETED, 2, {"status": "mine"}, True)
        session_view = await running.session("acme", "desk-1").view()
        assert (session_view.user_id, session_view.data) == ("ada", {"mood": "fine"})


async def test_document_under_an_id_that_nothing_has_is_not_tracked(runtime: Callable[..., Runtime]) -> None:
    async with runtime(shop) as running:
        await running.state.set_session("acme", "later", {"a": 1})
        await running.state.set_execution("acme", "later", {"a": 1})
        session, execution = (
            await running.state.session("acme", "later"),
            await running.state.execution("acme", "later"),
        )
        assert session is not None
        assert execution is not None
        assert (session.tracked, session.created_at, session.data) == (False, None, {"a": 1})
        assert (execution.tracked, execution.status, execution.data) == (False, None, {"a": 1})
        assert (await running.sessions("acme")).items == []
        opened = await running.open_session("acme", "later")
        assert (await opened.view()).tracked


async def test_documents_are_recorded_commands(
    runtime: Callable[..., Runtime], hot: Store, audit: Callable[[Store], Awaitable[World]]
) -> None:
    async with runtime(shop) as running:
        await running.state.set_session("acme", "desk-1", {"a": 1})
        await running.state.set_session("acme", "desk-1", {"a": 2})
        assert len(await running.wal.query("acme", type="state_set")) == 2
        assert ("acme", "session_data", "desk-1") in (await audit(hot)).documents


async def test_files_are_replaced_and_each_tenant_has_its_own(runtime: Callable[..., Runtime]) -> None:
    async with runtime(shop) as running:
        for location in ("s3://a", "s3://b"):
            await running.state.set_file(FileReference("scan", "acme", "desk-1", location, "scan.pdf"))
        await running.state.set_file(FileReference("scan", "bolt", "desk-1", "s3://c", "scan.pdf"))
        acme, bolt = await running.state.file("acme", "scan"), await running.state.file("bolt", "scan")
        assert acme is not None
        assert bolt is not None
        assert (acme.location, bolt.location) == ("s3://b", "s3://c")


async def test_executions_are_listed_newest_first_and_filtered(runtime: Callable[..., Runtime]) -> None:
    clock = SetClock()
    async with runtime(shop, clock=clock) as running:
        ids: list[str] = []
        for day in range(6):
            clock.time = MORNING + timedelta(days=day)
            session = await running.open_session("acme", f"desk-{day % 2}", solution="books" if day < 2 else "films")
            execution = await session.submit(order, {"count": day})
            await execution.outcome(timeout=10)
            ids.append(execution.id)
        await (await (await running.open_session("bolt")).submit(other, {"count": 0})).outcome(timeout=10)

        async def found(**filters: Any) -> list[int]:
            return [ids.index(view.id) for view in await running.executions("acme", **filters)]

        assert await found() == [5, 4, 3, 2, 1, 0]
        assert await found(status="failed") == [5, 3, 1]
        assert await found(status=Status.COMPLETED, session="desk-0") == [4, 2, 0]
        assert await found(session="desk-1", status="completed") == []
        assert await found(type="shop.other") == []
        assert await found(solution="books") == [5, 4, 3, 2, 1, 0]
        assert await found(since=MORNING + timedelta(days=4)) == [5, 4]
        assert await found(limit=2) == [5, 4]


async def test_pages_of_executions_are_complete_and_hold_nothing_twice(runtime: Callable[..., Runtime]) -> None:
    async with runtime(shop) as running:
        session = await running.open_session("acme", "desk-1")
        for count in range(8):
            await (await session.submit(order, {"count": count})).outcome(timeout=10)
        for (status, many), limit in product(((None, 8), ("failed", 4)), (1, 2, 5, 100)):
            whole = (await running.executions("acme", status=status)).items
            paged: list[ExecutionView] = []
            cursor = None
            while True:
                page = await running.executions("acme", limit=limit, cursor=cursor, status=status)
                paged += page.items
                cursor = page.cursor
                if cursor is None:
                    break
            assert paged == whole, (status, limit)
            assert len(whole) == many
