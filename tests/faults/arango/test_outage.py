"""ArangoDB is away under load, its port closed or its process hanging: nobody who submits intents feels it.

Lag grows meanwhile and falls to zero afterwards, and cold state ends equal to the log.
"""

from __future__ import annotations

from collections.abc import Callable
from statistics import quantiles

import anyio
import anyio.to_thread
import pytest

from intendant.adapters.arango import ArangoColdStore
from intendant.domain.ports import Store
from tests.arango_standin.process import StandIn
from tests.faults.arango.load import compare, loaded

pytestmark = pytest.mark.anyio
FEWEST = 100  # intents before the outage, and during it: fewer prove nothing
AWAY: dict[str, tuple[Callable[[StandIn], None], Callable[[StandIn], None]]] = {
    "closed": (StandIn.kill, StandIn.launch),
    "hangs": (StandIn.pause, StandIn.resume),
}


async def outage(
    hot: Store, server: StandIn, way: str, *, seconds: float, calm: float, percent: int, slack: float
) -> None:
    away, back = AWAY[way]
    url = f"{server.url}/work"
    async with loaded(hot, ArangoColdStore(f"{url}?timeout=1")) as load:
        await anyio.sleep(0.5)  # what a beginning costs is not of interest
        load.take_waits()
        await load.go_on(calm, FEWEST)
        before, lag_before = load.take_waits(), load.runtime.stats().lag
        away(server)
        await load.go_on(seconds, FEWEST)
        during, lag = load.take_waits(), load.runtime.stats().lag
        back(server)
        if back is StandIn.launch:
            await anyio.to_thread.run_sync(server.wait)
    records = await compare(hot, url)
    slow, slow_before = percentile(during, percent), percentile(before, percent)
    print(
        f"\naway for {seconds:g} s: {len(during)} intents, p{percent} {1e3 * slow:.1f} ms, before "
        f"{1e3 * slow_before:.1f} ms; lag {lag}, before {lag_before}, at the end 0; {records} records compared"
    )
    assert slow <= max(1.5 * slow_before, slow_before + slack)
    assert lag > lag_before + len(during), "lag is seen while nothing can be archived"


def percentile(waits: list[float], percent: int) -> float:
    return quantiles(waits, n=100)[percent - 1]


@pytest.mark.in_turn
@pytest.mark.parametrize(("kind", "way"), [("redis", "closed"), ("sqlite", "hangs")])
async def test_an_outage(hot_on: Callable[[str], Store], server: StandIn, kind: str, way: str) -> None:
    """So short that a busy machine is seen in the figures: who waited for cold state would wait a second, though."""
    await outage(hot_on(kind), server, way, seconds=1.0, calm=1.0, percent=90, slack=0.25)


@pytest.mark.stress
@pytest.mark.alone
@pytest.mark.parametrize(("anyio_backend", "way"), [("asyncio", "closed"), ("trio", "hangs")])
async def test_an_outage_of_thirty_seconds(hot_on: Callable[[str], Store], server: StandIn, way: str) -> None:
    await outage(hot_on("redis"), server, way, seconds=30.0, calm=10.0, percent=99, slack=0.025)
