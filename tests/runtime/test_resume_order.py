"""What is resumed first when more is open than may run, in virtual time."""

from typing import Any

import anyio
import pytest

from intendant import Context, Limits, Realm, Runtime, Shutdown
from intendant.adapters.memory import MemoryStore
from intendant.testing.clock import VirtualClock, virtual_backend

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    return virtual_backend(request.param)


async def test_the_oldest_first_but_a_session_that_gets_an_intent_before_all() -> None:
    store, resumed = MemoryStore(), list[str]()
    finish = False
    shop = Realm("shop")

    @shop.handler
    async def run(ctx: Context, nothing: dict[str, Any]) -> None:
        if not finish:
            await anyio.sleep_forever()
        resumed.append(ctx.session.id)
        await anyio.sleep(1)

    async with Runtime([shop], hot=store, clock=VirtualClock(), shutdown=Shutdown(drain=0)) as running:
        for number in range(20):
            session = await running.open_session("acme", f"desk-{number:02}")
            await session.submit("shop.run", {})
            await anyio.sleep(1)
    finish = True
    async with Runtime([shop], hot=store, clock=VirtualClock(), limits=Limits(running=1)) as running:
        new = await running.session("acme", "desk-15").submit("shop.run", {})
        with anyio.fail_after(60):
            await new.outcome()
    order = [f"desk-{number:02}" for number in range(20)]
    order.remove("desk-15")
    assert resumed == [order[0], "desk-15", *order[1:], "desk-15"]
