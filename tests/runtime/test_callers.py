"""Callers: any task of the loop, cancelled anywhere; other threads by one door."""

import threading
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest

from intendant import Context, Realm, Runtime, RuntimeStopped, UnknownSession, WrongThread, blocking
from intendant.domain.ports import Store

pytestmark = pytest.mark.anyio

MEMORY = pytest.mark.parametrize("hot", ["memory"], indirect=True)


def make_realm(runs: list[int]) -> Realm:
    realm = Realm("shop")

    @realm.handler
    async def order(ctx: Context, order: dict[str, int]) -> int:
        runs.append(order["number"])
        doubled = await ctx.step("double", double, order["number"])
        ctx.emit("ordered")
        return doubled

    return realm


async def double(number: int) -> int:
    await anyio.lowlevel.checkpoint()
    return 2 * number


async def cancel_after(steps: int, scope: anyio.CancelScope, pause: float = 0.0) -> None:
    for _ in range(steps):
        await anyio.sleep(pause)
    scope.cancel()


@MEMORY
async def test_caller_cancelled_at_every_await_of_submit_and_result_loses_nothing(
    runtime: Callable[..., Runtime], hot: Store, audit: Callable[[Store], Any]
) -> None:
    runs: list[int] = []
    async with runtime(make_realm(runs)) as running:
        session = await running.open_session("acme", "desk-1")
        ended_early = 0
        for steps in range(60):
            scope = anyio.CancelScope()
            async with anyio.create_task_group() as group:
                with scope:
                    group.start_soon(cancel_after, steps, scope)
                    execution = await session.submit("shop.order", {"number": steps}, idempotency_key=f"k-{steps}")
                    await execution.result()
            ended_early += scope.cancelled_caught
            again = await session.submit("shop.order", {"number": steps}, idempotency_key=f"k-{steps}")
            assert await again.result(timeout=10) == 2 * steps
        assert 0 < ended_early < 60
        assert sorted(runs) == list(range(60))
        assert len((await audit(hot)).executions) == 60


@MEMORY
async def test_caller_cancelled_at_every_await_of_all_other_calls_changes_nothing_else(
    runtime: Callable[..., Runtime], hot: Store, audit: Callable[[Store], Any]
) -> None:
    async with runtime(make_realm([])) as running:
        for steps in range(40):
            async with anyio.create_task_group() as group:
                with anyio.CancelScope() as scope:
                    group.start_soon(cancel_after, steps, scope)
                    session = await running.open_session("acme", f"desk-{steps}")
                    await running.state.set_session("acme", session.id, {"steps": steps})
                    await session.view()
                    await running.wal.query("acme")
                    await session.close()
            await audit(hot)
            session = await running.open_session("acme", f"desk-{steps}")
            await session.close()
            assert (await session.view()).closed_at is not None


@MEMORY
async def test_counts_return_to_what_they_were(
    runtime: Callable[..., Runtime], eventually: Callable[[Callable[[], Awaitable[bool]]], Awaitable[None]]
) -> None:
    async with runtime(make_realm([])) as running:
        session = await running.open_session("acme", "desk-1")
        for number in range(5):
            await (await session.submit("shop.order", {"number": number})).result(timeout=10)

        async def idle() -> bool:  # a handler leaves a moment after its end was told
            stats = running.stats()
            return (stats.open, stats.running, stats.sessions) == (0, 0, 1)

        await eventually(idle)


async def test_call_from_another_thread_names_the_right_door(runtime: Callable[..., Runtime]) -> None:
    async with runtime(make_realm([])) as running:
        session = await running.open_session("acme", "desk-1")
        execution = await session.submit("shop.order", {"number": 1})
        await execution.result(timeout=10)
        calls: list[Callable[[], Any]] = [
            lambda: running.open_session("acme"),
            lambda: running.executions("acme"),
            lambda: running.state.session("acme", "desk-1"),
            lambda: running.state.set_session("acme", "desk-1", {"a": 1}),
            lambda: running.wal.query("acme"),
            lambda: running.outbox.pending("acme"),
            lambda: session.submit("shop.order", {"number": 1}),
            session.close,
            session.view,
            execution.view,
        ]

        def from_elsewhere() -> None:
            for call in calls:
                with pytest.raises(WrongThread, match=r"intendant\.blocking\(runtime\)"):
                    anyio.run(call)
            for plain in (lambda: running.execution("acme", "e"), lambda: running.wait([execution])):
                with pytest.raises(WrongThread):
                    plain()

        await anyio.to_thread.run_sync(from_elsewhere)
        assert (await session.view()).closed_at is None


async def test_door_for_other_threads_of_a_runtime_that_runs(runtime: Callable[..., Runtime]) -> None:
    async with runtime(make_realm([])) as running:
        door = blocking(running)

        def from_elsewhere() -> int:
            session = door.call(running.open_session, "acme", "desk-1", user_id="ada")
            execution = door.call(session.submit, "shop.order", {"number": 4})
            assert len(door.call(running.wal.query, "acme")) > 0
            with pytest.raises(UnknownSession):
                door.call(running.session("acme", "ghost").view)
            result: int = door.call(execution.result, timeout=10)
            return result

        assert await anyio.to_thread.run_sync(from_elsewhere) == 8
    with pytest.raises(RuntimeStopped):
        door.call(running.open_session, "acme")


@MEMORY
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_door_that_runs_a_runtime_in_a_thread_of_its_own(runtime: Callable[..., Runtime], backend: str) -> None:
    before = threading.active_count()
    running = runtime(make_realm([]))
    with blocking(running, backend=backend) as door:
        session = door.call(running.open_session, "acme", "desk-1")
        execution = door.call(session.submit, "shop.order", {"number": 4})
        assert door.call(execution.result, timeout=10) == 8
        with pytest.raises(WrongThread):
            running.execution("acme", "e")
    with pytest.raises(RuntimeStopped):
        door.call(running.open_session, "acme")
    assert threading.active_count() == before


@MEMORY
def test_door_of_a_runtime_that_can_not_be_entered_raises_why(runtime: Callable[..., Runtime]) -> None:
    with pytest.raises(ValueError, match="fsync"), blocking(runtime(durability="fsync")):
        pass


async def test_host_cancelled_at_every_await_of_entering_and_leaving_leaves_nothing_behind(
    runtime: Callable[..., Runtime], hot: Store, audit: Callable[[Store], Any]
) -> None:
    runs: list[int] = []
    running = runtime(make_realm(runs))
    entered = 0
    pause = 0.0 if hot.name == "memory:" else 0.0005  # a file takes its time, whatever the loop does meanwhile
    tries = range(0, 80, 1 if hot.name == "memory:" else 4)
    for steps in tries:
        scope = anyio.CancelScope()
        async with anyio.create_task_group() as group:
            with scope:
                group.start_soon(cancel_after, steps, scope, pause)
                async with running:
                    entered += 1
                    session = await running.open_session("acme", "desk-1")
                    await session.submit("shop.order", {"number": steps}, idempotency_key=f"k-{steps}")
    async with running:
        session = await running.open_session("acme", "desk-1")
        for steps in tries:
            execution = await session.submit("shop.order", {"number": steps}, idempotency_key=f"k-{steps}")
            assert await execution.result(timeout=10) == 2 * steps
        assert len((await audit(hot)).executions) == len(tries)
    assert entered > 0
