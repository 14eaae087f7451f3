"""Executions that crash until their restart budget is spent, in virtual time."""

from typing import Any

import anyio
import pytest

from intendant import Context, ExecutionCancelled, Failure, Realm, Runtime, Status
from intendant.actors.execution import ExecutionActor
from intendant.adapters.memory import MemoryStore
from intendant.testing.clock import virtual_backend

pytestmark = pytest.mark.anyio
shop = Realm("shop")


@shop.handler
async def crash(ctx: Context, nothing: dict[str, Any]) -> None:
    raise SystemExit(3)


@shop.handler
async def crash_late(ctx: Context, nothing: dict[str, Any]) -> None:
    try:
        await anyio.sleep_forever()
    finally:
        raise SystemExit(4)


@shop.handler
async def greet(ctx: Context, nothing: dict[str, Any]) -> str:
    return "hello"


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    return virtual_backend(request.param)


async def test_it_ends_failed_with_what_crashed_it() -> None:
    async with Runtime([shop], hot=MemoryStore()) as running:
        session = await running.open_session("acme", "desk-1")
        outcome = await (await session.submit("shop.crash", {})).outcome(timeout=60)
        assert outcome.status is Status.FAILED
        assert outcome.error is not None
        assert outcome.error.code == "crashed"
        assert "SystemExit(3)" in outcome.error.message


async def test_one_that_crashes_in_its_clean_up_ends_cancelled() -> None:
    async with Runtime([shop], hot=MemoryStore()) as running:
        session = await running.open_session("acme", "desk-1")
        execution = await session.submit("shop.crash_late", {})
        await execution.cancel()
        outcome = await execution.outcome(timeout=60)
        assert outcome.status is Status.CANCELLED
        assert outcome.error is not None
        assert outcome.error.code == "crashed"
        with pytest.raises(ExecutionCancelled, match=r"cancelled: crashed: .*SystemExit\(4\)"):
            await execution.result()


async def test_one_that_can_not_even_be_ended_stays_open_and_gives_its_place_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def fail(actor: ExecutionActor, failure: Failure) -> None:
        raise LookupError("as told")

    store = MemoryStore()
    with monkeypatch.context() as patch:
        patch.setattr(ExecutionActor, "condemn", fail)
        async with Runtime([shop], hot=store) as running:
            session = await running.open_session("acme", "desk-1")
            execution = await session.submit("shop.crash", {}, idempotency_key="k")
            with pytest.raises(TimeoutError):
                await execution.outcome(timeout=60)
            assert (running.stats().open, running.stats().running) == (1, 0)
            assert await (await session.submit("shop.greet", {})).result(timeout=5) == "hello"
    async with Runtime([shop], hot=store) as running:
        again = await running.session("acme", "desk-1").submit("shop.crash", {}, idempotency_key="k")
        assert again.id == execution.id
        with anyio.fail_after(60):
            assert (await again.outcome()).status is Status.FAILED
