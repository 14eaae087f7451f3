"""Erasing in a store at rest: its partition is owned meanwhile, cold state catches up, nothing that is open runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import anyio
import pytest

from intendant import PartitionOwned, Runtime, Shutdown, StoreUnavailable
from intendant.actors import erasure
from intendant.adapters.memory import MemoryColdStore, MemoryFileStore
from intendant.adapters.sqlite import SqliteStore
from intendant.domain import state as states
from intendant.domain.erasure import Scope
from intendant.domain.ports import Chunk
from intendant.runtime.at_rest import StoreAtRest
from intendant.runtime.audit import audit
from tests.erasure.planted import everything, plant, secret, shop

pytestmark = pytest.mark.anyio
TENANTS = ["acme", "beta"]


class House:
    def __init__(self, path: Path) -> None:
        self.hot = SqliteStore(path / "work.db")
        self.cold = MemoryColdStore()
        self.files = MemoryFileStore()
        self.at_rest = StoreAtRest(hot=self.hot, cold=self.cold, files=self.files)

    def runtime(self, *, cold: bool = True) -> Runtime:
        options = {"hot": self.hot, "files": self.files, "shutdown": Shutdown(drain=0)}
        return Runtime([shop], cold=self.cold if cold else None, **options)  # type: ignore[arg-type]

    async def fill(self, *, cold: bool = True) -> None:
        async with self.runtime(cold=cold) as runtime:
            for tenant in TENANTS:
                await plant(runtime, tenant, "s1")
            order = {"n": 1, "word": secret("beta", "s1"), "seconds": 1000}
            await runtime.session("beta", "s1").submit("shop.hold", order)

    async def holds(self, word: str) -> bool:
        await self.hot.open()
        await self.cold.open()
        found = await everything(self.hot, self.cold, self.files, TENANTS)
        sound = await audit(self.hot.log(0))
        await self.hot.close()
        assert sound.sound, [str(each) for each in sound.findings]
        return found.holds(word)


@pytest.mark.parametrize("scope", [Scope("acme"), Scope("acme", "s1")], ids=["tenant", "session"])
async def test_what_cold_state_had_not_got_yet_is_archived_first_and_then_erased(tmp_path: Path, scope: Scope) -> None:
    house = House(tmp_path)
    await house.fill(cold=False)
    would = await house.at_rest.survey(scope)
    assert (would.executions, would.open) == (3, 0)
    assert await house.at_rest.erase(scope) == would
    assert not await house.holds(secret("acme", "s1"))
    assert await house.holds(secret("beta", "s1"))
    assert await house.cold.chunks(0, "beta"), "all was archived"
    assert (await house.at_rest.survey(scope)).nothing
    async with house.runtime() as runtime:
        assert runtime.stats().open == 1
        await plant(runtime, "acme", "s1")


async def test_cut_off_for_want_of_cold_state_it_is_gone_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(erasure, "_COLD_PATIENCE", 0.2)
    house, scope = House(tmp_path), Scope("acme")
    await house.fill()

    class Deaf(MemoryColdStore):
        async def archive(self, partition: int, chunks: Sequence[Chunk]) -> None:
            raise StoreUnavailable("planted: deaf")

    deaf = StoreAtRest(hot=house.hot, cold=Deaf(), files=house.files)
    with pytest.raises(StoreUnavailable, match="cold state stands still"):
        await deaf.erase(scope)
    await house.hot.open()
    assert [each.tenant for each in await house.hot.log(0).index(states.ERASING)] == ["acme"]
    await house.hot.close()
    async with house.runtime() as runtime:  # the next start goes on, and nobody asks for it
        with anyio.fail_after(60):
            while await house.hot.log(0).index(states.ERASING):  # noqa: ASYNC110  nobody announces it
                await anyio.sleep(0.05)
        assert (await runtime.executions("acme")).items == []
    assert not await house.holds(secret("acme", "s1"))


async def test_a_partition_that_is_owned_may_only_be_looked_at(tmp_path: Path) -> None:
    house = House(tmp_path)
    await house.fill()
    other = StoreAtRest(hot=SqliteStore(tmp_path / "work.db"), cold=house.cold, takeover_timeout=0.1)
    async with house.runtime():
        assert (await other.survey(Scope("acme"))).executions == 3
        with pytest.raises(PartitionOwned):
            await other.erase(Scope("acme"))
    assert await house.holds(secret("acme", "s1"))
