"""What one open execution waits for and was sent: decided here one after the other, which is the order of the log.

A decision is folded at once and handed to the writer, whose lane for accepted work keeps the order; so this fold is
always that of the log, some commits ahead. What was decided is told when it is durable. A commit fails only when the
writer has stopped, and then all of this is forgotten and read again.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final, Protocol

from msgspec import Raw, Struct

from intendant.actors.endings import Ending
from intendant.actors.services import Services
from intendant.domain import state as states
from intendant.domain.codec import encode
from intendant.domain.commit import (
    AddToIndex,
    AddToOutbox,
    AppendJournal,
    Commit,
    Operation,
    Receipt,
    RemoveFromIndex,
    check_commit,
)
from intendant.domain.errors import ActorStopped, IdempotencyConflict, InternalError, Overloaded, UnreadableJournal
from intendant.domain.journal import as_recorded
from intendant.domain.payloads import CancelRequested, SignalReceived, TimerFired, TimerSet
from intendant.domain.records import Record
from intendant.domain.waits import Wait, WaitEnd, WaitRow, Waits, fingerprint
from intendant.parking import Reply, Waiter
from intendant.realm import Handler

READY_MAX: Final = 10_000  # signals that lie ready for one execution; beyond, senders get Overloaded

_CANCEL: Final = ""  # stands among ids of signals, none of which is empty


class Query(Struct, frozen=True):
    """To be answered by what the handler has registered under its name, encoded."""

    name: str
    reply: Reply[bytes]


class Serving(Protocol):
    """Whoever runs executions."""

    @property
    def serving(self) -> bool:
        """Whether it does: if not, all handlers are being suspended."""
        ...


class Place(Protocol):
    """What the actor of an open execution shares with whoever runs it."""

    waits: ExecutionWaits | None
    """There once somebody has needed them, as long as the execution is in memory."""
    written: int
    """Bytes that its handler has recorded since it was last charged for them."""
    queries: list[Query] | None
    """What was asked and not answered yet."""

    @property
    def handler(self) -> Handler | None:
        """The handler of its type and version; None when it has to be looked for."""
        ...

    @property
    def newest(self) -> Reply[Receipt] | None:
        """The newest commit of a handler's: when it is settled, all of them are."""
        ...

    @newest.setter
    def newest(self, commit: Reply[Receipt] | None) -> None: ...

    def open_waits(self, fold: Waits, session: str) -> ExecutionWaits:
        """Those that are there, or new ones that go on from what was recorded."""
        ...

    @property
    def owner(self) -> Serving:
        """Whoever runs it."""
        ...

    def wait_end(self) -> Reply[None]:
        """A reply for when the end that is to come is durable."""
        ...

    def close(self) -> None:
        """The end is decided: from here on the execution takes nothing."""
        ...

    def end(self, error: BaseException | None) -> None:
        """The end is durable; or it is not known to be, because the writer has stopped."""
        ...

    def await_end(self, ending: Ending) -> None:
        """The handler was suspended alone, and resumes when that has been told."""
        ...

    def block(self, reason: str) -> None:
        """The code that is here can't go on with it."""
        ...

    def rest(self, resting: bool) -> None:
        """The handler does nothing but wait, or works again."""
        ...

    def interrupt(self) -> None:
        """Cancel the task that the handler runs in."""
        ...

    def beside(self, watch: Callable[[], Awaitable[None]]) -> None:
        """Run this beside the handler; what suspends all handlers cancels it. Raises SupervisorError when they are."""
        ...


class ExecutionWaits:
    """The waits of one execution.

    `on_ended` is called when one has ended, durably, and no handler stands there; `on_cancelled` when a cancel is
    durable.
    """

    def __init__(
        self,
        services: Services,
        tenant: str,
        execution: str,
        session: str,
        fold: Waits,
        on_ended: Callable[[], None],
        on_cancelled: Callable[[], None],
    ) -> None:
        self.fold = fold
        self.flying = 0  # commits that are not durable yet
        self.unreadable = ""  # why the journal can't be read: then the fold has its cancel, and nothing else
        self._stopped = False  # the writer has: what is folded here is not what the log has
        self._services = services
        self._tenant = tenant
        self._execution = execution
        self._session = session
        self._on_ended = on_ended
        self._on_cancelled = on_cancelled
        self._landing: set[str] = set()  # waits whose end is not durable yet
        self._signals: dict[str, list[Reply[None]]] = {}  # by id: who is to be told that a signal is durable
        self._standing: dict[str, Waiter] = {}  # by path: what its handler awaits

    # --- the handler

    def begin(self, timer: TimerSet, outbox: list[AddToOutbox]) -> Reply[Receipt]:
        """Begin a wait; the reply comes when that is durable. Raises InvalidValue when its events are too many."""
        return self._append(timer, outbox)

    def over(self, path: str) -> bool:
        """Whether a wait has ended, durably or about to be."""
        return self.fold.by_path[path].end is not None

    def landed(self, wait: Wait) -> WaitEnd | None:
        """What ended a wait, once it is durable; None before."""
        return None if wait.timer.path in self._landing else wait.end

    def stand(self, path: str) -> Waiter:
        """What the current task is to await until a wait has `landed`, when it has not: nothing else wakes it."""
        waiter = self._standing[path] = self._services.seam.waiter()
        return waiter

    def turn_out(self, path: str) -> bool:
        """Cancel what is awaited for a wait; False where nothing is, or where only a scope can."""
        waiter = self._standing.get(path)
        return waiter is not None and waiter.cancel()

    def withdraw(self, path: str) -> None:
        """The handler has given a wait up."""
        self._standing.pop(path, None)
        wait = self.fold.by_path.get(path)
        if wait is not None and not isinstance(wait.end, TimerFired):
            self._append(TimerFired(path, self._services.clock.now(), withdrawn=True))

    # --- what comes from outside

    def fire(self, path: str, now: int) -> None:
        """End a wait if it is open and its time has come."""
        wait = self.fold.by_path.get(path)
        if wait is not None and wait.end is None and 0 < wait.timer.due <= now:
            self._append(TimerFired(path, now))

    def receive(self, name: str, id: str, payload: bytes) -> Reply[None]:
        """Take a signal; the reply comes when it is durable. One with an id that was received is not taken again.

        Raises Overloaded, IdempotencyConflict, UnreadableJournal, ActorStopped.
        """
        self._check_log()
        if self.unreadable:
            raise UnreadableJournal(self._execution, self.unreadable)
        reply: Reply[None] = Reply()
        known = self.fold.received.get(id)
        if known is None:
            self._check_room()
            self._signals[id] = [reply]
            self._append(SignalReceived(name, id, Raw(payload), self._services.clock.now()))
        elif known != fingerprint(name, payload):
            there, given = "a signal of another name or payload", f"{name!r} with another payload or name"
            raise IdempotencyConflict(id, there, given, self._execution)
        elif id in self._signals:
            self._signals[id].append(reply)
        else:
            reply.set(None)
        return reply

    @property
    def cancelled(self) -> bool:
        """Whether a cancel is durable."""
        return self.fold.cancelled is not None and _CANCEL not in self._signals

    def cancel(self) -> Reply[None]:
        """Take a cancel; the reply comes when it is durable. Raises ActorStopped."""
        self._check_log()
        reply: Reply[None] = Reply()
        if self.fold.cancelled is None:
            self._signals[_CANCEL] = [reply]
            self._append(CancelRequested(self._services.clock.now()))
        elif _CANCEL in self._signals:
            self._signals[_CANCEL].append(reply)
        else:
            reply.set(None)
        return reply

    # --- the end

    def leavings(self) -> list[Operation]:
        """What the end of the execution takes away. When it is decided, nothing else may be any more."""
        return [self._disarm(timer) for timer in self.fold.open_timers()]

    # --- how

    def _check_log(self) -> None:
        if self._stopped:
            raise ActorStopped(f"the log of execution {self._execution} has stopped")

    def _check_room(self) -> None:
        self._services.writer.check_room()
        if self.fold.ready_count >= READY_MAX:
            waiting = f"the signals that execution {self._execution} has not waited for"
            raise Overloaded(waiting, READY_MAX, own=True, kind="signals")

    def _append(self, row: WaitRow, outbox: list[AddToOutbox] | None = None) -> Reply[Receipt]:
        body = encode(row)
        type, stored = as_recorded(row, body)
        record = Record(type, self._session, self._execution, Raw(body))
        operations: list[Operation] = [AppendJournal(self._execution, stored), *(outbox or ())]
        check_commit(Commit(self._tenant, [record], operations))  # index entries weigh nothing: it can't fail below
        change = self.fold.add(row)
        if change is None:
            raise InternalError(f"{row!r:.200} does not follow what execution {self._execution} waits for")
        operations += [self._arm(timer) for timer in change.armed]
        operations += [self._disarm(timer) for timer in change.disarmed]
        self._landing.update(change.ended)
        self.flying += 1
        reply: Reply[Receipt] = Reply()
        signal = row.id if isinstance(row, SignalReceived) else _CANCEL if isinstance(row, CancelRequested) else None
        reply.on_settled(partial(self._landed, change.ended, signal))
        return self._services.writer.append(Commit(self._tenant, [record], operations), reply)

    def _landed(self, ended: list[str], signal: str | None, outcome: Reply[Receipt]) -> None:
        self.flying -= 1
        told = self._signals.pop(signal, []) if signal is not None else []
        for reply in told:
            reply.set(None) if outcome.error is None else reply.fail(outcome.error)
        if outcome.error is not None:
            self._stopped = True
            return
        for path in ended:
            self._landing.discard(path)
            if (waiter := self._standing.pop(path, None)) is not None and not waiter.done():
                waiter.set_result(None)
        if ended:
            self._on_ended()
        if signal == _CANCEL:
            self._on_cancelled()

    def _arm(self, timer: TimerSet) -> AddToIndex:
        return AddToIndex(states.TIMERS, states.timer_member(self._execution, timer.path), timer.due)

    def _disarm(self, timer: TimerSet) -> RemoveFromIndex:
        return RemoveFromIndex(states.TIMERS, states.timer_member(self._execution, timer.path), timer.due)
