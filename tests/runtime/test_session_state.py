"""What the handlers of a session share: read by all, set by exclusive ones, with their completion."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import anyio
import msgspec
import pytest
from msgspec import Struct

from intendant import (
    Context,
    ExecutionCancelled,
    ExecutionFailed,
    Intent,
    InvalidValue,
    Limits,
    NotExclusive,
    Realm,
    Retry,
    Runtime,
    Shutdown,
    StoreUnavailable,
    UnknownSession,
)
from intendant.adapters.memory import MemoryColdStore, MemoryLog, MemoryStore
from intendant.domain.ports import Document, Store
from intendant.domain.replay import World
from intendant.domain.state import SESSION_STATE
from intendant.runtime.audit import audit as whole_audit
from intendant.testing import context

pytestmark = pytest.mark.anyio

Audit = Callable[[Store], Awaitable[World]]
MakeRuntime = Callable[..., Runtime]
Eventually = Callable[[Callable[[], Awaitable[bool]]], Awaitable[None]]
NO_DRAIN = Shutdown(drain=0)
NOTHING: dict[str, Any] = {}


class Cart(Struct):
    items: list[str] = []
    changes: int = 0


shop = Realm("shop")


@shop.handler(exclusive=True)
async def add(ctx: Context, given: dict[str, str]) -> int:
    cart = await ctx.session.state.get(Cart)
    cart.items.append(given["item"])
    cart.changes += 1
    ctx.session.state.set(cart)
    assert await ctx.session.state.get(Cart) == cart
    return len(cart.items)


@shop.handler
async def look(ctx: Context, nothing: dict[str, Any]) -> list[str]:
    return list((await ctx.session.state.get()).get("items", []))


@shop.handler
async def sneak(ctx: Context, nothing: dict[str, Any]) -> None:
    ctx.session.state.set({"items": ["mine"]})


@shop.handler(exclusive=True)
async def refuse(ctx: Context, given: dict[str, Any]) -> None:
    ctx.session.state.set({"items": ["never"]})
    if given.get("waits"):
        await ctx.wait_signal("go")
    raise ValueError("as asked")


async def test_what_a_completion_sets_is_read_by_all_that_follow(
    runtime: MakeRuntime, hot: Store, audit: Audit
) -> None:
    async with runtime(shop) as running:
        session = await running.open_session("acme", "desk")
        other = await running.open_session("acme", "other")
        assert await session.state() == {}
        adds = await session.submit_many([Intent(add, {"item": item}) for item in ("tea", "milk")])
        looked = await session.submit(look, NOTHING)
        assert [await each.result(timeout=10) for each in adds] == [1, 2]
        assert await looked.result(timeout=10) == ["tea", "milk"]
        assert await (await other.submit(look, NOTHING)).result(timeout=10) == []
    async with runtime(shop) as running:
        session = running.session("acme", "desk")
        assert await session.state(Cart) == Cart(["tea", "milk"], 2)
        assert await (await session.submit(add, {"item": "jam"})).result(timeout=10) == 3
        world = await audit(hot)
        body = world.documents["acme", SESSION_STATE, "desk"]
        assert msgspec.msgpack.decode(body, type=Cart) == Cart(["tea", "milk", "jam"], 3)
        with pytest.raises(UnknownSession):
            await running.session("acme", "nowhere").state()
        with pytest.raises(UnknownSession):
            await running.session("bolt", "desk").state()


async def test_it_rides_with_the_end_and_costs_nothing_without(runtime: MakeRuntime) -> None:
    realm = Realm("desk")

    @realm.handler(exclusive=True)
    async def same(ctx: Context, given: dict[str, Any]) -> None:
        await ctx.session.state.get()
        ctx.session.state.set({"n": given["n"]})

    async with runtime(realm) as running:
        session = await running.open_session("acme", "desk")
        for number in (1, 1, 2):
            await (await session.submit("desk.same", {"n": number})).result(timeout=10)
        records = (await running.wal.query("acme", newest_first=False)).items
        ends = [each for each in records if each.type in ("execution_completed", "state_set")]
        assert [each.type for each in ends] == [
            *("execution_completed", "state_set", "execution_completed"),
            *("execution_completed", "state_set"),
        ]
        assert ends[1].sequence == ends[0].sequence + 1
        assert ends[1].execution == ends[0].execution


async def test_only_an_exclusive_handler_sets_it(runtime: MakeRuntime) -> None:
    async with runtime(shop) as running:
        session = await running.open_session("acme", "desk")
        with pytest.raises(ExecutionFailed, match=r"not_exclusive.*'shop.sneak'.*register it with `exclusive=True`"):
            await (await session.submit(sneak, NOTHING)).result(timeout=10)
        assert await session.state() == {}


async def test_a_failed_or_cancelled_execution_sets_nothing(runtime: MakeRuntime, eventually: Eventually) -> None:
    async with runtime(shop) as running:
        session = await running.open_session("acme", "desk")
        with pytest.raises(ExecutionFailed, match="as asked"):
            await (await session.submit(refuse, NOTHING)).result(timeout=10)
        execution = await session.submit(refuse, {"waits": True})

        async def waits() -> bool:
            return await execution.status() == "waiting"

        await eventually(waits)
        await execution.cancel()
        with pytest.raises(ExecutionCancelled):
            await execution.result(timeout=10)
        assert await session.state() == {}
        assert not (await running.wal.query("acme", type="state_set")).items


async def test_what_an_attempt_that_failed_has_set_is_forgotten(runtime: MakeRuntime) -> None:
    realm = Realm("desk")

    @realm.handler(exclusive=True, retry=Retry(attempts=2, initial=timedelta(milliseconds=1)))
    async def unlucky(ctx: Context, nothing: dict[str, Any]) -> dict[str, Any]:
        state = await ctx.session.state.get()
        if ctx.attempt == 1:
            ctx.session.state.set({"half": True})
            raise ValueError("once")
        return state

    async with runtime(realm) as running:
        session = await running.open_session("acme", "desk")
        assert await (await session.submit("desk.unlucky", {})).result(timeout=10) == {}
        assert await session.state() == {}


@pytest.mark.parametrize("resident", [0, 1_000])
async def test_at_a_resume_a_handler_reads_what_it_read_before(
    runtime: MakeRuntime, eventually: Eventually, resident: int
) -> None:
    """One that would change it waits for its end, over restarts too."""
    realm, read = Realm("desk"), list[Any]()

    @realm.handler
    async def reader(ctx: Context, nothing: dict[str, Any]) -> None:
        read.append(await ctx.session.state.get())
        await ctx.wait_signal("go")
        assert await ctx.session.state.get() == read[-1]

    @realm.handler(exclusive=True)
    async def writer(ctx: Context, given: dict[str, int]) -> None:
        ctx.session.state.set(given)

    options: dict[str, Any] = {"shutdown": NO_DRAIN, "limits": Limits(resident=resident)}
    async with runtime(realm, **options) as running:
        session = await running.open_session("acme", "desk")
        await (await session.submit("desk.writer", {"n": 1})).result(timeout=10)
        execution = await session.submit("desk.reader", {})
        second = await session.submit("desk.writer", {"n": 2})

        async def waits() -> bool:
            return await execution.status() == "waiting"

        await eventually(waits)
    async with runtime(realm, **options) as running:
        execution = running.execution("acme", execution.id)
        await execution.signal("go")
        await execution.result(timeout=10)
        await running.execution("acme", second.id).result(timeout=10)
        assert await running.session("acme", "desk").state() == {"n": 2}
    assert read == [{"n": 1}] * len(read)
    assert len(read) >= 2


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"text": "x" * 70_000}, r"session state: takes 70,0\d\d bytes encoded, the limit is 65,536"),
        ([1, 2], "must be a mapping or a struct with named fields, not list"),
        ("text", "not str"),
        ({"bad": object()}, "can't be encoded"),
        ({"bad": float("nan")}, "session state.bad: holds nan"),
    ],
)
async def test_what_can_not_be_a_state_is_refused_at_once(value: Any, message: str) -> None:
    with pytest.raises(InvalidValue, match=message):
        context().session.state.set(value)


async def test_one_that_does_not_fit_is_told(runtime: MakeRuntime) -> None:
    class Strict(Struct):
        total: int

    with pytest.raises(InvalidValue, match=r"does not fit Strict: .*`total`; nothing was set yet.*defaults"):
        await context().session.state.get(Strict)
    with pytest.raises(InvalidValue, match=r"does not fit Strict: Expected `int`, got `str` - at `\$.total`"):
        await context(state={"total": "many"}).session.state.get(Strict)
    async with runtime(shop) as running:
        session = await running.open_session("acme", "desk")
        with pytest.raises(InvalidValue, match="does not fit Strict"):
            await session.state(Strict)


async def test_in_a_unit_test() -> None:
    ctx = context(state=Cart(["tea"], 1), session="desk-1")
    assert await add(ctx, {"item": "milk"}) == 2
    assert ctx.recorded.state == {"items": ["tea", "milk"], "changes": 2}
    assert (str(ctx.session), ctx.session.id, repr(ctx.session)) == ("desk-1", "desk-1", "<HandlerSession desk-1>")
    assert f"{ctx.session}" == "desk-1"
    assert context().recorded.state is None
    with pytest.raises(NotExclusive, match="exclusive=True"):
        await sneak(context(exclusive=False), NOTHING)


async def test_the_logger_names_the_session(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        context(session="desk-1").logger.info("here")
    assert vars(caplog.records[-1])["session"] == "desk-1"


async def test_an_outage_is_waited_out(monkeypatch: pytest.MonkeyPatch) -> None:
    document, refused = MemoryLog.document, list[str]()

    async def refuse_twice(self: MemoryLog, tenant: str, collection: str, key: str) -> Document | None:
        if collection == SESSION_STATE and len(refused) < 2:
            refused.append(key)
            raise StoreUnavailable("as asked")
        return await document(self, tenant, collection, key)

    monkeypatch.setattr(MemoryLog, "document", refuse_twice)
    async with Runtime([shop], hot=MemoryStore()) as running:
        session = await running.open_session("acme", "desk")
        assert await (await session.submit(look, NOTHING)).result(timeout=10) == []
        assert len(refused) == 2


async def test_it_is_archived_and_erased_with_its_session(eventually: Eventually) -> None:
    store, cold = MemoryStore(), MemoryColdStore()
    async with Runtime([shop], hot=store, cold=cold) as running:
        session = await running.open_session("acme", "desk")
        await (await session.submit(add, {"item": "tea"})).result(timeout=10)
        hot = await store.log(0).document("acme", SESSION_STATE, "desk")
        assert hot is not None

        async def archived() -> bool:
            found = await cold.document("acme", SESSION_STATE, "desk")
            return found is not None and (found.version, found.body) == (hot.version, hot.body)

        await eventually(archived)
        assert (await whole_audit(store.log(0))).findings == ()
        await running.erase_session("acme", "desk")
        assert await store.log(0).document("acme", SESSION_STATE, "desk") is None
        found = await cold.document("acme", SESSION_STATE, "desk")
        assert found is None or found.body is None
        assert (await whole_audit(store.log(0))).findings == ()


async def test_who_does_not_ask_for_it_reads_nothing_of_it() -> None:
    """Handlers that do not ask for their session's state read nothing of it."""
    asked: list[str] = []
    store = MemoryStore()
    async with Runtime([shop], hot=store) as running:
        log = store.log(0)
        document = log.document

        async def noted(_log: MemoryLog, tenant: str, collection: str, key: str) -> Document | None:
            asked.append(collection)
            return await document(tenant, collection, key)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(MemoryLog, "document", noted)
            session = await running.open_session("acme", "desk")
            await (await session.submit(sneak, NOTHING)).outcome(timeout=10)
            await anyio.lowlevel.checkpoint()
    assert SESSION_STATE not in asked
