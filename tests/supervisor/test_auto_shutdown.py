"""Significant children: whose end is the end of their supervisor."""

from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest

from intendant.supervisor import (
    AutoShutdown,
    Backoff,
    ChildSpec,
    ChildState,
    DynamicSupervisor,
    Event,
    Restart,
    Started,
    Strategy,
    Supervisor,
    SupervisorEnding,
    SupervisorStopped,
)

pytestmark = pytest.mark.anyio

Settle = Callable[[], Awaitable[None]]
MakePuppet = Callable[[str], Any]
MakeSpec = Callable[..., ChildSpec]

ANY, ALL = AutoShutdown.ANY_SIGNIFICANT, AutoShutdown.ALL_SIGNIFICANT
TR, TE = Restart.TRANSIENT, Restart.TEMPORARY


async def test_any_ends_it_with_the_first_in_order_and_normally(
    puppet: MakePuppet, spec: MakeSpec, log: list[str], events: list[Event]
) -> None:
    a, b, c = (puppet(name) for name in "abc")
    specs = [spec(a), spec(b, TR, significant=True), spec(c, TR, significant=True)]
    supervisor = Supervisor("s", specs, auto_shutdown=ANY, on_event=events.append)
    async with anyio.create_task_group() as group:
        await group.start(supervisor.run)
        log.clear()
        b.finish()
    assert log == ["ask c", "ask a"]
    assert SupervisorEnding("s", "b") in events
    assert events[-1] == SupervisorStopped("s", None)


async def test_all_ends_it_with_the_last(puppet: MakePuppet, spec: MakeSpec, settle: Settle) -> None:
    a, b, c = (puppet(name) for name in "abc")
    specs = [spec(a), spec(b, TR, significant=True), spec(c, TE, significant=True)]
    supervisor = Supervisor("s", specs, auto_shutdown=ALL)
    async with anyio.create_task_group() as group:
        await group.start(supervisor.run)
        c.crash()
        await settle()
        assert supervisor.children()[0].state is ChildState.RUNNING
        b.finish()
    assert supervisor.children()[0].state is ChildState.STOPPED


async def test_a_crash_of_a_transient_one_is_restarted_and_ends_nothing(
    puppet: MakePuppet, spec: MakeSpec, settle: Settle
) -> None:
    a, b = puppet("a"), puppet("b")
    supervisor = Supervisor(
        "s", [spec(a, TR, significant=True), spec(b, TE, significant=True)], auto_shutdown=ANY, backoff=Backoff.none()
    )
    async with anyio.create_task_group() as group:
        await group.start(supervisor.run)
        a.crash()
        await settle()
        assert a.lives == 2
        b.crash()  # a temporary one ends for good also by a crash


async def test_who_waits_for_a_restart_has_not_ended(puppet: MakePuppet, spec: MakeSpec, settle: Settle) -> None:
    a, b = puppet("a"), puppet("b")
    supervisor = Supervisor(
        "s",
        [spec(a, TR, significant=True), spec(b, TR, significant=True)],
        auto_shutdown=ALL,
        backoff=Backoff(50.0, maximum=50.0),
    )
    async with anyio.create_task_group() as group:
        await group.start(supervisor.run)
        a.crash()
        await settle()
        b.finish()
        await anyio.sleep(100.0)
        assert a.lives == 2
        a.finish()


async def test_what_the_supervisor_stops_does_not_count(puppet: MakePuppet, spec: MakeSpec, settle: Settle) -> None:
    a, b, c = (puppet(name) for name in "abc")
    specs = [spec(a), spec(b, TE, significant=True), spec(c, TE, significant=True)]
    supervisor = Supervisor("s", specs, strategy=Strategy.ONE_FOR_ALL, auto_shutdown=ANY, backoff=Backoff.none())
    async with anyio.create_task_group() as group:
        await group.start(supervisor.run)
        await supervisor.stop_child("c")
        a.crash()
        await settle()
        assert [info.state.value for info in supervisor.children()] == ["running", "stopped", "stopped"]
        await supervisor.restart_child("b")
        b.finish()


async def test_an_end_before_all_have_started_ends_it_when_they_have(
    puppet: MakePuppet, spec: MakeSpec, log: list[str]
) -> None:
    async def brief(status: Started) -> None:
        status.started()

    b = puppet("b")
    b.start_seconds = 3.0
    supervisor = Supervisor("s", [ChildSpec("a", brief, TR, significant=True), spec(b)], auto_shutdown=ANY)
    async with anyio.create_task_group() as group:
        await group.start(supervisor.run)
    assert log == ["start b", "ready b", "ask b"]


async def test_children_that_come_and_go_may_be_significant_too(
    puppet: MakePuppet, spec: MakeSpec, settle: Settle, events: list[Event]
) -> None:
    for auto in (ANY, ALL):
        a, b = puppet("a"), puppet("b")
        dynamic = DynamicSupervisor("d", auto_shutdown=auto, on_event=events.append)
        async with anyio.create_task_group() as group:
            await group.start(dynamic.run)
            dynamic.start_child(spec(a, TR, significant=True))
            dynamic.start_child(spec(b, TR, significant=True))
            await settle()
            a.finish()
            if auto is ALL:
                await settle()
                assert len(dynamic) == 1
                b.finish()
        assert events[-1] == SupervisorStopped("d", None)
        assert SupervisorEnding("d", "a" if auto is ANY else "b") in events


async def test_for_its_own_supervisor_it_is_a_normal_end(puppet: MakePuppet, spec: MakeSpec, settle: Settle) -> None:
    for kind, lives in [(Restart.PERMANENT, 2), (Restart.TRANSIENT, 1)]:
        a = puppet("a")
        inner = Supervisor("inner", [spec(a, TR, significant=True)], auto_shutdown=ANY, path="s")
        outer = Supervisor("s", [inner.as_child(restart=kind)], backoff=Backoff.none())
        async with anyio.create_task_group() as group:
            await group.start(outer.run)
            a.finish()
            await settle()
            assert a.lives == lives
            outer.stop()


async def test_significance_cascades_up(puppet: MakePuppet, spec: MakeSpec) -> None:
    a, b = puppet("a"), puppet("b")
    inner = Supervisor("inner", [spec(a, TR, significant=True)], auto_shutdown=ANY, path="s")
    outer = Supervisor("s", [inner.as_child(restart=TR, significant=True), spec(b)], auto_shutdown=ANY)
    async with anyio.create_task_group() as group:
        await group.start(outer.run)
        a.finish()
    assert b.lives == 1


async def test_significance_that_can_have_no_effect_is_refused(puppet: MakePuppet, spec: MakeSpec) -> None:
    a = puppet("a")
    with pytest.raises(ValueError, match="a permanent child never ends"):
        spec(a, significant=True)
    with pytest.raises(ValueError, match="auto_shutdown=NEVER"):
        Supervisor("s", [spec(a, TR, significant=True)])
    supervisor, dynamic = Supervisor("s", []), DynamicSupervisor("d")
    async with anyio.create_task_group() as group:
        await group.start(supervisor.run)
        await group.start(dynamic.run)
        with pytest.raises(ValueError, match="auto_shutdown=NEVER"):
            await supervisor.start_child(spec(a, TR, significant=True))
        with pytest.raises(ValueError, match="auto_shutdown=NEVER"):
            dynamic.start_child(spec(a, TR, significant=True))
        group.cancel_scope.cancel()
