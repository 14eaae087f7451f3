"""A reference to an actor: all that others ever hold of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from intendant.actors.deadlines import Deadlines
from intendant.domain.errors import ActorStopped
from intendant.parking import Reply, Seam

M = TypeVar("M")
M_contra = TypeVar("M_contra", contravariant=True)
T = TypeVar("T")


class Target(Protocol[M_contra]):
    """What a reference needs of the cell behind it."""

    path: str
    seam: Seam
    deadlines: Deadlines
    questions: dict[Reply[object], object]

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


class Question(Reply[T]):
    """A reply with a deadline, known to the actor that was asked, so that it is never left open."""

    __slots__ = ("_target", "_tick", "_timeout")

    def __init__(self, target: Target[M], timeout: float) -> None:
        super().__init__()
        self._target = target
        self._timeout = timeout
        self._tick = target.deadlines.add(self, timeout)

    def expire(self) -> None:
        """The deadline has passed: whoever waits gets TimeoutError."""
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

    async def ask(self, question: Callable[[Reply[T]], M], *, timeout: float) -> T:
        """Send `question(reply)` and wait for the reply, at most `timeout` seconds.

        Raises what the actor answers with, Overloaded when the mailbox is full, ActorStopped at once when the actor
        has ended or ends, TimeoutError at the deadline. A wait that is cancelled or times out takes nothing back:
        the message stays sent.
        """
        target = self._target
        reply: Question[T] = Question(target, timeout)
        message = question(reply)
        try:
            target.deliver(message)
        except BaseException:
            reply.fail(ActorStopped(f"{target.path} was not asked"))  # takes it off the deadlines
            raise
        if not reply.settled:
            target.questions[reply] = message  # type: ignore[index]  # of any type: a reply is kept by identity
        return await reply.wait(target.seam)

    def watch(self, call: Callable[[BaseException | None], None]) -> None:
        """Death watch: call once when the actor has ended, with the cause, or None for a normal end.

        Called at once when it has ended already. A restart is not an end.
        """
        self._target.watch(call)

    def __repr__(self) -> str:
        return f"<Ref {self.path}{'' if self.alive else ' (ended)'}>"
