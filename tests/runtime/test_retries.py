"""Retries of executions that failed, and the list of tenants."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from intendant import Context, InvalidIntent, Realm, Runtime, Status, UnknownExecution

pytestmark = pytest.mark.anyio


async def test_what_failed_runs_once_more_as_a_new_execution(runtime: Callable[..., Runtime]) -> None:
    shop = Realm("shop")
    broken = {"till"}
    steps: list[str] = []

    @shop.handler
    async def sell(ctx: Context, order: dict[str, Any]) -> str:
        await ctx.step("price", lambda: steps.append("price"))
        if broken:
            raise LookupError("the till is broken")
        return str(order["item"])

    async with runtime(shop) as running:
        desk = await running.open_session("acme", "desk")
        options: dict[str, Any] = {"metadata": {"by": "ada"}, "solution": "web", "priority": 7}
        first = await desk.submit(sell, {"item": "tea"}, idempotency_key="order-1", **options)
        assert (await first.outcome()).status is Status.FAILED
        broken.clear()
        again = await first.retry()
        assert again.id != first.id
        assert await again.result() == "tea"
        assert steps == ["price", "price"], "nothing comes along"
        assert (await first.retry()).id == again.id, "a repetition is the same retry"
        view, origin = await again.view(), await first.view()
        assert (view.session, view.metadata, view.solution) == ("desk", {"by": "ada"}, "web")
        assert (origin.status, origin.key, view.key) == (Status.FAILED, "order-1", f"{first.id}:retry")
        with pytest.raises(InvalidIntent, match="submit its intent anew"):
            await again.retry()
        other = await first.retry(idempotency_key="by-hand")
        assert other.id not in (first.id, again.id)
        with pytest.raises(UnknownExecution):
            await running.execution("bolt", first.id).retry()


async def test_what_is_open_is_not_retried_and_what_was_cancelled_is(runtime: Callable[..., Runtime]) -> None:
    shop = Realm("shop")

    @shop.handler
    async def hold(ctx: Context, _order: dict[str, Any]) -> None:
        await ctx.wait_signal("go")

    async with runtime(shop) as running:
        held = await (await running.open_session("acme", "desk")).submit("shop.hold", {})
        with pytest.raises(InvalidIntent, match="not ended"):
            await held.retry()
        await held.cancel()
        assert (await held.outcome()).status is Status.CANCELLED
        again = await held.retry()
        await again.signal("go")
        assert (await again.outcome()).success


async def test_tenants_are_listed_by_page(runtime: Callable[..., Runtime]) -> None:
    async with runtime() as running:
        for tenant in ("bolt", "acme", "corp"):
            await running.open_session(tenant, "desk")
        first = await running.tenants(limit=2)
        assert [each.id for each in first] == ["acme", "bolt"]
        rest = await running.tenants(limit=2, cursor=first.cursor)
        assert ([each.id for each in rest], rest.cursor) == (["corp"], None)
        with pytest.raises(InvalidIntent):
            await running.tenants(limit=0)
