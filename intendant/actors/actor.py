"""An actor, and the cell it lives in: a mailbox, and a task only while there is work."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Generic, TypeVar

import anyio.lowlevel

from intendant.actors.deadlines import Deadlines
from intendant.actors.mailbox import Mailbox
from intendant.actors.ref import Ref
from intendant.domain.errors import ActorStopped
from intendant.parking import Reply, Seam

M = TypeVar("M")

TURN_MESSAGES: Final = 256  # handled in a row before others get the loop


class Actor(Generic[M]):
    """Owns one piece of state and handles one message at a time. Subclass it and write `receive`.

    An exception that leaves any of these methods is a crash: the message in hand is lost, whoever asked gets
    ActorStopped, and the supervisor starts a new instance, which finds the rest of the mailbox untouched.
    """

    ref: Ref[M]
    """This actor's own reference; set before `started` is called."""

    async def started(self) -> None:
        """Called once, before the first message: the place to load state."""

    async def receive(self, message: M) -> None:
        """Handle one message. Answer a question through the reply that it carries, now or later."""
        raise NotImplementedError(f"{type(self).__name__} does not say what to do with {message!r}")

    async def stopped(self) -> None:
        """Called once, after the last message of a normal stop; not after a crash."""


class Cell(Generic[M]):
    """What stays of an actor across restarts: its path, mailbox, reference and open questions.

    The cell has no task. It calls `schedule` when it becomes busy; whoever schedules runs `turn`, in any task, and
    calls `crashed` if that raises.
    """

    def __init__(
        self,
        path: str,
        factory: Callable[[], Actor[M]],
        *,
        capacity: int,
        seam: Seam,
        deadlines: Deadlines,
        schedule: Callable[[], None],
    ) -> None:
        self.path = path
        self.seam = seam
        self.deadlines = deadlines
        self.questions: dict[Reply[object], object] = {}
        self.mailbox: Mailbox[M] = Mailbox(path, capacity)
        self.ref: Ref[M] = Ref(self)
        self._factory = factory
        self._schedule = schedule
        self._actor: Actor[M] | None = None
        self._busy = False
        self._stopping = False
        self._ended = False
        self._cause: BaseException | None = None
        self._watchers: list[Callable[[BaseException | None], None]] = []

    @property
    def alive(self) -> bool:
        """Whether it takes messages."""
        return not self._ended

    @property
    def idle(self) -> bool:
        """Whether nothing waits, nothing runs, and no question is open."""
        return not self._busy and not self.mailbox and not self.questions

    def deliver(self, message: M, *, control: bool = False) -> None:
        """Put a message into the mailbox and see to it that it is handled."""
        if self._ended:
            raise ActorStopped(f"{self.path} has ended")
        if control:
            self.mailbox.put_control(message)
        else:
            self.mailbox.put(message)
        self.wake()

    def wake(self) -> None:
        """See to it that a turn comes."""
        if not self._busy:
            self._busy = True
            self._schedule()

    def watch(self, call: Callable[[BaseException | None], None]) -> None:
        """Call when the actor has ended."""
        if self._ended:
            call(self._cause)
        else:
            self._watchers.append(call)

    async def turn(self) -> None:
        """Handle all that waits, then return. An exception is a crash."""
        actor = self._actor or await self._start()
        mailbox = self.mailbox
        handled = 0
        while mailbox:
            await actor.receive(mailbox.take())
            handled += 1
            if handled % TURN_MESSAGES == 0:
                await anyio.lowlevel.checkpoint()
        self._busy = False
        if self._stopping:
            self._actor = None
            await actor.stopped()
            self.end()

    def crashed(self, cause: BaseException) -> None:
        """Forget the actor after a crash: its open questions fail, what waits in the mailbox stays for the next one."""
        self._actor = None
        self._busy = False
        waiting = {id(message) for message in self.mailbox}
        for reply, message in list(self.questions.items()):
            if id(message) not in waiting:
                reply.fail(ActorStopped(f"{self.path} crashed: {cause!r}"))
        if self.mailbox or self._stopping:
            self.wake()

    def stop(self) -> None:
        """End after what waits in the mailbox has been handled."""
        self._stopping = True
        self.wake()

    def end(self, cause: BaseException | None = None) -> None:
        """End now: every open question fails, every watcher is told."""
        if self._ended:
            return
        self._ended = True
        self._cause = cause
        self._actor = None
        self.mailbox.clear()
        for reply in list(self.questions):
            reply.fail(ActorStopped(f"{self.path} has ended" + (f": {cause!r}" if cause else "")))
        watchers, self._watchers = self._watchers, []
        for call in watchers:
            call(cause)

    async def _start(self) -> Actor[M]:
        actor = self._factory()
        actor.ref = self.ref
        await actor.started()
        self._actor = actor
        return actor
