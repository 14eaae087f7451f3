"""Retention at work: what is over leaves the hot store, then every store; what is open never does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import partial
from typing import Any

import anyio
import pytest

from intendant import (
    Context,
    Event,
    FileReference,
    Realm,
    Retention,
    Runtime,
    SessionClosed,
    StoreUnavailable,
    UnknownExecution,
)
from intendant.adapters.memory import MemoryColdStore, MemoryFileStore, MemoryStore
from intendant.domain import state as states
from intendant.domain.ports import Chunk, LogReader
from intendant.domain.records import SYSTEM_TENANT, decode_entry
from intendant.runtime.audit import Told, audit
from intendant.testing.clock import VirtualClock, virtual_backend

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("rare_looks")]
SWEEP = 600  # seconds: within this time retention looks at everything
HOT, TOTAL = 1800, 10_800
SHORT = Retention(hot=timedelta(seconds=HOT), total=timedelta(seconds=TOTAL))
shop = Realm("shop")
brief = Realm("brief", retention=Retention(hot=timedelta(seconds=600), total=timedelta(seconds=5400)))


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    return virtual_backend(request.param)


@shop.handler
async def sell(ctx: Context, order: dict[str, Any]) -> dict[str, Any]:
    ctx.emit("sold", order)
    if order.get("fails"):
        raise ValueError("as asked")
    return order


@shop.handler
async def hold(ctx: Context, order: dict[str, Any]) -> int:
    first: int = await ctx.step("first", _one)
    await anyio.sleep(order["seconds"])
    return first


@shop.handler
async def gather(ctx: Context, order: dict[str, Any]) -> Any:
    child = await ctx.submit(sell, {"n": 1})
    await anyio.sleep(order["seconds"])
    return [child.id, await child.result()]


@shop.handler(exclusive=True)
async def note(ctx: Context, order: dict[str, Any]) -> None:
    ctx.session.state.set(order)


async def _one() -> int:
    return 1


@brief.handler
async def glance(ctx: Context, order: dict[str, Any]) -> None:
    """Nothing to keep."""


async def nothing(event: Event) -> None:
    """Publish nowhere."""


class Theatre:
    """A runtime in virtual time with what a test looks at."""

    def __init__(self, *, cold: bool = True, **options: Any) -> None:
        self.hot = MemoryStore()
        self.cold = MemoryColdStore() if cold else None
        self.told = Told()
        options.setdefault("retention", SHORT)
        options.setdefault("publisher", nothing)
        self.clock = VirtualClock()
        self.make: Callable[..., Runtime] = partial(
            Runtime, [shop, brief], hot=self.hot, cold=self.cold, clock=self.clock, lease=300.0, **options
        )

    @property
    def log(self) -> LogReader:
        return self.hot.log(0)

    async def run(self, runtime: Runtime, type: str, key: str, *, tenant: str = "acme", **order: Any) -> str:
        session = await runtime.open_session(tenant, f"s-{key}"[:3])
        execution = await session.submit(type, order, idempotency_key=key)
        self.told.accept(tenant, execution.id, key)
        self.told.end(await execution.outcome())
        return execution.id

    async def where(self, tenant: str, id: str) -> str:
        hot = await self.log.document(tenant, states.EXECUTIONS, id) is not None
        cold = self.cold is not None and await self.cold.document(tenant, states.EXECUTIONS, id) is not None
        return {(True, True): "both", (True, False): "hot", (False, True): "cold", (False, False): "nowhere"}[hot, cold]

    async def check(self) -> None:
        """The audit finds nothing wrong with a log that was trimmed."""
        await anyio.sleep(1)  # an audit wants a store at rest
        found = await audit(self.log, self.told)
        assert found.sound, [str(each) for each in found.findings]


async def test_what_has_ended_leaves_the_hot_store_then_every_store() -> None:
    theatre = Theatre()
    async with theatre.make() as runtime:
        ids = [await theatre.run(runtime, "shop.sell", f"k{n}", n=n, fails=n % 2) for n in range(300)]
        await runtime.state.set_execution("acme", ids[0], {"seen": True})
        await anyio.sleep(HOT - 60)
        assert [await theatre.where("acme", id) for id in ids] == ["both"] * 300
        await anyio.sleep(SWEEP + 60)
        assert [await theatre.where("acme", id) for id in ids] == ["cold"] * 300
        assert await theatre.log.document("acme", states.EXECUTION_DATA, ids[0]) is None
        view = await runtime.state.execution("acme", ids[0])
        assert view is not None
        assert view.data == {"seen": True}
        assert await theatre.log.key("acme", "k7") is not None
        await theatre.check()
        late = await theatre.run(runtime, "shop.sell", "late", n=1)
        await anyio.sleep(TOTAL - HOT)
        assert [await theatre.where("acme", id) for id in ids] == ["nowhere"] * 300
        assert await runtime.state.execution("acme", ids[0]) is None
        assert await theatre.log.keys("acme") == [("late", await theatre.log.key("acme", "late"))]
        await theatre.check()
        theatre.told = Told()
        assert await theatre.run(runtime, "shop.sell", "k7", other="order") not in ids, "its key may be used anew"
        await anyio.sleep(HOT + 2 * SWEEP)
        assert await theatre.where("acme", late) == "nowhere"
        await theatre.check()
        assert len((await runtime.wal.query("acme", limit=1000)).items) < 20


async def test_children_stay_until_their_parents_have_ended() -> None:
    theatre = Theatre()
    async with theatre.make() as runtime:
        session = await runtime.open_session("acme", "s")
        parent = await session.submit("shop.gather", {"seconds": TOTAL + 2 * SWEEP})
        await anyio.sleep(TOTAL + SWEEP)
        child, result = await parent.result()
        assert result == {"n": 1}
        assert await theatre.where("acme", child) == "both"
        await anyio.sleep(TOTAL + 2 * SWEEP)
        assert await theatre.where("acme", child) == "nowhere"


async def test_the_logs_are_trimmed_whoever_wrote_them() -> None:
    theatre = Theatre()
    async with theatre.make() as runtime:
        for number in range(12):
            for tenant in ("acme", "beta"):
                await theatre.run(runtime, "shop.sell", f"{number}", tenant=tenant, n=number)
            await anyio.sleep(SWEEP * 2)
        assert theatre.cold is not None
        for tenant in ("acme", "beta", SYSTEM_TENANT):
            first = decode_entry((await theatre.log.entries(tenant, limit=1))[0])[0]
            assert first.sequence > 50
            chunks = await theatre.cold.chunks(0, tenant)
            oldest = decode_entry(chunks[0].entries[0])[0]
            assert theatre.clock.now() - oldest.time < 1e6 * (TOTAL + HOT + 2 * SWEEP)
        size = len(await theatre.log.entries(None, limit=10_000))
        assert size < 40
        await anyio.sleep(2 * TOTAL)
        quiet = [await theatre.log.entries(tenant, limit=1000) for tenant in ("acme", "beta", SYSTEM_TENANT)]
        await anyio.sleep(2 * TOTAL)
        assert quiet == [await theatre.log.entries(tenant, limit=1000) for tenant in ("acme", "beta", SYSTEM_TENANT)], (
            "retention does not go on writing about itself"
        )
        await theatre.check()


async def test_what_is_open_stays_with_its_journal_and_its_records() -> None:
    theatre = Theatre()
    async with theatre.make() as runtime:
        session = await runtime.open_session("acme", "s")
        execution = await session.submit("shop.hold", {"seconds": 2 * TOTAL}, idempotency_key="long")
        for number in range(10):
            await theatre.run(runtime, "shop.sell", f"k{number}", n=number)
        await anyio.sleep(1.5 * TOTAL)
        assert await theatre.where("acme", execution.id) == "both"
        assert len(await theatre.log.journal("acme", execution.id)) == 1
        records = await runtime.wal.query("acme", execution=execution.id)
        assert [each.type for each in records] == ["step_completed", "execution_started", "intent_received"]
        await theatre.check()
    async with theatre.make() as runtime:  # it is resumed
        assert await runtime.execution("acme", execution.id).result() == 1
        await anyio.sleep(HOT + SWEEP)
        assert await theatre.where("acme", execution.id) == "cold"
        await anyio.sleep(TOTAL - HOT)
        assert await theatre.where("acme", execution.id) == "nowhere"
        await theatre.check()


async def test_without_cold_state_everything_stays_until_the_total_limit() -> None:
    theatre = Theatre(cold=False)
    async with theatre.make() as runtime:
        ids = [await theatre.run(runtime, "shop.sell", f"k{n}", n=n) for n in range(20)]
        before = len(await theatre.log.entries(None, limit=1000))
        await anyio.sleep(TOTAL - 60)
        assert [await theatre.where("acme", id) for id in ids] == ["hot"] * 20
        assert len(await theatre.log.entries(None, limit=1000)) >= before
        await anyio.sleep(SWEEP + 60)
        assert [await theatre.where("acme", id) for id in ids] == ["nowhere"] * 20
        assert await theatre.log.keys("acme") == []
        assert len(await theatre.log.entries(None, limit=1000)) < 12
        await theatre.check()


async def test_realms_and_tenants_have_limits_of_their_own() -> None:
    long = Retention(hot=timedelta(seconds=2 * TOTAL), total=timedelta(days=50))
    theatre = Theatre(retention_of={"museum": long})
    async with theatre.make() as runtime:
        sold = await theatre.run(runtime, "shop.sell", "a")
        glanced = await theatre.run(runtime, "brief.glance", "b")
        kept = await theatre.run(runtime, "brief.glance", "c", tenant="museum")
        await anyio.sleep(600 + SWEEP)
        assert (await theatre.where("acme", glanced), await theatre.where("acme", sold)) == ("cold", "both")
        await anyio.sleep(5400 - 600)
        assert (await theatre.where("acme", glanced), await theatre.where("acme", sold)) == ("nowhere", "cold")
        await anyio.sleep(TOTAL - 5400)
        assert (await theatre.where("museum", kept), await theatre.where("acme", sold)) == ("both", "nowhere")
        await anyio.sleep(TOTAL)
        assert await theatre.where("museum", kept) == "cold"
        assert len(await runtime.wal.query("museum", execution=kept)) == 3
        await theatre.check()


async def test_what_left_the_hot_store_is_forked_and_what_left_every_store_is_not() -> None:
    theatre = Theatre()
    async with theatre.make() as runtime:
        origin = runtime.execution("acme", await theatre.run(runtime, "shop.hold", "a", seconds=1))
        await anyio.sleep(HOT + SWEEP)
        assert await theatre.where("acme", origin.id) == "cold"
        fork = await origin.fork("first", idempotency_key="fork")
        assert await fork.result() == 1
        await anyio.sleep(TOTAL - HOT)
        assert await theatre.where("acme", origin.id) == "nowhere"
        with pytest.raises(UnknownExecution):
            await origin.fork("first")
        view = await fork.view()
        assert view.forked_from == origin.id, "it tells of one that is not kept any more"


class DeafColdStore(MemoryColdStore):
    """Answers, but may take nothing in."""

    deaf = False

    async def archive(self, partition: int, chunks: Sequence[Chunk]) -> None:
        if self.deaf:
            raise StoreUnavailable("planted: read-only")
        await super().archive(partition, chunks)


async def test_what_cold_state_has_not_got_stays() -> None:
    theatre = Theatre()
    theatre.cold = cold = DeafColdStore()
    theatre.make = partial(theatre.make, cold=cold)
    async with theatre.make() as runtime:
        early = await theatre.run(runtime, "shop.sell", "early")
        await anyio.sleep(10)
        cold.deaf = True
        ids = [await theatre.run(runtime, "shop.sell", f"k{n}", n=n) for n in range(5)]
        await anyio.sleep(TOTAL + SWEEP)
        assert [await theatre.log.document("acme", states.EXECUTIONS, id) is None for id in ids] == [False] * 5
        assert await theatre.where("acme", early) == "nowhere", "what it has got goes all the same"
        cold.deaf = False
        await anyio.sleep(2 * SWEEP)
        assert [await theatre.where("acme", id) for id in ids] == ["nowhere"] * 5
        await theatre.check()


async def test_events_that_wait_keep_what_they_came_from() -> None:
    theatre = Theatre(publisher=None)
    async with theatre.make() as runtime:
        id = await theatre.run(runtime, "shop.sell", "k", n=1)
        await anyio.sleep(TOTAL + SWEEP)
        assert await theatre.where("acme", id) == "cold"
        assert len(await runtime.outbox.pending("acme")) == 1
        await theatre.check()


async def test_dead_letters_leave_with_their_execution() -> None:
    async def refuse(event: Event) -> None:
        raise ConnectionError("no post today")

    theatre = Theatre(publisher=refuse)
    async with theatre.make() as runtime:
        await theatre.run(runtime, "shop.sell", "k", n=1)
        await anyio.sleep(600)
        (letter,) = (await runtime.outbox.dead_letters("acme")).items
        await anyio.sleep(HOT + SWEEP)
        assert await theatre.log.documents("acme", states.DEAD_LETTERS) == []
        assert (await runtime.outbox.dead_letters("acme")).items == [letter]
        await anyio.sleep(TOTAL)
        assert (await runtime.outbox.dead_letters("acme")).items == []
        await theatre.check()


async def test_closed_sessions_leave_when_nothing_of_theirs_is_left() -> None:
    theatre = Theatre()
    async with theatre.make() as runtime:
        for name in ("closed", "open"):
            session = await runtime.open_session("acme", name)
            await session.submit("shop.sell", {"n": 1})
            await (await session.submit("shop.note", {"of": name})).result()
            await runtime.state.set_session("acme", name, {"of": name})
            await runtime.state.set_file(FileReference(f"file-{name}", "acme", name, "s3://x", "x"))
        busy = await runtime.open_session("acme", "busy")
        execution = await busy.submit("shop.hold", {"seconds": 1.5 * TOTAL})
        for name in ("closed", "busy"):
            await runtime.close_session("acme", name)
        await anyio.sleep(HOT + SWEEP)
        with pytest.raises(SessionClosed):
            await runtime.session("acme", "closed").submit("shop.sell", {"n": 2})
        await anyio.sleep(TOTAL - HOT)
        assert await runtime.state.session("acme", "closed") is None
        assert await runtime.state.file("acme", "file-closed") is None
        assert await runtime.state.session("acme", "busy") is not None
        open_one = await runtime.state.session("acme", "open")
        assert open_one is not None
        assert open_one.data == await runtime.session("acme", "open").state() == {"of": "open"}
        for store in (theatre.hot.log(0), theatre.cold):
            assert store is not None
            assert await store.document("acme", states.SESSION_STATE, "closed") is None
            assert await store.document("acme", states.SESSION_STATE, "open") is not None
        assert await runtime.state.file("acme", "file-open") is not None
        await theatre.check()
        assert await execution.result() == 1
        await anyio.sleep(TOTAL + SWEEP)
        assert await runtime.state.session("acme", "busy") is None
        await theatre.check()
    async with theatre.make() as runtime:
        again = await runtime.open_session("acme", "closed")
        assert await (await again.submit("shop.sell", {"n": 3})).result() == {"n": 3}
        await theatre.check()


async def test_data_that_is_set_while_an_execution_leaves_is_not_lost() -> None:
    theatre = Theatre()
    async with theatre.make() as runtime:
        ids = [await theatre.run(runtime, "shop.sell", f"k{n}", n=n) for n in range(20)]
        for id in ids:
            await runtime.state.set_execution("acme", id, {"version": 0})
        set_to = dict.fromkeys(ids, 0)
        for _ in range(100):
            for id in ids[::3]:
                set_to[id] += 1
                await runtime.state.set_execution("acme", id, {"version": set_to[id]})
            for id in ids:
                view = await runtime.state.execution("acme", id)
                assert view is not None
                assert view.data == {"version": set_to[id]}
            await anyio.sleep(37)
        await theatre.check()


# --- files


@shop.handler
async def draw(ctx: Context, order: dict[str, Any]) -> str:
    kept = await ctx.files.put("picture", order["content"].encode())
    await anyio.sleep(order.get("seconds", 0))
    return kept.digest


@pytest.mark.parametrize("cold", [True, False])
async def test_files_go_when_nothing_names_them_any_more(cold: bool) -> None:
    files = MemoryFileStore()
    theatre = Theatre(cold=cold, files=files)
    names = ("own", "again", "document", "slow", "session")

    async def there() -> set[str]:
        held = await files.digests("acme")
        return {name for name, digest in digests.items() if digest in held}

    async with theatre.make() as runtime:
        mine = await runtime.files.put("acme", b"never named")
        session = await runtime.open_session("acme", "s")
        slow = await session.submit("shop.draw", {"content": "slow", "seconds": 2.5 * TOTAL})
        digests = {name: await files.put("acme", name.encode()) for name in names}
        for name in names:
            if name != "slow":
                await (await session.submit("shop.draw", {"content": name})).result()
        await (await session.submit("shop.sell", {"picture": digests["slow"]})).result()
        await runtime.state.set_session("acme", "s", {"picture": digests["document"]})
        await runtime.state.set_file(FileReference("f", "acme", "s", "files:", "x", digest=digests["session"]))
        await anyio.sleep(TOTAL + SWEEP)
        assert await there() == set(names), "the log is pinned by what is open"
        assert await slow.result() == digests["slow"]
        await anyio.sleep(TOTAL + SWEEP)  # now the log goes that named them
        assert await there() == set(names), "whoever puts content has an hour to say so"
        await (await session.submit("shop.draw", {"content": "again"})).result()
        await anyio.sleep(4000 + SWEEP)
        assert await there() == {"again", "document", "session"}
        assert mine in await files.digests("acme"), "what the log never named is not ours to delete"
        await anyio.sleep(2 * TOTAL)
        assert await there() == {"document", "session"}
        await theatre.check()


async def test_a_file_that_an_open_execution_has_put_is_kept() -> None:
    files = MemoryFileStore()
    theatre = Theatre(files=files)
    async with theatre.make() as runtime:
        digest = await files.put("acme", b"shared")
        session = await runtime.open_session("acme", "s")
        await (await session.submit("shop.draw", {"content": "shared"})).result()
        await anyio.sleep(TOTAL / 2)
        slow = await session.submit("shop.draw", {"content": "shared", "seconds": 3 * TOTAL})
        await anyio.sleep(2.5 * TOTAL)
        assert digest in await files.digests("acme")
        assert await slow.result() == digest
        assert await files.get("acme", digest) == b"shared"


# --- crashes


class CrashingColdStore(MemoryColdStore):
    """Fails once, at one of the calls that retention makes, before it or after."""

    def __init__(self, at: int, *, after: bool) -> None:
        super().__init__()
        self.calls = 0
        self._at = at
        self._after = after

    async def remove(self, documents: Any) -> None:
        self._meet(not self._after)
        await super().remove(documents)
        self._meet(self._after, count=False)

    async def trim(self, partition: int, tenant: str, *, below: int) -> None:
        self._meet(not self._after)
        await super().trim(partition, tenant, below=below)
        self._meet(self._after, count=False)

    def _meet(self, here: bool, *, count: bool = True) -> None:
        self.calls += count
        if here and self.calls == self._at:
            self._at = 0
            raise StoreUnavailable("planted")


@pytest.mark.parametrize("after", [False, True])
async def test_a_sweep_that_is_cut_off_is_made_good_by_the_next(after: bool) -> None:
    at = 0
    calls = 1
    while at < calls:
        at += 1
        theatre = Theatre()
        cold = CrashingColdStore(at, after=after)
        theatre.cold = cold
        theatre.make = partial(theatre.make, cold=cold)
        async with theatre.make() as runtime:
            ids = [await theatre.run(runtime, "shop.sell", f"k{n}", n=n) for n in range(3)]
            await anyio.sleep(TOTAL + SWEEP)
            theatre.told = Told()
            again = await theatre.run(runtime, "shop.sell", "k1", other=True)
            await anyio.sleep(2 * SWEEP)
            assert [await theatre.where("acme", id) for id in ids] == ["nowhere"] * 3
            assert await theatre.where("acme", again) == "both"
            session = runtime.session("acme", "s-k")
            repeated = await session.submit("shop.sell", {"other": True}, idempotency_key="k1")
            assert repeated.id == again, "a key that was claimed anew is not freed"
            await theatre.check()
        calls = cold.calls
    assert calls >= 2
