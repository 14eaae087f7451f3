"""Hot and cold over every hot store there is: history leaves it, and is read as before."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta
from functools import partial
from typing import Any

import anyio
import pytest

from intendant import Context, Event, Realm, Retention, Runtime
from intendant.actors import retention
from intendant.adapters.memory import MemoryColdStore
from intendant.domain import state as states
from intendant.domain.ports import Store
from intendant.domain.records import SYSTEM_TENANT
from intendant.runtime.audit import audit

pytestmark = [pytest.mark.anyio, pytest.mark.in_turn]
COUNT = 120
shop = Realm("shop")


@shop.handler
async def sell(ctx: Context, order: dict[str, Any]) -> dict[str, Any]:
    ctx.emit("sold", order)
    return order


async def nothing(event: Event) -> None:
    """Publish nowhere."""


async def every(page: Callable[..., Awaitable[Any]]) -> list[Any]:
    found: list[Any] = []
    cursor: str | None = None
    while True:
        answer = await page(cursor=cursor)
        found += answer.items
        cursor = answer.cursor
        if cursor is None:
            return found


async def test_history_leaves_the_hot_store_and_is_read_as_before(
    hot: Store, eventually: Callable[..., Awaitable[None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "EVERY", 0.05)
    cold = MemoryColdStore()
    options: dict[str, Any] = {"hot": hot, "cold": cold, "publisher": nothing}
    limits = Retention(hot=timedelta(0), total=timedelta(days=1))
    async with Runtime([shop], retention=Retention(), **options) as runtime:
        sessions = [await runtime.open_session(tenant, f"s{n}") for tenant in ("acme", "beta") for n in range(3)]
        async with anyio.create_task_group() as group:
            for number in range(COUNT):
                group.start_soon(_sell, runtime, sessions[number % 6], number)

        async def is_archived() -> bool:
            return runtime.stats().lag == 0 and not (await runtime.outbox.pending("acme")).items

        await eventually(is_archived)
        before = [await _answers(runtime, tenant) for tenant in ("acme", "beta")]
    async with Runtime([shop], retention=limits, **options) as runtime:
        log = hot.log(0)

        async def has_left() -> bool:
            left = [await log.documents(tenant, states.EXECUTIONS) for tenant in ("acme", "beta")]
            entries = [await log.entries(tenant, last=100) for tenant in ("acme", "beta", SYSTEM_TENANT)]
            return not any(left) and not any(entries)

        await eventually(has_left)
        after = [await _answers(runtime, tenant) for tenant in ("acme", "beta")]
        assert [{name: each[name] for name in before[0]} for each in after] == before
        late = await runtime.session("acme", "s0").submit("shop.sell", {"n": 0}, idempotency_key="k0")
        assert await late.result() == {"n": 0}, "a key holds as long as its execution is kept anywhere"
        assert (await log.documents("acme", states.SESSIONS, limit=10))[0].key == "s0"
    await hot.open()
    found = await audit(hot.log(0))
    assert found.sound, [str(each) for each in found.findings]
    await hot.close()


async def _sell(runtime: Runtime, session: Any, number: int) -> None:
    execution = await session.submit("shop.sell", {"n": number}, idempotency_key=f"k{number}")
    await execution.result()
    if number % 10 == 0:
        await runtime.state.set_execution(session.tenant, execution.id, {"seen": number})


async def _answers(runtime: Runtime, tenant: str) -> dict[str, list[Any]]:
    query = partial(runtime.wal.query, tenant, limit=200)
    return {
        "executions": await every(partial(runtime.executions, tenant, limit=40)),
        "data": await every(partial(runtime.state.execution_data, tenant, limit=7)),
        "intents": await every(partial(query, type="intent_received")),
        "ends": await every(partial(query, type="execution_completed", newest_first=False)),
        "session": await every(partial(query, session="s1")),
    }
