"""The session's actor: decides everything about one session, and never waits for the log while others ask."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from msgspec import Struct

from intendant.actors.acceptance import accept, conflict, decode_claim
from intendant.actors.direct_cell import DirectActor
from intendant.actors.executions import Executions
from intendant.actors.history import Accepted
from intendant.actors.messages import (
    Close,
    Due,
    Open,
    SessionMessage,
    Settled,
    Spawn,
    Submit,
    WorkEnded,
)
from intendant.actors.open_execution import OpenExecution
from intendant.actors.residence import Handed, Residence
from intendant.actors.services import Services
from intendant.actors.submission import Submission
from intendant.domain import payloads
from intendant.domain import state as states
from intendant.domain.codec import encode
from intendant.domain.commit import (
    AddToIndex,
    Commit,
    Operation,
    PutDocument,
    Receipt,
    RemoveFromIndex,
)
from intendant.domain.errors import SessionClosed, SessionExists, UnknownSession
from intendant.domain.payloads import Parent
from intendant.domain.records import Record
from intendant.domain.state import ExecutionState, SessionState, decode_session
from intendant.parking import Reply


class SessionActor(DirectActor[SessionMessage]):
    """One session. Its state is its document; what it decides is committed, then answered."""

    __slots__ = (
        *("services", "executions", "residence", "unplaced"),
        *("_tenant", "_id", "_state", "_since", "_opening", "_closing"),
    )

    def __init__(self, services: Services, executions: Executions, tenant: str, id: str, residence: Residence) -> None:
        self.services = services
        self.executions = executions
        self.residence = residence
        self.unplaced = 0  # submissions on their way whose executions will wait for a turn: none may pass them
        self._tenant = tenant
        self._id = id
        self._state: SessionState | None = None
        self._since = 0
        self._opening: tuple[Open, ...] = ()  # who wait until it is open
        self._closing: list[SessionMessage] | None = None  # what came meanwhile, while it is being closed

    async def started(self) -> None:
        """Load the session's document, if there is one, once all has landed that a predecessor had decided."""
        await self.residence.all_landed()
        document = await self.services.log.document(self._tenant, states.SESSIONS, self._id)
        if document is not None:
            self._state = decode_session(document.body)
            self._since = document.since
            if self._state.active:
                self.residence.watch_work()

    def receive_at_once(self, message: SessionMessage) -> bool:
        """New work for an open session needs nothing but a commit, which is not waited for here."""
        if self._state is None or self._state.closed_at or self._closing is not None:
            return False
        match message:
            case Submit():
                self._submit(message)
            case Spawn():
                self._spawn(message)
            case _:
                return False
        return True

    async def receive(self, message: SessionMessage) -> None:
        """Handle one message; errors of the caller are answers, not crashes."""
        match message:
            case Submit() | Spawn() | Close() | Due() | WorkEnded() if self._closing is not None:
                self._closing.append(message)  # nothing is said of the close before it is durable
            case Submit():
                if self._state is not None and self._state.closed:
                    await self._submit_closed(message)
                else:
                    self._submit(message)
            case Spawn():
                self._spawn(message)
            case Settled(proceed, outcome):
                proceed(outcome)
            case Open():
                self._open(message)
            case Close():
                self._close(message)
            case Due(now):
                self._due(now)
            case WorkEnded():
                self._work_ended()
        if self._state is None and not self._opening:
            self.residence.unknown()

    # --- opening and closing

    def _open(self, message: Open) -> None:
        if self._state is not None or self._opening:
            self._answer_open(message)
            return
        payload = payloads.SessionCreated(
            message.user_id,
            message.solution,
            message.metadata,
            self.services.clock.now(),
            message.creation,
            message.concurrency,
            message.idle_timeout,
        )
        state = states.session_created(self._tenant, self._id, payload)
        record = Record("session_created", self._id, "", payload)
        put = PutDocument(states.SESSIONS, self._id, encode(state))
        commit = Commit(self._tenant, [record], [put, *_move_timer(None, state)])

        def proceed(outcome: Reply[Receipt]) -> None:
            opening, self._opening = self._opening, ()
            if outcome.error is not None:
                for each in opening:
                    each.reply.fail(outcome.error)
                return
            self._state, self._since = state, outcome.result().first
            message.reply.set(state)
            for each in opening[1:]:
                self._answer_open(each)

        self._opening = (*self._opening, message)
        self._commit(commit, self._as_message(proceed))

    def _answer_open(self, message: Open) -> None:
        if self._state is None:
            self._opening = (*self._opening, message)
        elif message.must_be_new and message.creation != self._state.creation:
            message.reply.fail(SessionExists(self._id))
        else:
            message.reply.set(self._state)

    def _close(self, message: Close) -> None:
        if self._state is None:
            message.reply.fail(UnknownSession(self._id))
            return
        if self._state.closed:
            message.reply.set(self._state)
            return
        payload = payloads.SessionClosed(self.services.clock.now(), expired=message.expired)
        state = states.session_closed(self._state, payload)
        commit = self._change("session_closed", payload, self._state, state)

        def proceed(outcome: Reply[Receipt]) -> None:
            waiting, self._closing = self._closing or [], None
            if outcome.error is not None:
                message.reply.fail(outcome.error)
            else:
                self._state = state
                message.reply.set(state)
            for each in waiting:
                self.ref.tell_control(each)

        self._closing = []
        self._commit(commit, self._as_message(proceed), new=not message.expired)

    def _change(self, type: str, payload: Struct, before: SessionState, after: SessionState) -> Commit:
        put = PutDocument(states.SESSIONS, self._id, encode(after), self._since)
        return Commit(self._tenant, [Record(type, self._id, "", payload)], [put, *_move_timer(before, after)])

    # --- idle time

    def _due(self, now: int) -> None:
        if self._state is None:
            return
        busy = self.residence.waiting or self.unplaced > 0 or self.executions.has_open(self._tenant, self._id)
        match states.session_due(self._state, now, busy=busy):
            case payloads.SessionExtended() as payload:
                self._extend(payload)
            case payloads.SessionClosed():
                self._close(Close(Reply(), expired=True))
            case None:
                pass

    def has_work(self) -> None:
        """Work has come: what follows is committed behind this."""
        state = self._state
        if state is not None and state.idle_timeout and not (state.active or state.closed):
            self._extend_from_now(state, active=True)

    def _work_ended(self) -> None:
        state = self._state
        if state is not None and state.active:
            self._extend_from_now(state, active=self.executions.has_open(self._tenant, self._id))

    def _extend_from_now(self, state: SessionState, *, active: bool) -> None:
        now = self.services.clock.now()
        self._extend(payloads.SessionExtended(now, now + state.idle_timeout, active))

    def _extend(self, payload: payloads.SessionExtended) -> None:
        """It is so at once; where the commit fails, the writer has stopped, and all of this is read again."""
        assert self._state is not None  # noqa: S101  it was looked at
        before, self._state = self._state, states.session_extended(self._state, payload)
        if payload.active:
            self.residence.watch_work()
        self._commit(self._change("session_extended", payload, before, self._state), _nothing, new=False)

    # --- accepting intents

    def _submit(self, message: Submit) -> None:
        if self._state is None:
            message.reply.fail(UnknownSession(self._id))
            return
        try:
            now = self.services.clock.now()
            self.executions.prefer(self._tenant, self._id)
            self.executions.open.check_room(self._tenant, message.intents, now)
            submission = Submission(self, self._state, message)
        except Exception as error:
            message.reply.fail(error)
        else:
            submission.commit(now)

    async def _submit_closed(self, message: Submit) -> None:
        """Nothing new is accepted; who asks again for what was accepted before still gets it."""
        executions: list[str | ExecutionState] = []
        for intent in message.intents:
            value = await self.services.log.key(self._tenant, intent.key)
            if value is None:
                message.reply.fail(SessionClosed(self._id, expired=self._state is not None and self._state.expired))
                return
            claim = decode_claim(value)
            if claim.digest != intent.digest:
                message.reply.fail(conflict(intent, claim))
                return
            executions.append(claim.execution)
        message.reply.set(executions)

    # --- accepting children

    def _spawn(self, message: Spawn) -> None:
        """Accept a child in the commit of its parent's, which is of accepted work: it goes before new intents."""
        intent, parent, now = message.intent, message.parent, self.services.clock.now()
        try:
            session = self._check_spawn(parent)
            self.executions.prefer(self._tenant, self._id)
            self.executions.open.check_room(self._tenant, (intent,), now)
            self.services.writer.check_room()
        except Exception as error:
            message.reply.fail(error)
            return
        self.has_work()
        entry = self.executions.plan(session, intent, now, within=parent.within)
        at_once = not self.unplaced and self.executions.begin([entry], now)
        commit, [(_, state)] = accept(session, [(intent, entry)], now, parent, at_once=at_once)
        self.unplaced += not at_once
        reply = Handed(self.residence, partial(self._spawned, message, entry, state, at_once))
        try:
            message.accept(entry.id, commit, reply)
        except Exception as error:
            reply.fail(error)

    def _check_spawn(self, parent: Parent) -> SessionState:
        session = self._state
        if session is None:
            raise UnknownSession(self._id)
        if session.closed and not parent.within:  # what was accepted goes on, with all that belongs to it
            raise SessionClosed(self._id, expired=session.expired)
        return session

    def _spawned(
        self, message: Spawn, entry: OpenExecution, state: ExecutionState, at_once: bool, outcome: Reply[Receipt]
    ) -> None:
        """Called by the writer: the child must run whatever becomes of this actor."""
        self.unplaced -= not at_once
        if outcome.error is None:
            self.executions.start(entry, Accepted(state, outcome.result().first))
            message.reply.set(entry.id)
        else:
            if at_once:
                self.executions.give_back([entry])
            message.reply.fail(outcome.error)

    def _as_message(self, proceed: Callable[[Reply[Receipt]], None]) -> Callable[[Reply[Receipt]], None]:
        """What changes this actor's state goes on when the outcome has come back to it as a message."""

        def settled(outcome: Reply[Receipt]) -> None:
            if self.ref.alive:
                self.ref.tell_control(Settled(proceed, outcome))

        return settled

    def _commit(self, commit: Commit, settled: Callable[[Reply[Receipt]], None], *, new: bool = True) -> None:
        """Hand a commit to the writer, which calls `settled` with its outcome, in the order they came.

        One that is not `new` work is never refused for lack of room, and goes first.
        """
        reply = Handed(self.residence, settled)
        writer = self.services.writer
        try:
            (writer.accept if new else writer.append)(commit, reply)
        except Exception as error:
            reply.fail(error)


def _move_timer(before: SessionState | None, after: SessionState) -> list[Operation]:
    """What brings the index of timers from one to the other."""
    operations: list[Operation] = []
    if before is not None and before.timer is not None:
        operations.append(RemoveFromIndex(states.TIMERS, before.timer[1], before.timer[0]))
    if after.timer is not None:
        operations.append(AddToIndex(states.TIMERS, after.timer[1], after.timer[0]))
    return operations


def _nothing(_outcome: Reply[Receipt]) -> None:
    """Nobody waits for it."""
