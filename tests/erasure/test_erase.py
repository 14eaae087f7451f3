"""Erasing a tenant or a session: nothing of it is left anywhere, nobody else is touched, and it may begin anew."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import anyio
import pytest

from intendant import (
    BeingErased,
    InvalidIntent,
    InvalidValue,
    RelaySettings,
    Runtime,
    Shutdown,
    StillOpen,
    UnknownExecution,
    UnknownSession,
)
from intendant.adapters.memory import MemoryColdStore, MemoryFileStore, MemoryStore
from intendant.adapters.redis import RedisStore
from intendant.domain.ports import Chunk, Store
from intendant.runtime.audit import Told, audit
from intendant.supervisor import Backoff
from tests.erasure.planted import COMMON, everything, plant, refuse_some, secret, shop, stubborn

pytestmark = pytest.mark.anyio
TENANTS = ["acme", "beta"]
SESSIONS = ["s1", "s2", "s3"]
QUICK = RelaySettings(attempts=2, retry=Backoff(initial=0.001, maximum=0.001))

Eventually = Callable[[Callable[[], Awaitable[bool]]], Awaitable[None]]


class House:
    """Stores, and a runtime over them."""

    def __init__(self, hot: Store, *, cold: bool) -> None:
        self.hot = hot
        self.cold = MemoryColdStore() if cold else None
        self.files = MemoryFileStore()
        self.told = Told()

    def runtime(self, **options: Any) -> Runtime:
        options = {"publisher": refuse_some, "relay": QUICK, "shutdown": Shutdown(drain=0), **options}
        return Runtime([shop], hot=self.hot, cold=self.cold, files=self.files, **options)

    async def look(self) -> Any:
        return await everything(self.hot, self.cold, self.files, TENANTS)

    async def check(self) -> None:
        """The audit finds nothing wrong with what is left."""
        await self.hot.open()
        found = await audit(self.hot.log(0), self.told)
        assert found.sound, [str(each) for each in found.findings]
        await self.hot.close()


@pytest.fixture(params=[False, True], ids=["hot", "hot and cold"])
def house(request: pytest.FixtureRequest, hot: Store, monkeypatch: pytest.MonkeyPatch) -> House:
    monkeypatch.setattr(RedisStore, "loss_window", 0.05)  # instead of three seconds, three times
    return House(hot, cold=request.param)


async def fill(runtime: Runtime, house: House, eventually: Eventually) -> None:
    for tenant in TENANTS:
        for session in SESSIONS:
            await plant(runtime, tenant, session)
    for tenant in TENANTS:
        for view in (await runtime.executions(tenant)).items:
            house.told.accept(
                tenant, view.id, (await runtime.wal.query(tenant, execution=view.id)).items[-1].payload["key"]
            )
            house.told.end(await runtime.execution(tenant, view.id).outcome())

    async def at_rest() -> bool:
        waiting = [(await runtime.outbox.pending(tenant)).items for tenant in TENANTS]
        return not any(waiting) and runtime.stats().lag == 0

    await eventually(at_rest)


def of(found: Any, tenant: str) -> list[Any]:
    """What of everything is a tenant's."""
    tables = (found.documents, found.keys, found.journals, found.cold_documents, found.files)
    mine = [{key: value for key, value in table.items() if key[0] == tenant} for table in tables]
    return [*mine, found.entries[tenant], found.cold_entries.get(tenant), [e for e in found.outbox if e[0] == tenant]]


async def test_a_tenant_leaves_every_store_and_may_begin_anew(house: House, eventually: Eventually) -> None:
    async with house.runtime() as runtime:
        await fill(runtime, house, eventually)
        before = await house.look()
        assert all(before.holds(secret("acme", session)) for session in SESSIONS)
        old = (await runtime.executions("acme")).items
        would = await runtime.erase_tenant("acme", dry_run=True)
        assert await house.look() == before, "a dry run changes nothing"
        erased = await runtime.erase_tenant("acme")
        assert erased == would
        counts = (erased.executions, erased.keys, erased.open, erased.files, erased.journals)
        assert counts == (9, 9, 0, len(of(before, "acme")[4]), 0)
        assert erased.documents == len(of(before, "acme")[0])
        after = await house.look()
        assert not any(after.holds(secret("acme", session)) for session in SESSIONS)
        assert of(after, "beta") == of(before, "beta")
        for session in SESSIONS:
            with pytest.raises(UnknownSession):
                await runtime.view_session("acme", session)
            with pytest.raises(UnknownSession):
                await runtime.session("acme", session).submit("shop.sell", {"n": 0, "word": "x"})
        for view in old:
            with pytest.raises(UnknownExecution):
                await runtime.execution("acme", view.id).outcome()
        left = await runtime.wal.query("acme", newest_first=False)
        assert [each.type for each in left.items[:2]] == ["erasure_started", "content_erased"]
        assert left.items[-1].payload["done"]
        assert (await runtime.erase_tenant("acme", dry_run=True)).nothing
        await plant(runtime, "acme", "s1")
        assert len((await runtime.executions("acme")).items) == 3
        assert (
            (await runtime.wal.query("acme", type="intent_received")).items[0].payload["key"].startswith("secret-of-s1")
        )
    await house.check()
    async with house.runtime() as runtime:
        assert len((await runtime.executions("acme")).items) == 3
        assert len((await runtime.executions("beta")).items) == 9


async def test_a_session_leaves_every_store_and_its_places_stay(house: House, eventually: Eventually) -> None:
    async with house.runtime() as runtime:
        await fill(runtime, house, eventually)
        before = await house.look()
        records = (await runtime.wal.query("acme", limit=1000, newest_first=False)).items
        would = await runtime.erase_session("acme", "s2", dry_run=True)
        assert await house.look() == before
        erased = await runtime.erase_session("acme", "s2")
        assert erased == would
        assert (erased.executions, erased.keys, erased.open, erased.files, erased.shared) == (3, 3, 0, 4, 1)
        after = await house.look()
        assert not after.holds(secret("acme", "s2"))
        assert of(after, "beta") == of(before, "beta")
        assert await house.files.get("acme", next(iter(await _common(house)))) == COMMON
        now = (await runtime.wal.query("acme", limit=1000, newest_first=False)).items
        assert [each.sequence for each in now][: len(records)] == [each.sequence for each in records]
        mine = {view.id for view in (await runtime.executions("acme")).items}
        for old, new in zip(records, now, strict=False):
            if old.session == "s2" or (old.execution and old.execution not in mine):
                assert (new.type, new.session, new.payload) == ("content_erased", old.session, {})
            else:
                assert new == old
        tables = zip(of(before, "acme")[:4], of(after, "acme")[:4], strict=True)
        for table_before, table_after in tables:
            left = {key: value for key, value in table_before.items() if secret("acme", "s2").encode() not in value}
            assert table_after == {key: left[key] for key in table_after}
        with pytest.raises(UnknownSession):
            await runtime.session("acme", "s2").view()
        assert (await runtime.erase_session("acme", "s2", dry_run=True)).nothing
        await plant(runtime, "acme", "s2")
        assert len((await runtime.executions("acme", session="s2")).items) == 3
    await house.check()


async def _common(house: House) -> list[str]:
    return [
        each for each in await house.files.digests("acme") if b"every" in (await house.files.get("acme", each) or b"")
    ]


async def test_what_has_not_ended_is_refused_and_then_dropped(house: House, eventually: Eventually) -> None:
    async with house.runtime() as runtime:
        await fill(runtime, house, eventually)
        order = {"n": 0, "word": secret("acme", "s1"), "seconds": 1000}
        mine = await runtime.session("acme", "s1").submit("shop.hold", order)
        other = await runtime.session("acme", "s2").submit("shop.hold", {**order, "word": "other", "seconds": 0.2})
        for each in (mine, other):
            await eventually(lambda each=each: _is_under_way(each))  # type: ignore[misc]
        before = await house.look()
        for erase in (runtime.erase_tenant("acme"), runtime.erase_session("acme", "s1")):
            with pytest.raises(StillOpen, match=r"2 executions|1 execution that"):
                await erase
        assert of(await house.look(), "acme")[:3] == of(before, "acme")[:3]

        async def wait() -> None:
            with pytest.raises(UnknownExecution):
                await mine.outcome()

        async with anyio.create_task_group() as group:
            group.start_soon(wait)
            await anyio.wait_all_tasks_blocked()
            erased = await runtime.erase_session("acme", "s1", drop_open=True)
            assert (erased.open, erased.journals) == (1, 1)
        assert await other.result() == {**order, "word": "other", "seconds": 0.2}
        assert not (await house.look()).holds(secret("acme", "s1"))
        assert runtime.stats().open == 0
        assert runtime.stats().restarts == 0
    house.told = Told()
    await house.check()
    async with house.runtime() as runtime:
        assert runtime.stats().open == 0


async def _is_under_way(execution: Any) -> bool:
    progress = await execution.progress()
    return progress is not None and progress.recorded == 2


async def test_what_a_stopped_handler_still_does_is_not_recorded(eventually: Eventually) -> None:
    hot, files = MemoryStore(), MemoryFileStore()
    async with Runtime([shop], hot=hot, files=files) as runtime:
        session = await runtime.open_session("acme", "s1")
        execution = await session.submit("shop.cling", {"word": secret("acme", "s1"), "seconds": 1000})

        async def is_under_way() -> bool:
            progress = await execution.progress()
            return progress is not None and progress.recorded == 1

        await eventually(is_under_way)
        stubborn.clear()
        await runtime.erase_tenant("acme", drop_open=True)
        assert stubborn[0] == "cancelled"
        assert len(stubborn) == 3
        assert not (await everything(hot, None, files, ["acme"])).holds(secret("acme", "s1"))
        assert (runtime.stats().open, runtime.stats().running, runtime.stats().restarts) == (0, 0, 0)


async def test_a_file_that_another_session_has_put_and_not_named_yet_stays(eventually: Eventually) -> None:
    hot, files = MemoryStore(), MemoryFileStore()
    async with Runtime([shop], hot=hot, files=files) as runtime:
        digests: list[str] = []
        for session in ("s1", "s2"):
            await runtime.open_session("acme", session)
        for content in ("alike", "own"):
            done = await runtime.session("acme", "s1").submit("shop.keep", {"content": content, "seconds": 0})
            digests.append(await done.result())
        slow = await runtime.session("acme", "s2").submit("shop.keep", {"content": "alike", "seconds": 0.5})

        async def has_put() -> bool:
            progress = await slow.progress()
            return progress is not None and progress.recorded == 1

        await eventually(has_put)
        await runtime.erase_session("acme", "s1")
        assert await files.digests("acme") == digests[:1]
        assert await slow.result() == digests[0]
        await runtime.erase_session("acme", "s2")
        assert await files.digests("acme") == []


async def test_nothing_is_written_meanwhile(eventually: Eventually) -> None:
    hot, cold = MemoryStore(), _SlowColdStore()
    files = MemoryFileStore()
    async with Runtime([shop], hot=hot, cold=cold, files=files, publisher=refuse_some, relay=QUICK) as runtime:
        for session in ("s1", "s2"):
            await plant(runtime, "acme", session)
        id = (await runtime.executions("acme", session="s1")).items[0].id
        cold.stuck = True
        async with anyio.create_task_group() as group:
            group.start_soon(runtime.erase_session, "acme", "s1")

            async def is_begun() -> bool:
                return bool((await runtime.wal.query("acme", type="erasure_started")).items)

            await eventually(is_begun)
            await anyio.wait_all_tasks_blocked()
            for refused in (
                runtime.session("acme", "s1").submit("shop.sell", {"n": 1, "word": "new"}),
                runtime.state.set_session("acme", "s1", {"new": 1}),
                runtime.state.set_execution("acme", id, {"new": 1}),
                runtime.close_session("acme", "s1"),
            ):
                with pytest.raises(BeingErased, match="s1"):
                    await refused
            await (await runtime.session("acme", "s2").submit("shop.sell", {"n": 0, "word": "x"})).result()
            cold.stuck = False
        with pytest.raises(UnknownSession):
            await runtime.close_session("acme", "s1")
        await runtime.open_session("acme", "s1")


class _SlowColdStore(MemoryColdStore):
    stuck = False

    async def archive(self, partition: int, chunks: Sequence[Chunk]) -> None:
        while self.stuck:  # noqa: ASYNC110  nobody announces it
            await anyio.sleep(0.01)
        await super().archive(partition, chunks)


async def test_a_wait_that_ends_early_ends_nothing(eventually: Eventually) -> None:
    hot, cold, files = MemoryStore(), _SlowColdStore(), MemoryFileStore()
    async with Runtime([shop], hot=hot, cold=cold, files=files, publisher=refuse_some) as runtime:
        await plant(runtime, "acme", "s1")
        cold.stuck = True
        with pytest.raises(TimeoutError):
            await runtime.erase_tenant("acme", timeout=0.1)
        cold.stuck = False

        async def is_done() -> bool:
            return not (await everything(hot, cold, files, ["acme"])).holds(secret("acme", "s1"))

        await eventually(is_done)


async def test_what_can_not_be_is_refused() -> None:
    hot, files = MemoryStore(), MemoryFileStore()
    async with Runtime([shop], hot=hot, cold=MemoryColdStore(), files=files) as runtime:
        await plant(runtime, "acme", "s1")
        for call in (
            runtime.erase_tenant(""),
            runtime.erase_session("acme", "*"),
            runtime.erase_tenant("a", timeout=-1),
        ):
            with pytest.raises(InvalidIntent):
                await call
        with anyio.fail_after(10):
            while runtime.stats().lag:  # noqa: ASYNC110  nobody announces it
                await anyio.sleep(0.01)
    async with Runtime([shop], hot=hot, files=files) as runtime:
        with pytest.raises(InvalidValue, match="cold: this store is archived"):
            await runtime.erase_tenant("acme")
        assert len((await runtime.executions("acme")).items) == 3
