"""Pure handlers: computed while their intent is accepted, and ended by the commit that accepts it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta

import anyio
import pytest

from intendant import (
    Context,
    Event,
    ExecutionFailed,
    IdempotencyConflict,
    Intent,
    InvalidIntent,
    Realm,
    Retry,
    Runtime,
    Status,
)
from intendant.domain.ports import Store
from intendant.domain.replay import World

pytestmark = pytest.mark.anyio
sums = Realm("sums")
calls: list[int] = []
published: list[Event] = []


@sums.handler(pure=True)
async def twice(ctx: Context, given: dict[str, int]) -> int:
    calls.append(given["n"])
    return 2 * given["n"]


@sums.handler(pure=True)
async def told(ctx: Context, given: dict[str, int]) -> int:
    ctx.emit("counted", given["n"])
    ctx.artifact("n", given["n"])
    return given["n"]


@sums.handler(pure=True, retry=Retry(attempts=3, initial=timedelta(milliseconds=1)))
async def inverse(ctx: Context, given: dict[str, int]) -> float:
    calls.append(ctx.attempt)
    return 1 / given["n"]


@sums.handler(pure=True)
async def much(ctx: Context, given: dict[str, int]) -> bytes:
    return b"x" * given["n"]


@sums.handler(pure=True)
async def leaves(ctx: Context, given: dict[str, int]) -> int:
    raise SystemExit(given["n"])


gates: list[anyio.Event] = []


@sums.handler
async def waits(ctx: Context, given: dict[str, int]) -> int:
    await gates[-1].wait()
    return given["n"]


@pytest.fixture(autouse=True)
def _anew() -> None:
    calls.clear()
    published.clear()
    gates[:] = [anyio.Event()]


async def kinds(runtime: Runtime, execution: str) -> list[str]:
    page = await runtime.wal.query("acme", execution=execution)
    return [record.type for record in reversed(page.items)]


async def test_it_is_accepted_and_ended_in_one_commit(
    runtime: Callable[..., Runtime], hot: Store, audit: Callable[[Store], Awaitable[World]]
) -> None:
    async with runtime(sums) as running:
        session = await running.open_session("acme", "s")
        before = running.stats().commits
        execution = await session.submit(twice, {"n": 21})
        assert running.stats().commits == before + 1
        assert execution.ending.state is not None, "the handle knows it"
        assert await execution.result() == 42
        assert running.stats().open == 0
        assert await kinds(running, execution.id) == ["intent_received", "execution_started", "execution_completed"]
        looked_up = running.execution("acme", execution.id)
        assert (await looked_up.outcome()).result == 42
        assert await looked_up.status() is Status.COMPLETED
        await audit(hot)
    assert calls == [21]


async def test_the_same_key_is_the_same_execution_and_it_runs_once_more_for_nothing(
    runtime: Callable[..., Runtime],
) -> None:
    async with runtime(sums) as running:
        session = await running.open_session("acme", "s")
        first = await session.submit(twice, {"n": 1}, idempotency_key="k")
        again = await session.submit(twice, {"n": 1}, idempotency_key="k")
        assert first.id == again.id
        assert await again.result() == await first.result() == 2
        with pytest.raises(IdempotencyConflict):
            await session.submit(twice, {"n": 2}, idempotency_key="k")
        found: list[str] = []

        async def submit() -> None:
            found.append((await session.submit(twice, {"n": 3}, idempotency_key="many")).id)

        async with anyio.create_task_group() as group:
            for _ in range(50):
                group.start_soon(submit)
        assert len(set(found)) == 1
        assert (await running.wal.query("acme", type="execution_completed")).items.__len__() == 2


async def test_its_events_and_artifacts_ride_with_its_end(runtime: Callable[..., Runtime]) -> None:
    all_out = anyio.Event()

    async def publish(event: Event) -> None:
        published.append(event)
        if len(published) == 3:
            all_out.set()

    async with runtime(sums, publisher=publish) as running:
        session = await running.open_session("acme", "s")
        executions = [await session.submit(told, {"n": number}) for number in range(3)]
        for number, execution in enumerate(executions):
            outcome = await execution.outcome()
            assert (outcome.events, outcome.artifacts) == (1, {"n": number})
        with anyio.fail_after(10):
            await all_out.wait()
    assert [(event.name, event.payload) for event in published] == [("counted", number) for number in range(3)]
    assert [event.id for event in published] == [f"{execution.id}-0" for execution in executions]


async def test_one_that_fails_runs_as_others_do(runtime: Callable[..., Runtime]) -> None:
    async with runtime(sums) as running:
        session = await running.open_session("acme", "s")
        execution = await session.submit(inverse, {"n": 0})
        with pytest.raises(ExecutionFailed, match="division by zero"):
            await execution.result(timeout=30)
        assert calls == [1, 1, 2, 3], "once while it was accepted, and as often as its retry says"
        assert await (await session.submit(inverse, {"n": 2})).result() == 0.5


async def test_what_is_too_large_or_leaves_the_process_is_the_end_of_the_execution_alone(
    runtime: Callable[..., Runtime],
) -> None:
    async with runtime(sums) as running:
        session = await running.open_session("acme", "s")
        with pytest.raises(ExecutionFailed, match="limit"):
            await (await session.submit(much, {"n": 20_000_000})).result(timeout=30)
        with pytest.raises(ExecutionFailed, match="SystemExit"):
            await (await session.submit(leaves, {"n": 1})).result(timeout=30)
        assert await (await session.submit(twice, {"n": 1})).result() == 2


async def test_it_passes_nobody_who_came_before(runtime: Callable[..., Runtime]) -> None:
    async with runtime(sums) as running:
        session = await running.create_session("acme", "s", concurrency=1)
        first = await session.submit(waits, {"n": 1})
        second = await session.submit(twice, {"n": 2})
        assert calls == [], "its turn has not come"
        gates[-1].set()
        assert [await first.result(timeout=30), await second.result(timeout=30)] == [1, 4]
        third, fourth = await session.submit_many([Intent(twice, {"n": 3}), Intent(twice, {"n": 4})])
        assert [await third.result(timeout=30), await fourth.result(timeout=30)] == [6, 8]


async def test_it_is_refused_as_others_are(runtime: Callable[..., Runtime]) -> None:
    async with runtime(sums) as running:
        session = await running.open_session("acme", "s")
        with pytest.raises(InvalidIntent):
            await session.submit("sums.twice", {"n": "many"})
        assert calls == []


def test_only_what_awaits_nothing_can_be_pure() -> None:
    realm = Realm("r")
    with pytest.raises(TypeError, match=r"awaits nothing, and .*pauses does"):

        @realm.handler(pure=True)
        async def pauses(ctx: Context, given: dict[str, int]) -> None:  # pyright: ignore[reportUnusedFunction]
            await anyio.sleep(1)

    with pytest.raises(TypeError, match="awaits nothing"):

        @realm.handler(pure=True)
        async def opens(ctx: Context, given: dict[str, int]) -> None:  # pyright: ignore[reportUnusedFunction]
            async with anyio.create_task_group():
                pass

    with pytest.raises(TypeError, match="awaits nothing"):

        @realm.handler(pure=True)
        async def lists(ctx: Context, given: dict[str, int]) -> list[int]:  # pyright: ignore[reportUnusedFunction]
            return [number async for number in _numbers()]

    with pytest.raises(ValueError, match="exclusive"):
        realm.handler(pure=True, exclusive=True)
    assert not realm.handlers


async def _numbers() -> AsyncIterator[int]:
    yield 1
