"""A mailbox that is full, an actor that hears nothing, messages that are never handled."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from intendant import Actor, ActorStopped, ActorSystem, Overflow, Overloaded, Ref, Reply
from intendant.actors import DeadLetters, Pressure, Reason, Undelivered
from intendant.actors.pressure import Gauge
from intendant.supervisor import Backoff, Intensity

pytestmark = pytest.mark.anyio


@dataclass(frozen=True)
class Ask:
    reply: Reply[int]


@dataclass(frozen=True)
class Hold:
    until: anyio.Event


@dataclass(frozen=True)
class Crash:
    pass


class Recorder(Actor[Any]):
    def __init__(self, seen: list[Any]) -> None:
        self.seen = seen

    async def receive(self, message: Any) -> None:
        match message:
            case Hold(until):
                await until.wait()
            case Ask(reply):
                reply.set(len(self.seen))
            case Crash():
                self.seen.append(message)
                raise LookupError("as told")
            case _:
                self.seen.append(message)


async def held(ref: Ref[Any]) -> anyio.Event:
    until = anyio.Event()
    ref.tell(Hold(until))
    await anyio.wait_all_tasks_blocked()
    return until


async def test_the_oldest_makes_room_where_that_is_wanted() -> None:
    seen: list[Any] = []
    async with ActorSystem() as system, anyio.create_task_group() as group:
        ref = system.spawn("a", lambda: Recorder(seen), capacity=2, overflow=Overflow.DROP_OLDEST)
        until = await held(ref)
        failed: list[Exception] = []

        async def ask() -> None:
            try:
                await ref.ask(Ask, timeout=100)
            except Overloaded as error:
                failed.append(error)

        group.start_soon(ask)
        await anyio.wait_all_tasks_blocked()
        for number in range(4):
            ref.tell(number)
        ref.tell_control(9)  # control is neither refused nor dropped
        until.set()
        await anyio.wait_all_tasks_blocked()
        assert seen == [9, 2, 3]
        assert len(failed) == 1
        assert [type(each.message) for each in system.dead_letters] == [Ask, int, int]
        assert [each.message for each in system.dead_letters.query(to="actors/a", reason=Reason.DROPPED)][1:] == [0, 1]


async def test_a_sender_may_wait_for_room_and_who_came_first_goes_first() -> None:
    seen: list[Any] = []
    async with ActorSystem() as system, anyio.create_task_group() as group:
        ref = system.spawn("a", lambda: Recorder(seen), capacity=1)
        until = await held(ref)
        ref.tell(0)
        for number in (1, 2, 3):
            group.start_soon(lambda number: ref.send(number, timeout=10), number)
            await anyio.wait_all_tasks_blocked()
        until.set()
        await anyio.wait_all_tasks_blocked()
        assert seen == [0, 1, 2, 3]


async def test_a_wait_for_room_has_a_deadline() -> None:
    seen: list[Any] = []
    async with ActorSystem() as system:
        ref = system.spawn("a", lambda: Recorder(seen), capacity=1)
        until = await held(ref)
        ref.tell(0)
        began = anyio.current_time()
        with pytest.raises(Overloaded, match="limit of 1"):
            await ref.send(1, timeout=3)
        assert anyio.current_time() - began == pytest.approx(3)
        until.set()
        await ref.send(2, timeout=3)
        await anyio.wait_all_tasks_blocked()
        assert seen == [0, 2]


async def test_who_waits_for_room_and_leaves_gives_the_turn_to_the_next() -> None:
    seen: list[Any] = []
    async with ActorSystem() as system, anyio.create_task_group() as group:
        ref = system.spawn("a", lambda: Recorder(seen), capacity=1)
        until = await held(ref)
        ref.tell(0)
        first = anyio.CancelScope()

        async def leaves() -> None:
            with first:
                await ref.send(1, timeout=100)

        group.start_soon(leaves)
        await anyio.wait_all_tasks_blocked()
        group.start_soon(lambda: ref.send(2, timeout=100))
        await anyio.wait_all_tasks_blocked()
        first.cancel()
        until.set()
        with anyio.fail_after(10):
            while 2 not in seen:  # noqa: ASYNC110 - nobody tells
                await anyio.sleep(0.01)


async def test_who_waits_for_room_is_told_when_the_actor_ends() -> None:
    caught: list[Exception] = []
    async with ActorSystem(intensity=Intensity(0)) as system, anyio.create_task_group() as group:
        ref = system.spawn("a", lambda: Recorder([]), capacity=1)
        until = await held(ref)
        ref.tell_control(Crash())
        ref.tell(0)

        async def send() -> None:
            try:
                await ref.send(1, timeout=100)
            except ActorStopped as error:
                caught.append(error)

        group.start_soon(send)
        await anyio.wait_all_tasks_blocked()
        ref.tell_control(Crash())
        until.set()
    assert len(caught) == 1


async def test_an_actor_is_told_when_nothing_came_for_a_while() -> None:
    times: list[float] = []

    class Quiet(Recorder):
        receive_timeout = 2.0

        async def timed_out(self) -> None:
            times.append(anyio.current_time())

    async with ActorSystem() as system:
        ref = system.spawn("a", lambda: Quiet([]))
        began = anyio.current_time()
        for _ in range(3):
            ref.tell(0)
            await anyio.sleep(1.5)
        assert times == []
        await anyio.sleep(4.0)
        assert [time - began for time in times] == pytest.approx([5.0, 7.0], abs=0.05)
        system.stop("a")
        await anyio.sleep(10.0)
        assert len(times) == 2


# ---------------------------------------------------------------------- pressure


async def test_how_much_waits_and_for_how_long_is_seen_by_looking() -> None:
    async with ActorSystem() as system:
        ref = system.spawn("a", lambda: Recorder([]))
        system.spawn("idle", lambda: Recorder([]))
        assert system.pressure() == []
        until = await held(ref)
        for number in range(3):
            ref.tell(number)
        assert system.pressure() == [Pressure("actors/a", 3, 0.0, 0.0)]
        await anyio.sleep(2.0)
        again = await held(ref)
        ref.tell(4)
        (seen,) = system.pressure()
        assert [seen.depth, seen.oldest, seen.in_hand] == pytest.approx([5, 2.0, 2.0])
        await anyio.sleep(3.0)
        (seen,) = system.pressure()
        assert [seen.depth, seen.oldest, seen.in_hand] == pytest.approx([5, 5.0, 5.0])
        until.set()
        await anyio.wait_all_tasks_blocked()  # it handles three, and holds again
        (seen,) = system.pressure()
        assert [seen.depth, seen.oldest, seen.in_hand] == pytest.approx([1, 3.0, 0.0])
        again.set()
        await anyio.wait_all_tasks_blocked()
        assert system.pressure() == []


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), st.booleans()), max_size=60))
def test_an_age_is_never_more_than_true_and_misses_no_more_than_one_look(steps: list[tuple[int, int, bool]]) -> None:
    gauge, queue, taken, looks = Gauge(), list[float](), 0, list[float]()
    for now, (put, take, look) in enumerate(steps):
        queue += [float(now)] * put
        handled = min(take, len(queue))
        del queue[:handled]
        taken += handled
        if look:
            oldest, _ = gauge.look(float(now), taken, len(queue), False)
            true = now - queue[0] if queue else 0.0
            assert oldest <= true
            if queue:  # the first look after it had come saw it
                since = min([each for each in looks if each >= queue[0]], default=float(now))
                assert oldest == now - since
            looks.append(float(now))


# ---------------------------------------------------------------------- dead letters


async def test_what_crashes_its_actor_too_often_is_set_aside_and_the_actor_goes_on() -> None:
    for attempts in (1, 3):
        seen: list[Any] = []
        async with ActorSystem(backoff=Backoff.none()) as system:
            ref = system.spawn("a", lambda seen=seen: Recorder(seen), attempts=attempts)  # type: ignore[misc]
            ref.tell(Crash())
            ref.tell(1)
            await anyio.sleep(1.0)
            assert seen == [Crash()] * attempts + [1]
            (letter,) = system.dead_letters
            assert (letter.message, letter.to, letter.reason) == (Crash(), "actors/a", Reason.CRASHED)
            assert isinstance(letter.cause, LookupError)


async def test_a_question_stays_open_while_its_message_is_tried_again() -> None:
    crashes = 2

    class Late(Recorder):
        async def receive(self, message: Any) -> None:
            nonlocal crashes
            if crashes:
                crashes -= 1
                raise LookupError("not yet")
            await super().receive(message)

    async with ActorSystem() as system:
        ref = system.spawn("a", lambda: Late([]), attempts=3)
        assert await ref.ask(Ask, timeout=10) == 0


async def test_what_waits_when_an_actor_is_given_up_and_what_comes_later() -> None:
    async with ActorSystem(intensity=Intensity(0)) as system:
        ref = system.spawn("a", lambda: Recorder([]), attempts=9)
        ref.tell(Crash())
        ref.tell(1)
        await anyio.wait_all_tasks_blocked()
        with pytest.raises(ActorStopped):
            ref.tell(2)

        class Sender(Actor[int]):
            async def receive(self, message: int) -> None:
                with pytest.raises(ActorStopped):
                    ref.tell(message)

        system.spawn("sender", Sender).tell(3)
        await anyio.wait_all_tasks_blocked()
        assert [(each.message, each.reason, each.origin) for each in system.dead_letters] == [
            (Crash(), Reason.CRASHED, ""),
            (1, Reason.LEFT, ""),
            (2, Reason.ENDED, ""),
            (3, Reason.ENDED, "actors/sender"),
        ]
        assert all(isinstance(each.cause, LookupError) for each in system.dead_letters)
        asked = system.dead_letters.query(to="actors/a", reason=Reason.ENDED)
        assert [each.message for each in asked] == [2, 3]
        assert [each.message for each in system.dead_letters.query(reason=Reason.LEFT)] == [1]


def test_dead_letters_are_bounded_and_counted() -> None:
    letters = DeadLetters(limit=2)
    for number in range(3):
        letters.add(Undelivered(number, "a", Reason.LEFT, "", 0.0, None))
    assert ([each.message for each in letters], len(letters), letters.total) == ([1, 2], 2, 3)
    assert letters.query(to="b") == letters.query(reason=Reason.ENDED) == []
    letters.clear()
    assert (len(letters), letters.total) == (0, 3)
