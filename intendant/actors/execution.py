"""The execution's actor: runs a handler once per resume, records what it does, and writes its end."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any, Final

import anyio
import msgspec
from msgspec import Raw

from intendant.actors.actor import Actor
from intendant.actors.messages import Describe, ExecutionMessage, Progress
from intendant.actors.services import Services
from intendant.context import Context, failure_of
from intendant.domain import state as states
from intendant.domain.codec import encode, encode_value
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
from intendant.domain.errors import InternalError, InvalidValue, Stopped, StoreUnavailable, Suspended
from intendant.domain.payloads import (
    Emitted,
    ExecutionCompleted,
    ExecutionFailed,
    ExecutionStarted,
    Failure,
    StepCompleted,
    StepFailed,
)
from intendant.domain.records import Record
from intendant.domain.state import ExecutionState, Status
from intendant.parking import Reply
from intendant.realm import Handler
from intendant.supervisor import Backoff

logger = logging.getLogger("intendant.execution")

_PATIENT: Final = Backoff(initial=0.1, maximum=5.0)

Journal = Mapping[str, StepCompleted | StepFailed]
decode_execution = msgspec.msgpack.Decoder(ExecutionState).decode


class Accepted(msgspec.Struct, frozen=True, gc=False):
    """An execution that was just accepted; `since` is the sequence of its first record."""

    state: ExecutionState
    since: int


class HandlerCrashed(Exception):
    """A handler raised what no handler should (SystemExit, GeneratorExit, ...): a crash, not a failed attempt."""


class ExecutionActor(Actor[ExecutionMessage]):
    """One execution in this process. `run` is its life; ending it early suspends the handler, and records nothing.

    `accepted` is what its acceptance handed over; at a resume there is none, and all is read from hot state.
    """

    def __init__(
        self,
        services: Services,
        tenant: str,
        id: str,
        *,
        accepted: Accepted | None,
        suspended: Callable[[], bool],
        on_end: Callable[[], None],
    ) -> None:
        self.journal: Journal = {}
        self._services = services
        self._tenant = tenant
        self._id = id
        self._accepted = accepted
        self._state: ExecutionState
        self._since = 0
        self._recorded = 0  # steps, and
        self._events = 0  # events that they carried
        self._has_journal = False
        self._on_end = on_end
        self._suspended = suspended
        self._context: Context | None = None
        self._cut_off = False
        self._over = False

    # --- the life of an execution

    async def run(self) -> None:
        """Load, run the handler, write the end. Returns early when suspended; raises when this process is at fault."""
        state = await self._load()
        if state.status.ended:
            self._on_end()
            return
        self._state = state
        handler = self._services.repertoire.find(state.type)
        if handler is None:
            await self._without_handler()
            return
        try:
            if state.status is Status.ACCEPTED:
                await self._start()
            await self._play(handler)
        except Stopped:
            if self._services.writer.serving:
                raise
            # the writer stopped under it: this is a suspension, whoever restarts the writer resumes it

    @property
    def suspended(self) -> bool:
        """Whether nothing more may be recorded: the handler is being unwound to resume later, or the end is written."""
        return self._over or self._cut_off or self._suspended()

    async def receive(self, message: ExecutionMessage) -> None:
        """Answer what others ask about this execution."""
        match message:
            case Describe(reply):
                running = self._context.in_progress if self._context is not None else []
                reply.set(Progress(list(running), self._recorded))

    async def condemn(self, cause: BaseException) -> None:
        """The restart budget is spent: end it, failed, with what crashed it."""
        state = await self._load()
        if not state.status.ended:
            self._state = state
            failure = Failure("crashed", f"crashed again and again, last with {cause!r}")
            await self._end_failed(failure, None).wait(self._services.seam)

    async def _load(self) -> ExecutionState:
        """The state to go on from: what the acceptance handed over, once, and after that what hot state holds."""
        if self._accepted is not None:
            accepted, self._accepted = self._accepted, None
            self._since = accepted.since
            return accepted.state
        failures = 0
        while True:
            try:
                return await self._read()
            except StoreUnavailable as error:  # an outage is no crash, and nobody is condemned for it
                delay = _PATIENT.delay(failures, lambda: 0.5)
                failures += 1
                logger.warning("execution %s can't be read, trying again in %.1f s: %s", self._id, delay, error)
                await anyio.sleep(delay)

    async def _read(self) -> ExecutionState:
        log = self._services.log
        document = await log.document(self._tenant, states.EXECUTIONS, self._id)
        if document is None:
            raise InternalError(f"execution {self._id} is in the open set and has no document")
        rows = [decode_journal_row(row) for row in await log.journal(self._tenant, self._id)]
        self.journal = {row.path: row for row in rows}
        self._recorded = len(rows)
        self._events = sum(len(row.events) for row in rows)
        self._has_journal = bool(rows)
        self._since = document.since
        return decode_execution(document.body)

    async def _start(self) -> None:
        payload = ExecutionStarted(self.now())
        self._state = states.execution_started(self._state, payload.at)
        record = Record("execution_started", self._state.session, self._id, payload)
        await self._services.writer.commit(Commit(self._tenant, [record], [self._put(self._state)]))

    async def _play(self, handler: Handler) -> None:
        state = self._state
        context = self._context = Context(
            self,
            tenant_id=state.tenant,
            session=state.session,
            solution=state.solution,
            execution_id=state.id,
            started_at=state.started_at,
            files=self._services.files,
            limiter=self._services.threads,
        )
        try:
            result = encode_value(await handler.function(context, handler.decode(state.parameters)), "result")
        except Exception as error:
            if not self.suspended:
                await self._fail(error, context)
        except (KeyboardInterrupt, anyio.get_cancelled_exc_class()):
            raise
        except BaseException as error:
            raise HandlerCrashed(f"{state.type} raised {error!r}") from error
        else:
            if not self.suspended:
                await self._complete(result, context)

    async def _without_handler(self) -> None:
        state = self._state
        if state.status is Status.ACCEPTED:
            known = f"no realm of this runtime has a handler for {state.type!r}"
            await self._end_failed(Failure("unknown_intent_type", known), None).wait(self._services.seam)
        else:
            logger.error(
                "execution %s has begun, and no realm has %s any more: it stays open until a runtime has",
                self._id,
                state.type,
            )

    # --- how it ends

    async def _complete(self, result: bytes, context: Context) -> None:
        payload = ExecutionCompleted(Raw(result), self.now(), context.artifacts, context.take_events())
        state = states.execution_completed(self._state, payload, self._events + len(payload.events))
        try:
            reply = self._end("execution_completed", payload, state)
        except InvalidValue as error:  # all artifacts together are larger than a commit may be
            await self._fail(error, None)
        else:
            await reply.wait(self._services.seam)

    async def _fail(self, error: Exception, context: Context | None) -> None:
        if isinstance(error, Stopped) and not self._services.writer.serving:
            raise error  # not the handler's doing
        if not isinstance(error, InvalidValue):
            logger.info("%s %s failed: %r", self._state.type, self._id, error, exc_info=error)
        failure = failure_of(error)
        try:
            reply = self._end_failed(failure, context)
        except InvalidValue:  # what it gave is larger than a commit may be: its end goes without
            reply = self._end_failed(failure, None)
        await reply.wait(self._services.seam)

    def _end_failed(self, failure: Failure, context: Context | None) -> Reply[Receipt]:
        artifacts = context.artifacts if context else {}
        events = context.take_events() if context else []
        payload = ExecutionFailed(failure, self.now(), artifacts, events)
        state = states.execution_failed(self._state, payload, self._events + len(events))
        return self._end("execution_failed", payload, state)

    def _end(
        self,
        type: str,
        payload: ExecutionCompleted | ExecutionFailed,
        state: ExecutionState,
    ) -> Reply[Receipt]:
        operations: list[Operation] = [self._put(state), _leave_open_set(state)]
        if self._has_journal:
            operations.append(DropJournal(self._id))
        operations += self._outbox(payload.events)
        reply: Reply[Receipt] = Reply()
        reply.on_settled(lambda outcome: self._ended(state, outcome))
        record = Record(type, state.session, self._id, payload)
        self._services.writer.append(Commit(self._tenant, [record], operations), reply)
        self._over = True
        return reply

    def _ended(self, state: ExecutionState, outcome: Reply[Receipt]) -> None:
        """Tell those who wait; from the writer's answer, because whoever ran the handler may be gone by then."""
        if outcome.error is None:
            self._on_end()
            self._services.endings.tell(state)

    # --- what the context records through

    async def record_step(self, step: StepCompleted | StepFailed) -> None:
        """Commit a step's record and its row in the journal, and the events that ride with it."""
        body = encode(step)
        type = "step_completed" if isinstance(step, StepCompleted) else "step_failed"
        record = Record(type, self._state.session, self._id, Raw(body))
        operations: list[Operation] = [
            AppendJournal(self._id, encode_journal_row(step, body)),
            *self._outbox(step.events),
        ]
        self._has_journal = True
        try:
            await self._services.writer.commit(Commit(self._tenant, [record], operations))
        except Stopped as error:  # the writer has ended: whatever the handler does next must not reach the outside
            self._cut_off = True
            raise Suspended(f"execution {self._id} is suspended, because the log stopped: {error}") from error
        self._recorded += 1
        self._events += len(step.events)

    def now(self) -> int:
        """The wall clock, in µs since 1970 UTC."""
        return self._services.clock.now()

    def _put(self, state: ExecutionState) -> PutDocument:
        return PutDocument(states.EXECUTIONS, self._id, encode(state), self._since)

    def _outbox(self, events: list[Emitted]) -> list[AddToOutbox]:
        session = self._state.session
        return [AddToOutbox(session, encode(OutboxEvent.of(self._id, event))) for event in events]


def _leave_open_set(state: ExecutionState) -> RemoveFromIndex:
    return RemoveFromIndex(states.OPEN, state.id, states.open_score(state.session))


class OutboxEvent(msgspec.Struct, frozen=True, array_like=True):
    """An event as it lies in the outbox; what else is known of it stands beside it there."""

    id: str
    execution: str
    name: str
    payload: Raw

    @classmethod
    def of(cls, execution: str, event: Emitted) -> OutboxEvent:
        """The event with its stable id: the execution's, and its number in it."""
        return cls(f"{execution}-{event.number}", execution, event.name, event.payload)


_FAILED_ROW = b"f"
_COMPLETED_ROW = b"c"


def encode_journal_row(step: StepCompleted | StepFailed, body: bytes) -> bytes:
    """A journal's row: one byte that tells the kind, and the payload of its record."""
    return (_COMPLETED_ROW if isinstance(step, StepCompleted) else _FAILED_ROW) + body


def decode_journal_row(row: bytes) -> StepCompleted | StepFailed:
    """The step that a journal's row holds."""
    kind: Any = StepCompleted if row[:1] == _COMPLETED_ROW else StepFailed
    step: StepCompleted | StepFailed = msgspec.msgpack.decode(memoryview(row)[1:], type=kind)
    return step
