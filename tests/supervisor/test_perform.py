"""Work of resident children on pooled tasks."""

# ruff: noqa: PT012 - the block is the life of the supervisor

import contextvars
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from functools import partial

import anyio
import pytest

from intendant.supervisor import (
    Backoff,
    ChildCrashed,
    DynamicSupervisor,
    Escalated,
    Event,
    EventParking,
    Intensity,
    NotRunning,
    Stopping,
    Worker,
    current_worker,
)

pytestmark = pytest.mark.anyio

Settle = Callable[[], Awaitable[None]]
Running = Callable[[DynamicSupervisor], AbstractAsyncContextManager[None]]


def unexpected(cause: BaseException) -> None:
    raise AssertionError from cause


async def test_work_is_done_by_few_tasks_which_are_used_again(running: Running, settle: Settle) -> None:
    tasks: list[int] = []

    async def work() -> None:
        tasks.append(anyio.get_current_task().id)

    dynamic = DynamicSupervisor("d")
    async with running(dynamic):
        for _ in range(50):
            dynamic.perform("x", work, unexpected)
            await settle()
    assert len(tasks) == 50
    assert len(set(tasks)) == 1


async def test_workers_are_limited_and_the_rest_waits_in_order(running: Running, settle: Settle) -> None:
    busy, most, done = 0, 0, list[int]()

    def piece(number: int) -> Callable[[], Awaitable[None]]:
        async def work() -> None:
            nonlocal busy, most
            busy += 1
            most = max(most, busy)
            await anyio.sleep(1.0 + number / 100)
            busy -= 1
            done.append(number)

        return work

    dynamic = DynamicSupervisor("d", workers=3, idle_workers=1)
    async with running(dynamic):
        for number in range(9):
            dynamic.perform("x", piece(number), unexpected)
        assert dynamic.backlog == 6
        await anyio.sleep(10.0)
        assert (most, done, dynamic.backlog) == (3, list(range(9)), 0)


async def test_work_that_waits_for_nothing_is_done_in_a_row_by_one_task(running: Running, settle: Settle) -> None:
    tasks: list[int] = []

    async def work() -> None:
        tasks.append(anyio.get_current_task().id)

    dynamic = DynamicSupervisor("d")
    async with running(dynamic):
        for _ in range(100):
            dynamic.perform("x", work, unexpected)
        await settle()
        tasks.clear()
        for _ in range(10):
            dynamic.perform("x", work, unexpected)
        assert dynamic.backlog == 9
        await settle()
        assert (len(tasks), len({*tasks}), dynamic.backlog) == (10, 1, 0)


async def test_work_that_waits_holds_up_nobody_behind_it(running: Running, settle: Settle) -> None:
    begun = list[int]()
    goes_on = anyio.Event()

    async def brisk() -> None:
        """Waits for nothing."""

    async def waits(number: int) -> None:
        begun.append(number)
        await goes_on.wait()

    dynamic = DynamicSupervisor("d")
    async with running(dynamic):
        for _ in range(100):
            dynamic.perform("x", brisk, unexpected)
        await settle()
        for number in range(20):
            dynamic.perform("x", partial(waits, number), unexpected)
        await settle()
        assert (sorted(begun), dynamic.backlog) == (list(range(20)), 0)
        for number in range(20, 40):
            dynamic.perform("x", partial(waits, number), unexpected)
        assert dynamic.backlog == 0  # that they may have to wait is known by now
        await settle()
        assert sorted(begun) == list(range(40))
        goes_on.set()


async def test_a_crash_is_answered_after_the_back_off(
    running: Running, events: list[Event], boom: type[Exception]
) -> None:
    rebuilt: list[tuple[object, BaseException]] = []
    cause = boom("work")

    async def work() -> None:
        raise cause

    dynamic = DynamicSupervisor("d", backoff=Backoff(initial=2.0, jitter=0), on_event=events.append)
    async with running(dynamic):
        began = anyio.current_time()
        dynamic.perform("x", work, lambda exc: rebuilt.append((anyio.current_time() - began, exc)))
        await anyio.sleep(1.0)
        assert rebuilt == []
        await anyio.sleep(5.0)
    assert rebuilt == [(pytest.approx(2.0), cause)]
    assert ChildCrashed("d/x", cause, 1) in events


async def test_a_resident_may_be_its_own_piece_of_work(running: Running, boom: type[Exception]) -> None:
    class Resident:
        child_id = "x"
        causes: list[BaseException]

        def __init__(self) -> None:
            self.causes = []
            self.done = 0

        async def body(self) -> None:
            if not self.causes:
                raise boom
            self.done += 1

        def on_crash(self, cause: BaseException, /) -> None:
            self.causes.append(cause)
            dynamic.do(self)

    resident, dynamic = Resident(), DynamicSupervisor("d", backoff=Backoff(initial=2.0, jitter=0))
    async with running(dynamic):
        dynamic.do(resident)
        await anyio.sleep(1.0)
        assert resident.causes == []
        await anyio.sleep(2.0)
        assert dynamic.crashes("x")[0].cause is resident.causes[0]
    assert (len(resident.causes), resident.done) == (1, 1)
    with pytest.raises(NotRunning):
        dynamic.do(resident)


async def test_a_residents_budget_is_its_own_and_is_forgotten_when_all_was_quiet(
    running: Running, settle: Settle, boom: type[Exception]
) -> None:
    rebuilt, given_up = list[str](), list[str]()

    async def work() -> None:
        raise boom

    def crash(resident: str) -> None:
        dynamic.perform(resident, work, lambda _: rebuilt.append(resident))

    dynamic = DynamicSupervisor(
        "d", intensity=Intensity(1, 10.0), backoff=Backoff.none(), on_give_up=lambda key, _: given_up.append(key)
    )
    async with running(dynamic):
        crash("x")
        crash("y")
        await anyio.sleep(10.1)
        crash("x")
        await settle()
        assert (sorted(rebuilt), given_up) == (["x", "x", "y"], [])
        crash("x")
        await settle()
        assert (len(rebuilt), given_up) == (3, ["x"])
        crash("x")  # given up means forgotten too: who comes again begins afresh
        await settle()
        assert (len(rebuilt), given_up) == (4, ["x"])


async def test_a_rebuild_that_raises_is_another_crash(running: Running, boom: type[Exception]) -> None:
    calls, given_up = 0, list[BaseException]()

    async def work() -> None:
        raise boom

    def rebuild(cause: BaseException) -> None:
        nonlocal calls
        calls += 1
        raise KeyError from cause

    dynamic = DynamicSupervisor("d", intensity=Intensity(3), on_give_up=lambda _, exc: given_up.append(exc))
    async with running(dynamic):
        dynamic.perform("x", work, rebuild)
        await anyio.sleep(10.0)
    assert calls == 3
    assert [type(exc) for exc in given_up] == [KeyError]


async def test_without_anyone_to_hand_it_to_a_spent_budget_escalates(running: Running, boom: type[Exception]) -> None:
    async def work() -> None:
        raise boom

    dynamic = DynamicSupervisor("d", intensity=Intensity(0))
    with pytest.raises(Escalated) as caught:
        async with running(dynamic):
            dynamic.perform("x", work, unexpected)
            await anyio.sleep_forever()
    assert caught.value.child == "x"


async def test_host_signals_pass_through(running: Running) -> None:
    async def work() -> None:
        raise KeyboardInterrupt

    dynamic = DynamicSupervisor("d")
    with pytest.raises(KeyboardInterrupt):
        async with running(dynamic):
            dynamic.perform("x", work, unexpected)
            await anyio.sleep_forever()


async def test_stop_lets_work_finish_for_a_while_and_takes_no_more(running: Running, settle: Settle) -> None:
    done: list[str] = []

    def piece(name: str, seconds: float) -> Callable[[], Awaitable[None]]:
        async def work() -> None:
            try:
                await anyio.sleep(seconds)
                done.append(name)
            except anyio.get_cancelled_exc_class():
                done.append(f"{name} cancelled")
                raise

        return work

    dynamic = DynamicSupervisor("d", workers=2, work_shutdown=3.0)
    with pytest.raises(NotRunning):
        dynamic.perform("x", piece("early", 0), unexpected)
    async with running(dynamic):
        for name, seconds in [("short", 1.0), ("long", 9.0), ("queued", 1.0), ("too late", 9.0), ("never", 1.0)]:
            dynamic.perform("x", piece(name, seconds), unexpected)
        await settle()
        began = anyio.current_time()
        dynamic.stop()
        with pytest.raises(Stopping):
            dynamic.perform("x", piece("after", 0), unexpected)
    assert anyio.current_time() - began == pytest.approx(3.0)
    assert done[:2] == ["short", "queued"]
    assert sorted(done[2:]) == ["long cancelled", "too late cancelled"]


async def test_an_error_on_the_way_down_is_told(running: Running, settle: Settle, events: list[Event]) -> None:
    async def work() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            raise KeyError("cleaning up")

    dynamic = DynamicSupervisor("d", on_event=events.append)
    async with running(dynamic):
        dynamic.perform("x", work, unexpected)
        await settle()
    assert [type(event.cause) for event in events if isinstance(event, ChildCrashed)] == [KeyError]


async def test_a_crash_does_not_strand_what_waits(running: Running, boom: type[Exception]) -> None:
    done, rebuilt = list[int](), list[BaseException]()

    def piece(number: int) -> Callable[[], Awaitable[None]]:
        async def work() -> None:
            await anyio.sleep(1.0)
            if number % 2:
                raise boom
            done.append(number)

        return work

    dynamic = DynamicSupervisor("d", workers=1, intensity=Intensity(100))
    async with running(dynamic):
        for number in range(8):
            dynamic.perform("x", piece(number), rebuilt.append)
        await anyio.sleep(60.0)
    assert done == [0, 2, 4, 6]
    assert len(rebuilt) == 4


async def test_context_variables_do_not_pass_from_work_to_work(running: Running, settle: Settle) -> None:
    variable = contextvars.ContextVar("variable", default="clean")
    seen: list[str] = []

    async def work() -> None:
        seen.append(variable.get())
        variable.set("somebody's secret")

    dynamic = DynamicSupervisor("d", workers=2)
    async with running(dynamic):
        for _ in range(3):
            dynamic.perform("x", work, unexpected)
            dynamic.perform("x", work, unexpected)
            dynamic.perform("x", work, unexpected)
            await settle()
    assert seen == ["clean"] * 9


async def test_where_workers_park_can_be_given(running: Running, settle: Settle) -> None:
    made = 0

    def parking() -> EventParking:
        nonlocal made
        made += 1
        return EventParking()

    async def work() -> None: ...

    dynamic = DynamicSupervisor("d", parking=parking)
    async with running(dynamic):
        dynamic.perform("x", work, unexpected)
        await settle()
    assert made == 2  # the loop's own and one worker's


async def test_work_that_is_not_wanted_any_more_is_cancelled_and_is_no_crash(running: Running, settle: Settle) -> None:
    events: list[Event] = []
    done: list[str] = []

    def piece(name: str, seconds: float) -> Callable[[], Awaitable[None]]:
        async def work() -> None:
            await anyio.sleep(seconds)
            done.append(name)

        return work

    dynamic = DynamicSupervisor("d", workers=2, on_event=events.append)
    async with running(dynamic):
        for name, seconds in (("a", 100.0), ("b", 1.0), ("a", 100.0), ("c", 1.0), ("d", 1.0)):
            dynamic.perform(name, piece(name, seconds), unexpected)
        await settle()
        dynamic.cancel_work("a")
        dynamic.cancel_work("nobody")
        await anyio.sleep(5.0)
        dynamic.perform("a", piece("again", 1.0), unexpected)
        await anyio.sleep(2.0)
    assert sorted(done) == ["again", "b", "c", "d"]
    assert not [event for event in events if isinstance(event, ChildCrashed)]


async def test_a_worker_whose_work_was_dropped_goes_on_and_nothing_of_that_cancels_what_follows(
    running: Running, settle: Settle
) -> None:
    variable = contextvars.ContextVar("variable", default="clean")
    workers, seen = list[Worker | None](), list[str]()

    async def work(*, changes: bool) -> None:
        workers.append(current_worker())
        seen.append(variable.get())
        if changes:
            variable.set("changed")
        await anyio.sleep_forever()

    async def last() -> None:
        await anyio.sleep(1.0)
        worker = current_worker()
        workers.append(worker)
        assert worker is not None
        assert (worker.cancelled, worker.dropped) == (False, False)

    dynamic = DynamicSupervisor("d", workers=1)
    async with running(dynamic):
        for number, changes in enumerate([False, False, True, False]):
            dynamic.perform(f"{number}", partial(work, changes=changes), unexpected)  # those behind wait for its worker
        for number in range(4):
            await settle()
            dynamic.cancel_work(f"{number}", shielded=number != 1)
        dynamic.perform("last", last, unexpected)
        await anyio.sleep(2.0)
    assert seen == ["clean"] * 4
    assert [workers.index(each) for each in workers] == [0, 0, 0, 3, 3], "the one that changed the context ends"


async def test_a_worker_that_goes_on_is_stopped_as_any(running: Running, settle: Settle) -> None:
    ended: list[float] = []

    async def work() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            ended.append(anyio.current_time())

    dynamic = DynamicSupervisor("d", workers=1, work_shutdown=2.0)
    async with running(dynamic):
        dynamic.perform("a", work, unexpected)
        await settle()
        dynamic.cancel_work("a")
        dynamic.perform("b", work, unexpected)
        await settle()
        began = anyio.current_time()
    assert ended[1] - began == pytest.approx(2.0)


@pytest.mark.parametrize(("how", "after"), [("stop", 2.0), ("cancel_work", 0.0), ("host", 2.0)])
async def test_shielded_work_is_cancelled_by_the_supervisor_alone(running: Running, how: str, after: float) -> None:
    happened: list[str] = []
    began = 0.0

    async def work() -> None:
        worker = current_worker()
        assert worker is not None
        with anyio.CancelScope() as own:
            own.cancel()
            with worker.shield():
                try:
                    await anyio.sleep(5.0)
                    happened.append("its own scope does not reach it")
                    await anyio.sleep_forever()
                except anyio.get_cancelled_exc_class():
                    happened.append("cancelled")
                    raise
            assert worker.cancelled
            with worker.shield():  # begun when it is too late
                await anyio.sleep_forever()
        await anyio.sleep_forever()

    dynamic = DynamicSupervisor("d", work_shutdown=2.0)
    with anyio.CancelScope() as host:
        async with running(dynamic):
            dynamic.perform("x", work, unexpected)
            await anyio.sleep(6.0)
            began = anyio.current_time()
            if how == "cancel_work":
                dynamic.cancel_work("x")
            elif how == "host":
                host.cancel()
    assert happened == ["its own scope does not reach it", "cancelled"]
    assert anyio.current_time() - began == pytest.approx(after)


async def test_an_interruption_does_not_reach_what_is_shielded_and_a_stop_does(running: Running) -> None:
    happened: list[str] = []
    began = 0.0

    async def work() -> None:
        worker = current_worker()
        assert worker is not None
        with worker.shield():
            await anyio.sleep(5.0)
            happened.append("not reached")
        try:
            await anyio.sleep_forever()
        except anyio.get_cancelled_exc_class():
            happened.append("interrupted")
            assert not worker.cancelled
            with worker.shield():
                await anyio.sleep(5.0)
                happened.append("nor behind it")
                await anyio.sleep_forever()
            happened.append("stopped")
            assert worker.cancelled
            raise

    dynamic = DynamicSupervisor("d", work_shutdown=2.0)
    async with running(dynamic):
        dynamic.perform("x", work, unexpected)
        await anyio.sleep(1.0)
        dynamic.cancel_work("x", shielded=False)
        dynamic.cancel_work("x", shielded=False)
        await anyio.sleep(10.0)
        began = anyio.current_time()
    assert happened == ["not reached", "interrupted", "nor behind it", "stopped"]
    assert anyio.current_time() - began == pytest.approx(2.0)
