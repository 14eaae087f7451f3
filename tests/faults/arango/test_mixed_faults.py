"""A runtime under load while ArangoDB answers wrongly, in part, or not at all: cold state ends equal to the log."""

from __future__ import annotations

import random
from collections.abc import Callable

import anyio
import msgspec
import pytest

from intendant.adapters.arango import ArangoColdStore
from intendant.domain.ports import Store
from tests.arango_standin.faults import Plan
from tests.arango_standin.process import StandIn
from tests.faults.arango.load import compare, loaded
from tests.infrastructure.tier import full

pytestmark = pytest.mark.anyio
QUARTER = 25  # of a hundred: on each event loop, over each of two hot stores
SHARE = 0.4
TIMES = 3  # that requests meet each fault; then all goes well for a while, so that there is something to go wrong again
PLANS = [
    Plan("lost before"),
    Plan("lost after"),
    Plan("cut head"),
    Plan("cut body"),
    Plan("slow body"),
    Plan("closed after"),
    Plan("leader"),
    Plan("answer", status=409, number=1200, text="write-write conflict"),
    Plan("answer", status=503, number=21003, text="queue is full"),
    Plan("answer", status=503, number=1465, text="connection lost", applied=0.5),
    Plan("answer", status=500, number=4, text="internal error", applied=0.5),
    Plan("elements", number=1200, text="write-write conflict"),
]


async def faults(hot: Store, server: StandIn, plans: list[Plan]) -> None:
    url = f"{server.url}/work"
    met = 0
    async with loaded(hot, ArangoColdStore(f"{url}?timeout=2")) as load:
        for seed, plan in enumerate(plans):
            server.plan(msgspec.structs.replace(plan, share=SHARE, seed=seed, times=TIMES))
            with anyio.fail_after(60):
                while server.look().met < TIMES:  # noqa: ASYNC110  nobody announces it
                    await anyio.sleep(0.02)
                wanted = load.archived + 1
                while load.archived < wanted:  # noqa: ASYNC110  nobody announces it
                    await anyio.sleep(0.02)
            met += server.plan(None).met
    records = await compare(hot, url)
    print(f"\n{met} requests met a fault: {records} records compared")


async def test_one_fault_after_the_other(hot_on: Callable[[str], Store], server: StandIn) -> None:
    await faults(hot_on("sqlite"), server, PLANS[1::2])


@pytest.mark.stress
@pytest.mark.parametrize("kind", ["redis", "sqlite"])
async def test_each_fault_again_and_again(hot_on: Callable[[str], Store], server: StandIn, kind: str) -> None:
    chance = random.Random(1)
    await faults(hot_on(kind), server, [chance.choice(PLANS) for _ in range(full(QUARTER))])
