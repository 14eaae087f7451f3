"""A reference to an actor: all that others ever hold of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, Protocol, TypeVar

import anyio

from intendant.actors.deadlines import TICK, Deadlines
from intendant.domain.errors import ActorStopped, Deadlock, Overloaded
from intendant.parking import Reply, Seam
from intendant.supervisor import Worker, current_worker

M = TypeVar("M")
M_contra = TypeVar("M_contra", contravariant=True)
T = TypeVar("T")


class Target(Protocol[M_contra]):
    """What a reference needs of the cell behind it."""

    path: str
    seam: Seam
    deadlines: Deadlines
    questions: dict[Reply[object], object]
    in_hand: object
    overdue: object
    waits_for: Target[Any] | None  # Any: actors of any message type wait for each other

    @property
    def alive(self) -> bool:
        """Whether it takes messages."""
        ...

    def deliver(self, message: M_contra, *, control: bool = False) -> None:
        """Put a message into the mailbox and see to it that it is handled."""
        ...

    def watch(self, call: Callable[[BaseException | None], None]) -> None:
        """Call when the actor has ended."""
        ...

    async def room(self) -> None:
        """Wait until a place in the mailbox may be free."""
        ...


class Question(Reply[T]):
    """A reply with a deadline, known to the actor that was asked, so that it is never left open."""

    __slots__ = ("_target", "_tick", "_timeout")

    def __init__(self, target: Target[M], timeout: float) -> None:
        super().__init__()
        self._target = target
        self._timeout = timeout
        self._tick = target.deadlines.add(self, timeout)

    @property
    def deadline(self) -> float:
        """When it has to be answered, by the event loop's clock."""
        return self._tick * TICK

    def expire(self) -> None:
        """The deadline has passed: whoever waits gets TimeoutError."""
        if self._target.questions.get(self) is self._target.in_hand:  # type: ignore[arg-type]
            self._target.overdue = self._target.in_hand
        self.fail(TimeoutError(f"{self._target.path} did not answer within {self._timeout} s"))

    def _settle(self) -> None:
        self._target.deadlines.remove(self, self._tick)
        self._target.questions.pop(self, None)  # type: ignore[arg-type]  # of any type: a reply is kept by identity
        super()._settle()


class Ref(Generic[M]):
    """Sends messages to one actor. It stays valid across restarts of the actor; it never shows the actor itself."""

    __slots__ = ("_target",)

    def __init__(self, target: Target[M]) -> None:
        self._target = target

    @property
    def path(self) -> str:
        """Where the actor stands in the tree."""
        return self._target.path

    @property
    def alive(self) -> bool:
        """Whether the actor takes messages; False for ever once it is."""
        return self._target.alive

    def tell(self, message: M) -> None:
        """Send a message; never blocks. Raises Overloaded when the mailbox is full, ActorStopped when it has ended."""
        self._target.deliver(message)

    def tell_control(self, message: M) -> None:
        """Send a message that goes before work and is never refused. Raises ActorStopped when the actor has ended."""
        self._target.deliver(message, control=True)

    async def send(self, message: M, *, timeout: float) -> None:
        """Send a message, and wait for room in the mailbox, at most `timeout` seconds; who came first goes first.

        Raises Overloaded when there was none, and nothing was sent; ActorStopped when the actor has ended or ends.
        """
        refused: Overloaded | None = None
        with anyio.move_on_after(timeout):
            while True:
                try:
                    self._target.deliver(message)
                except Overloaded as error:
                    refused = error
                    await self._target.room()
                else:
                    return
        if refused is not None:
            raise refused

    async def ask(self, question: Callable[[Reply[T]], M], *, timeout: float) -> T:
        """Send `question(reply)` and wait for the reply, at most `timeout` seconds.

        Raises what the actor answers with, Overloaded when the mailbox is full, ActorStopped at once when the actor
        has ended or ends, TimeoutError at the deadline. A wait that is cancelled or times out takes nothing back:
        the message stays sent.

        An actor that asks while it handles a question waits no longer than whoever asked it. If the answer would have
        to come from an actor that waits for this one, Deadlock is raised at once and nothing is sent. Both hold for
        the task that handles the message, not for tasks it starts.
        """
        target = self._target
        worker = current_worker()
        me = None if worker is None else asker(worker, target.seam)
        if me is not None:
            timeout = _time_for(me, target, timeout)
            me.waits_for = target
        try:
            reply: Question[T] = Question(target, timeout)
            message = question(reply)
            try:
                target.deliver(message)
            except BaseException:
                reply.fail(ActorStopped(f"{target.path} was not asked"))  # takes it off the deadlines
                raise
            if not reply.settled:
                target.questions[reply] = message  # type: ignore[index]  # of any type: a reply is kept by identity
                await reply.settlement(target.seam)
            return reply.result()
        finally:
            if me is not None:
                me.waits_for = None

    def watch(self, call: Callable[[BaseException | None], None]) -> None:
        """Death watch: call once when the actor has ended, with the cause, or None for a normal end.

        Called at once when it has ended already. A restart is not an end.
        """
        self._target.watch(call)

    def __repr__(self) -> str:
        return f"<Ref {self.path}{'' if self.alive else ' (ended)'}>"


def asker(worker: Worker | None, seam: Seam) -> Target[Any] | None:
    """The actor whose message this very task handles; None outside of actors."""
    if worker is None or worker.work is None:
        return None
    cell = getattr(worker.work.body, "__self__", None)
    if not hasattr(cell, "waits_for") or worker.task_id != seam.current_task():
        return None
    return cell  # what has a turn and may wait is a cell


def _time_for(me: Target[Any], target: Target[Any], timeout: float) -> float:
    """How long an actor may wait for another one. Raises Deadlock when that waits for it, TimeoutError for no time."""
    _check_cycle(me, target)
    timeout = min(timeout, _left(me, target.seam.time()))
    if timeout <= 0:
        raise TimeoutError(f"{me.path} was to answer by now, so {target.path} was not asked")
    return timeout


def _check_cycle(me: Target[Any], target: Target[Any]) -> None:
    """Follow who waits for whom from `target` on: an actor handles one message, so it waits for one answer at most."""
    cycle = [me.path]
    each: Target[Any] | None = target
    while each is not None and each is not me:
        cycle.append(each.path)
        each = each.waits_for
    if each is me:
        raise Deadlock(cycle)


def _left(me: Target[Any], now: float) -> float:
    """The seconds left to answer the question in hand; endless when the message in hand is none, or is answered."""
    if me.in_hand is me.overdue:
        return 0.0
    for reply, message in me.questions.items():  # the oldest first: it is among the first
        if message is me.in_hand and isinstance(reply, Question):
            return reply.deadline - now
    return float("inf")
