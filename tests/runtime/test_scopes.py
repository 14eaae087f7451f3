"""Scopes: what encloses a step is part of its path, in each task by itself."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import anyio
import pytest

from intendant import Context, DuplicateStep, ExecutionFailed, InvalidIntent, Realm, Runtime, Shutdown, Step
from intendant.domain.ports import Store
from intendant.domain.replay import World
from intendant.testing import context

pytestmark = pytest.mark.anyio

Audit = Callable[[Store], Awaitable[World]]
MakeRuntime = Callable[..., Runtime]
SOON = timedelta(milliseconds=5)


async def paths(running: Runtime, execution: str) -> set[str]:
    found = (await running.wal.query("acme", execution=execution, limit=1_000)).items
    return {each.payload["path"] for each in found if each.type in ("step_completed", "step_failed", "timer_set")}


async def test_a_function_that_is_used_twice_is_told_apart_also_at_a_resume(
    runtime: MakeRuntime, hot: Store, audit: Audit
) -> None:
    realm, ran, keys, lives = Realm("shop"), list[str](), list[str](), 0
    at_gate = anyio.Event()

    async def render(step: Step, text: str) -> str:
        ran.append(text)
        keys.append(step.idempotency_key)
        return text.upper()

    async def send(ctx: Context, text: str) -> str:
        body = await ctx.step("render", render, text) + " mail"
        await ctx.sleep(SOON)
        with ctx.scope("mail"):
            return await ctx.step("render", render, body)

    @realm.handler
    async def place(ctx: Context, nothing: dict[str, Any]) -> list[str]:
        nonlocal lives
        lives += 1
        found: list[str] = []
        for order in ("a", "b"):
            with ctx.scope("invoice", key=order):
                found.append(await send(ctx, order))
        found.append(await ctx.step("render", render, "outside"))
        found.append(await ctx.step("invoice", render, "named as a scope"))
        if lives == 1:
            at_gate.set()
            await anyio.sleep_forever()
        return found

    async with runtime(realm, shutdown=Shutdown(drain=0)) as running:
        session = await running.open_session("acme", "desk-1")
        execution = await session.submit("shop.place", {})
        with anyio.fail_after(10):
            await at_gate.wait()
    before = list(ran)
    async with runtime(realm) as running:
        result = await running.execution("acme", execution.id).result(timeout=10)
        assert await paths(running, execution.id) == {
            *(f"invoice[{order}]/{rest}" for order in "ab" for rest in ("render", "sleep()", "mail/render")),
            "render",
            "invoice",
        }
        await audit(hot)
    assert result == ["A MAIL", "B MAIL", "OUTSIDE", "NAMED AS A SCOPE"]
    assert ran == before == ["a", "A mail", "b", "B mail", "outside", "named as a scope"]
    assert keys[1] == f"{execution.id}/invoice[a]/mail/render"


async def test_tasks_side_by_side_are_in_scopes_of_their_own(runtime: MakeRuntime, hot: Store, audit: Audit) -> None:
    realm = Realm("shop")

    async def half(number: int) -> float:
        await anyio.sleep(0.001 * (number % 3))
        return number / 2

    @realm.handler
    async def place(ctx: Context, nothing: dict[str, Any]) -> list[float]:
        found: dict[str, list[float]] = {}

        async def one(key: str) -> None:
            with ctx.scope("part", key=key):
                first = await ctx.step("half", half, len(key))
                found[key] = [first, *await ctx.map("each", half, range(4), limit=2)]

        with ctx.scope("all"):
            async with anyio.create_task_group() as group:
                for key in ("a", "bb", "ccc"):
                    group.start_soon(one, key)
            await ctx.step("half", half, 1)
        return [sum(found[key]) for key in sorted(found)]

    async with runtime(realm) as running:
        session = await running.open_session("acme", "desk-1")
        execution = await session.submit("shop.place", {})
        assert await execution.result(timeout=10) == [3.5, 4.0, 4.5]
        each = [*(f"each[{number}]" for number in range(4)), "half"]
        expected = {f"all/part[{key}]/{name}" for key in ("a", "bb", "ccc") for name in each}
        assert await paths(running, execution.id) == {"all/half", *expected}
        await audit(hot)


async def test_what_is_left_behind_is_in_no_scope(runtime: MakeRuntime) -> None:
    """A pooled task that a handler has used runs the next one."""
    realm = Realm("shop")

    @realm.handler
    async def leave(ctx: Context, nothing: dict[str, Any]) -> None:
        ctx.scope("never", key="left").__enter__()
        raise ValueError("as told")

    @realm.handler
    async def place(ctx: Context, nothing: dict[str, Any]) -> str:
        return await ctx.step("key", idempotency_key)

    async def idempotency_key(step: Step) -> str:
        return step.idempotency_key

    async with runtime(realm) as running:
        session = await running.open_session("acme", "desk-1")
        for _ in range(3):
            with pytest.raises(ExecutionFailed, match="as told"):
                await (await session.submit("shop.leave", {})).result(timeout=10)
            execution = await session.submit("shop.place", {})
            assert await execution.result(timeout=10) == f"{execution.id}/key"


async def test_rules_of_scopes() -> None:
    ctx = context(steps={"outer/inner[1]/step": 7})
    with ctx.scope("outer"):
        with ctx.scope("inner", key="1"):
            assert await ctx.step("step", int) == 7
            with pytest.raises(DuplicateStep, match=r"ctx.step\('step', ..., key=item_id\), or `with ctx.scope"):
                await ctx.step("step", int)
        with pytest.raises(DuplicateStep, match=r"ctx.scope\('inner', key=item_id\)"), ctx.scope("inner", key="1"):
            raise AssertionError
        with pytest.raises(LookupError), ctx.scope("failing"):
            raise LookupError
        await ctx.step("inner", int)
    for name in ("", "a/b", "a[b]", 5):
        with pytest.raises(InvalidIntent, match="scope name"), ctx.scope(name):  # type: ignore[arg-type]
            raise AssertionError
    assert list(ctx.recorded.steps) == ["outer/inner[1]/step", "outer/inner"]
