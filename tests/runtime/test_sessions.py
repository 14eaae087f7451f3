"""Sessions: opened, created once, closed, listed; each tenant its own."""

from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest

from intendant import Context, Realm, Runtime, SessionClosed, SessionExists, UnknownSession
from intendant.actors.messages import SessionMessage, Settled
from intendant.actors.session import SessionActor
from intendant.domain.ports import Store
from intendant.domain.replay import World

pytestmark = pytest.mark.anyio

Audit = Callable[[Store], Awaitable[World]]
shop = Realm("shop")


@shop.handler
async def greet(ctx: Context, nothing: dict[str, Any]) -> str:
    return "hello"


async def test_open_creates_once_and_then_gets(runtime: Callable[..., Runtime]) -> None:
    async with runtime() as running:
        first = await running.open_session("acme", "desk-1", user_id="ada", solution="books", metadata={"a": 1})
        second = await running.open_session("acme", "desk-1", user_id="bob", solution="other", metadata={"a": 2})
        assert (first.tenant, first.id) == (second.tenant, second.id)
        view = await second.view()
        assert (view.user_id, view.solution, view.metadata) == ("ada", "books", {"a": 1})
        assert len(await running.wal.query("acme", type="session_created")) == 1


async def test_create_refuses_a_second_of_the_same_id(runtime: Callable[..., Runtime]) -> None:
    async with runtime() as running:
        await running.create_session("acme", "desk-1")
        with pytest.raises(SessionExists, match="desk-1") as raised:
            await running.create_session("acme", "desk-1")
        assert raised.value.session_id == "desk-1"
        await running.create_session("bolt", "desk-1")


async def test_one_of_a_hundred_simultaneous_creations_wins(runtime: Callable[..., Runtime]) -> None:
    async with runtime() as running:
        won: list[str] = []
        lost: list[SessionExists] = []

        async def create() -> None:
            try:
                won.append((await running.create_session("acme", "desk-1")).id)
            except SessionExists as error:
                lost.append(error)

        async with anyio.create_task_group() as group:
            for _ in range(100):
                group.start_soon(create)
        assert (len(won), len(lost)) == (1, 99)
        assert len(await running.wal.query("acme", type="session_created")) == 1


async def test_session_without_an_id_gets_one(runtime: Callable[..., Runtime]) -> None:
    async with runtime(shop) as running:
        ids = {(await running.open_session("acme")).id for _ in range(5)}
        assert len(ids) == 5
        assert {view.id for view in await running.sessions("acme")} == ids


async def test_closed_session_takes_no_intents_and_what_was_accepted_goes_on(runtime: Callable[..., Runtime]) -> None:
    gate = anyio.Event()
    realm = Realm("shop")

    @realm.handler
    async def wait(ctx: Context, nothing: dict[str, Any]) -> str:
        await gate.wait()
        return "done"

    async with runtime(realm) as running:
        session = await running.open_session("acme", "desk-1")
        execution = await session.submit("shop.wait", {})
        await session.close()
        await session.close()
        with pytest.raises(SessionClosed, match="desk-1"):
            await session.submit("shop.wait", {})
        gate.set()
        assert await execution.result(timeout=10) == "done"
        assert (await session.view()).closed_at is not None
        assert len(await running.wal.query("acme", type="session_closed")) == 1


async def test_closed_session_stays_closed_after_a_restart(runtime: Callable[..., Runtime]) -> None:
    async with runtime(shop) as running:
        await (await running.open_session("acme", "desk-1")).close()
    async with runtime(shop) as running:
        with pytest.raises(SessionClosed):
            await running.session("acme", "desk-1").submit("shop.greet", {})
        session = await running.open_session("acme", "desk-1")
        with pytest.raises(SessionClosed):
            await session.submit("shop.greet", {})


@pytest.mark.parametrize("tenant", ["acme", "bolt"])
async def test_session_that_does_not_exist_is_unknown_whoever_asks(
    runtime: Callable[..., Runtime], tenant: str
) -> None:
    async with runtime(shop) as running:
        await running.open_session("acme", "desk-1")
        ghost = running.session(tenant, "desk-1" if tenant == "bolt" else "ghost")
        with pytest.raises(UnknownSession, match=ghost.id):
            await ghost.submit("shop.greet", {})
        with pytest.raises(UnknownSession):
            await ghost.close()
        with pytest.raises(UnknownSession):
            await ghost.view()
        assert running.stats().sessions == 1


async def test_sessions_are_listed_by_page_without_duplicates(runtime: Callable[..., Runtime]) -> None:
    async with runtime() as running:
        for place in range(7):
            solution = "books" if place % 2 else "default"
            await running.open_session("acme", f"desk-{place}", solution=solution)
        await running.open_session("bolt", "desk-9")
        seen: list[str] = []
        cursor = None
        while True:
            page = await running.sessions("acme", limit=3, cursor=cursor)
            seen += [view.id for view in page]
            cursor = page.cursor
            if cursor is None:
                break
        assert seen == [f"desk-{place}" for place in range(7)]
        assert len(await running.sessions("acme", solution="books")) == 3


async def test_ids_that_look_alike_are_kept_apart(runtime: Callable[..., Runtime], hot: Store, audit: Audit) -> None:
    pairs = [("a", "b:c"), ("a:b", "c"), ("a.b", "c"), ("A", "b"), ("a", "B"), ("a@b", "c-d"), ("a", "b@c-d")]
    async with runtime(shop) as running:
        for place, (tenant, id) in enumerate(pairs):
            session = await running.create_session(tenant, id, metadata={"place": place})
            await (await session.submit(greet, {"a": place}, idempotency_key=id)).result(timeout=10)
        for place, (tenant, id) in enumerate(pairs):
            assert (await running.session(tenant, id).view()).metadata == {"place": place}
        world = await audit(hot)
        assert len(world.executions) == len(pairs)


async def test_creation_that_is_asked_twice_finds_its_own_work(
    runtime: Callable[..., Runtime], monkeypatch: pytest.MonkeyPatch
) -> None:
    crashes: list[SessionMessage] = []
    receive = SessionActor.receive

    async def crash_before_the_answer(actor: SessionActor, message: SessionMessage) -> None:
        if isinstance(message, Settled) and not crashes:
            crashes.append(message)
            raise LookupError("as told")
        await receive(actor, message)

    monkeypatch.setattr(SessionActor, "receive", crash_before_the_answer)
    async with runtime() as running:
        session = await running.create_session("acme", "desk-1")
        assert crashes
        assert (await session.view()).id == "desk-1"
        with pytest.raises(SessionExists):
            await running.create_session("acme", "desk-1")
        assert len(await running.wal.query("acme", type="session_created")) == 1
