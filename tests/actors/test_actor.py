from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import anyio
import pytest

from intendant import Actor, ActorStopped, ActorSystem, Overloaded, Reply
from intendant.supervisor import Backoff, ChildCrashed, Event, Intensity

pytestmark = pytest.mark.anyio


@dataclass(frozen=True)
class Add:
    number: int


@dataclass(frozen=True)
class Total:
    reply: Reply[int]


@dataclass(frozen=True)
class Never:
    reply: Reply[int]


@dataclass(frozen=True)
class Crash:
    pass


@dataclass(frozen=True)
class Hold:
    until: anyio.Event


Message = Add | Total | Never | Crash | Hold


class Counter(Actor[Message]):
    made = 0

    def __init__(self) -> None:
        Counter.made += 1
        self.total = 0

    async def receive(self, message: Message) -> None:
        match message:
            case Add(number):
                self.total += number
            case Total(reply):
                reply.set(self.total)
            case Never():
                pass
            case Crash():
                raise LookupError("as told")
            case Hold(until):
                await until.wait()


async def test_messages_are_handled_one_at_a_time_in_order() -> None:
    async with ActorSystem() as system:
        counter = system.spawn("counter", Counter)
        for number in range(100):
            counter.tell(Add(number))
        assert await counter.ask(Total, timeout=1) == sum(range(100))


async def test_an_ask_has_a_deadline() -> None:
    async with ActorSystem() as system:
        counter = system.spawn("counter", Counter)
        with pytest.raises(TimeoutError, match=r"actors/counter did not answer within 1\.5 s"):
            await counter.ask(Never, timeout=1.5)
        assert await counter.ask(Total, timeout=1) == 0


async def test_a_full_mailbox_refuses_work_and_takes_control() -> None:
    async with ActorSystem() as system:
        counter = system.spawn("counter", Counter, capacity=2)
        until = anyio.Event()
        counter.tell(Hold(until))
        await anyio.wait_all_tasks_blocked()
        counter.tell(Add(1))
        counter.tell(Add(1))
        with pytest.raises(Overloaded, match="limit of 2"):
            counter.tell(Add(1))
        with pytest.raises(Overloaded):
            await counter.ask(Total, timeout=1)
        counter.tell_control(Add(10))
        until.set()
        await anyio.wait_all_tasks_blocked()
        assert await counter.ask(Total, timeout=1) == 12


async def test_control_goes_before_work() -> None:
    seen: list[int] = []

    class Recorder(Actor[Any]):
        async def receive(self, message: Any) -> None:
            if isinstance(message, Hold):
                await message.until.wait()
            else:
                seen.append(message)

    async with ActorSystem() as system:
        recorder = system.spawn("recorder", Recorder)
        until = anyio.Event()
        recorder.tell(Hold(until))
        await anyio.wait_all_tasks_blocked()
        recorder.tell(1)
        recorder.tell_control(2)
        recorder.tell(3)
        until.set()
    assert seen == [2, 1, 3]


async def test_control_that_is_the_first_and_comes_within_a_turn_is_handled_in_it() -> None:
    seen: list[int] = []

    class Recorder(Actor[int]):
        async def receive(self, message: int) -> None:
            if message > 0:
                self.ref.tell_control(-message)
            seen.append(message)

    async with ActorSystem() as system:
        recorder = system.spawn("recorder", Recorder)
        for message in (1, 2, 3):
            recorder.tell(message)
    assert seen == [1, -1, 2, -2, 3, -3]


async def test_a_crash_loses_the_message_in_hand_and_keeps_the_mailbox() -> None:
    events: list[Event] = []
    async with ActorSystem(on_event=events.append) as system:
        counter = system.spawn("counter", Counter)
        counter.tell(Add(5))
        counter.tell(Crash())
        counter.tell(Add(7))
        assert await counter.ask(Total, timeout=10) == 7
    crashes = [event for event in events if isinstance(event, ChildCrashed)]
    assert [(event.path, repr(event.cause)) for event in crashes] == [
        ("actors/counter", "LookupError('as told')"),
    ]


async def test_a_question_that_was_taken_fails_when_the_actor_crashes() -> None:
    async with ActorSystem() as system, anyio.create_task_group() as group:
        counter = system.spawn("counter", Counter)
        caught: list[BaseException] = []
        failed = anyio.Event()

        async def ask() -> None:
            try:
                await counter.ask(Never, timeout=60)
            except ActorStopped as error:
                caught.append(error)
                failed.set()

        group.start_soon(ask)
        await anyio.wait_all_tasks_blocked()
        with anyio.fail_after(1):  # at once, not at the deadline of the question
            counter.tell(Crash())
            await failed.wait()
        assert "LookupError" in str(caught[0])


async def test_an_actor_that_crashes_too_often_is_given_up_and_its_watchers_are_told() -> None:
    ends: list[BaseException | None] = []
    system = ActorSystem(intensity=Intensity(restarts=2, period=60), backoff=Backoff.none())
    async with system:
        counter = system.spawn("counter", Counter)
        other = system.spawn("other", Counter)
        counter.watch(ends.append)
        ended = anyio.Event()
        counter.watch(lambda _cause: ended.set())
        for _ in range(3):
            counter.tell(Crash())
        await ended.wait()
        assert not counter.alive
        assert [repr(end) for end in ends] == ["LookupError('as told')"]
        with pytest.raises(ActorStopped):
            counter.tell(Add(1))
        with pytest.raises(ActorStopped):
            await counter.ask(Total, timeout=60)
        counter.watch(ends.append)
        assert len(ends) == 2
        assert await other.ask(Total, timeout=1) == 0


async def test_a_stopped_actor_handles_what_waits_and_then_ends_normally() -> None:
    stopped: list[int] = []

    class Last(Counter):
        async def stopped(self) -> None:
            stopped.append(self.total)

    ends: list[BaseException | None] = []
    async with ActorSystem() as system:
        counter = system.spawn("counter", Last)
        counter.watch(ends.append)
        counter.tell(Add(3))
        system.stop("counter")
        await anyio.wait_all_tasks_blocked()
        assert (stopped, ends, len(system)) == ([3], [None], 0)


async def test_leaving_a_system_drains_it() -> None:
    totals: list[int] = []

    class Last(Counter):
        async def stopped(self) -> None:
            totals.append(self.total)

    async with ActorSystem() as system:
        counter = system.spawn("counter", Last)
        for _ in range(1000):
            counter.tell(Add(1))
    assert totals == [1000]


async def test_a_name_is_taken_once() -> None:
    async with ActorSystem() as system:
        system.spawn("counter", Counter)
        with pytest.raises(ValueError, match="'counter' lives"):
            system.spawn("counter", Counter)


async def test_a_cancelled_ask_takes_nothing_back() -> None:
    async with ActorSystem() as system:
        counter = system.spawn("counter", Counter)
        until = anyio.Event()
        counter.tell(Hold(until))
        with anyio.move_on_after(1):
            await counter.ask(Total, timeout=60)
        counter.tell(Add(1))
        until.set()
        assert await counter.ask(Total, timeout=1) == 1


async def test_an_actor_without_receive_says_so() -> None:
    events: list[Event] = []
    async with ActorSystem(on_event=events.append) as system:
        silent = system.spawn("silent", Actor[str])
        silent.tell("hello")
        await anyio.wait_all_tasks_blocked()
    assert any(
        "does not say what to do with 'hello'" in str(event.cause)
        for event in events
        if isinstance(event, ChildCrashed)
    )


async def test_ten_thousand_idle_actors_have_no_tasks() -> None:
    async with ActorSystem() as system:
        before = len(anyio.get_running_tasks())
        refs = [system.spawn(f"counter-{number}", Counter) for number in range(10_000)]
        for ref in refs[:100]:
            assert await ref.ask(Total, timeout=1) == 0
        assert len(anyio.get_running_tasks()) <= before + 64
