"""Messages that are handled where they are sent: in the same order, one at a time, and crashes are the supervisor's."""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import anyio
import pytest

from intendant.actors.deadlines import Deadlines
from intendant.actors.direct_cell import DirectActor, DirectCell
from intendant.domain.errors import ActorStopped
from intendant.parking import Reply, current_seam
from intendant.supervisor import Backoff, ChildCrashed, DynamicSupervisor, Event

pytestmark = pytest.mark.anyio

Message = int | str | Reply[int] | anyio.Event


class Diary(DirectActor[Message]):
    """Handles numbers at once, and all else in its turn; -1 crashes it, 7 makes it send itself a text."""

    def __init__(self, notes: list[str]) -> None:
        self.notes = notes
        self.at_hand = False

    def receive_at_once(self, message: Message) -> bool:
        if not isinstance(message, int):
            return False
        assert not self.at_hand, "two messages at a time"
        self.at_hand = True
        if message < 0:
            raise ValueError(message)
        if message == 7:
            self.ref.tell("seven")
        self.notes.append(f"at once {message}")
        self.at_hand = False
        return True

    async def receive(self, message: Message) -> None:
        assert not self.at_hand, "two messages at a time"
        if isinstance(message, anyio.Event):
            await message.wait()
        elif isinstance(message, Reply):
            message.set(len(self.notes))
        else:
            self.notes.append(f"in turn {message}")


@asynccontextmanager
async def diary(notes: list[str], events: list[Event]) -> AsyncGenerator[DirectCell[Message]]:
    supervisor = DynamicSupervisor("d", backoff=Backoff.none(), on_event=events.append)
    seam = current_seam()
    deadlines = Deadlines(seam)
    cell: DirectCell[Message] = DirectCell(
        "diary",
        lambda: Diary(notes),
        capacity=10,
        seam=seam,
        deadlines=deadlines,
        schedule=lambda: supervisor.perform("diary", cell.turn, cell.crashed),
    )
    async with anyio.create_task_group() as group:
        await group.start(supervisor.run)
        group.start_soon(deadlines.run)
        yield cell
        supervisor.stop()
        group.cancel_scope.cancel()


async def asked(cell: DirectCell[Message]) -> int:
    def question(reply: Reply[int]) -> Message:
        return reply

    return await cell.ref.ask(question, timeout=5)


async def test_first_message_waits_for_the_actor_and_later_ones_are_handled_before_tell_returns() -> None:
    notes: list[str] = []
    async with diary(notes, []) as cell:
        cell.ref.tell(1)
        assert notes == []
        assert await asked(cell) == 1
        cell.ref.tell(2)
        assert notes == ["in turn 1", "at once 2"]
        assert cell.idle


async def test_what_comes_behind_others_waits_for_them() -> None:
    notes: list[str] = []
    async with diary(notes, []) as cell:
        await asked(cell)
        held = anyio.Event()
        for message in (held, 1, "two", 3):
            cell.ref.tell(message)
        assert notes == []
        held.set()
        await asked(cell)
        cell.ref.tell(4)
        assert notes == ["in turn 1", "in turn two", "in turn 3", "at once 4"]


async def test_what_it_sends_to_itself_meanwhile_comes_behind() -> None:
    notes: list[str] = []
    async with diary(notes, []) as cell:
        await asked(cell)
        cell.ref.tell(7)
        assert notes == ["at once 7"]
        assert await asked(cell) == 2
        assert notes == ["at once 7", "in turn seven"]


async def test_what_turns_need_takes_no_memory_between_them() -> None:
    async with diary([], []) as cell:
        await asked(cell)
        await anyio.wait_all_tasks_blocked()
        assert cell.mailbox.lanes == (None, None)
        assert sys.getsizeof(cell.questions) == sys.getsizeof({})


async def test_a_crash_is_the_supervisors_and_not_the_senders() -> None:
    notes: list[str] = []
    events: list[Event] = []
    async with diary(notes, events) as cell:
        await asked(cell)
        cell.ref.tell(-1)
        cell.ref.tell(5)  # waits for the next instance
        assert notes == []
        assert await asked(cell) == 1
        assert notes == ["in turn 5"]
    crash = next(each for each in events if isinstance(each, ChildCrashed))
    assert isinstance(crash.cause, ValueError)


async def test_a_question_that_crashes_it_is_answered_so() -> None:
    events: list[Event] = []

    class Fragile(Diary):
        def receive_at_once(self, message: Message) -> bool:
            raise ValueError("fragile")

    supervisor = DynamicSupervisor("d", backoff=Backoff.none(), on_event=events.append)
    seam = current_seam()
    cell: DirectCell[Message] = DirectCell(
        "fragile",
        lambda: Fragile([]),
        capacity=10,
        seam=seam,
        deadlines=Deadlines(seam),
        schedule=lambda: supervisor.perform("fragile", cell.turn, cell.crashed),
    )
    async with anyio.create_task_group() as group:
        await group.start(supervisor.run)
        assert await asked(cell) == 0  # the first is never handled at once
        with pytest.raises(ActorStopped, match="fragile"):
            await asked(cell)
        group.cancel_scope.cancel()


async def test_what_interrupts_the_process_goes_on_to_the_sender() -> None:
    class Interrupted(Diary):
        def receive_at_once(self, message: Message) -> bool:
            raise KeyboardInterrupt

    seam = current_seam()
    scheduled: list[None] = []
    cell: DirectCell[Message] = DirectCell(
        "interrupted",
        lambda: Interrupted([]),
        capacity=10,
        seam=seam,
        deadlines=Deadlines(seam),
        schedule=lambda: scheduled.append(None),
    )
    cell.ref.tell(1)
    await cell.turn()
    with pytest.raises(KeyboardInterrupt):
        cell.ref.tell(2)
    assert len(scheduled) == 2
    with pytest.raises(KeyboardInterrupt):
        await cell.turn()
