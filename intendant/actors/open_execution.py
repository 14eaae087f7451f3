"""An execution that has not ended, as whoever runs it sees it: where it stands, and what is held for it."""

from __future__ import annotations

import enum
from collections.abc import Awaitable, Callable
from typing import Protocol

import anyio

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


class OpenExecution:
    """An execution that has not ended: waiting for its turn, running, resting in a wait, or passive until that ends.

    It is the `Place` of its actor. Its `lane` is its session: of one session those accepted first begin first. One that
    is `within` another execution of its session begins in the place of that, and has a lane of its own.
    """

    __slots__ = (
        "_newest",
        "accepted",
        "actor",
        "after_end",
        "awaited",
        "begun",
        "blocked",
        "cell",
        "child_id",
        "closed",
        "concurrency",
        "dropped",
        "exclusive",
        "held",
        "id",
        "lane",
        "launched",
        "life",
        "loading",
        "news",
        "on_change",
        "owner",
        "parted",
        "passive",
        "priority",
        "queries",
        "resting",
        "session",
        "tenant",
        "type",
        "unstarted",
        "waiting",
        "waits",
        "written",
    )  # fmt: skip

    def __init__(
        self,
        owner: Owner,
        tenant: str,
        session: str,
        id: str,
        *,
        concurrency: int,
        type: str = "",
        exclusive: bool = False,
        priority: int = 0,
        within: bool = False,
    ) -> None:
        self.owner = owner
        self.tenant = tenant
        self.session = session
        self.lane = f"/{id}" if within else session  # no session's id is like that
        self.id = id
        self.type = type
        self.child_id = f"{tenant}/{id}"  # its name under the supervisor, and its key here
        self.concurrency = concurrency  # of its session
        self.exclusive = exclusive
        self.priority = priority
        self.accepted: Accepted | None = None  # what its acceptance handed over, until its handler has it
        self.written = 0
        self.life = 0  # of its owner, in which it was given a place before it was accepted
        self.waiting = True  # for its turn
        self.unstarted = False  # it waits for its first turn, as far as is known
        self.begun = False  # it was given a place, in this life of its owner
        self.launched = False  # its handler runs, or is about to
        self.resting = False  # its handler does nothing but wait, and takes no place to run
        self.passive = False  # its handler was suspended in a wait
        self.news = False  # what it waited for has come, and no handler stood there
        self.blocked = ""  # why it can't go on with the code that is here
        self.closed = False  # its end is decided
        self.parted = False  # and its handler has left
        self.held = False  # it is not to run before its trial
        self.dropped: anyio.Event | None = None  # it is not to go on; set when its handler has left
        self.loading = 0  # callers who read its journal
        self.actor: ExecutionActor | None = None
        self.cell: Cell[ExecutionMessage] | None = None  # made when somebody has a message for it
        self.waits: ExecutionWaits | None = None  # made when somebody needs them
        self._newest: Reply[Receipt] | None = None
        self.on_change: Callable[[], None] | None = None  # called when it records something, rests, or has left
        self.queries: list[Query] | None = None
        self.awaited: Ending | None = None  # of a child, by a handler that was suspended alone
        self.after_end: list[Reply[None]] | None = None  # who wait for the end that is decided

    @property
    def newest(self) -> Reply[Receipt] | None:
        """See `Place`."""
        return self._newest

    @newest.setter
    def newest(self, commit: Reply[Receipt] | None) -> None:
        self._newest = commit
        if self.on_change is not None:
            self.on_change()

    @property
    def standing(self) -> Standing:
        """Where it stands, in a word."""
        if self.actor is not None and not self.actor.passive:
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

    def suspended(self) -> bool:
        """See `Place`."""
        return not self.owner.serving

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
        self.leave(error)

    def rest(self, resting: bool) -> None:
        """See `Place`."""
        self.resting = resting
        self.owner.rested(self)
        if self.on_change is not None:
            self.on_change()

    def _wait_ended(self) -> None:
        if self.actor is None or self.actor.passive:
            self.news = True
            self.owner.revive(self)

    def await_end(self, ending: Ending) -> None:
        """See `Place`."""
        self.awaited = ending  # which lives as long as it is held
        ending.wait().on_settled(lambda _ended: self._wait_ended())
        if ending.state is not None or ending.failed:
            self._wait_ended()

    def _cancelled(self) -> None:
        if self.actor is not None and not self.actor.passive:
            self.actor.cancel()
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
        if self.actor is not None and not self.actor.passive:
            self.actor.active()
        else:
            self.owner.revive(self)

    def leave(self, error: BaseException | None) -> None:
        """It is not here any more: who waits for its end, or an answer, is told to look elsewhere."""
        after_end, self.after_end, queries, self.queries = self.after_end, None, self.queries, None
        for reply in after_end or ():
            reply.set(None) if error is None else reply.fail(error)
        for query in queries or ():
            query.reply.fail(error or ActorStopped(f"execution {self.id} has ended"))

    def left(self) -> None:
        """Its handler does not run any more: what it was asked is answered with ActorStopped."""
        self.actor = None
        if self.on_change is not None:
            self.on_change()
        if self.cell is not None:
            self.cell.end()
            self.cell = None
