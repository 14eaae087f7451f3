"""What callers ask of one child of a running supervisor: add, stop, start again, delete, count, why it crashed."""

# ruff: noqa: PT012 - the block is the life of the supervisor

import math
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import anyio
import pytest

from intendant.supervisor import (
    Backoff,
    ChildActive,
    ChildCounts,
    ChildCrashed,
    ChildSpec,
    ChildState,
    DuplicateChild,
    DynamicSupervisor,
    Escalated,
    Event,
    Intensity,
    NotRunning,
    Restart,
    Started,
    StartFailed,
    StartTimedOut,
    Stopping,
    Strategy,
    Supervisor,
    UnexpectedExit,
    UnknownChild,
)

pytestmark = pytest.mark.anyio

Settle = Callable[[], Awaitable[None]]
Running = Callable[[Supervisor | DynamicSupervisor], AbstractAsyncContextManager[None]]
MakePuppet = Callable[[str], Any]
MakeSpec = Callable[..., ChildSpec]

NOW = Backoff.none()


def states(supervisor: Supervisor) -> dict[str, str]:
    return {info.id: info.state.value for info in supervisor.children()}


async def test_an_added_child_is_the_last_and_ready_when_the_call_returns(
    puppet: MakePuppet, spec: MakeSpec, running: Running, log: list[str]
) -> None:
    a, b = puppet("a"), puppet("b")
    b.start_seconds = 3.0
    supervisor = Supervisor("s", [spec(a)])
    async with running(supervisor):
        began = anyio.current_time()
        await supervisor.start_child(spec(b))
        assert anyio.current_time() - began == pytest.approx(3.0)
        assert states(supervisor) == {"a": "running", "b": "running"}
        log.clear()
    assert log == ["ask b", "ask a"]


async def test_a_later_run_begins_with_the_given_children(puppet: MakePuppet, spec: MakeSpec, running: Running) -> None:
    a, b = puppet("a"), puppet("b")
    supervisor = Supervisor("s", [spec(a)])
    async with running(supervisor):
        await supervisor.start_child(spec(b))
    async with running(supervisor):
        assert list(states(supervisor)) == ["a"]


@pytest.mark.parametrize("how", ["raises", "is late", "returns"])
async def test_an_added_child_that_does_not_start_is_not_added_and_concerns_nobody(
    puppet: MakePuppet, spec: MakeSpec, running: Running, how: str, boom: type[Exception]
) -> None:
    a, b = puppet("a"), puppet("b")
    if how == "raises":
        b.start_error = boom("b")
    b.start_seconds = 60.0 if how == "is late" else 0.0

    async def empty(status: Started) -> None:
        del status

    supervisor = Supervisor("s", [spec(a)], strategy=Strategy.ONE_FOR_ALL, intensity=Intensity(0))
    async with running(supervisor):
        with pytest.raises(StartFailed, match="s/b did not start") as caught:
            await supervisor.start_child(ChildSpec("b", empty) if how == "returns" else spec(b))
        expected = {"raises": boom, "is late": StartTimedOut, "returns": UnexpectedExit}[how]
        assert isinstance(caught.value.cause, expected)
        assert states(supervisor) == {"a": "running"}
        b.start_error, b.start_seconds = None, 0.0
        await supervisor.start_child(spec(b))  # its id is free
    assert a.lives == 1


async def test_an_added_child_may_end_before_it_is_ready_if_it_may_end(running: Running) -> None:
    async def empty(status: Started) -> None:
        del status

    supervisor = Supervisor("s", [])
    async with running(supervisor):
        await supervisor.start_child(ChildSpec("a", empty, Restart.TRANSIENT))
        assert states(supervisor) == {"a": "stopped"}


async def test_a_fatal_start_escalates_and_tells_whoever_asked(
    puppet: MakePuppet, spec: MakeSpec, running: Running, boom: type[Exception]
) -> None:
    a, b = puppet("a"), puppet("b")
    b.start_error = boom("fenced")
    supervisor = Supervisor("s", [spec(a)])
    with pytest.raises(Escalated):
        async with running(supervisor):
            with pytest.raises(StartFailed):
                await supervisor.start_child(spec(b, fatal=(boom,)))
            await anyio.sleep_forever()


async def test_ids_are_unique_also_among_the_stopped(puppet: MakePuppet, spec: MakeSpec, running: Running) -> None:
    a = puppet("a")
    supervisor = Supervisor("s", [spec(a)])
    async with running(supervisor):
        with pytest.raises(DuplicateChild):
            await supervisor.start_child(spec(a))
        await supervisor.stop_child("a")
        with pytest.raises(DuplicateChild):
            await supervisor.start_child(spec(a))
        supervisor.delete_child("a")
        await supervisor.start_child(spec(a))


async def test_stop_and_start_again_cost_no_budget(
    puppet: MakePuppet, spec: MakeSpec, running: Running, log: list[str]
) -> None:
    a, b = puppet("a"), puppet("b")
    supervisor = Supervisor("s", [spec(a), spec(b)], strategy=Strategy.ONE_FOR_ALL, intensity=Intensity(0))
    async with running(supervisor):
        log.clear()
        for _ in range(3):
            await supervisor.stop_child("a")
            await supervisor.stop_child("a")  # it is down: nothing to do
            assert states(supervisor) == {"a": "stopped", "b": "running"}
            await supervisor.restart_child("a")
        assert log == ["ask a", "start a", "ready a"] * 3
        assert [info.restarts for info in supervisor.children()] == [0, 0]


async def test_stop_waits_as_long_as_the_spec_says(puppet: MakePuppet, spec: MakeSpec, running: Running) -> None:
    a = puppet("a")
    a.deaf = True
    supervisor = Supervisor("s", [spec(a, shutdown=7.0)])
    async with running(supervisor):
        began = anyio.current_time()
        async with anyio.create_task_group() as group:
            group.start_soon(supervisor.stop_child, "a")  # several may wait for it
            await supervisor.stop_child("a")
        assert anyio.current_time() - began == pytest.approx(7.0)


async def test_a_wait_that_is_cancelled_takes_nothing_back(
    puppet: MakePuppet, spec: MakeSpec, running: Running
) -> None:
    a, b = puppet("a"), puppet("b")
    a.deaf = True
    b.start_seconds = 3.0
    supervisor = Supervisor("s", [spec(a)])
    async with running(supervisor):
        with anyio.move_on_after(1.0):
            await supervisor.stop_child("a")
        with anyio.move_on_after(1.0):
            await supervisor.start_child(spec(b))
        await anyio.sleep(10.0)
        assert states(supervisor) == {"a": "stopped", "b": "running"}


async def test_only_what_is_stopped_is_started_again_or_deleted(
    puppet: MakePuppet, spec: MakeSpec, running: Running, settle: Settle
) -> None:
    a = puppet("a")
    supervisor = Supervisor("s", [spec(a)], backoff=Backoff(50.0, maximum=50.0))
    async with running(supervisor):
        for state in ("running", "restarting"):
            with pytest.raises(ChildActive, match=f"s/a is {state}; stop_child first"):
                await supervisor.restart_child("a")
            with pytest.raises(ChildActive):
                supervisor.delete_child("a")
            a.crash()
            await settle()
        for call in (supervisor.restart_child("x"), supervisor.stop_child("x")):
            with pytest.raises(UnknownChild, match="s/x is not there"):
                await call
        with pytest.raises(UnknownChild):
            supervisor.delete_child("x")


async def test_stopping_a_child_calls_off_the_restart_it_waits_for(
    puppet: MakePuppet, spec: MakeSpec, running: Running, settle: Settle
) -> None:
    a = puppet("a")
    supervisor = Supervisor("s", [spec(a)], backoff=Backoff(50.0, maximum=50.0))
    async with running(supervisor):
        a.crash()
        await settle()
        await supervisor.stop_child("a")
        await anyio.sleep(100.0)
        assert (a.lives, states(supervisor)) == (1, {"a": "stopped"})
        began = anyio.current_time()
        await supervisor.restart_child("a")  # and what it was to wait is no affair of a start that is asked for
        assert anyio.current_time() - began < 1.0


async def test_a_start_again_that_fails_leaves_it_stopped(
    puppet: MakePuppet, spec: MakeSpec, running: Running, boom: type[Exception]
) -> None:
    a = puppet("a")
    supervisor = Supervisor("s", [spec(a)], intensity=Intensity(0))
    async with running(supervisor):
        await supervisor.stop_child("a")
        a.start_error = boom("a")
        with pytest.raises(StartFailed):
            await supervisor.restart_child("a")
        assert states(supervisor) == {"a": "stopped"}
        assert [crash.cause for crash in supervisor.children()[0].crashes] == [a.start_error]


async def test_a_stopped_child_comes_up_with_its_group_unless_it_is_temporary(
    puppet: MakePuppet, spec: MakeSpec, running: Running, settle: Settle
) -> None:
    a, b, c = (puppet(name) for name in "abc")
    specs = [spec(a), spec(b), spec(c, Restart.TEMPORARY)]
    supervisor = Supervisor("s", specs, strategy=Strategy.ONE_FOR_ALL, backoff=NOW)
    async with running(supervisor):
        await supervisor.stop_child("b")
        await supervisor.stop_child("c")
        a.crash()
        await settle()
        assert states(supervisor) == {"a": "running", "b": "running", "c": "stopped"}


async def test_a_deleted_child_is_no_part_of_its_group(
    puppet: MakePuppet, spec: MakeSpec, running: Running, settle: Settle, log: list[str]
) -> None:
    a, b, c = (puppet(name) for name in "abc")
    supervisor = Supervisor("s", [spec(x) for x in (a, b, c)], strategy=Strategy.REST_FOR_ONE, backoff=NOW)
    async with running(supervisor):
        await supervisor.stop_child("a")
        supervisor.delete_child("a")
        log.clear()
        b.crash()
        await settle()
        assert log == ["ask c", "start b", "ready b", "start c", "ready c"]


async def test_a_start_that_is_asked_for_waits_for_no_neighbour_unless_the_strategy_has_an_order(
    puppet: MakePuppet, spec: MakeSpec, running: Running, settle: Settle
) -> None:
    for strategy, waited in [(Strategy.ONE_FOR_ONE, 0.0), (Strategy.REST_FOR_ONE, 50.0)]:
        a, b = puppet("a"), puppet("b")
        supervisor = Supervisor("s", [spec(a)], strategy=strategy, backoff=Backoff(50.0, maximum=50.0, jitter=0))
        async with running(supervisor):
            a.crash()
            await settle()
            began = anyio.current_time()
            await supervisor.start_child(spec(b))
            assert anyio.current_time() - began == pytest.approx(waited, abs=0.01)


async def test_a_group_restart_in_the_middle_of_a_start_that_was_asked_for(
    puppet: MakePuppet, spec: MakeSpec, running: Running, boom: type[Exception]
) -> None:
    a, b = puppet("a"), puppet("b")
    b.start_seconds = 12.0
    supervisor = Supervisor("s", [spec(a)], strategy=Strategy.ONE_FOR_ALL, backoff=NOW)
    async with running(supervisor), anyio.create_task_group() as group:
        group.start_soon(supervisor.start_child, spec(b))  # its group takes over: it goes on until b is ready
        await anyio.sleep(1.0)
        b.refusals = 1
        a.crash()
        await anyio.sleep(5.1)  # b is cancelled when its time is up, refuses once, and takes its time again
        assert states(supervisor)["b"] == "starting"
        await anyio.sleep(25.0)
        assert states(supervisor) == {"a": "running", "b": "running"}
        assert b.lives == 3


async def test_a_temporary_child_that_fails_to_start_with_its_group_is_told_to_who_waits(
    puppet: MakePuppet, spec: MakeSpec, running: Running, settle: Settle
) -> None:
    a, b = puppet("a"), puppet("b")
    a.start_seconds = 5.0
    supervisor = Supervisor("s", [spec(a)], strategy=Strategy.ONE_FOR_ALL, backoff=NOW)
    async with running(supervisor), anyio.create_task_group() as group:
        a.crash()
        await settle()

        async def ask() -> None:
            with anyio.fail_after(100.0), pytest.raises(StartFailed):
                await supervisor.start_child(spec(b, Restart.TEMPORARY))

        group.start_soon(ask)  # waits behind a
        await settle()
        a.start_seconds, a.refusals, b.refusals = 0.0, 1, 1


async def test_who_waits_is_told_when_the_supervisor_stops_or_is_torn_out(
    puppet: MakePuppet, spec: MakeSpec, settle: Settle
) -> None:
    for tear in (False, True):
        a, b, c = (puppet(name) for name in "abc")
        a.deaf = True
        b.start_seconds = math.inf
        supervisor = Supervisor("s", [spec(a)], strategy=Strategy.REST_FOR_ONE)
        errors: list[Exception] = []

        async def waits(call: Awaitable[None], errors: list[Exception] = errors) -> None:
            try:
                await call
            except (Stopping, NotRunning) as error:
                errors.append(error)

        async with anyio.create_task_group() as group:
            host = anyio.CancelScope()
            ready = anyio.Event()

            async def run(
                host: anyio.CancelScope = host, ready: anyio.Event = ready, supervisor: Supervisor = supervisor
            ) -> None:
                class Ready:
                    def started(self, value: Any = None) -> None:
                        ready.set()

                with host:
                    await supervisor.run(Ready())

            group.start_soon(run)
            await ready.wait()
            group.start_soon(waits, supervisor.start_child(spec(b)))
            await settle()
            group.start_soon(waits, supervisor.start_child(spec(c)))  # waits for its turn behind b
            await settle()
            group.start_soon(waits, supervisor.stop_child("a"))
            await settle()
            if tear:
                host.cancel()
            else:
                supervisor.stop()
        assert len(errors) == 2  # that a is to stop comes true
        assert c.lives == 0
        for call in (supervisor.start_child(spec(b)), supervisor.restart_child("a"), supervisor.stop_child("a")):
            with pytest.raises(NotRunning):
                await call


async def test_counts(puppet: MakePuppet, spec: MakeSpec, running: Running, settle: Settle) -> None:
    a, b, c = (puppet(name) for name in "abc")
    inner = Supervisor("inner", [spec(b)], path="s")
    supervisor = Supervisor("s", [spec(a), inner.as_child(), spec(c)], backoff=Backoff(50.0, maximum=50.0))
    dynamic = DynamicSupervisor("d", backoff=Backoff(50.0, maximum=50.0))
    async with running(supervisor), running(dynamic):
        assert supervisor.count_children() == ChildCounts(specs=3, active=3, supervisors=1, workers=2)
        await supervisor.stop_child("a")
        c.crash()
        await settle()
        assert supervisor.count_children() == ChildCounts(specs=3, active=1, supervisors=1, workers=2)
        assert dynamic.count_children() == ChildCounts(0, 0, 0, 0)
        dynamic.start_child(spec(puppet("x")))
        await settle()
        assert dynamic.count_children() == ChildCounts(1, 1, 0, 1)


async def test_what_is_known_of_a_child(puppet: MakePuppet, spec: MakeSpec, running: Running) -> None:
    a = puppet("a")
    given = spec(a)
    supervisor = Supervisor("s", [given], path="root")
    async with running(supervisor):
        (info,) = supervisor.children()
        assert (info.id, info.path, info.state, info.restarts) == ("a", "root/s/a", ChildState.RUNNING, 0)
        assert (info.spec, info.crashes, info.last_crash) == (given, (), None)


async def test_the_latest_crashes_are_kept_with_their_times(
    puppet: MakePuppet, spec: MakeSpec, running: Running, events: list[Event]
) -> None:
    a = puppet("a")
    supervisor = Supervisor(
        "s", [spec(a, remember=2)], backoff=NOW, intensity=Intensity.unlimited(), on_event=events.append
    )
    async with running(supervisor):
        times: list[float] = []
        for _ in range(3):
            await anyio.sleep(1.0)
            times.append(anyio.current_time())
            a.crash()
        await anyio.sleep(1.0)
        a.finish()
        await anyio.sleep(1.0)
        (info,) = supervisor.children()
        assert [crash.at for crash in info.crashes] == pytest.approx([times[2], times[2] + 1.0], abs=1e-3)
        assert info.crashes[0].cause is [event.cause for event in events if isinstance(event, ChildCrashed)][-1]
        assert isinstance(info.last_crash, UnexpectedExit)


async def test_the_latest_crashes_of_a_resident_are_kept_for_its_period(
    running: Running, settle: Settle, boom: type[Exception]
) -> None:
    async def work() -> None:
        raise boom("work")

    dynamic = DynamicSupervisor("d", backoff=NOW, intensity=Intensity(20, 10.0))
    async with running(dynamic):
        assert dynamic.crashes("x") == ()
        for _ in range(7):
            dynamic.perform("x", work, lambda _cause: None)
            await settle()
        assert [type(crash.cause) for crash in dynamic.crashes("x")] == [boom] * 5
        await anyio.sleep(10.1)
        assert dynamic.crashes("x") == ()
