"""The host cancels: children end in order, bounded; the cancellation goes on; nothing raised is lost."""

# ruff: noqa: PT012 - the block is the life of the supervisor

from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest

from intendant.supervisor import (
    Backoff,
    ChildSpec,
    DynamicSupervisor,
    Escalated,
    Event,
    Intensity,
    Started,
    Strategy,
    Supervisor,
    SupervisorStopped,
)

pytestmark = pytest.mark.anyio

Settle = Callable[[], Awaitable[None]]
MakePuppet = Callable[[str], Any]
MakeSpec = Callable[..., ChildSpec]


async def test_children_end_in_reverse_order_within_their_times_and_the_cancellation_goes_on(
    puppet: MakePuppet, spec: MakeSpec, log: list[str], events: list[Event]
) -> None:
    a, b, c = (puppet(name) for name in "abc")
    b.deaf = True
    supervisor = Supervisor("s", [spec(a), spec(b, shutdown=3.0), spec(c)], on_event=events.append)
    reached = False
    began = anyio.current_time()
    with anyio.move_on_after(10.0) as scope:
        await supervisor.run(anyio.TASK_STATUS_IGNORED)
        reached = True
    assert scope.cancelled_caught
    assert not reached
    assert log[6:] == ["ask c", "ask b", "cancelled b", "ask a"]
    assert anyio.current_time() - began == pytest.approx(13.0)
    assert events[-1] == SupervisorStopped("s", None)


async def test_through_two_levels_the_order_holds(puppet: MakePuppet, spec: MakeSpec, log: list[str]) -> None:
    a, b, c = (puppet(name) for name in "abc")
    inner = Supervisor("inner", [spec(b), spec(c)], path="s")
    with anyio.move_on_after(1.0):
        await Supervisor("s", [spec(a), inner.as_child()]).run(anyio.TASK_STATUS_IGNORED)
    assert log[6:] == ["ask c", "ask b", "ask a"]


async def test_while_a_child_is_starting(puppet: MakePuppet, spec: MakeSpec, log: list[str]) -> None:
    a, b = puppet("a"), puppet("b")
    b.start_seconds = 20.0
    with anyio.move_on_after(1.0):
        await Supervisor("s", [spec(a), spec(b)]).run(anyio.TASK_STATUS_IGNORED)
    assert log == ["start a", "ready a", "start b", "ask b", "cancelled b", "ask a"]


async def test_while_a_restart_waits(puppet: MakePuppet, spec: MakeSpec, settle: Settle) -> None:
    a = puppet("a")
    slow = Backoff(initial=50.0, maximum=50.0)
    for supervisor in (Supervisor("s", [spec(a)], backoff=slow), DynamicSupervisor("d", backoff=slow)):
        began = anyio.current_time()
        async with anyio.create_task_group() as group:
            await group.start(supervisor.run)
            if isinstance(supervisor, DynamicSupervisor):
                supervisor.start_child(spec(a))
                await settle()
            a.crash()
            await settle()
            group.cancel_scope.cancel()
        assert anyio.current_time() - began < 1.0
    assert a.lives == 2


async def test_before_its_first_step(puppet: MakePuppet, spec: MakeSpec) -> None:
    a = puppet("a")
    with anyio.CancelScope() as scope:
        scope.cancel()
        await Supervisor("s", [spec(a)]).run(anyio.TASK_STATUS_IGNORED)
    assert scope.cancelled_caught


async def test_an_escalation_under_way_outranks_the_cancellation(
    puppet: MakePuppet, spec: MakeSpec, settle: Settle
) -> None:
    a, b = puppet("a"), puppet("b")
    a.deaf = True
    supervisor = Supervisor("s", [spec(a), spec(b)], intensity=Intensity(0))
    with pytest.raises(ExceptionGroup) as caught:
        async with anyio.create_task_group() as group:
            await group.start(supervisor.run)
            b.crash()
            await settle()
            group.cancel_scope.cancel()
    assert caught.group_contains(Escalated, depth=1)


async def test_a_host_signal_raised_on_the_way_down_outranks_it_too(puppet: MakePuppet, spec: MakeSpec) -> None:
    class CancelWhenReady:
        def started(self, value: Any = None) -> None:
            scope.cancel()

    a = puppet("a")
    a.stop_error = KeyboardInterrupt()
    with anyio.CancelScope() as scope, pytest.raises(KeyboardInterrupt):
        await Supervisor("s", [spec(a)]).run(CancelWhenReady())


async def test_a_child_that_cancels_only_itself_has_crashed_or_returned(settle: Settle, events: list[Event]) -> None:
    lives = 0

    async def start(status: Started) -> None:
        nonlocal lives
        lives += 1
        status.started()
        with anyio.CancelScope() as own:
            if lives == 1:
                own.cancel()
            await anyio.sleep_forever()

    supervisor = Supervisor("s", [ChildSpec("a", start)], backoff=Backoff.none())
    async with anyio.create_task_group() as group:
        await group.start(supervisor.run)
        await settle()
        assert lives == 2
        supervisor.stop()


async def test_a_cancellation_that_is_not_ours_is_a_crash(anyio_backend_name: str, settle: Settle) -> None:
    if anyio_backend_name == "trio":
        pytest.skip("trio knows no cancellation but that of scopes")
    import asyncio

    tasks: list[asyncio.Task[Any] | None] = []
    crashes: list[BaseException] = []

    async def start(status: Started) -> None:
        tasks.append(asyncio.current_task())
        status.started()
        await anyio.sleep_forever()

    async def work() -> None:
        tasks.append(asyncio.current_task())
        if len(tasks) == 1:
            await anyio.sleep_forever()

    def cancel_last() -> None:
        task = tasks[-1]
        assert task is not None
        task.cancel()

    supervisor = Supervisor("s", [ChildSpec("a", start)], backoff=Backoff.none())
    dynamic = DynamicSupervisor("d", backoff=Backoff.none())
    async with anyio.create_task_group() as group:
        await group.start(supervisor.run)
        cancel_last()
        await settle()
        assert len(tasks) == 2
        assert isinstance(supervisor.children()[0].last_crash, asyncio.CancelledError)
        supervisor.stop()

        await group.start(dynamic.run)
        tasks.clear()
        dynamic.perform("x", work, crashes.append)
        await settle()
        cancel_last()  # at work: a crash
        await settle()
        assert [type(cause) for cause in crashes] == [asyncio.CancelledError]
        dynamic.perform("x", work, crashes.append)
        await settle()
        cancel_last()  # parked: nobody's crash, and the worker gets no more work
        await settle()
        dynamic.perform("x", work, crashes.append)
        await settle()
        assert (len(tasks), len(crashes)) == (3, 1)
        dynamic.stop()


async def test_the_hosts_task_cancelled_the_native_way(
    anyio_backend_name: str, puppet: MakePuppet, spec: MakeSpec, settle: Settle, log: list[str]
) -> None:
    if anyio_backend_name == "trio":
        pytest.skip("trio knows no cancellation but that of scopes")
    import asyncio

    a, b = puppet("a"), puppet("b")
    b.deaf = True
    for times in (1, 2):  # the second time in the middle of stopping: then nothing waits any longer
        task = asyncio.create_task(Supervisor("s", [spec(a), spec(b)]).run(anyio.TASK_STATUS_IGNORED))
        await settle()
        log.clear()
        for _ in range(times):
            task.cancel()
            await anyio.sleep(1.0)
        with pytest.raises(asyncio.CancelledError):
            await task
        assert sorted(log) == [["ask a", "ask b", "cancelled b"], ["ask b", "cancelled a", "cancelled b"]][times - 1]


async def test_context_variables_of_a_child_do_not_reach_its_next_life(settle: Settle) -> None:
    import contextvars

    variable = contextvars.ContextVar("variable", default="clean")
    seen: list[str] = []

    async def start(status: Started) -> None:
        seen.append(variable.get())
        variable.set("dirty")
        status.started()
        if len(seen) < 3:
            raise ValueError
        await anyio.sleep_forever()

    supervisor = Supervisor("s", [ChildSpec("a", start)], strategy=Strategy.ONE_FOR_ALL, backoff=Backoff.none())
    async with anyio.create_task_group() as group:
        await group.start(supervisor.run)
        await settle()
        supervisor.stop()
    assert seen == ["clean"] * 3
