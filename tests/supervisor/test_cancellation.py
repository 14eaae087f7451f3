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
