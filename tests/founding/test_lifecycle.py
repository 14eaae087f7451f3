"""Founding behaviours 7 to 14: the life of an execution."""

from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import msgspec
import pytest

from intendant import Context, Event, InvalidIntent, Realm, Runtime, Status

pytestmark = pytest.mark.anyio


class Document(msgspec.Struct):
    title: str


content = Realm("content")


@content.handler
async def parse(ctx: Context, document: Document) -> int:
    ctx.artifact("parsed", {"title": document.title, "words": [1, 2, {"deep": True}]})
    ctx.emit("parsed", {"title": document.title})
    return len(document.title)


async def test_07_intent_with_a_handler_executes_and_returns_artifacts(runtime: Callable[..., Runtime]) -> None:
    async with runtime(content) as running:
        session = await running.open_session("acme", "desk-1")
        outcome = await (await session.submit("content.parse", {"title": "abc"})).outcome(timeout=10)
        assert outcome.success
        assert outcome.execution_id
        assert outcome.artifacts == {"parsed": {"title": "abc", "words": [1, 2, {"deep": True}]}}


async def test_08_intent_without_a_handler_fails_gracefully(runtime: Callable[..., Runtime]) -> None:
    async with runtime(content) as running:
        session = await running.open_session("acme", "desk-1")
        outcome = await (await session.submit("content.unheard_of", {"a": 1})).outcome(timeout=10)
        assert not outcome.success
        assert outcome.error is not None
        assert outcome.error.code == "unknown_intent_type"
        assert "content.unheard_of" in outcome.error.message


async def test_09_execution_state_is_tracked_through_the_run(runtime: Callable[..., Runtime]) -> None:
    running_now, go_on = anyio.Event(), anyio.Event()
    realm = Realm("content")

    @realm.handler
    async def pause(ctx: Context, nothing: dict[str, Any]) -> None:
        running_now.set()
        await go_on.wait()

    async with runtime(realm) as running:
        session = await running.open_session("acme", "desk-1")
        execution = await session.submit(pause, {"for": "a while"})
        await running_now.wait()
        during = await execution.view()
        go_on.set()
        await execution.outcome(timeout=10)
        after = await execution.view()
    assert during.status is Status.RUNNING
    assert (during.started_at is not None, during.ended_at) == (True, None)
    assert after.status is Status.COMPLETED
    assert after.ended_at is not None
    assert after.started_at is not None
    assert after.accepted_at is not None
    assert after.accepted_at <= after.started_at <= after.ended_at


async def test_10_wal_holds_received_started_and_the_terminal_record(runtime: Callable[..., Runtime]) -> None:
    async with runtime(content) as running:
        session = await running.open_session("acme", "desk-1")
        execution = await session.submit(parse, Document("abc"))
        await execution.outcome(timeout=10)
        records = await running.wal.query("acme", execution=execution.id, newest_first=False)
        assert [each.type for each in records] == ["intent_received", "execution_started", "execution_completed"]


async def test_11_events_go_through_the_transactional_outbox(
    runtime: Callable[..., Runtime], eventually: Callable[[Callable[[], Awaitable[bool]]], Awaitable[None]]
) -> None:
    gate = anyio.Event()
    delivered: list[Event] = []

    async def publish(event: Event) -> None:
        await gate.wait()
        delivered.append(event)

    async with runtime(content, publisher=publish) as running:
        session = await running.open_session("acme", "desk-1")
        execution = await session.submit(parse, Document("abc"))
        await execution.outcome(timeout=10)
        pending = (await running.outbox.pending("acme")).items
        assert [(each.name, each.payload, each.execution_id) for each in pending] == [
            ("parsed", {"title": "abc"}, execution.id)
        ]
        gate.set()

        async def settled() -> bool:
            return not len(await running.outbox.pending("acme"))

        await eventually(settled)
        assert delivered == pending
        assert (await running.outbox.published("acme")).items == pending


async def test_12_invalid_intent_is_rejected_with_an_error_that_names_the_field(
    runtime: Callable[..., Runtime],
) -> None:
    async with runtime(content) as running:
        session = await running.open_session("acme", "desk-1")
        assert session.id == "desk-1"

        async def submit(
            type: str = "content.parse",
            tenant: str = "acme",
            session: str = "desk-1",
            solution: str = "default",
            parameters: Any = {"title": "a"},  # noqa: B006  never changed
        ) -> None:
            await running.session(tenant, session).submit(type, parameters, solution=solution)

        await submit()
        wrong: dict[str, Any] = {"type": "", "tenant": "", "session": "", "solution": "", "parameters": [1, 2]}
        for field, value in wrong.items():
            with pytest.raises(InvalidIntent, match=field) as raised:
                await submit(**{field: value})
            assert raised.value.field == field


async def test_13_artifacts_are_returned_with_the_outcome_and_kept(runtime: Callable[..., Runtime]) -> None:
    async with runtime(content) as running:
        session = await running.open_session("acme", "desk-1")
        execution = await session.submit(parse, Document("abc"))
        outcome = await execution.outcome(timeout=10)
        kept = await running.state.execution("acme", execution.id)
        assert kept is not None
        assert kept.artifacts == outcome.artifacts != {}


async def test_14_several_executions_run_at_once_each_with_its_own_id(runtime: Callable[..., Runtime]) -> None:
    async with runtime(content) as running:
        session = await running.open_session("acme", "desk-1")
        results: list[int] = []
        ids: set[str] = set()

        async def submit(place: int) -> None:
            execution = await session.submit(parse, Document("x" * place))
            ids.add(execution.id)
            results.append(await execution.result(timeout=10))

        async with anyio.create_task_group() as group:
            for place in range(10):
                group.start_soon(submit, place)
        assert len(ids) == 10
        assert sorted(results) == list(range(10))
