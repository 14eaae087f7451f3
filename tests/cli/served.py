"""A runtime for `intendant run`, and what may be named instead of one."""

from __future__ import annotations

import os
from datetime import timedelta
from typing import Any

import anyio

from intendant import Context, Event, Realm, RelaySettings, Runtime, RuntimeStopped, Shutdown
from intendant.supervisor import Backoff

shop = Realm("shop")


@shop.handler
async def sell(ctx: Context, order: dict[str, Any]) -> dict[str, Any]:
    """Takes a step, and emits."""
    price = await ctx.step("price", lambda: 7)
    ctx.emit("sold", order)
    return {**order, "price": price}


@shop.handler
async def refuse(ctx: Context, order: dict[str, Any]) -> None:
    """Fails, unless the file that the order names is there."""
    if not await ctx.step("look", os.path.exists, order.get("unless", "")):
        raise LookupError("refused")


@shop.handler
async def hold(ctx: Context, order: dict[str, Any]) -> Any:
    """Waits for a signal."""
    return await ctx.wait_signal("go", timeout=timedelta(days=1))


def publish(event: Event) -> None:
    """Fails for what is to be a dead letter, unless the file that it names is there."""
    payload: dict[str, Any] = event.payload
    if payload.get("dead") and not os.path.exists(payload["dead"]):  # noqa: PTH110
        raise ConnectionError("nobody takes it")


def make() -> Runtime:
    """Its stores are those of the environment."""
    relay = RelaySettings(attempts=2, retry=Backoff(initial=0.001, maximum=0.001))
    return Runtime([shop], publisher=publish, relay=relay, shutdown=Shutdown(drain=0.1))


runtime = make()


async def make_later() -> Runtime:
    """As a program does that reads its settings first."""
    return make()


def make_of(name: str) -> Runtime:
    """It wants an argument."""
    return Runtime([shop], name=name)


nothing = 42


class Stubborn(Runtime):
    """It does not come to its end."""

    async def __aexit__(self, *_: object) -> None:
        print("leaving", flush=True)
        await anyio.sleep_forever()


stubborn = Stubborn([shop])
impatient = Runtime([shop], takeover_timeout=0.0)


class Broken(Runtime):
    """It gives up as soon as it serves."""

    @property
    def failed(self) -> BaseException | None:
        return OSError("as planned")

    async def __aexit__(self, *_: object) -> None:
        await super().__aexit__(None, None, None)
        raise RuntimeStopped("it gave up")


broken = Broken([shop], hot="memory:")


class StandingBy(Runtime):
    """It waits for another process to leave."""

    async def __aenter__(self) -> Runtime:
        print('{"standing": "by"}', flush=True)
        await anyio.sleep_forever()
        return self


standing_by = StandingBy([shop], hot="memory:")
