"""Sagas in executions that are cancelled: undone whatever that takes, and the cancel passes on behind them."""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from intendant import Context, Realm, Retry, Runtime, SagaRecord, Shutdown, Status, Step
from intendant.domain.ports import Store
from intendant.domain.replay import World
from intendant.testing.clock import virtual_backend

pytestmark = pytest.mark.anyio

Audit = Callable[[Store], Awaitable[World]]
MakeRuntime = Callable[..., Runtime]
SHORT, LONG = timedelta(milliseconds=50), timedelta(seconds=30)  # that a handler has to clean up
SOON = timedelta(milliseconds=1)


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest, hot: Store) -> tuple[str, dict[str, Any]]:
    """Virtual time in memory, where the limit passes; a real store takes as long as it takes, and has a long one."""
    name = str(request.param)
    return virtual_backend(name) if hot.name == "memory:" else (name, {})


def states(records: list[SagaRecord]) -> dict[str, str]:
    return {step.path: step.state.value for record in records for step in record.steps}


class Shop:
    """A handler that stays in the second step of its saga, or in a wait, or fails; and then cleans up."""

    def __init__(self, hot: Store) -> None:
        limit, self.takes = (SHORT, 2 * SHORT) if hot.name == "memory:" else (LONG, SOON)
        self.log: list[str] = []
        self.there = anyio.Event()  # it is where it is to be cancelled
        self.go = anyio.Event()  # it may be undone
        self.realm = Realm("shop")

        @self.realm.handler(cleanup=limit)
        async def place(ctx: Context, order: dict[str, str]) -> str:
            kind = order["kind"]
            try:
                async with ctx.saga("place", undo_retry=Retry(attempts=3, initial=SOON)) as saga:
                    await saga.step("reserve", self.note, "reserve", undo=self.release)
                    await anyio.lowlevel.checkpoint()  # told now, it would not come to its second step
                    await saga.step("charge", self.charge, kind, undo=self.refund)
                    if kind == "wait":
                        self.there.set()
                        await ctx.wait_signal("packed")
                    raise ValueError("changed my mind")
            finally:
                await ctx.step("tidy", self.note, "tidy")
            return "never"

    async def note(self, what: str) -> None:
        self.log.append(what)

    async def charge(self, kind: str) -> int:
        self.log.append("charge")
        if kind == "step":
            self.there.set()
            await anyio.sleep_forever()
        return 5

    async def refund(self, step: Step, amount: int | None, kind: str) -> None:
        self.log.append(f"refund {amount}")
        if kind == "undoing":
            self.there.set()
        await self.go.wait()
        await anyio.sleep(self.takes.total_seconds())  # in memory longer than the handler has to clean up

    async def release(self, step: Step, _result: None, what: str) -> None:
        self.log.append(f"release {step.attempt}")
        if step.attempt == 1:
            raise OSError("not yet")


async def begin(running: Runtime, kind: str, shop: Shop) -> Any:
    session = await running.open_session("acme", "desk-1")
    execution = await session.submit("shop.place", {"kind": kind})
    with anyio.fail_after(10):
        await shop.there.wait()
    return execution


PAID = {"step": None, "wait": 5, "undoing": 5}
KINDS = pytest.mark.parametrize("kind", list(PAID))


@KINDS
async def test_it_is_undone_without_a_limit_and_then_the_handler_cleans_up(
    runtime: MakeRuntime, hot: Store, audit: Audit, kind: str
) -> None:
    shop = Shop(hot)
    async with runtime(shop.realm) as running:
        execution = await begin(running, kind, shop)
        await execution.cancel()
        shop.go.set()
        outcome = await execution.outcome(timeout=10)
        assert (outcome.status, outcome.error) == (Status.CANCELLED, None)
        assert states(outcome.sagas) == {"place/reserve": "undone", "place/charge": "undone"}
        assert await execution.sagas() == outcome.sagas
        assert shop.log == ["reserve", "charge", f"refund {PAID[kind]}", "release 1", "release 2", "tidy"]
        (saga,) = outcome.sagas
        assert saga.error is not None
        assert saga.error.code == ("ValueError" if kind == "undoing" else "execution_cancelled")
        await audit(hot)


@KINDS
async def test_a_restart_while_it_is_undone_goes_on_undoing(
    runtime: MakeRuntime, hot: Store, audit: Audit, kind: str
) -> None:
    shop = Shop(hot)
    async with runtime(shop.realm, shutdown=Shutdown(drain=0)) as running:
        execution = await begin(running, kind, shop)
        await execution.cancel()
        with anyio.fail_after(10):
            while f"refund {PAID[kind]}" not in shop.log:  # noqa: ASYNC110  the function of an undo has no event then
                await anyio.sleep(0.001)
    assert not [each for each in shop.log if each.startswith(("release", "tidy"))]
    shop.log.clear()
    shop.go.set()
    async with runtime(shop.realm) as running:
        outcome = await running.execution("acme", execution.id).outcome(timeout=10)
        assert (outcome.status, outcome.error) == (Status.CANCELLED, None)
        assert states(outcome.sagas) == {"place/reserve": "undone", "place/charge": "undone"}
        assert shop.log == [f"refund {PAID[kind]}", "release 1", "release 2", "tidy"]
        await audit(hot)
