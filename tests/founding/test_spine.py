"""Founding behaviours 1 to 6: the runtime's spine."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from intendant import Context, Realm, Runtime, Status, UnknownExecution, UnknownSession
from intendant.adapters.memory import MemoryColdStore
from intendant.domain.ports import Store

pytestmark = pytest.mark.anyio


class Document(msgspec.Struct):
    title: str


content = Realm("content")


@content.handler
async def ingest(ctx: Context, document: Document) -> dict[str, Any]:
    ctx.artifact("document", {"title": document.title})
    return {"ingested": document.title}


async def test_01_runtime_initializes_with_everything_it_depends_on_wired(
    runtime: Callable[..., Runtime], hot: Store
) -> None:
    published: list[Any] = []
    async with runtime(content, cold=MemoryColdStore(), publisher=published.append) as running:
        assert running.failed is None
        assert running.durability == hot.durability.name.lower()
        assert running.stats().open == 0
        assert running.state is not None
        assert running.wal is not None
        assert running.outbox is not None
        session = await running.open_session("acme", "desk-1")
        outcome = await (await session.submit(ingest, Document("a"))).outcome(timeout=10)
        assert outcome.success


async def test_02_session_is_created_and_found_in_the_state_surface(runtime: Callable[..., Runtime]) -> None:
    async with runtime() as running:
        session = await running.create_session("acme", "desk-1", user_id="ada", metadata={"channel": "web"})
        found = await running.state.session("acme", session.id)
        assert found is not None
        assert (found.id, found.tenant, found.user_id) == ("desk-1", "acme", "ada")
        assert found.metadata == {"channel": "web"}
        assert found.created_at is not None


async def test_03_intent_is_submitted_and_executed_through_the_lifecycle(runtime: Callable[..., Runtime]) -> None:
    async with runtime(content) as running:
        session = await running.open_session("acme", "desk-1")
        execution = await session.submit("content.ingest", {"title": "a"})
        outcome = await execution.outcome(timeout=10)
        assert outcome.execution_id == execution.id
        assert outcome.intent_id == execution.intent_id
        assert outcome.status is Status.COMPLETED
        assert outcome.result == {"ingested": "a"}


async def test_04_records_appear_in_the_wal_for_it(runtime: Callable[..., Runtime]) -> None:
    async with runtime(content) as running:
        session = await running.open_session("acme", "desk-1")
        execution = await session.submit(ingest, Document("a"))
        await execution.outcome(timeout=10)
        records = (await running.wal.query("acme", execution=execution.id)).items
        assert records
        assert {each.session for each in records} == {"desk-1"}


async def test_05_execution_state_is_tracked_with_a_documented_status(runtime: Callable[..., Runtime]) -> None:
    async with runtime(content) as running:
        session = await running.open_session("acme", "desk-1")
        execution = await session.submit(ingest, Document("a"))
        assert await execution.status() in set(Status)
        await execution.outcome(timeout=10)
        state = await running.state.execution("acme", execution.id)
        assert state is not None
        assert state.status is Status.COMPLETED


async def test_06_tenants_are_isolated(runtime: Callable[..., Runtime]) -> None:
    async with runtime(content) as running:
        acme = await running.create_session("acme", "desk-1", user_id="ada")
        await running.create_session("bolt", "desk-1", user_id="bob")
        execution = await acme.submit(ingest, Document("a"))
        await execution.outcome(timeout=10)
        assert (await running.session("acme", "desk-1").view()).user_id == "ada"
        assert (await running.session("bolt", "desk-1").view()).user_id == "bob"
        assert await running.state.execution("bolt", execution.id) is None
        with pytest.raises(UnknownExecution):
            await running.execution("bolt", execution.id).outcome(timeout=10)
        with pytest.raises(UnknownSession):
            await running.session("cave", "desk-1").view()
        assert (await running.executions("bolt")).items == []
        assert {each.type for each in await running.wal.query("bolt")} == {"session_created"}
