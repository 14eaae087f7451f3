"""What is kept of sessions and executions, and how each record changes it. Pure: structs in, structs out."""

from __future__ import annotations

import enum
import functools
import zlib
from typing import Any, Final, Generic, TypeVar

import msgspec
from msgspec import Raw, Struct

from intendant.domain.codec import decode_as
from intendant.domain.payloads import (
    NOTHING,
    ChildRecord,
    ExecutionCancelled,
    ExecutionCompleted,
    ExecutionFailed,
    Failure,
    IntentReceived,
    Parent,
    SagaRecord,
    SessionClosed,
    SessionExtended,
    Signal,
)
from intendant.domain.payloads import SessionCreated as SessionCreatedPayload

R = TypeVar("R")

SESSIONS: Final = "sessions"
EXECUTIONS: Final = "executions"
SESSION_DATA: Final = "session_data"
SESSION_STATE: Final = "session_state"  # what its handlers share
EXECUTION_DATA: Final = "execution_data"
FILES: Final = "files"
DEAD_LETTERS: Final = "dead_letters"
RETENTION: Final = "retention"  # what was taken out of the hot store; never in cold state
ERASURES: Final = "erasures"  # erasures that are under way; never in cold state
ERASING: Final = "erasing"  # the ordered index of them
OPEN: Final = "open"  # the ordered index of executions that have not ended
TIMERS: Final = "timers"  # the ordered index of what executions and idle sessions wait for, by when it is due
CONTENT: Final = (  # what callers and handlers gave; what belongs to executions before them, they before their sessions
    DEAD_LETTERS,
    EXECUTION_DATA,
    FILES,
    SESSION_DATA,
    SESSION_STATE,
    EXECUTIONS,
    SESSIONS,
)
COLLECTIONS: Final = (*CONTENT, ERASURES, RETENTION)  # all there are
INDEXES: Final = (ERASING, OPEN, TIMERS)  # all there are
MIGRATION: Final = "migration"  # the checkpoint of partition 0 that says, when not 0, that the store is half a copy


class Status(enum.StrEnum):
    """Where an execution stands. The last three are final."""

    ACCEPTED = "accepted"
    RUNNING = "running"
    WAITING = "waiting"
    BLOCKED = "blocked"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def ended(self) -> bool:
        """Whether nothing follows."""
        return self in _ENDED


_ENDED = frozenset({Status.COMPLETED, Status.FAILED, Status.CANCELLED})


class CancelResult(enum.StrEnum):
    """What a cancel came to."""

    REQUESTED = "requested"
    """It is recorded: the execution will end cancelled, when its handler has cleaned up."""
    CANCELLED = "cancelled"
    """The execution has ended cancelled, by this cancel or an earlier one."""
    COMPLETED = "completed"
    """It came too late: the execution had completed."""
    FAILED = "failed"
    """It came too late: the execution had failed."""


class SessionState(Struct, frozen=True, omit_defaults=True, gc=False):
    """A session's document. Times are µs since 1970 UTC; `closed_at` is 0 while it is open.

    `concurrency` is how many of its executions may have begun and not ended; 0 is the runtime's limit. With an
    `idle_timeout` (µs) it is closed at `due` unless it is `active`, which is recorded when work comes and when the
    last of it has ended; `expired` says that it was.
    """

    id: str
    tenant: str
    user_id: str
    solution: str
    metadata: dict[str, Any]
    created_at: int
    closed_at: int = 0
    creation: str = ""
    concurrency: int = 0
    idle_timeout: int = 0
    due: int = 0
    active: bool = False
    expired: bool = False

    @property
    def timer(self) -> tuple[int, str] | None:
        """How it stands in the index of timers: when it is due, and its member; None when it does not."""
        return (self.due, timer_member("", self.id)) if self.due else None

    @property
    def closed(self) -> bool:
        """Whether it takes no more intents."""
        return self.closed_at > 0


class ExecutionState(Struct, frozen=True, omit_defaults=True, gc=False):
    """An execution's document: a small header, rewritten only when it is accepted, starts and ends.

    `version` is that of the handler it began with; 0 if none was there when it was accepted. `trace` is the W3C
    `traceparent` of whoever submitted it, where traces are wanted.
    Times are µs since 1970 UTC and 0 while they have not come. What steps recorded lies in the journal.
    """

    id: str
    intent_id: str
    tenant: str
    session: str
    solution: str
    type: str
    key: str
    parameters: Raw
    metadata: dict[str, Any]
    accepted_at: int
    status: Status = Status.ACCEPTED
    started_at: int = 0
    ended_at: int = 0
    result: Raw = NOTHING
    artifacts: dict[str, Raw] = {}
    events: int = 0
    error: Failure | None = None
    undelivered: tuple[Signal, ...] = ()
    undelivered_count: int = 0
    priority: int = 0
    sagas: tuple[SagaRecord, ...] = ()
    parent: Parent | None = None
    children: tuple[ChildRecord, ...] = ()
    children_count: int = 0
    version: int = 1
    forked_from: str = ""
    forked_at: str = ""
    trace: str = ""


class Outcome(Struct, Generic[R], frozen=True):
    """How an execution ended: everything a caller may want, whether it succeeded or not.

    `undelivered` lists the signals that it was sent and never waited for, the oldest first, up to 1,000;
    `undelivered_count` counts all of them. `sagas` says of each saga's steps what became of them. `parent` is the
    execution that submitted it, if one did; `children` says of those that it submitted, the first 1,000 of
    `children_count`, what had become of them when it ended. `version` is that of the handler. A fork says of which
    execution it is one, `forked_from`, and from which step on, `forked_at`.
    """

    tenant: str
    session: str
    execution_id: str
    intent_id: str
    type: str
    status: Status
    result: R | None
    artifacts: dict[str, Any]
    events: int
    error: Failure | None
    metadata: dict[str, Any]
    undelivered: list[Signal] = []
    undelivered_count: int = 0
    sagas: list[SagaRecord] = []
    parent: str = ""
    children: list[ChildRecord] = []
    children_count: int = 0
    version: int = 1
    forked_from: str = ""
    forked_at: str = ""

    @property
    def success(self) -> bool:
        """Whether it completed."""
        return self.status is Status.COMPLETED


class FileReference(Struct, frozen=True, gc=False):
    """Where a file lies that belongs to a session. `location` is a storage URL; `digest` names content kept by us."""

    reference: str
    tenant: str
    session: str
    location: str
    filename: str
    metadata: dict[str, Any] = {}
    digest: str = ""
    size: int = 0


def decode_session(body: bytes) -> SessionState:
    """A session's document. No decoder is made for it when this is imported: msgspec would read every annotation."""
    return msgspec.msgpack.decode(body, type=SessionState)


def decode_execution(body: bytes) -> ExecutionState:
    """An execution's document."""
    return msgspec.msgpack.decode(body, type=ExecutionState)


def decode_file(body: bytes) -> FileReference:
    """A file reference's document."""
    return msgspec.msgpack.decode(body, type=FileReference)


class Event(Struct, frozen=True, gc=False):
    """Something an execution emitted for the outside. `id` is the same at every delivery; `time` is its record's."""

    id: str
    tenant: str
    session: str
    execution_id: str
    name: str
    payload: Any
    position: int
    time: int


@functools.lru_cache(maxsize=4096)
def open_score(session: str) -> int:
    """The score of a session's executions in the open set, which brings them together for recovery."""
    return zlib.crc32(session.encode())


def timer_member(execution: str, path: str) -> str:
    """How a wait stands in the index of timers; its score is when it is due. Without an execution: an idle session."""
    return f"{execution}/{path}"


def session_created(tenant: str, session: str, payload: SessionCreatedPayload) -> SessionState:
    """The document that `session_created` makes."""
    return SessionState(
        id=session,
        tenant=tenant,
        user_id=payload.user_id,
        solution=payload.solution,
        metadata=payload.metadata,
        created_at=payload.at,
        creation=payload.creation,
        concurrency=payload.concurrency,
        idle_timeout=payload.idle_timeout,
        due=payload.at + payload.idle_timeout if payload.idle_timeout else 0,
    )


def session_extended(state: SessionState, payload: SessionExtended) -> SessionState:
    """The document after `session_extended`."""
    return msgspec.structs.replace(state, due=payload.due, active=payload.active)


def session_closed(state: SessionState, payload: SessionClosed) -> SessionState:
    """The document after `session_closed`."""
    return msgspec.structs.replace(state, closed_at=payload.at, expired=payload.expired, due=0, active=False)


def session_due(state: SessionState, now: int, *, busy: bool) -> SessionExtended | SessionClosed | None:
    """What follows when it may be time to close an idle session; `busy`: it has work now.

    One that was active and has no work has lost it in a crash, or it ended unseen: its idle time counts from now.
    """
    if state.closed or not state.due or state.due > now:
        return None
    if busy or state.active:
        return SessionExtended(now, now + state.idle_timeout, active=busy)
    return SessionClosed(now, expired=True)


def intent_received(
    tenant: str, session: str, execution: str, payload: IntentReceived, started_at: int = 0
) -> ExecutionState:
    """The document that `intent_received` makes; with `started_at`, `execution_started` in the same commit."""
    return ExecutionState(
        id=execution,
        intent_id=payload.intent_id,
        tenant=tenant,
        session=session,
        solution=payload.solution,
        type=payload.type,
        key=payload.key,
        parameters=payload.parameters,
        metadata=payload.metadata,
        accepted_at=payload.at,
        status=Status.RUNNING if started_at else Status.ACCEPTED,
        started_at=started_at,
        priority=payload.priority,
        parent=payload.parent,
        version=payload.version,
        forked_from=payload.forked_from,
        forked_at=payload.forked_at,
        trace=payload.trace,
    )


def execution_started(state: ExecutionState, at: int) -> ExecutionState:
    """The document after `execution_started`."""
    return msgspec.structs.replace(state, status=Status.RUNNING, started_at=at)


End = ExecutionCompleted | ExecutionFailed | ExecutionCancelled

ENDS: Final[dict[type[End], tuple[str, Status]]] = {  # the record's type, and where the execution stands then
    ExecutionCompleted: ("execution_completed", Status.COMPLETED),
    ExecutionFailed: ("execution_failed", Status.FAILED),
    ExecutionCancelled: ("execution_cancelled", Status.CANCELLED),
}


def execution_ended(state: ExecutionState, payload: End, events: int) -> ExecutionState:
    """The document after its end; `events` is how many it emitted in all."""
    return msgspec.structs.replace(
        state,
        status=ENDS[type(payload)][1],
        ended_at=payload.at,
        result=payload.result if isinstance(payload, ExecutionCompleted) else NOTHING,
        error=None if isinstance(payload, ExecutionCompleted) else payload.error,
        artifacts=payload.artifacts,
        events=events,
        undelivered=tuple(payload.undelivered),
        undelivered_count=payload.undelivered_count,
        sagas=tuple(payload.sagas),
        children=tuple(payload.children),
        children_count=payload.children_count,
    )


def outcome_of(state: ExecutionState, result_type: Any = Any) -> Outcome[Any]:
    """The outcome that an ended execution's document tells. A result that does not fit its type comes as plain data."""
    return Outcome(
        tenant=state.tenant,
        session=state.session,
        execution_id=state.id,
        intent_id=state.intent_id,
        type=state.type,
        status=state.status,
        result=decode_result(state.result, result_type),
        artifacts={name: msgspec.msgpack.decode(value) for name, value in state.artifacts.items()},
        events=state.events,
        error=state.error,
        metadata=state.metadata,
        undelivered=list(state.undelivered),
        undelivered_count=state.undelivered_count,
        sagas=list(state.sagas),
        parent=state.parent.execution if state.parent else "",
        children=list(state.children),
        children_count=state.children_count,
        version=state.version,
        forked_from=state.forked_from,
        forked_at=state.forked_at,
    )


def decode_result(result: Raw, result_type: Any) -> Any:
    """A recorded result in its type; as plain data when it does not fit that any more."""
    try:
        return decode_as(result, result_type)
    except msgspec.ValidationError:
        return msgspec.msgpack.decode(result)
