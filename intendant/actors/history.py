"""The history of one execution: read at a resume, and from then on the only door through which it is recorded."""

from __future__ import annotations

import contextlib
import logging

import msgspec
from msgspec import Raw

from intendant.actors.endings import Endings
from intendant.actors.outage import PATIENT, wait_out
from intendant.actors.outbox_event import OutboxEvent
from intendant.actors.services import Services
from intendant.actors.waits import ExecutionWaits, Place
from intendant.domain import state as states
from intendant.domain.codec import encode
from intendant.domain.commit import (
    AddToOutbox,
    AppendJournal,
    Commit,
    DropJournal,
    Operation,
    PutDocument,
    Receipt,
    RemoveFromIndex,
)
from intendant.domain.errors import BeingErased, InternalError, Stopped, StoreUnavailable, Suspended
from intendant.domain.journal import Journal, Row, as_recorded
from intendant.domain.logs import about
from intendant.domain.payloads import (
    Emitted,
    ExecutionCompleted,
    ExecutionStarted,
    Failure,
    Signal,
    StateSet,
    StepCompleted,
    StepFailed,
    TimerSet,
)
from intendant.domain.ports import Document
from intendant.domain.records import Record
from intendant.domain.sagas import SagaRow
from intendant.domain.state import ExecutionState, decode_execution
from intendant.domain.waits import Waits
from intendant.parking import Reply

logger = logging.getLogger("intendant.execution")


class Accepted(msgspec.Struct, frozen=True, gc=False):
    """An execution that was just accepted, or was read with its journal; `since` is that of its document."""

    state: ExecutionState
    since: int
    journal: Journal | None = None


class Blocked(Exception):
    """It can't go on with the code that is here, and may with other code."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.failure = Failure(code, reason)


class _End(msgspec.Struct, frozen=True, gc=False):
    """An end on its way into the log. Told by the writer, because whoever ran the handler may be gone by then."""

    place: Place
    endings: Endings
    state: ExecutionState

    def set(self, value: Receipt) -> None:  # noqa: ARG002  where it stands is nobody's
        """It is durable: those who wait are told."""
        self.place.end(None)
        self.endings.tell(self.state)

    def fail(self, error: BaseException) -> None:
        """It is not known to be."""
        self.place.end(error)


class History:
    """What an execution has recorded. `accepted` is what its acceptance handed over; without, all is in hot state.

    What was appended stands, whether or not whoever appended it is there when it is durable.
    """

    def __init__(self, services: Services, tenant: str, id: str, place: Place, accepted: Accepted | None) -> None:
        self.state: ExecutionState
        self.failed: StepFailed | None = None  # the newest attempt of the handler that failed
        self.new_steps = 0  # recorded since it was read, and
        self.new_events = 0  # events that rode with them
        self.cut_off = False  # nothing more is to be recorded, whatever the handler still does
        self.over = False  # the end is decided
        self.loaded = False
        self.resumed = False  # it was read, and not just accepted
        self._services = services
        self._tenant = tenant
        self._id = id
        self._place = place
        self._accepted = accepted
        self._since = 0
        self._journal: Journal | None = None
        self._has_journal = False

    @property
    def journal(self) -> Journal:
        """What was recorded before this attempt of the handler. Made when somebody looks: most have none."""
        if self._journal is None:
            self._journal = Journal()
        return self._journal

    @property
    def steps(self) -> int:
        """How many are recorded by now."""
        rows = () if self._journal is None else self._journal.rows
        return self.new_steps + sum(isinstance(row, StepCompleted | StepFailed) for row in rows)

    def _events(self) -> int:
        return self.new_events + (0 if self._journal is None else len(self._journal.events))

    # --- reading

    def take_accepted(self) -> ExecutionState | None:
        """The state that was handed over, once: by the acceptance, or by who has read it."""
        if self._accepted is None:
            return None
        accepted, self._accepted = self._accepted, None
        self.state, self._since, self.loaded = accepted.state, accepted.since, True
        if accepted.journal is not None:
            self._take_journal(accepted.journal)
        return accepted.state

    async def load(self) -> ExecutionState:
        """The state to go on from, as hot state holds it."""
        self.loaded = False
        await wait_out(self._read, PATIENT, self._read_later)
        return self.state

    def _read_later(self, delay: float, error: StoreUnavailable) -> None:
        """An outage is no crash, and nobody is condemned for it."""
        logger.warning(
            "execution %s can't be read, trying again in %.1f s: %s",
            *(self._id, delay, error),
            extra=about(self._tenant, execution=self._id),
        )

    async def _read(self) -> None:
        log = self._services.log
        if self._place.newest is not None:  # of an earlier run here: what it recorded must be found
            with contextlib.suppress(Stopped):
                await self._place.newest.wait(self._services.seam)
        document = await log.document(self._tenant, states.EXECUTIONS, self._id)
        if document is None:
            raise InternalError(f"execution {self._id} is in the open set and has no document")
        self.state = decode_execution(document.body)
        try:
            journal = Journal.of(await log.journal(self._tenant, self._id))
        except msgspec.MsgspecError as error:
            raise Blocked("unreadable_journal", f"its journal can't be read: {error}") from error
        self._take_journal(journal)
        self._since = document.since
        self.loaded = True

    def _take_journal(self, journal: Journal) -> None:
        self._journal, self.failed, self.resumed = journal, journal.failed, True
        self.new_steps = self.new_events = 0
        self._has_journal = bool(journal.rows)

    async def read_shared(self) -> bytes | None:
        """What the handlers of its session share, as it is stored; an outage is waited out."""
        session = self.state.session

        async def read() -> Document | None:
            return await self._services.log.document(self._tenant, states.SESSION_STATE, session)

        document = await wait_out(read, PATIENT, self._read_later)
        return None if document is None else document.body

    # --- what is waited for

    def waits(self) -> ExecutionWaits:
        """Those of the place, which live on when the handler leaves memory; made when they are first needed."""
        return self._place.waits or self._place.open_waits(self.journal.waits, self.state.session)

    @property
    def fold(self) -> Waits:
        """What is waited for, signalled and cancelled, by now."""
        return self.journal.waits if self._place.waits is None else self._place.waits.fold

    @property
    def cancelled(self) -> bool:
        """Whether a cancel is durable."""
        waits, journal = self._place.waits, self._journal
        if waits is None:
            return journal is not None and journal.waits.cancelled is not None
        return waits.cancelled

    @property
    def untouched(self) -> bool:
        """Whether nothing was recorded, but by steps of this run, and nothing sent."""
        return self._journal is None and self._place.waits is None

    def undelivered(self) -> tuple[list[Signal], int]:
        """Signals that were sent and not awaited, and how many more than are listed."""
        fold = self.fold
        return fold.undelivered(), fold.ready_count

    # --- recording

    async def start(self) -> None:
        """Record that its handler begins for the first time."""
        payload = ExecutionStarted(self._services.clock.now())
        self.state = states.execution_started(self.state, payload.at)
        record = Record("execution_started", self.state.session, self._id, payload)
        await self._services.writer.commit(Commit(self._tenant, [record], [self._put(self.state)]))

    def append(
        self, row: Row, events: list[Emitted], before: Commit | None = None, reply: Reply[Receipt] | None = None
    ) -> Reply[Receipt]:
        """Hand a record, its row in the journal and the events that ride with it to the writer.

        With `before` in one commit with that, and before it: events have their places by the first record. Raises
        Suspended when nothing more is to be recorded.
        """
        if self.cut_off:
            raise Suspended(f"execution {self._id} records nothing any more")
        body = encode(row)
        self._place.written += len(body)
        type, stored = as_recorded(row, body)
        record = Record(type, self.state.session, self._id, Raw(body))
        operations: list[Operation] = [AppendJournal(self._id, stored)]
        if events:
            operations += self._outbox(events)
        commit = Commit(self._tenant, [record], operations)
        if before is not None:
            commit = Commit(self._tenant, [record, *before.records], [*operations, *before.operations])
        reply = self._place.newest = self._services.writer.append(commit, reply)
        self._has_journal = True
        self.new_events += len(events)
        return reply

    def follow(self, row: SagaRow | StepCompleted | StepFailed) -> None:
        """Fold a row of a saga that was appended. Raises InternalError when it can't come now."""
        if not self.journal.sagas.add(row):
            raise InternalError(
                f"{type(row).__name__} {row.path} does not follow what sagas of execution {self._id} recorded"
            )

    def begin_wait(self, timer: TimerSet) -> Reply[Receipt]:
        """Record that something is waited for, and the events that ride with it."""
        begun = self._place.newest = self.waits().begin(timer, self._outbox(timer.events))
        self.new_events += len(timer.events)
        return begun

    async def durable(self, reply: Reply[Receipt]) -> None:
        """Wait until it is. Raises Suspended when the log takes no more."""
        try:
            await reply.wait(self._services.seam)
        except (Stopped, BeingErased) as error:  # nothing that follows must reach the outside
            self.cut_off = True
            raise Suspended(f"execution {self._id} is suspended, because the log takes no more: {error}") from error

    def end(self, payload: states.End, shared: bytes | None = None) -> None:
        """Record the end, in one commit with all that it leaves; its events ride with it. Nothing follows it.

        `shared` is what the session's handlers share from then on, when that changes.

        Raises InvalidValue when that is larger than a commit may be: then nothing has ended.
        """
        place = self._place
        if isinstance(payload, ExecutionCompleted):
            place.written += len(payload.result)
        state = states.execution_ended(self.state, payload, self._events() + len(payload.events))
        operations: list[Operation] = [
            self._put(state),
            RemoveFromIndex(states.OPEN, state.id, states.open_score(state.session)),
        ]
        if self._has_journal or not self.untouched:
            operations += self._leavings()
        if payload.events:
            operations += self._outbox(payload.events)
        records = [Record(states.ENDS[type(payload)][0], state.session, self._id, payload)]
        if shared is not None:
            changed = StateSet(states.SESSION_STATE, state.session, Raw(shared))
            records.append(Record("state_set", state.session, self._id, changed))
            operations.append(PutDocument(states.SESSION_STATE, state.session, shared))
        end = _End(place, self._services.endings, state)
        self._services.writer.append(Commit(self._tenant, records, operations), end)
        self.over = True
        place.close()

    def _leavings(self) -> list[Operation]:
        """What the end takes away of what was recorded."""
        if self.untouched:
            return [DropJournal(self._id)]
        fold, operations = self.fold, list[Operation]()
        if self._has_journal or fold.by_path or fold.received or fold.cancelled:
            operations.append(DropJournal(self._id))
        if fold.by_path:
            operations += self.waits().leavings()
        return operations

    def _put(self, state: ExecutionState) -> PutDocument:
        return PutDocument(states.EXECUTIONS, self._id, encode(state), self._since)

    def _outbox(self, events: list[Emitted]) -> list[AddToOutbox]:
        return [AddToOutbox(self.state.session, encode(OutboxEvent.of(self._id, event))) for event in events]
