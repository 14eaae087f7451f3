"""Plain functions of steps run in threads of their realm: one whose threads all hang holds no other one up."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import anyio
import pytest

from intendant import Context, Realm, Runtime

pytestmark = pytest.mark.anyio

MakeRuntime = Callable[..., Runtime]


async def test_blocked_threads_of_one_realm_starve_no_other(runtime: MakeRuntime) -> None:
    go, hung, shop = threading.Event(), Realm("hung", threads=2), Realm("shop", threads=1)
    blocked, most = 0, 0

    def block() -> None:
        nonlocal blocked, most
        blocked += 1
        most = max(most, blocked)
        go.wait(20)
        blocked -= 1

    @hung.handler
    async def wait(ctx: Context, nothing: dict[str, Any]) -> None:
        await ctx.step("block", block)

    @shop.handler
    async def quick(ctx: Context, nothing: dict[str, Any]) -> int:
        return await ctx.step("ident", threading.get_ident)

    async with runtime(hung, shop) as running:
        session = await running.open_session("acme", "desk-1")
        waiting = [await session.submit("hung.wait", {}) for _ in range(5)]
        with anyio.fail_after(10):
            while blocked < 2:  # noqa: ASYNC110  a thread announces nothing
                await anyio.sleep(0.001)
        try:
            assert await (await session.submit("shop.quick", {})).result(timeout=10) != threading.get_ident()
            assert most == 2
        finally:
            go.set()
        for execution in waiting:
            await execution.result(timeout=10)
        assert most == 2


@pytest.mark.parametrize("threads", [0, -1, 10_001, True, 2.5, "4", None])
def test_what_is_no_number_of_threads_is_refused(threads: Any) -> None:
    with pytest.raises(ValueError, match="threads must be a whole number from 1 to 10,000, not"):
        Realm("shop", threads=threads)


def test_one_name_for_two_realms_is_one_realm_with_the_larger_number() -> None:
    from intendant.realm import Repertoire

    assert Repertoire([Realm("a", threads=3), Realm("b"), Realm("a", threads=2)]).threads == {"a": 3, "b": 40}
