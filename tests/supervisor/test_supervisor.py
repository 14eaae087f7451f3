"""The static tree node: order, readiness, restart, escalation."""

# ruff: noqa: PT012 - the block is the life of the supervisor

import math
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import anyio
import pytest

from intendant.supervisor import (
    AskFailed,
    Backoff,
    ChildCrashed,
    ChildExited,
    ChildRestarting,
    ChildSpec,
    ChildStarted,
    ChildStarting,
    ChildState,
    ChildStopped,
    ChildStopping,
    Ending,
    Escalated,
    Event,
    Intensity,
    IntensityExceeded,
    Restart,
    Started,
    StartFailed,
    StartTimedOut,
    Strategy,
    Supervisor,
    SupervisorEscalated,
    SupervisorStarted,
    SupervisorStopped,
    UnexpectedExit,
)

pytestmark = pytest.mark.anyio

Settle = Callable[[], Awaitable[None]]
Running = Callable[[Supervisor], AbstractAsyncContextManager[None]]
MakePuppet = Callable[[str], Any]  # Any: the puppet of conftest, which modules can't import
MakeSpec = Callable[..., ChildSpec]

NOW = Backoff.none()


# ---------------------------------------------------------------------- order and readiness


async def test_starts_left_to_right_each_ready_before_the_next_and_stops_right_to_left(
    puppet: MakePuppet, spec: MakeSpec, running: Running, log: list[str]
) -> None:
    a, b, c = (puppet(name) for name in "abc")
    b.start_seconds = 3.0
    async with running(Supervisor("s", [spec(a), spec(b), spec(c)])):
        assert log == ["start a", "ready a", "start b", "ready b", "start c", "ready c"]
        log.clear()
    assert log == ["ask c", "ask b", "ask a"]


async def test_all_it_does_is_told(
    puppet: MakePuppet, spec: MakeSpec, running: Running, settle: Settle, events: list[Event], boom: type[Exception]
) -> None:
    a, cause = puppet("a"), boom("x")
    async with running(Supervisor("s", [spec(a)], backoff=Backoff(jitter=0), on_event=events.append, path="root")):
        a.crash(cause)
        await anyio.sleep(1.0)
    assert events == [
        ChildStarting("root/s/a"),
        ChildStarted("root/s/a"),
        SupervisorStarted("root/s"),
        ChildCrashed("root/s/a", cause, 1),
        ChildRestarting("root/s/a", 0.05),
        ChildStarting("root/s/a"),
        ChildStarted("root/s/a"),
        ChildStopping("root/s/a"),
        ChildStopped("root/s/a", Ending.ASKED),
        SupervisorStopped("root/s", None),
    ]


async def test_a_failed_first_start_undoes_the_earlier_ones(
    puppet: MakePuppet, spec: MakeSpec, running: Running, log: list[str], boom: type[Exception]
) -> None:
    a, b, c, d = (puppet(name) for name in "abcd")
    c.start_error = boom("c")
    with pytest.raises(StartFailed) as caught:
        async with running(Supervisor("s", [spec(each) for each in (a, b, c, d)])):
            pytest.fail("was started")
    assert caught.value.path == "s/c"
    assert caught.value.__cause__ is c.start_error
    assert log == ["start a", "ready a", "start b", "ready b", "start c", "ask b", "ask a"]


async def test_a_start_that_takes_too_long_is_cancelled(puppet: MakePuppet, spec: MakeSpec, running: Running) -> None:
    a = puppet("a")
    a.start_seconds = 31.0
    began = anyio.current_time()
    with pytest.raises(StartFailed) as caught:
        async with running(Supervisor("s", [spec(a)])):
            pytest.fail("was started")
    assert isinstance(caught.value.__cause__, StartTimedOut)
    assert anyio.current_time() - began == pytest.approx(30.0)


async def test_a_permanent_child_that_returns_before_it_is_ready_has_not_started(running: Running) -> None:
    async def empty(status: Started) -> None:
        del status

    with pytest.raises(StartFailed) as caught:
        async with running(Supervisor("s", [ChildSpec("a", empty)])):
            pytest.fail("was started")
    assert isinstance(caught.value.__cause__, UnexpectedExit)
    async with running(Supervisor("s", [ChildSpec("a", empty, Restart.TRANSIENT)])):
        pass  # what may end may also end early


async def test_ready_twice_is_a_crash(running: Running) -> None:
    async def twice(status: Started) -> None:
        status.started()
        status.started()

    with pytest.raises(Escalated) as caught:
        async with running(Supervisor("s", [ChildSpec("a", twice)], intensity=Intensity(0))):
            await anyio.sleep_forever()
    assert isinstance(caught.value.__cause__, RuntimeError)


async def test_stop_while_starting_ends_normally_and_starts_nothing_more(
    puppet: MakePuppet, spec: MakeSpec, settle: Settle, log: list[str]
) -> None:
    a, b, c = (puppet(name) for name in "abc")
    b.start_seconds = math.inf
    supervisor = Supervisor("s", [spec(a), spec(b), spec(c)])
    async with anyio.create_task_group() as group:
        group.start_soon(supervisor.run, anyio.TASK_STATUS_IGNORED)
        await settle()
        supervisor.stop()
    assert log == ["start a", "ready a", "start b", "ask b", "cancelled b", "ask a"]


# ---------------------------------------------------------------------- restart


async def test_whom_a_crash_concerns(puppet: MakePuppet, spec: MakeSpec, running: Running, settle: Settle) -> None:
    for strategy, lives in [
        (Strategy.ONE_FOR_ONE, (1, 2, 1)),
        (Strategy.REST_FOR_ONE, (1, 2, 2)),
        (Strategy.ONE_FOR_ALL, (2, 2, 2)),
    ]:
        a, b, c = (puppet(name) for name in "abc")
        supervisor = Supervisor("s", [spec(a), spec(b), spec(c)], strategy=strategy, backoff=NOW)
        async with running(supervisor):
            b.crash()
            await settle()
            assert (a.lives, b.lives, c.lives) == lives
            assert [info.restarts for info in supervisor.children()] == [each - 1 for each in lives]


async def test_kinds_of_restart(puppet: MakePuppet, spec: MakeSpec, running: Running, settle: Settle) -> None:
    kinds = dict.fromkeys(Restart)
    for kind in kinds:
        for end, lives in [("finish", {Restart.PERMANENT: 2}), ("crash", {Restart.PERMANENT: 2, Restart.TRANSIENT: 2})]:
            a = puppet("a")
            supervisor = Supervisor("s", [spec(a, kind)], backoff=NOW)
            async with running(supervisor):
                getattr(a, end)()
                await settle()
                assert a.lives == lives.get(kind, 1)
                down = supervisor.children()[0].state is ChildState.STOPPED
                assert down is (kind not in lives)


async def test_a_temporary_child_that_goes_down_with_its_group_stays_down(
    puppet: MakePuppet, spec: MakeSpec, running: Running, settle: Settle
) -> None:
    a, b, c = (puppet(name) for name in "abc")
    specs = [spec(a), spec(b, Restart.TEMPORARY), spec(c, Restart.TRANSIENT)]
    async with running(Supervisor("s", specs, strategy=Strategy.ONE_FOR_ALL, backoff=NOW)):
        c.finish()
        await settle()
        a.crash()
        await settle()
        assert (a.lives, b.lives, c.lives) == (2, 1, 2)


async def test_a_group_goes_down_in_reverse_and_comes_up_in_order(
    puppet: MakePuppet, spec: MakeSpec, running: Running, settle: Settle, log: list[str]
) -> None:
    a, b, c, d = (puppet(name) for name in "abcd")
    b.start_seconds = c.start_seconds = 1.0
    supervisor = Supervisor("s", [spec(x) for x in (a, b, c, d)], strategy=Strategy.REST_FOR_ONE, backoff=NOW)
    async with running(supervisor):
        log.clear()
        b.crash()
        d.crash()
        await anyio.sleep(5.0)
        assert log == ["ask c", "start b", "ready b", "start c", "ready c", "start d", "ready d"]
        log.clear()


async def test_an_exit_in_the_middle_of_a_group_restart(
    puppet: MakePuppet, spec: MakeSpec, running: Running, log: list[str]
) -> None:
    a, b, c = (puppet(name) for name in "abc")
    supervisor = Supervisor("s", [spec(x) for x in (a, b, c)], strategy=Strategy.REST_FOR_ONE, backoff=NOW)
    async with running(supervisor):
        b.start_seconds = 12.0
        log.clear()
        b.crash()
        await anyio.sleep(5.0)
        a.crash()
        await anyio.sleep(6.0)
        expected = ["ask c", "start b", "ask b", "cancelled b", "start a", "ready a", "start b"]
        assert log == expected  # b has had its five seconds of grace, and starts anew
        await anyio.sleep(12.0)
        assert log[len(expected) :] == ["ready b", "start c", "ready c"]


async def test_a_failed_restart_counts_and_is_tried_again_with_growing_waits(
    puppet: MakePuppet, spec: MakeSpec, running: Running, events: list[Event], boom: type[Exception]
) -> None:
    a = puppet("a")
    async with running(Supervisor("s", [spec(a)], backoff=Backoff(jitter=0), on_event=events.append)):
        a.start_error = boom("start")
        a.crash()
        await anyio.sleep(0.2)
        a.start_error = None
        await anyio.sleep(1.0)
        assert a.lives == 4
    waits = [event.after for event in events if isinstance(event, ChildRestarting)]
    assert waits == pytest.approx([0.05, 0.1, 0.2])
    assert [event.restarts_in_window for event in events if isinstance(event, ChildCrashed)] == [1, 2, 3]


async def test_a_group_spends_one_restart_however_many_of_it_crash(
    puppet: MakePuppet, spec: MakeSpec, running: Running, settle: Settle, events: list[Event]
) -> None:
    a, b, c = (puppet(name) for name in "abc")
    specs = [spec(each) for each in (a, b, c)]
    supervisor = Supervisor(
        "s", specs, strategy=Strategy.ONE_FOR_ALL, intensity=Intensity(1), backoff=NOW, on_event=events.append
    )
    async with running(supervisor):
        for each in (a, b, c):
            each.crash()
        await settle()
        assert (a.lives, b.lives, c.lives) == (2, 2, 2)
    assert len([event for event in events if isinstance(event, ChildRestarting)]) == 1


async def test_a_restart_that_fails_takes_the_rest_of_its_group_along(
    puppet: MakePuppet, spec: MakeSpec, running: Running, settle: Settle, log: list[str]
) -> None:
    for strategy, again in [(Strategy.ONE_FOR_ALL, ["ask a", "start a", "ready a"]), (Strategy.REST_FOR_ONE, [])]:
        a, b, c = (puppet(name) for name in "abc")
        async with running(Supervisor("s", [spec(each) for each in (a, b, c)], strategy=strategy, backoff=NOW)):
            log.clear()
            b.refusals = 1
            a.crash()
            await settle()
            assert log == [
                *("ask c", "ask b", "start a", "ready a", "start b"),
                *(*again, "start b", "ready b", "start c", "ready c"),
            ]


async def test_a_restart_that_waits_holds_up_neither_stop_nor_others(
    puppet: MakePuppet, spec: MakeSpec, running: Running, settle: Settle
) -> None:
    a, b = puppet("a"), puppet("b")
    supervisor = Supervisor("s", [spec(a), spec(b)], backoff=Backoff(initial=100.0, maximum=100.0, jitter=0))
    began = anyio.current_time()
    async with running(supervisor):
        a.crash()
        await anyio.sleep(50.0)
        assert supervisor.children()[0].state is ChildState.RESTARTING
        b.crash()
        await anyio.sleep(51.0)
        assert (a.lives, b.lives) == (2, 1)
        await anyio.sleep(10.0)
    assert anyio.current_time() - began == pytest.approx(111.0)
    assert b.lives == 1


# ---------------------------------------------------------------------- stop


async def test_ask_wait_cancel(
    puppet: MakePuppet, spec: MakeSpec, running: Running, log: list[str], events: list[Event]
) -> None:
    polite, deaf, rude, never = (puppet(name) for name in ("polite", "deaf", "rude", "never"))
    deaf.deaf = never.deaf = True
    specs = [
        spec(polite),
        spec(deaf, shutdown=7.0),
        spec(rude, shutdown=0),
        ChildSpec("never", never.start),
    ]
    async with running(Supervisor("s", specs, on_event=events.append)):
        log.clear()
        began = anyio.current_time()
    assert anyio.current_time() - began == pytest.approx(7.0)
    assert log == ["cancelled never", "cancelled rude", "ask deaf", "cancelled deaf", "ask polite"]
    ends = [event.how for event in events if isinstance(event, ChildStopped)]
    assert ends == [Ending.CANCELLED] * 3 + [Ending.ASKED]


async def test_infinity_is_as_long_as_it_takes(puppet: MakePuppet, spec: MakeSpec, running: Running) -> None:
    a = puppet("a")
    a.deaf = True
    began = anyio.current_time()
    supervisor = Supervisor("s", [spec(a, shutdown=math.inf)])
    async with running(supervisor), anyio.create_task_group() as group:
        group.start_soon(supervisor.stop_child, "a")
        await anyio.sleep(10_000.0)
        assert supervisor.children()[0].state is ChildState.STOPPING
        a.finish()
    assert anyio.current_time() - began == pytest.approx(10_000.0)


async def test_a_supervisor_has_all_the_time_that_its_children_need(
    puppet: MakePuppet, spec: MakeSpec, running: Running, log: list[str]
) -> None:
    a = puppet("a")
    a.deaf, a.start_seconds = True, 5_000.0
    inner = Supervisor("inner", [spec(a, shutdown=3_000.0, start_timeout=math.inf)], path="s")
    async with running(Supervisor("s", [inner.as_child()])):
        began = anyio.current_time()
        log.clear()
    assert anyio.current_time() - began == pytest.approx(3_000.0)
    assert log == ["ask a", "cancelled a"]


async def test_one_that_ignores_its_cancellation_is_waited_for(running: Running) -> None:
    async def stubborn(status: Started) -> None:
        status.started()
        with anyio.CancelScope(shield=True):
            await anyio.sleep(20.0)

    async with running(Supervisor("s", [ChildSpec("a", stubborn, shutdown=0)])):
        began = anyio.current_time()
    assert anyio.current_time() - began == pytest.approx(20.0)


async def test_a_child_that_raises_while_it_is_stopped_is_told_and_does_no_harm(
    puppet: MakePuppet, spec: MakeSpec, running: Running, events: list[Event], boom: type[Exception]
) -> None:
    a, b = puppet("a"), puppet("b")
    b.stop_error = boom("on the way down")
    async with running(Supervisor("s", [spec(a), spec(b)], on_event=events.append)):
        pass
    assert ChildCrashed("s/b", b.stop_error, 0) in events
    assert ChildStopped("s/b", Ending.CRASHED) in events
    assert ChildStopped("s/a", Ending.ASKED) in events


async def test_a_failing_stop_request_becomes_a_cancellation(
    puppet: MakePuppet, running: Running, events: list[Event], boom: type[Exception]
) -> None:
    a, cause = puppet("a"), boom("ask")

    def ask() -> None:
        raise cause

    async with running(Supervisor("s", [ChildSpec("a", a.start, stop=ask)], on_event=events.append)):
        pass
    assert AskFailed("s/a", cause) in events
    assert ChildStopped("s/a", Ending.CANCELLED) in events


async def test_it_can_run_again_and_begins_afresh(
    puppet: MakePuppet, spec: MakeSpec, running: Running, settle: Settle
) -> None:
    a = puppet("a")
    supervisor = Supervisor("s", [spec(a)], intensity=Intensity(1), backoff=NOW)
    for _ in range(3):
        async with running(supervisor):
            a.crash()
            await settle()
            assert supervisor.children()[0].restarts == 1
    assert a.lives == 6
    supervisor.stop()  # not running: nothing happens


# ---------------------------------------------------------------------- giving up


async def test_a_spent_budget_escalates_with_the_cause(
    puppet: MakePuppet, spec: MakeSpec, running: Running, settle: Settle, events: list[Event], boom: type[Exception]
) -> None:
    a, b, cause = puppet("a"), puppet("b"), boom("third")
    b.stop_error = boom("while stopped")
    supervisor = Supervisor("s", [spec(a), spec(b)], intensity=Intensity(2, 10.0), backoff=NOW, on_event=events.append)
    with pytest.raises(Escalated) as caught:
        async with running(supervisor):
            for _ in range(2):
                a.crash()
                await settle()
            a.crash(cause)
            await anyio.sleep_forever()
    error = caught.value
    assert (error.path, error.child, error.__cause__) == ("s", "a", cause)
    assert error.others == [("s/b", b.stop_error)]
    tail = [event for event in events if isinstance(event, IntensityExceeded | SupervisorEscalated | SupervisorStopped)]
    assert tail == [
        IntensityExceeded("s/a", cause, 2, 10.0),
        SupervisorEscalated("s", "a", cause),
        SupervisorStopped("s", error),
    ]


async def test_restarts_that_are_far_apart_spend_nothing(
    puppet: MakePuppet, spec: MakeSpec, running: Running, settle: Settle
) -> None:
    a = puppet("a")
    async with running(Supervisor("s", [spec(a)], intensity=Intensity(1, 10.0))):
        for _ in range(20):
            a.crash()
            await anyio.sleep(10.1)
        assert a.lives == 21


async def test_a_normal_return_of_a_permanent_child_counts(
    puppet: MakePuppet, spec: MakeSpec, running: Running, events: list[Event]
) -> None:
    a = puppet("a")
    with pytest.raises(Escalated) as caught:
        async with running(Supervisor("s", [spec(a)], intensity=Intensity(0), on_event=events.append)):
            a.finish()
            await anyio.sleep_forever()
    assert isinstance(caught.value.__cause__, UnexpectedExit)
    assert ChildExited("s/a") in events


@pytest.mark.parametrize("wrap", ["bare", "group", "nested"])
async def test_a_fatal_exit_is_never_restarted(
    puppet: MakePuppet, spec: MakeSpec, running: Running, wrap: str, boom: type[Exception]
) -> None:
    a, cause = puppet("a"), boom("fenced")
    expected: type[BaseException]
    if wrap == "nested":
        inner = Supervisor("inner", [spec(a, fatal=(boom,))], path="s")
        child, expected = inner.as_child(fatal=(boom,)), Escalated
    else:
        child, expected = spec(a, fatal=(boom,)), boom if wrap == "bare" else ExceptionGroup
    with pytest.raises(Escalated) as caught:
        async with running(Supervisor("s", [child])):
            a.crash(ExceptionGroup("several", [cause, ValueError()]) if wrap == "group" else cause)
            await anyio.sleep_forever()
    assert isinstance(caught.value.cause, expected)
    assert isinstance(caught.value.origin, ExceptionGroup if wrap == "group" else boom)
    assert a.lives == 1


async def test_a_fatal_exit_while_its_group_is_restarted_escalates(
    puppet: MakePuppet, spec: MakeSpec, running: Running, boom: type[Exception]
) -> None:
    a, b = puppet("a"), puppet("b")
    b.stop_error = KeyError("fenced")
    specs = [spec(a), spec(b, fatal=(KeyError,))]
    with pytest.raises(Escalated) as caught:
        async with running(Supervisor("s", specs, strategy=Strategy.ONE_FOR_ALL)):
            a.crash()
            await anyio.sleep_forever()
    assert caught.value.__cause__ is b.stop_error
    assert a.lives == 1


@pytest.mark.parametrize("signal", [KeyboardInterrupt, SystemExit])
async def test_host_signals_pass_through_every_level(
    puppet: MakePuppet, spec: MakeSpec, running: Running, signal: type[BaseException], log: list[str]
) -> None:
    a, b = puppet("a"), puppet("b")
    inner = Supervisor("inner", [spec(b)], path="s")
    with pytest.raises(signal):
        async with running(Supervisor("s", [spec(a), inner.as_child()])):
            log.clear()
            b.crash(signal())
            await anyio.sleep_forever()
    assert log == ["ask a"]


async def test_an_escalation_is_a_crash_for_the_supervisor_above(
    puppet: MakePuppet, spec: MakeSpec, running: Running, settle: Settle, boom: type[Exception]
) -> None:
    for restart, lives in [(Restart.PERMANENT, 2), (Restart.TRANSIENT, 2), (Restart.TEMPORARY, 1)]:
        a, b = puppet("a"), puppet("b")
        inner = Supervisor("inner", [spec(a), spec(b)], intensity=Intensity(0), path="s")
        outer = Supervisor("s", [inner.as_child(restart=restart)], backoff=NOW)
        async with running(outer):
            a.crash()
            await settle()
            assert (a.lives, b.lives) == (lives, lives)
            info = outer.children()[0]
            assert info.state is (ChildState.RUNNING if lives == 2 else ChildState.STOPPED)
            assert isinstance(info.last_crash, Escalated)


async def test_a_listener_that_raises_ends_the_supervisor_in_order(
    puppet: MakePuppet, spec: MakeSpec, running: Running, log: list[str], boom: type[Exception]
) -> None:
    def listen(event: Event) -> None:
        if isinstance(event, ChildCrashed):
            raise boom("listener")

    a, b = puppet("a"), puppet("b")
    with pytest.raises(Escalated) as caught:
        async with running(Supervisor("s", [spec(a), spec(b)], on_event=listen)):
            log.clear()
            a.crash()
            await anyio.sleep_forever()
    assert str(caught.value.__cause__) == "listener"
    assert log == ["ask b"]


async def test_a_listener_may_ask_for_the_stop(
    puppet: MakePuppet, spec: MakeSpec, running: Running, log: list[str]
) -> None:
    def listen(event: Event) -> None:
        if isinstance(event, ChildCrashed):
            supervisor.stop()

    a, b = puppet("a"), puppet("b")
    supervisor = Supervisor("s", [spec(a), spec(b)], strategy=Strategy.ONE_FOR_ALL, on_event=listen)
    async with anyio.create_task_group() as group:
        await group.start(supervisor.run)
        log.clear()
        a.crash()
    assert log == ["ask b"]


def test_wrong_specs_are_refused_before_anything_starts(spec: MakeSpec) -> None:
    async def start(status: Started) -> None:
        del status

    with pytest.raises(ValueError, match="same id"):
        Supervisor("s", [ChildSpec("a", start), ChildSpec("a", start)])
    with pytest.raises(ValueError, match="name"):
        Supervisor("", [])
    with pytest.raises(ValueError, match=r"shutdown must be .* seconds"):
        ChildSpec("a", start, shutdown=-1.0)
    with pytest.raises(ValueError, match=r"start_timeout must be .* seconds"):
        ChildSpec("a", start, start_timeout=0.0)
    with pytest.raises(ValueError, match="id"):
        ChildSpec("", start)


def test_what_a_child_is_when_nothing_is_said() -> None:
    async def start(status: Started) -> None:
        del status

    child = ChildSpec("a", start)
    assert (child.restart, child.shutdown, child.significant) == (Restart.PERMANENT, 5.0, False)
    assert (child.start_timeout, child.supervises, child.fatal) == (30.0, False, ())
    inner = Supervisor("inner", []).as_child()
    assert (inner.restart, inner.shutdown, inner.start_timeout) == (Restart.PERMANENT, math.inf, math.inf)
    assert inner.supervises
