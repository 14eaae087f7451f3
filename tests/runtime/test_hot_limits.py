"""A hot store that fills up: new work is refused before nothing fits any more, what was accepted still ends."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from intendant import Context, Overloaded, Realm, Runtime, Shutdown, StoreUnavailable
from intendant.actors.hot_gauge import REFUSE_AT, WARN_AT, Level, level_of
from intendant.adapters.memory import MemoryColdStore, MemoryStore
from intendant.domain.ports import Chunk, Usage
from intendant.testing.clock import virtual_backend

pytestmark = pytest.mark.anyio
NOTHING: dict[str, Any] = {}
SHARES = st.floats(0, 1.2)


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    return virtual_backend(request.param)


class Filling(MemoryStore):
    """A store that is as full as it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.used = 0
        self.down = False

    async def usage(self) -> Usage:
        if self.down:
            raise StoreUnavailable("planned")
        return Usage(self.used, 1_000_000)


class SlowColdStore(MemoryColdStore):
    """A cold store that is away."""

    async def archive(self, partition: int, chunks: Sequence[Chunk]) -> None:
        raise StoreUnavailable("planned")


def shop(gate: anyio.Event) -> Realm:
    realm = Realm("shop")

    async def nothing() -> None:
        """A step."""

    @realm.handler
    async def pass_gate(ctx: Context, parameters: dict[str, Any]) -> str:
        await gate.wait()
        await ctx.step("one", nothing)
        return "passed"

    return realm


async def test_new_work_is_refused_at_ninety_percent_and_accepted_work_still_ends(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "intendant.hot")
    store, gate = Filling(), anyio.Event()
    async with Runtime([shop(gate)], hot=store, shutdown=Shutdown(drain=0)) as running:
        session = await running.open_session("acme", "desk-1")
        execution = await session.submit("shop.pass_gate", NOTHING)
        store.used = 850_000
        await anyio.sleep(1.5)
        await session.submit("shop.pass_gate", NOTHING)
        store.used = 910_000
        await anyio.sleep(1.5)
        full = r"memory: is 91% full \(910,000 of 1,000,000 bytes\); nothing was accepted"
        with pytest.raises(Overloaded, match=full) as caught:
            await session.submit("shop.pass_gate", NOTHING)
        assert (caught.value.queue, caught.value.limit) == ("the hot store", 1_000_000)
        with pytest.raises(Overloaded):
            await running.open_session("acme", "desk-2")
        with pytest.raises(Overloaded):
            await running.state.set_session("acme", "desk-1", {"a": 1})
        gate.set()
        assert await execution.result(timeout=5) == "passed"
        assert (running.stats().used, running.stats().room) == (910_000, 1_000_000)
        store.used = 890_000  # not far enough below
        await anyio.sleep(1.5)
        with pytest.raises(Overloaded):
            await running.open_session("acme", "desk-2")
        store.used = 500_000
        await anyio.sleep(1.5)
        await running.open_session("acme", "desk-2")
    assert [each.levelno for each in caplog.records if each.name == "intendant.hot"] == [
        logging.WARNING,
        logging.ERROR,
        logging.INFO,
    ]


async def test_the_lag_of_cold_state_is_named() -> None:
    store = Filling()
    async with Runtime(hot=store, cold=SlowColdStore()) as running:
        for number in range(3):
            await running.open_session("acme", f"desk-{number}")
        store.used = 950_000
        await anyio.sleep(1.5)
        with pytest.raises(Overloaded, match=r"95% full .* and cold state is 4 records behind"):
            await running.open_session("acme", "desk-9")


async def test_a_store_that_does_not_tell_changes_nothing() -> None:
    store = Filling()
    async with Runtime(hot=store) as running:
        store.used = 950_000
        await anyio.sleep(1.5)
        store.down = True
        store.used = 0
        await anyio.sleep(60)
        with pytest.raises(Overloaded):
            await running.open_session("acme", "desk-1")
        store.down = False
        await anyio.sleep(1.5)
        await running.open_session("acme", "desk-1")
        assert running.stats().restarts == 0


@given(st.lists(SHARES, max_size=50))
def test_levels_follow_the_share_and_do_not_flap(shares: list[float]) -> None:
    level = Level.ROOMY
    for share in shares:
        before, level = level, level_of(share, level)
        if share >= REFUSE_AT:
            assert level is Level.REFUSING
        elif share >= WARN_AT:
            assert level >= Level.WARNED
        if level < before:  # it fell well below where the level begins
            assert share < {Level.REFUSING: REFUSE_AT, Level.WARNED: WARN_AT}[before] - 0.019
        if level > before:
            assert share >= {Level.REFUSING: REFUSE_AT, Level.WARNED: WARN_AT}[level]


def test_a_store_without_a_limit_is_never_full() -> None:
    assert level_of(Usage(10**12, 0).share, Level.ROOMY) is Level.ROOMY
