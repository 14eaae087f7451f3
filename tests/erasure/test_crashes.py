"""An erasure that is cut off: at every commit and every write to cold state, it ends the same after the next start.

And what is written late into cold state, by whoever read it before, does not undo it.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import anyio
import msgspec
import pytest

from intendant import Erased, LogRecord, Runtime, StoreUnavailable
from intendant.adapters.memory import MemoryColdStore, MemoryFileStore, MemorySnapshot, MemoryStore
from intendant.domain import state as states
from intendant.domain.erasure import Scope
from intendant.domain.ports import Chunk, ColdDocument
from intendant.domain.records import decode_entry
from intendant.runtime.audit import audit
from intendant.testing.clock import VirtualClock, virtual_backend
from intendant.testing.faults import Fault, FaultyStore
from tests.erasure.planted import Everything, everything, plant, secret, shop

pytestmark = pytest.mark.anyio
TENANTS = ["acme", "beta"]
SCOPES = [Scope("acme"), Scope("acme", "s1")]


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    return virtual_backend(request.param)


@pytest.fixture(params=SCOPES, ids=["tenant", "session"])
def scope(request: pytest.FixtureRequest) -> Scope:
    found: Scope = request.param
    return found


def _not_told(_when: str) -> None:
    """Nobody listens."""


class Cold(MemoryColdStore):
    """Keeps what is written as it came, so that it may come again; tells of each write, and may fail."""

    def __init__(self, told: Callable[[str], None] = _not_told) -> None:
        super().__init__()
        self.archived: list[list[Chunk]] = []
        self.documents_put: list[list[ColdDocument]] = []
        self.told = told
        self.failures = 0

    async def archive(self, partition: int, chunks: Sequence[Chunk]) -> None:
        self._meet("before archiving")
        self.archived.append(list(chunks))
        await super().archive(partition, chunks)
        self.told("after archiving")

    async def put(self, documents: Sequence[ColdDocument]) -> None:
        self._meet("before documents are put")
        self.documents_put.append(list(documents))
        await super().put(documents)
        self.told("after documents were put")

    def _meet(self, when: str) -> None:
        self.told(when)
        if self.failures:
            self.failures -= 1
            raise StoreUnavailable("planted")


class Stage:
    """Stores, and runtimes over them."""

    def __init__(self, cut: Cut | None = None) -> None:
        self.hot = MemoryStore()
        self.cold = Cold()
        self.files = MemoryFileStore()
        if cut is not None:
            self.hot.restore(cut.hot)
            self.cold, self.files = copy.deepcopy(cut.cold), copy.deepcopy(cut.files)

    def runtime(self, hot: Any = None) -> Runtime:
        return Runtime([shop], hot=hot or self.hot, cold=self.cold, files=self.files, clock=VirtualClock(), lease=60.0)

    async def fill(self) -> None:
        async with self.runtime() as runtime:
            for tenant in TENANTS:
                for session in ("s1", "s2"):
                    handle = await plant(runtime, tenant, session)
                    word = secret(tenant, session)
                    order = {"n": 1, "word": word, "seconds": 1e6}
                    await handle.submit("shop.hold", order, idempotency_key=f"{word}hold")
            await anyio.sleep(5)
            assert runtime.stats().lag == 0

    def cut(self, when: str) -> Cut:
        """As it is at this moment."""
        cold = copy.copy(self.cold)
        cold.told = _not_told
        return Cut(when, self.hot.snapshot(), copy.deepcopy(cold), copy.deepcopy(self.files))

    async def look(self) -> Everything:
        await self.hot.open()
        await self.cold.open()
        return await everything(self.hot, self.cold, self.files, TENANTS)

    async def check(self, scope: Scope, before: Everything, when: str) -> None:
        """What is erased is nowhere, all else is as it was, and the log is sound."""
        after = await self.look()
        for session in _sessions(scope):
            assert not after.holds(secret("acme", session)), when
        assert after.holds(secret("acme", "s2")) is bool(scope.session), when
        assert _others(after, scope) == _others(before, scope), when
        assert _records(after.entries["beta"])[: len(_records(before.entries["beta"]))] == _records(
            before.entries["beta"]
        )
        found = await audit(self.hot.log(0))
        assert found.sound, (when, [str(each) for each in found.findings])


@dataclass
class Cut:
    """What the stores hold at one moment."""

    when: str
    hot: MemorySnapshot
    cold: Cold
    files: MemoryFileStore


def _sessions(scope: Scope) -> list[str]:
    return [scope.session] if scope.session else ["s1", "s2"]


def _records(entries: list[bytes]) -> list[LogRecord]:
    return [record for entry in entries for record in decode_entry(entry)]


def _others(found: Everything, scope: Scope) -> list[Any]:
    """What does not belong to what is erased: all that does has its secret in it, but for what all have."""
    words = [secret("acme", each).encode() for each in _sessions(scope)]

    def is_other(key: tuple[str, ...], value: object) -> bool:
        if not scope.session and key[0] == "acme":
            return False
        return not any(word in msgspec.msgpack.encode([key, value]) for word in words)

    tables: list[dict[Any, Any]] = [found.documents, found.keys, found.journals, found.cold_documents, found.files]
    return [{key: value for key, value in table.items() if is_other(key, value)} for table in tables]


async def erase(runtime: Runtime, scope: Scope) -> Erased:
    with anyio.fail_after(3600):
        if scope.session:
            return await runtime.erase_session(scope.tenant, scope.session, drop_open=True)
        return await runtime.erase_tenant(scope.tenant, drop_open=True)


async def test_cut_off_anywhere_it_goes_on_at_the_next_start(scope: Scope) -> None:
    stage = Stage()
    await stage.fill()
    before = await stage.look()
    cuts: list[Cut] = []

    def note(when: str) -> None:
        cuts.append(stage.cut(f"{when}, {len(cuts)}"))

    def before_commit(_number: int) -> Fault:
        note("before a commit")
        return Fault.NONE

    stage.cold.told = note
    async with stage.runtime(FaultyStore(stage.hot, before_commit)) as runtime:
        await anyio.sleep(1)
        cuts.clear()
        await erase(runtime, scope)
        note("when it is done")
        stage.cold.told = _not_told
    await stage.check(scope, before, "without a cut")
    assert len(cuts) > 20
    begun = 0
    for cut in cuts:
        later = Stage(cut)
        async with later.runtime() as runtime:
            under_way = bool(await later.hot.log(0).index(states.ERASING))
            begun += under_way
            if under_way:  # nobody asks for it
                with anyio.fail_after(3600):
                    while await later.hot.log(0).index(states.ERASING):  # noqa: ASYNC110  nobody announces it
                        await anyio.sleep(1)
            else:
                await erase(runtime, scope)
            await anyio.sleep(5)
            assert runtime.stats().open == (3 if scope.session else 2)
        await later.check(scope, before, cut.when)
    assert begun > 15


async def test_an_outage_of_the_cold_store_puts_it_off(scope: Scope) -> None:
    stage = Stage()
    await stage.fill()
    before = await stage.look()
    async with stage.runtime() as runtime:
        stage.cold.failures = 12
        await erase(runtime, scope)
        assert stage.cold.failures == 0
        await anyio.sleep(5)
    await stage.check(scope, before, "after an outage")


async def test_what_is_written_late_does_not_undo_it(scope: Scope) -> None:
    """Whatever anybody has ever written comes again, in any order: a state writer may have read it long before."""
    stage = Stage()
    await stage.fill()
    before = await stage.look()
    async with stage.runtime() as runtime:
        await erase(runtime, scope)
        await anyio.sleep(5)
    old = (stage.cold.archived.copy(), stage.cold.documents_put.copy())
    assert len(old[0]) > 3
    assert len(old[1]) > 3
    await stage.cold.open()
    for chunks in old[0] + old[0][::-1]:
        await MemoryColdStore.archive(stage.cold, 0, chunks)
    for documents in old[1] + old[1][::-1]:
        await MemoryColdStore.put(stage.cold, documents)
    await stage.check(scope, before, "after all was written again")


async def test_a_state_writer_that_is_behind_does_not_undo_it(scope: Scope) -> None:
    """What it had read comes only when the erasure waits for it; the erasure is then the newer one."""
    stage = Stage()
    async with stage.runtime() as runtime:
        stage.cold.failures = 40
        await plant(runtime, "acme", "s1")
        await plant(runtime, "acme", "s2")
        await plant(runtime, "beta", "s1")
        assert runtime.stats().lag > 20
        before = await everything(stage.hot, None, stage.files, TENANTS)
        await erase(runtime, scope)
        await anyio.sleep(5)
    after = await stage.look()
    assert not after.holds(secret("acme", "s1"))
    assert after.holds(secret("acme", "s2")) is bool(scope.session)
    assert _others(after, scope)[:2] == _others(before, scope)[:2]
