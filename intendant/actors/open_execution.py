"""An execution that has not ended, as whoever runs it sees it: where it stands, and what is held for it."""

from __future__ import annotations

import enum
from collections.abc import Awaitable, Callable
from typing import Protocol

import anyio
from msgspec import Struct

from intendant.actors.actor import Cell
from intendant.actors.endings import Ending
from intendant.actors.execution import ExecutionActor
from intendant.actors.history import Accepted
from intendant.actors.messages import ExecutionMessage
from intendant.actors.services import Services
from intendant.actors.waits import ExecutionWaits, Query
from intendant.domain.commit import Receipt
from intendant.domain.errors import ActorStopped
from intendant.domain.waits import Waits
from intendant.parking import Reply
from intendant.realm import Handler


class Standing(enum.StrEnum):
    """Where an open execution stands."""

    RUNNING = "running"
    STARTING = "starting"
    WAITING = "waiting"
    """Its handler does nothing but wait."""
    PASSIVE = "passive"
    """Its handler left memory until what it waits for has come."""
    QUEUED = "queued"
    """It waits for a place to run."""
    HELD = "held"
    """It does not run before its trial, or because no realm has its handler any more."""


class Owner(Protocol):
    """Who runs it."""

    services: Services
    serving: bool

    def live(self, entry: OpenExecution) -> Awaitable[None]:
        """Run its handler."""
        ...

    def crashed(self, entry: OpenExecution) -> None:
        """It crashed, and may run again."""
        ...

    def ended(self, entry: OpenExecution) -> None:
        """It is not open any more."""
        ...

    def rested(self, entry: OpenExecution) -> None:
        """Its handler has begun to do nothing but wait, or works again."""
        ...

    def revive(self, entry: OpenExecution) -> None:
        """It has news and no handler."""
        ...

    def launch(self, entry: OpenExecution) -> None:
        """It is to have its turn now."""
        ...

    def interrupt(self, entry: OpenExecution) -> None:
        """Cancel the task that its handler runs in."""
        ...

    def beside(self, entry: OpenExecution, watch: Callable[[], Awaitable[None]]) -> None:
        """Run this beside its handler. Raises SupervisorError when handlers are being suspended."""
        ...


class OpenExecution(Struct, eq=False, gc=False):
    """An execution that has not ended: waiting for its turn, running, resting in a wait, or passive until that ends.

    A hundred thousand may be queued, and each full collection of cyclic garbage would look at all of them while
    everybody waits: the collector does not see them. So what refers to one and is referred to by it is let go when it
    is not open here any more (`let_go`), or its handler has left (`left`).

    It is the `Place` of its actor, and the `Work` of the worker that runs that. Its `lane` is its session: of one
    session those accepted first begin first. One that begins in the place of another execution of its session, within
    which it was submitted, has a lane of its own.
    """

    owner: Owner
    tenant: str
    session: str
    id: str
    lane: str  # no session's id is like that of one within another execution
    child_id: str  # its name under the supervisor, and its key among those that are open
    concurrency: int  # of its session
    type: str = ""
    handler: Handler | None = None  # of its version; None when there is none here
    exclusive: bool = False
    priority: int = 0
    accepted: Accepted | None = None  # what its acceptance handed over, until its handler has it
    written: int = 0
    life: int = 0  # of its owner, in which it was given a place before it was accepted
    waiting: bool = True  # for its turn
    unstarted: bool = False  # it waits for its first turn, as far as is known
    begun: bool = False  # it was given a place, in this life of its owner
    launched: bool = False  # its handler runs, or is about to
    resting: bool = False  # its handler does nothing but wait, and takes no place to run
    passive: bool = False  # its handler was suspended in a wait
    news: bool = False  # what it waited for has come, and no handler stood there
    blocked: str = ""  # why it can't go on with the code that is here
    closed: bool = False  # its end is decided
    parted: bool = False  # and its handler has left
    held: bool = False  # it is not to run before its trial
    dropped: anyio.Event | None = None  # it is not to go on; set when its handler has left
    loading: int = 0  # callers who read its journal
    actor: ExecutionActor | None = None
    cell: Cell[ExecutionMessage] | None = None  # made when somebody has a message for it
    waits: ExecutionWaits | None = None  # made when somebody needs them
    recorded: Reply[Receipt] | None = None  # the newest commit of it
    on_change: Callable[[], None] | None = None  # called when it records something, rests, or has left
    queries: list[Query] | None = None
    awaited: Ending | None = None  # of a child, by a handler that was suspended alone
    after_end: list[Reply[None]] | None = None  # who wait for the end that is decided

    def body(self) -> Awaitable[None]:
        """See `Work`."""
        return self.owner.live(self)

    def on_crash(self, _cause: BaseException, /) -> None:
        """See `Work`."""
        self.owner.crashed(self)

    @property
    def newest(self) -> Reply[Receipt] | None:
        """See `Place`."""
        return self.recorded

    @newest.setter
    def newest(self, commit: Reply[Receipt] | None) -> None:
        self.recorded = commit
        if self.on_change is not None:
            self.on_change()

    @property
    def standing(self) -> Standing:
        """Where it stands, in a word."""
        if self.actor is not None and not self.actor.recording.passive:
            return Standing.WAITING if self.resting else Standing.RUNNING
        if self.passive:
            return Standing.PASSIVE
        if self.waiting:
            return Standing.QUEUED
        return Standing.STARTING if self.launched else Standing.HELD

    def open_waits(self, fold: Waits, session: str) -> ExecutionWaits:
        """See `Place`."""
        if self.waits is None:
            services = self.owner.services
            told = (self._wait_ended, self._cancelled)
            self.waits = ExecutionWaits(services, self.tenant, self.id, session, fold, *told)
        return self.waits

    def close(self) -> None:
        """See `Place`."""
        self.closed = True

    def block(self, reason: str) -> None:
        """See `Place`."""
        self.blocked = reason

    def end(self, error: BaseException | None) -> None:
        """See `Place`."""
        if error is None:
            self.owner.ended(self)
        if self.after_end or self.queries:
            self.leave(error)
        if error is None:
            self.let_go()

    def rest(self, resting: bool) -> None:
        """See `Place`."""
        self.resting = resting
        self.owner.rested(self)
        if self.on_change is not None:
            self.on_change()

    def _wait_ended(self) -> None:
        if self.actor is None or self.actor.recording.passive:
            self.news = True
            self.owner.revive(self)

    def await_end(self, ending: Ending) -> None:
        """See `Place`."""
        self.awaited = ending  # which lives as long as it is held
        ending.wait().on_settled(lambda _ended: self._wait_ended())
        if ending.state is not None or ending.error is not None:
            self._wait_ended()

    def _cancelled(self) -> None:
        if self.actor is not None and not self.actor.recording.passive:
            self.actor.recording.cancel()
        elif self.waiting and self.unstarted:
            self.owner.launch(self)  # only to end
        else:
            self.news = True
            self.owner.revive(self)

    def interrupt(self) -> None:
        """See `Place`."""
        self.owner.interrupt(self)

    def beside(self, watch: Callable[[], Awaitable[None]]) -> None:
        """See `Place`."""
        self.owner.beside(self, watch)

    def wait_end(self) -> Reply[None]:
        """A reply for when the end that is decided is durable."""
        reply: Reply[None] = Reply()
        self.after_end = [*(self.after_end or ()), reply]
        return reply

    def ask(self, query: Query) -> None:
        """To be answered as soon as its handler can."""
        self.queries = [*(self.queries or ()), query]
        if self.actor is not None and not self.actor.recording.passive:
            self.actor.recording.active()
        else:
            self.owner.revive(self)

    def leave(self, error: BaseException | None) -> None:
        """It is not here any more: who waits for its end, or an answer, is told to look elsewhere."""
        after_end, self.after_end, queries, self.queries = self.after_end, None, self.queries, None
        for reply in after_end or ():
            reply.set(None) if error is None else reply.fail(error)
        for query in queries or ():
            query.reply.fail(error or ActorStopped(f"execution {self.id} has ended"))

    def let_go(self) -> None:
        """It is not open here any more."""
        self.waits = self.recorded = self.awaited = None

    def left(self) -> None:
        """Its handler does not run any more: what it was asked is answered with ActorStopped."""
        self.actor = None
        if self.on_change is not None:
            self.on_change()
        if self.cell is not None:
            self.cell.end()
            self.cell = None
