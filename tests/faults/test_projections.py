"""Projections: whatever happens to the state writer and to the relay, nobody else is restarted, and both catch up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import anyio
import pytest

from intendant import Runtime, StoreUnavailable
from intendant.adapters.memory import MemoryColdStore, MemoryFileStore, MemoryStore
from intendant.domain import state as states
from intendant.domain.ports import Chunk, ColdDocument
from intendant.domain.records import decode_entry
from intendant.supervisor import ChildCrashed, ChildRestarting
from intendant.supervisor import Event as SupervisorEvent
from tests.faults.auditing import audit
from tests.faults.faulty_store import FaultyStore, Plan
from tests.faults.handlers import make_realm
from tests.faults.ledger import Ledger
from tests.faults.published import Published, check_order
from tests.faults.stage import Stage
from tests.faults.virtual_time import run_virtual
from tests.infrastructure.tier import full

PATIENCE = 1e6  # virtual seconds


class ShakyColdStore(MemoryColdStore):
    """Crashes whoever uses it at every other call, until it has done so `crashes` times; may be down as well."""

    def __init__(self, crashes: int = 0) -> None:
        super().__init__()
        self.crashes = 0
        self.down = False
        self._wanted = crashes
        self._calls = 0
        self._crashed_at = -1.0

    async def archive(self, partition: int, chunks: Sequence[Chunk]) -> None:
        self._shake()
        await super().archive(partition, chunks)
        self._shake()

    async def put(self, documents: Sequence[ColdDocument]) -> None:
        self._shake()
        await super().put(documents)
        self._shake()

    def _shake(self) -> None:
        if self.down:
            raise StoreUnavailable("planted: the cold store is down")
        self._calls += 1
        # it writes side by side: two faults at one moment would be one crash
        if self._calls % 3 == 0 and self.crashes < self._wanted and self._crashed_at != anyio.current_time():
            self.crashes += 1
            self._crashed_at = anyio.current_time()
            raise RuntimeError("planted: a fault of the state writer")


class Theatre:
    """A runtime with both projections, over stores that a test may shake."""

    def __init__(self, crashes: int) -> None:
        self.hot = MemoryStore()
        self.cold = ShakyColdStore(crashes)
        self.published = Published(self.hot)
        self.happened: list[SupervisorEvent] = []
        self.relay_crashes = 0
        theatre = self

        class Shaking(Plan):
            calls = 0

            async def before_read(self, number: int, what: str) -> None:
                if what != "outbox" or "outbox-relay" not in (anyio.get_current_task().name or ""):
                    return  # a sweep of retention reads it as well
                self.calls += 1
                if self.calls % 2 and theatre.relay_crashes < crashes:
                    theatre.relay_crashes += 1
                    raise RuntimeError("planted: a fault of the relay")

        self.runtime = Runtime(
            [make_realm(Ledger(self.hot))],
            hot=FaultyStore(self.hot, Shaking()),
            cold=self.cold,
            files=MemoryFileStore(),
            publisher=self.published,
            on_event=self.happened.append,
        )

    async def work(self, number: int) -> None:
        session = await self.runtime.open_session("acme" if number % 2 else "beta", f"s{number % 5}")
        execution = await session.submit("play.steps", {"steps": 2}, idempotency_key=f"k{number}")
        assert await execution.result() == 3

    async def catch_up(self, count: int) -> None:
        with anyio.fail_after(PATIENCE):
            while self.runtime.stats().lag or len({each.id for each in self.published.events}) < 4 * count:  # noqa: ASYNC110
                await anyio.sleep(1.0)

    def restarted(self) -> Counter[str]:
        return Counter(event.path for event in self.happened if isinstance(event, ChildRestarting))

    async def cold_differences(self) -> list[str]:
        """How the cold store differs from the hot one, and its archive from the log."""
        found: list[str] = []
        log = self.hot.log(0)
        for tenant in ("acme", "beta"):
            for collection in (states.SESSIONS, states.EXECUTIONS):
                for document in await log.documents(tenant, collection, limit=1_000_000):
                    kept = await self.cold.document(tenant, collection, document.key)
                    if kept is None or (kept.body, kept.version) != (document.body, document.version):
                        found.append(f"{collection} {document.key} of {tenant} is {kept} in cold state")
        archived = [entry for chunk in await self.cold.chunks(0, None, limit=1_000_000) for entry in chunk.entries]
        if sorted(archived, key=_first_of) != await log.entries(None, limit=1_000_000):
            found.append("the archive is not the log")
        return found


def _first_of(entry: bytes) -> int:
    return decode_entry(entry)[0].sequence


async def crash_both(crashes: int) -> None:
    theatre = Theatre(crashes)
    count = 0
    async with theatre.runtime:
        while theatre.cold.crashes < crashes or theatre.relay_crashes < crashes:
            await theatre.work(count)
            await anyio.sleep(1.0)
            count += 1
        await theatre.catch_up(count)
        assert await theatre.cold_differences() == []
        assert await audit(theatre.hot.log(0)) == []
        restarts = theatre.restarted()
        crashed = {event.path for event in theatre.happened if isinstance(event, ChildCrashed)}
        projections = {f"intendant/projections/{name}[0]" for name in ("state-writer", "outbox-relay")}
        assert set(restarts) == crashed == projections, "nobody else was restarted"
        assert all(restarts[path] == crashes for path in projections)
        assert theatre.runtime.failed is None
    assert theatre.published.violations + check_order(theatre.published.events) == []
    assert len({event.id for event in theatre.published.events}) == 4 * count


@pytest.mark.parametrize("crashes", [20, pytest.param(full(1_000), marks=pytest.mark.stress)])
def test_their_crashes_restart_nobody_else(stage: Stage, crashes: int) -> None:
    run_virtual(stage.backend, lambda: crash_both(crashes))


def test_an_outage_of_the_cold_store_makes_a_lag_that_falls_to_nothing(stage: Stage) -> None:
    lags: list[int] = []

    async def main() -> None:
        theatre = Theatre(crashes=0)
        async with theatre.runtime as runtime:
            await theatre.work(0)
            await theatre.catch_up(1)
            theatre.cold.down = True
            for number in range(1, 51):
                await theatre.work(number)
                await anyio.sleep(5.0)
                lags.append(runtime.stats().lag)
            theatre.cold.down = False
            await theatre.catch_up(51)
            assert await theatre.cold_differences() == []
            assert theatre.restarted() == {}, "an outage restarts nothing"

    run_virtual(stage.backend, main)
    assert lags == sorted(lags)
    assert lags[0] >= 5
    assert lags[-1] >= 250
