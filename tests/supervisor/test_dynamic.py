"""Children that come and go: budgets of their own, pacing, stopping, giving up."""

# ruff: noqa: PT012 - the block is the life of the supervisor

import math
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import anyio
import pytest

from intendant.supervisor import (
    Backoff,
    ChildCrashed,
    ChildRestarting,
    ChildSpec,
    ChildStarted,
    ChildStarting,
    ChildState,
    ChildStopped,
    ChildStopping,
    DuplicateChild,
    DynamicSupervisor,
    Ending,
    Escalated,
    Event,
    Intensity,
    IntensityExceeded,
    NotRunning,
    Restart,
    Started,
    StartTimedOut,
    Stopping,
    Supervisor,
    SupervisorStarted,
    SupervisorStopped,
)

pytestmark = pytest.mark.anyio

Settle = Callable[[], Awaitable[None]]
Running = Callable[[DynamicSupervisor | Supervisor], AbstractAsyncContextManager[None]]
MakePuppet = Callable[[str], Any]
MakeSpec = Callable[..., ChildSpec]

NOW = Backoff.none()


async def test_a_life_as_it_is_told(
    puppet: MakePuppet, spec: MakeSpec, running: Running, settle: Settle, events: list[Event], boom: type[Exception]
) -> None:
    a, cause = puppet("a"), boom("x")
    dynamic = DynamicSupervisor("d", backoff=NOW, on_event=events.append, path="root")
    async with running(dynamic):
        dynamic.start_child(spec(a))
        assert "a" in dynamic
        await settle()
        a.crash(cause)
        await settle()
        assert [(info.state, info.restarts, info.last_crash) for info in dynamic.children()] == [
            (ChildState.RUNNING, 1, cause)
        ]
        dynamic.stop_child("a")
        await settle()
        assert len(dynamic) == 0
    assert events == [
        SupervisorStarted("root/d"),
        ChildStarting("root/d/a"),
        ChildStarted("root/d/a"),
        ChildCrashed("root/d/a", cause, 1),
        ChildRestarting("root/d/a", 0.0),
        ChildStarting("root/d/a"),
        ChildStarted("root/d/a"),
        ChildStopping("root/d/a"),
        ChildStopped("root/d/a", Ending.ASKED),
        SupervisorStopped("root/d", None),
    ]


async def test_ids_are_unique_while_in_use(
    puppet: MakePuppet, spec: MakeSpec, running: Running, settle: Settle
) -> None:
    a = puppet("a")
    a.deaf = True
    dynamic = DynamicSupervisor("d")
    with pytest.raises(NotRunning):
        dynamic.start_child(spec(a))
    async with running(dynamic):
        dynamic.start_child(spec(a))
        with pytest.raises(DuplicateChild):
            dynamic.start_child(spec(a))
        await settle()
        dynamic.stop_child("a")
        with pytest.raises(Stopping):
            dynamic.start_child(spec(a))
        await anyio.sleep(6.0)
        dynamic.start_child(spec(a))
        await settle()
        assert a.lives == 2
        dynamic.stop()
        with pytest.raises(Stopping):
            dynamic.start_child(spec(puppet("b")))
    with pytest.raises(NotRunning):
        dynamic.start_child(spec(a))


async def test_ask_wait_cancel_of_one_child(
    puppet: MakePuppet, spec: MakeSpec, running: Running, settle: Settle, log: list[str]
) -> None:
    a, b, c = (puppet(name) for name in "abc")
    b.deaf = c.deaf = True
    dynamic = DynamicSupervisor("d")
    async with running(dynamic):
        for each in (a, b, c):
            dynamic.start_child(spec(each))
        await settle()
        log.clear()
        dynamic.stop_child("a")
        dynamic.stop_child("b")
        dynamic.stop_child("c")
        dynamic.cancel_child("c")
        dynamic.stop_child("nobody")
        await settle()
        assert log == ["ask a", "ask b", "ask c", "cancelled c"]
        await anyio.sleep(5.0)
        assert log[-1] == "cancelled b"
        assert len(dynamic) == 0


async def test_a_child_stopped_before_its_first_step_never_starts(
    puppet: MakePuppet, spec: MakeSpec, running: Running, settle: Settle, log: list[str]
) -> None:
    a, b = puppet("a"), puppet("b")
    dynamic = DynamicSupervisor("d")
    async with running(dynamic):
        dynamic.start_child(spec(a))
        dynamic.start_child(spec(b))
        dynamic.stop_child("a")
        dynamic.cancel_child("b")
        await settle()
        assert len(dynamic) == 0
    assert log == []


async def test_kinds_of_restart(puppet: MakePuppet, spec: MakeSpec, running: Running, settle: Settle) -> None:
    dynamic = DynamicSupervisor("d", backoff=NOW)
    kinds = {kind: puppet(kind.value) for kind in Restart}
    async with running(dynamic):
        for kind, child in kinds.items():
            dynamic.start_child(spec(child, kind))
        await settle()
        for child in kinds.values():
            child.crash()
        await settle()
        assert [child.lives for child in kinds.values()] == [2, 2, 1]
        kinds[Restart.PERMANENT].finish()
        kinds[Restart.TRANSIENT].finish()
        await settle()
        assert [child.lives for child in kinds.values()] == [3, 2, 1]
        assert [info.id for info in dynamic.children()] == ["permanent"]


async def test_a_budget_is_the_childs_own(
    puppet: MakePuppet, spec: MakeSpec, running: Running, settle: Settle, events: list[Event], boom: type[Exception]
) -> None:
    given_up: list[tuple[str, BaseException]] = []
    a, b, last = puppet("a"), puppet("b"), boom("last")
    dynamic = DynamicSupervisor(
        "d",
        intensity=Intensity(1, 60.0),
        backoff=NOW,
        on_event=events.append,
        on_give_up=lambda child_id, cause: given_up.append((child_id, cause)),
    )
    async with running(dynamic):
        dynamic.start_child(spec(a))
        dynamic.start_child(spec(b))
        await settle()
        a.crash()
        b.crash()
        await settle()
        assert (a.lives, b.lives) == (2, 2)
        a.crash(last)
        await settle()
        assert given_up == [("a", last)]
        assert "a" not in dynamic
        assert b.lives == 2
        dynamic.start_child(spec(a))
        await settle()
        assert a.lives == 3
    assert IntensityExceeded("d/a", last, 1, 60.0) in events


async def test_without_anyone_to_hand_it_to_a_spent_budget_escalates(
    puppet: MakePuppet, spec: MakeSpec, running: Running, settle: Settle, log: list[str]
) -> None:
    a, b = puppet("a"), puppet("b")
    dynamic = DynamicSupervisor("d", intensity=Intensity(0))
    with pytest.raises(Escalated) as caught:
        async with running(dynamic):
            dynamic.start_child(spec(a))
            dynamic.start_child(spec(b))
            await settle()
            log.clear()
            a.crash()
            await anyio.sleep_forever()
    assert caught.value.child == "a"
    assert log == ["ask b"]


@pytest.mark.parametrize("cause", [KeyboardInterrupt(), SystemExit(3)])
async def test_host_signals_pass_through(
    puppet: MakePuppet, spec: MakeSpec, running: Running, settle: Settle, cause: BaseException
) -> None:
    a = puppet("a")
    dynamic = DynamicSupervisor("d")
    with pytest.raises(type(cause)) as caught:
        async with running(dynamic):
            dynamic.start_child(spec(a))
            await settle()
            a.crash(cause)
            await anyio.sleep_forever()
    assert caught.value is cause


async def test_a_fatal_exit_escalates(
    puppet: MakePuppet, spec: MakeSpec, running: Running, settle: Settle, boom: type[Exception]
) -> None:
    a = puppet("a")
    dynamic = DynamicSupervisor("d")
    with pytest.raises(Escalated):
        async with running(dynamic):
            dynamic.start_child(spec(a, fatal=(boom,)))
            await settle()
            a.crash()
            await anyio.sleep_forever()
    assert a.lives == 1


async def test_a_failed_or_late_start_is_a_crash_of_the_child(
    puppet: MakePuppet, spec: MakeSpec, running: Running, boom: type[Exception]
) -> None:
    given_up: list[BaseException] = []
    a, b = puppet("a"), puppet("b")
    a.start_error = boom("start")
    b.start_seconds = math.inf
    dynamic = DynamicSupervisor("d", intensity=Intensity(2, 1000.0), on_give_up=lambda _, cause: given_up.append(cause))
    async with running(dynamic):
        dynamic.start_child(spec(a))
        dynamic.start_child(spec(b))
        await anyio.sleep(100.0)
        assert (a.lives, b.lives) == (3, 3)
    assert given_up[0] is a.start_error
    assert isinstance(given_up[1], StartTimedOut)


async def test_a_waiting_restart_can_be_stopped_and_its_id_used_again(
    puppet: MakePuppet, spec: MakeSpec, running: Running, settle: Settle
) -> None:
    a = puppet("a")
    dynamic = DynamicSupervisor("d", backoff=Backoff(initial=10.0, maximum=10.0, jitter=0))
    async with running(dynamic):
        dynamic.start_child(spec(a))
        await settle()
        a.crash()
        await settle()
        assert [info.state for info in dynamic.children()] == [ChildState.RESTARTING]
        dynamic.stop_child("a")
        assert "a" not in dynamic
        dynamic.start_child(spec(a))
        await anyio.sleep(20.0)
        assert a.lives == 2


@pytest.mark.in_turn
async def test_ten_thousand_crashes_at_once_come_back_at_the_pace(running: Running, settle: Settle) -> None:
    go = anyio.Event()
    restarted: list[float] = []

    async def start(status: Started) -> None:
        status.started()
        if go.is_set():
            restarted.append(anyio.current_time())
            await anyio.sleep_forever()
        await go.wait()
        raise ValueError

    dynamic = DynamicSupervisor("d", backoff=NOW, restarts_per_second=1000.0)
    async with running(dynamic):
        for i in range(3000):
            dynamic.start_child(ChildSpec(str(i), start))
        await settle()
        began = anyio.current_time()
        go.set()
        await anyio.sleep(10.0)
        assert len(restarted) == 3000
    restarted.sort()
    for i, when in enumerate(restarted):
        assert when - began >= (i - 100) / 1000 - 1e-6
    assert restarted[-1] - began == pytest.approx(2.9, abs=0.1)


async def test_stop_asks_everybody_at_once(
    puppet: MakePuppet, spec: MakeSpec, running: Running, settle: Settle
) -> None:
    children = [puppet(str(i)) for i in range(250)]
    dynamic = DynamicSupervisor("d")
    began = anyio.current_time()
    async with running(dynamic):
        for child in children:
            child.deaf = True
            dynamic.start_child(spec(child, shutdown=2.0))
        await settle()
    assert anyio.current_time() - began == pytest.approx(2.0, abs=0.1)


async def test_one_that_starts_slowly_holds_up_nobody(
    puppet: MakePuppet, spec: MakeSpec, running: Running, settle: Settle
) -> None:
    a, b = puppet("a"), puppet("b")
    a.start_seconds = 20.0
    dynamic = DynamicSupervisor("d")
    async with running(dynamic):
        dynamic.start_child(spec(a))
        dynamic.start_child(spec(b))
        await settle()
        assert {info.id: info.state for info in dynamic.children()} == {
            "a": ChildState.STARTING,
            "b": ChildState.RUNNING,
        }


async def test_as_a_child_it_is_restarted_empty(
    puppet: MakePuppet, spec: MakeSpec, running: Running, settle: Settle
) -> None:
    a = puppet("a")
    dynamic = DynamicSupervisor("d", intensity=Intensity(0), path="s")
    async with running(Supervisor("s", [dynamic.as_child()], backoff=NOW)):
        dynamic.start_child(spec(a))
        await settle()
        a.crash()
        await settle()
        assert len(dynamic) == 0
        dynamic.start_child(spec(a))
        await settle()
        assert a.lives == 2


async def test_a_listener_may_act_on_what_it_hears(
    puppet: MakePuppet, spec: MakeSpec, running: Running, settle: Settle
) -> None:
    def listen(event: Event) -> None:
        if isinstance(event, ChildCrashed):
            dynamic.stop_child("a")
            dynamic.start_child(spec(b))

    a, b = puppet("a"), puppet("b")
    dynamic = DynamicSupervisor("d", backoff=NOW, on_event=listen)
    async with running(dynamic):
        dynamic.start_child(spec(a))
        await settle()
        a.crash()
        await settle()
        assert (a.lives, b.lives) == (1, 1)
        assert [info.id for info in dynamic.children()] == ["b"]


async def test_windows_and_back_off_run_on_the_clock_that_was_given(
    puppet: MakePuppet, spec: MakeSpec, running: Running, settle: Settle
) -> None:
    def minutes() -> float:
        return anyio.current_time() / 60

    async def sleep(duration: float) -> None:
        await anyio.sleep(duration * 60)

    a, b = puppet("a"), puppet("b")
    slow = Backoff(initial=1.0, jitter=0)
    dynamic = DynamicSupervisor("d", backoff=slow, intensity=Intensity(1, 10.0), clock=minutes, sleep=sleep)
    static = Supervisor("s", [spec(b)], backoff=slow, intensity=Intensity(1, 10.0), clock=minutes, sleep=sleep)
    async with running(dynamic), running(static):
        dynamic.start_child(spec(a))
        await settle()
        for lives in (1, 2, 3):
            a.crash()
            b.crash()
            await anyio.sleep(59.0)
            assert (a.lives, b.lives) == (lives, lives)
            await anyio.sleep(2.0)
            assert (a.lives, b.lives) == (lives + 1, lives + 1)
            await anyio.sleep(600.0)
