"""An actor, and the cell it lives in: a mailbox, and a task only while there is work."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from operator import length_hint
from typing import Final, Generic, TypeVar

import anyio.lowlevel

from intendant.actors.dead_letters import DeadLetters, Reason, Undelivered
from intendant.actors.deadlines import Deadlines
from intendant.actors.mailbox import Mailbox, Overflow
from intendant.actors.pressure import Gauge, Pressure
from intendant.actors.ref import Ref, Target, asker
from intendant.domain.errors import ActorStopped, Overloaded
from intendant.domain.poison import Verdict, judge
from intendant.parking import Parking, Reply, Seam
from intendant.supervisor import current_worker

M = TypeVar("M")

TURN: Final = range(256)  # messages that are handled in a row before others get the loop
NOTHING: Final = object()  # in hand
NEVER: Final = object()  # in hand, so never overdue


class Actor(Generic[M]):
    """Owns one piece of state and handles one message at a time. Subclass it and write `receive`.

    An exception that leaves any of these methods is a crash: the supervisor starts a new instance, which finds the
    mailbox untouched, with the message in hand first if it may be tried again (`attempts` of `spawn`); else that
    goes to the dead letters, and whoever asked gets ActorStopped.
    """

    __slots__ = ("ref",)  # for those who want them: without its own, a subclass has a dictionary as ever

    receive_timeout: float | None = None
    """Seconds without a message, counted from the end of the last one, after which `timed_out` is called, again and
    again; None: never."""

    ref: Ref[M]
    """This actor's own reference; set before `started` is called."""

    async def started(self) -> None:
        """Called once, before the first message: the place to load state."""

    async def receive(self, message: M) -> None:
        """Handle one message. Answer a question through the reply that it carries, now or later."""
        raise NotImplementedError(f"{type(self).__name__} does not say what to do with {message!r}")

    async def timed_out(self) -> None:
        """Called when no message came for `receive_timeout` seconds, at most a tick of 20 ms late."""

    async def stopped(self) -> None:
        """Called once, after the last message of a normal stop; not after a crash."""


class Cell(Generic[M]):
    """What stays of an actor across restarts: its path, mailbox, reference and open questions.

    The cell has no task. It calls `schedule` when it becomes busy; whoever schedules runs `turn`, in any task, and
    calls `crashed` if that raises.
    """

    __slots__ = (
        *("path", "seam", "deadlines", "questions", "in_hand", "overdue", "waits_for", "mailbox", "ref"),
        *("_factory", "_schedule", "_actor", "_busy", "_stopping", "_ended", "_cause", "_watchers", "_senders"),
        *("_attempts", "_suspect", "_suspected", "_dead_letters", "_quiet", "_timed_out", "_taken", "_steps", "_gauge"),
    )

    def __init__(
        self,
        path: str,
        factory: Callable[[], Actor[M]],
        *,
        capacity: int,
        seam: Seam,
        deadlines: Deadlines,
        schedule: Callable[[], None],
        overflow: Overflow = Overflow.REFUSE,
        attempts: int = 1,
        dead_letters: DeadLetters | None = None,
    ) -> None:
        self.path = path
        self.seam = seam
        self.deadlines = deadlines
        self.questions: dict[Reply[object], object] = {}
        self.in_hand: object = NOTHING  # the message that is being handled
        self.overdue: object = NEVER  # the message that was in hand when the time to answer it was over
        self.waits_for: Target[object] | None = None  # whose answer the message in hand waits for
        self.mailbox: Mailbox[M] = Mailbox(path, capacity, None if overflow is Overflow.REFUSE else self._drop)
        self.ref: Ref[M] = Ref(self)
        self._factory = factory
        self._schedule = schedule
        self._actor: Actor[M] | None = None
        self._busy = False
        self._stopping = False
        self._ended = False
        self._cause: BaseException | None = None
        self._watchers: list[Callable[[BaseException | None], None]] | None = None
        self._senders: deque[Parking] | None = None  # that wait for room; most actors never have any
        self._attempts = attempts
        self._suspect: object = NOTHING  # the message that the last crash had in hand
        self._suspected = 0  # how many crashes in a row it was
        self._dead_letters = dead_letters
        self._quiet: _Quiet | None = None  # while it waits for `receive_timeout`
        self._timed_out = False
        self._taken = 0  # messages, out of the mailbox, before those of `_steps`
        self._steps = iter(TURN)  # one for each message: what is left of it tells how many, and costs no message
        self._gauge: Gauge | None = None  # made when somebody looks

    @property
    def alive(self) -> bool:
        """Whether it takes messages."""
        return not self._ended

    @property
    def idle(self) -> bool:
        """Whether nothing waits, nothing runs, and no question is open."""
        return not self._busy and not self.mailbox and not self.questions

    @property
    def watched(self) -> bool:
        """Whether somebody wants to be told of its end."""
        return bool(self._watchers)

    def deliver(self, message: M, *, control: bool = False) -> None:
        """Put a message into the mailbox and see to it that it is handled."""
        if self._ended:
            self._not_handled(message, Reason.ENDED, self._cause, asker(current_worker(), self.seam))
            raise ActorStopped(f"{self.path} has ended")
        if control:
            self.mailbox.put_control(message)
        else:
            self.mailbox.put(message)
        if not self._busy:  # as `wake` asks, too: each call that is spared here is some 5 % of `tell`
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
            watchers = self._watchers = self._watchers or []
            watchers.append(call)

    async def turn(self) -> None:
        """Handle all that waits, then return. An exception is a crash."""
        if self._ended:
            return
        actor = self._actor or await self._start()
        if self._quiet is not None or self._timed_out:
            await self._after_quiet(actor)
        mailbox = self.mailbox
        while mailbox:
            control, work = mailbox.lanes  # asked after each message, and a deque answers faster than the mailbox
            for _ in self._steps:
                message = self.in_hand = mailbox.take()
                if self._senders:
                    self._senders.popleft().wake()
                await actor.receive(message)
                if not work and not control:
                    break
            else:
                self._taken += len(TURN)
                self._steps = iter(TURN)
                await anyio.lowlevel.checkpoint()
        self.in_hand = NOTHING
        self.overdue = NEVER
        self._busy = False
        if actor.receive_timeout is not None and not self._stopping and not self._ended:
            self._quiet = _Quiet(self.deadlines, actor.receive_timeout, self._nothing_came)
        if self._stopping:
            self._actor = None
            await actor.stopped()
            self.end()

    def crashed(self, cause: BaseException) -> None:
        """Forget the actor after a crash: its open questions fail, what waits in the mailbox stays for the next one."""
        self._actor = None
        self._busy = False
        self._set_aside(cause)
        waiting = {id(message) for message in self.mailbox}
        for reply, message in list(self.questions.items()):
            if id(message) not in waiting:
                reply.fail(ActorStopped(f"{self.path} crashed: {cause!r}"))
        if not self._ended and (self.mailbox or self._stopping):
            self.wake()

    def stop(self) -> None:
        """End after what waits in the mailbox has been handled."""
        self._stopping = True
        self.wake()

    def give_up(self, cause: BaseException) -> None:
        """End after a crash that was one too many; what it had in hand is not tried again."""
        self._attempts = 1
        self._set_aside(cause)
        self.end(cause)

    def end(self, cause: BaseException | None = None) -> None:
        """End now: every open question fails, every watcher is told."""
        if self._ended:
            return
        self._ended = True
        self._cause = cause
        self._actor = None
        if self._quiet is not None:
            self._quiet.cancel()
        for message in self.mailbox.clear():
            self._not_handled(message, Reason.LEFT, cause)
        while self._senders:
            self._senders.popleft().wake()
        for reply in list(self.questions):
            reply.fail(ActorStopped(f"{self.path} has ended" + (f": {cause!r}" if cause else "")))
        watchers, self._watchers = self._watchers, None
        for call in watchers or ():
            call(cause)

    async def _start(self) -> Actor[M]:
        actor = self._factory()
        actor.ref = self.ref
        await actor.started()
        self._actor = actor
        return actor

    async def room(self) -> None:
        """Wait until a place in the mailbox may be free, first come, first served; or until the actor ends."""
        parking = self.seam.parking()
        senders = self._senders = deque() if self._senders is None else self._senders
        senders.append(parking)
        try:
            await parking.wait()
        except BaseException:
            if parking in senders:
                senders.remove(parking)
            elif senders:
                senders.popleft().wake()  # it was this one's turn, who has left: the place is for the next
            raise

    def _nothing_came(self) -> None:
        self._quiet = None
        self._timed_out = True
        self.wake()

    async def _after_quiet(self, actor: Actor[M]) -> None:
        if self._quiet is not None:
            self._quiet.cancel()
            self._quiet = None
        timed_out, self._timed_out = self._timed_out, False
        if timed_out and not self.mailbox and not self._stopping:
            await actor.timed_out()

    def _set_aside(self, cause: BaseException) -> None:
        """Decide about the message in hand after a crash: once more, or never again."""
        message, self.in_hand = self.in_hand, NOTHING
        if message is NOTHING:
            return
        self._suspected = self._suspected + 1 if message is self._suspect else 1
        verdict = judge(self._suspected, self._attempts, alone=True)
        if verdict is Verdict.AGAIN and not self._ended:
            self._suspect = message
            self._taken -= 1
            self.mailbox.put_back(message)  # type: ignore[arg-type]  # it was taken from there
        else:
            self._suspect = NOTHING
            self._not_handled(message, Reason.CRASHED, cause)

    def pressure(self) -> Pressure:
        """How hard it is pressed."""
        if self._gauge is None:
            self._gauge = Gauge()
        depth = len(self.mailbox)
        taken = self._taken + len(TURN) - length_hint(self._steps)
        ages = self._gauge.look(self.seam.time(), taken, depth, self.in_hand is not NOTHING)
        return Pressure(self.path, depth, *ages)

    def _drop(self, message: M) -> None:
        self._taken += 1
        self._not_handled(message, Reason.DROPPED, None)
        for reply, asked in self.questions.items():  # the oldest message: its question is among the first
            if asked is message:
                reply.fail(Overloaded(f"the mailbox of {self.path}", self.mailbox.capacity))
                return

    def _not_handled(
        self, message: object, reason: Reason, cause: BaseException | None, origin: Target[object] | None = None
    ) -> None:
        if self._dead_letters is not None:
            sender = "" if origin is None else origin.path
            self._dead_letters.add(Undelivered(message, self.path, reason, sender, self.seam.time(), cause))


class _Quiet:
    """The time until an actor without messages is told so."""

    __slots__ = ("_call", "_deadlines", "_tick")

    def __init__(self, deadlines: Deadlines, timeout: float, call: Callable[[], None]) -> None:
        self._deadlines = deadlines
        self._call = call
        self._tick = deadlines.add(self, timeout)

    def cancel(self) -> None:
        """A message came."""
        self._deadlines.remove(self, self._tick)

    def expire(self) -> None:
        """None came."""
        self._call()
