"""Streams of what happens to one execution: in order, each once, from any point on, live and after the end."""

from __future__ import annotations

import gc
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from typing import Any

import anyio
import pytest

from intendant import (
    Context,
    ExecutionEvent,
    Failure,
    InvalidIntent,
    Realm,
    Retention,
    Retry,
    Runtime,
    RuntimeStopped,
    Shutdown,
    StoreUnavailable,
    UnknownExecution,
)
from intendant.actors.tiers import Tiers
from intendant.actors.touched import Touched
from intendant.adapters.memory import MemoryColdStore, MemoryStore
from intendant.domain.ports import Store
from intendant.domain.state import EXECUTIONS
from intendant.testing.clock import VirtualClock, virtual_backend

pytestmark = pytest.mark.anyio

MakeRuntime = Callable[..., Runtime]
Eventually = Callable[[Callable[[], Awaitable[bool]]], Awaitable[None]]


class Shop:
    """A handler that does a little of everything, and waits in the middle."""

    def __init__(self) -> None:
        self.realm = Realm("shop")
        self.realm.handler(retry=Retry(attempts=2, initial=timedelta(0)))(self.place)
        self.realm.handler(self.quick)
        self.attempts = 0

    async def place(self, ctx: Context, order: dict[str, Any]) -> str:
        ctx.emit("begun", {"item": order["item"]})
        await ctx.step("charge", self.charge, retry=Retry(attempts=2, initial=timedelta(0)))
        ctx.emit("charged", 5)
        await ctx.wait_signal("packed")
        if ctx.attempt == 1:
            raise ValueError("the label does not stick")
        ctx.emit("sent")
        return "sent"

    async def charge(self) -> None:
        self.attempts += 1
        if self.attempts == 1:
            raise OSError("no line")

    async def quick(self, ctx: Context, order: dict[str, Any]) -> None:
        ctx.emit("quick")
        await ctx.step("quick", anyio.lowlevel.checkpoint)


WHOLE = [
    ("status", "accepted"),
    ("status", "running"),
    ("event", "begun"),
    ("step", "charge"),
    ("step", "charge"),
    ("event", "charged"),
    ("status", "running"),
    ("event", "sent"),
    ("status", "completed"),
]


def told(events: list[ExecutionEvent]) -> list[tuple[str, str]]:
    return [(each.kind, each.name) for each in events]


async def take(stream: AsyncIterator[ExecutionEvent], many: int) -> list[ExecutionEvent]:
    with anyio.fail_after(10):
        return [await anext(stream) for _ in range(many)]


async def rest(stream: AsyncIterator[ExecutionEvent]) -> list[ExecutionEvent]:
    with anyio.fail_after(10):
        return [each async for each in stream]


async def test_it_comes_as_it_happens_and_ends_with_the_end(runtime: MakeRuntime) -> None:
    shop = Shop()
    async with runtime(shop.realm) as running:
        session = await running.open_session("acme", "desk-1")
        execution = await session.submit("shop.place", {"item": "tea"})
        stream = execution.events()
        first = await take(stream, 6)
        await execution.signal("packed")
        found = [*first, *await rest(stream)]
        assert told(found) == WHOLE
        assert found[2].payload == {"item": "tea"}
        assert (found[3].error, found[3].attempt) == (Failure("OSError", "no line"), 1)
        assert (found[4].error, found[4].attempt) == (None, 0)
        assert (found[6].error, found[6].attempt) == (Failure("ValueError", "the label does not stick"), 1)
        assert [each.time for each in found] == sorted(each.time for each in found)
        with pytest.raises(StopAsyncIteration):
            await anext(stream)
        assert await rest(execution.events()) == found
        for place, each in enumerate(found):
            assert await rest(execution.events(after=each.cursor)) == found[place + 1 :]


async def test_it_goes_on_from_a_cursor_after_a_restart(runtime: MakeRuntime) -> None:
    shop = Shop()
    async with runtime(shop.realm, shutdown=Shutdown(drain=0)) as running:
        session = await running.open_session("acme", "desk-1")
        execution = await session.submit("shop.place", {"item": "tea"})
        stream = execution.events()
        found = await take(stream, 6)
    with pytest.raises(RuntimeStopped):
        await anext(stream)
    async with runtime(shop.realm) as running:
        again = running.execution("acme", execution.id)
        stream = again.events(after=found[-1].cursor)
        await again.signal("packed")
        found += await rest(stream)
    assert told(found) == WHOLE


async def test_what_others_do_wakes_nobody(runtime: MakeRuntime, monkeypatch: pytest.MonkeyPatch) -> None:
    looks, shop = list[int](), Shop()
    whole = Tiers.records

    def records(tiers: Tiers, *arguments: Any, **options: Any) -> Any:
        looks.append(1)
        return whole(tiers, *arguments, **options)

    async with runtime(shop.realm) as running:
        session = await running.open_session("acme", "desk-1")
        execution = await session.submit("shop.place", {"item": "tea"})
        stream = execution.events()
        await take(stream, 6)
        monkeypatch.setattr(Tiers, "records", records)
        waiting: list[ExecutionEvent] = []
        async with anyio.create_task_group() as group:

            async def wait() -> None:
                waiting.append(await anext(stream))

            group.start_soon(wait)
            await (await session.submit("shop.quick", {})).result(timeout=10)
            before = len(looks)
            for _ in range(5):
                await (await session.submit("shop.quick", {})).result(timeout=10)
            assert (waiting, len(looks)) == ([], before)
            await execution.signal("packed")
        assert told(waiting) == [("status", "running")]
        assert told(await rest(stream)) == WHOLE[7:]


async def test_a_slow_reader_keeps_nothing_and_misses_nothing(runtime: MakeRuntime) -> None:
    realm = Realm("shop")

    @realm.handler
    async def count(ctx: Context, nothing: dict[str, Any]) -> None:
        for number in range(1_500):
            await ctx.step("n", anyio.lowlevel.checkpoint, key=str(number))

    async with runtime(realm) as running:
        session = await running.open_session("acme", "desk-1")
        execution = await session.submit("shop.count", {})
        stream = execution.events()
        first = await take(stream, 3)
        await execution.result(timeout=60)
        held = gc.get_objects()
        assert sum(type(each) is ExecutionEvent for each in held) < 400
        del held
        found = [*first, *await rest(stream)]
    assert [each.name for each in found[2:-1]] == [f"n[{number}]" for number in range(1_500)]


async def test_several_read_side_by_side_and_a_stream_that_is_left_is_forgotten(runtime: MakeRuntime) -> None:
    shop = Shop()
    async with runtime(shop.realm) as running:
        session = await running.open_session("acme", "desk-1")
        execution = await session.submit("shop.place", {"item": "tea"})
        found: list[list[ExecutionEvent]] = []

        async def read() -> None:
            found.append(await rest(execution.events()))

        left = execution.events()
        async with anyio.create_task_group() as group:
            for _ in range(3):
                group.start_soon(read)
            assert told(await take(left, 2)) == WHOLE[:2]
            with anyio.move_on_after(0.02):  # a wait that is given up takes nothing away
                while True:
                    await anext(left)
            await execution.signal("packed")
        assert told(await rest(left))[-1] == ("status", "completed")
        assert [told(each) for each in found] == [WHOLE] * 3
        watchers = [each for each in gc.get_objects() if type(each) is Touched]
        before = sum(map(len, watchers))
        del left
        gc.collect()
        assert sum(map(len, watchers)) == before - 1


async def test_nobody_elses_execution_is_told(runtime: MakeRuntime) -> None:
    shop = Shop()
    async with runtime(shop.realm) as running:
        for tenant in ("acme", "beta"):
            await running.open_session(tenant, "desk-1")
        execution = await running.session("acme", "desk-1").submit("shop.quick", {})
        await execution.result(timeout=10)
        for tenant, id in (("beta", execution.id), ("acme", "nothing"), ("nobody", execution.id)):
            with pytest.raises(UnknownExecution):
                await anext(running.execution(tenant, id).events())
        whole = await rest(execution.events())
        for each in whole:
            with pytest.raises(UnknownExecution):
                await anext(running.execution("beta", execution.id).events(after=each.cursor))


async def test_what_is_erased_meanwhile_is_unknown(runtime: MakeRuntime) -> None:
    shop = Shop()
    async with runtime(shop.realm) as running:
        session = await running.open_session("acme", "desk-1")
        execution = await session.submit("shop.place", {"item": "tea"})
        stream = execution.events()
        await take(stream, 6)
        async with anyio.create_task_group() as group:

            async def wait() -> None:
                with pytest.raises(UnknownExecution):
                    await anext(stream)

            group.start_soon(wait)
            await running.erase_session("acme", "desk-1", drop_open=True, timeout=20)


async def test_what_is_no_cursor_is_refused(runtime: MakeRuntime) -> None:
    wrong: list[Any] = ["", "5", "1.", ".1", "1.1.1", "-1.1", "a.b", "1.1 ", "9" * 40 + ".1", 7, b"1.1"]
    async with runtime(Shop().realm) as running:
        for cursor in wrong:
            with pytest.raises(InvalidIntent, match="after: must be the cursor of an event"):
                running.execution("acme", "any").events(after=cursor)


async def test_an_outage_is_told_and_the_stream_goes_on_behind_it(
    runtime: MakeRuntime, hot: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = Shop()

    async def fail(*_arguments: Any, **_options: Any) -> Any:
        raise StoreUnavailable("planted")

    async with runtime(shop.realm) as running:
        session = await running.open_session("acme", "desk-1")
        execution = await session.submit("shop.place", {"item": "tea"})
        stream = execution.events()
        for name in ("began", "entries"):
            with monkeypatch.context() as patch:
                patch.setattr(Tiers, name, fail)
                with pytest.raises(StoreUnavailable):
                    await anext(stream)
        await execution.signal("packed")
        assert told(await rest(stream)) == WHOLE


class TestRetention:
    @pytest.fixture(params=["asyncio", "trio"])
    def anyio_backend(self, request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
        return virtual_backend(str(request.param))

    async def test_history_that_has_left_the_hot_store_is_read_from_cold_state_until_it_is_gone(self) -> None:
        shop, clock, hot, cold = Shop(), VirtualClock(), MemoryStore(), MemoryColdStore()
        kept = Retention(hot=timedelta(minutes=10), total=timedelta(hours=1))
        runtime = Runtime(
            [shop.realm], hot=hot, cold=cold, clock=clock, lease=300.0, retention=kept, publisher=lambda _event: None
        )
        async with runtime as running:
            session = await running.open_session("acme", "desk-1")
            execution = await session.submit("shop.place", {"item": "tea"})
            await execution.signal("packed")
            whole = await rest(execution.events())
            assert told(whole) == WHOLE
            half = execution.events()
            assert await take(half, 4) == whole[:4]
            await anyio.sleep(1_500)
            assert await hot.log(0).document("acme", EXECUTIONS, execution.id) is None
            assert await rest(execution.events()) == whole
            assert await rest(execution.events(after=whole[3].cursor)) == whole[4:]
            await anyio.sleep(4_200)
            with pytest.raises(UnknownExecution):
                await anext(execution.events())
