"""What each record says: one struct per type, stored as a map so that every reader can read it.

Times (`at`) are µs since 1970 UTC, taken by whoever decided; the record's own time is set by the writer.
"""

from __future__ import annotations

import enum
from typing import Any, Final

from msgspec import Raw, Struct

NOTHING: Final = Raw(b"\xc0")  # msgpack's nil


class Failure(Struct, frozen=True, omit_defaults=True, gc=False):
    """Why something failed: a stable code or the exception's type name, a message for people, details for programs."""

    code: str
    message: str
    details: dict[str, Any] = {}


class Emitted(Struct, frozen=True, gc=False):
    """An event inside the record it rides with. Its number, counted per execution, makes its stable id."""

    number: int
    name: str
    payload: Raw


class SessionCreated(Struct, frozen=True, omit_defaults=True, gc=False):
    """`session_created`. `creation` is of the call that made it, so that its repetitions find their own work.

    A `concurrency` of 0 is the runtime's limit. After `idle_timeout` µs without work it is closed; 0: never.
    """

    user_id: str
    solution: str
    metadata: dict[str, Any]
    at: int
    creation: str = ""
    concurrency: int = 0
    idle_timeout: int = 0


class SessionExtended(Struct, frozen=True, omit_defaults=True, gc=False):
    """`session_extended`: a session with an idle time-out stays open until `due`, if nothing else comes.

    `active`: it had work then, and has it until another record of this type says otherwise.
    """

    at: int
    due: int
    active: bool = False


class SessionClosed(Struct, frozen=True, omit_defaults=True, gc=False):
    """`session_closed`. `expired`: because its idle time-out was over."""

    at: int
    expired: bool = False


class Parent(Struct, frozen=True, omit_defaults=True, gc=False):
    """Of a child's execution: which one submitted it, and by which call (its path).

    `deadline` is when the time of the parent is over (µs since 1970 UTC; 0: never). `held` are the sessions of the
    parent and of those above it; `within`: the child is in one of them, and begins in the place of that one. A child
    that its parent has `abandoned` from the beginning has none of the three.
    """

    execution: str
    path: str
    deadline: int = 0
    held: list[str] = []
    within: bool = False
    abandoned: bool = False


class Submitted(Struct, frozen=True, omit_defaults=True, gc=False):
    """What a call of `ctx.submit` has submitted. `abandoned`: it goes on, whatever becomes of its parent."""

    execution: str
    session: str
    type: str
    abandoned: bool = False


class ChildState(enum.StrEnum):
    """What has become of a child."""

    OPEN = "open"
    CANCELLING = "being cancelled"  # its parent has ended, and it is to end cancelled, once it has cleaned up
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    GONE = "gone"  # erased, or dropped by retention


class ChildRecord(Struct, frozen=True, omit_defaults=True, gc=False):
    """A child of an execution, by the path of the call that submitted it, and what has become of it by then."""

    path: str
    execution: str
    session: str
    type: str
    state: ChildState
    abandoned: bool = False


class IntentReceived(Struct, frozen=True, omit_defaults=True, gc=False):
    """`intent_received`: an intent was accepted; the record's execution is the one made for it.

    With a `parent` it is the child of another execution, whose journal says so in the same commit. `version` is its
    handler's; 0 when there was none. `forked_from` is the execution whose journal it goes on from, up to the step
    `forked_at`. `trace` is the W3C `traceparent` of whoever submitted it, where traces are wanted.
    """

    intent_id: str
    type: str
    solution: str
    key: str
    parameters: Raw
    metadata: dict[str, Any]
    at: int
    priority: int = 0
    parent: Parent | None = None
    version: int = 1
    forked_from: str = ""
    forked_at: str = ""
    trace: str = ""


class ExecutionStarted(Struct, frozen=True, gc=False):
    """`execution_started`: the handler is about to run for the first time."""

    at: int


class StepCompleted(Struct, frozen=True, omit_defaults=True, gc=False):
    """`step_completed`, and the journal's row for it: a result that is never computed again.

    `arguments` is the digest of the encodable arguments, empty when there were none. `file` is the digest of the
    encoded result in the file store when it was too large to be kept here. `cleanup`: it ran after the handler had
    been told that its execution is cancelled; so with every row that has it. `saga`: the scope of its path is a saga.
    `child`: the step is `ctx.submit`, and this is what it submitted, in the same commit.
    """

    path: str
    result: Raw
    at: int
    arguments: bytes = b""
    events: list[Emitted] = []
    file: str = ""
    cleanup: bool = False
    saga: bool = False
    child: Submitted | None = None


class StepFailed(Struct, frozen=True, omit_defaults=True, gc=False):
    """`step_failed`, and the journal's row for it: an attempt that failed.

    `final`: it was the last one, and is raised again at every resume. Otherwise the next attempt begins at `next_at`
    (µs since 1970 UTC) and reads `progress`. `began` is when the first attempt did.
    """

    path: str
    error: Failure
    at: int
    attempt: int = 1
    final: bool = True
    arguments: bytes = b""
    events: list[Emitted] = []
    began: int = 0
    next_at: int = 0
    progress: Raw = NOTHING
    cleanup: bool = False
    saga: bool = False


class TimerSet(Struct, frozen=True, omit_defaults=True, gc=False):
    """`timer_set`, and the journal's row for it: from here on the handler waits at `path`.

    It waits until `due` (µs since 1970 UTC; 0: for ever), and if `signal` is not empty for the first signal of that
    name that nobody else has taken, whichever comes first in the log. A wait ends here if such a signal lies ready.
    """

    path: str
    at: int
    due: int = 0
    signal: str = ""
    events: list[Emitted] = []
    cleanup: bool = False


class TimerFired(Struct, frozen=True, omit_defaults=True, gc=False):
    """`timer_fired`, and the journal's row for it: the wait at `path` is over, because its time came.

    `withdrawn`: because the handler gave it up. A signal that it had taken meanwhile lies ready again then.
    """

    path: str
    at: int
    withdrawn: bool = False


class SignalReceived(Struct, frozen=True, gc=False):
    """`signal_received`, and the journal's row for it. It ends the oldest wait for its name, or lies ready for one."""

    name: str
    id: str
    payload: Raw
    at: int


class CancelRequested(Struct, frozen=True, gc=False):
    """`cancel_requested`, and the journal's row for it: from here on the execution can only end cancelled."""

    at: int


class Signal(Struct, frozen=True, gc=False):
    """A signal that its execution was sent, without what it said: that stands in its `signal_received`."""

    name: str
    id: str
    at: int


class SagaStarted(Struct, frozen=True, omit_defaults=True, gc=False):
    """`saga_started`, and the journal's row for it: from here on the saga at `path` has to undo `step`.

    It is recorded before the step's function first runs; the first one of a saga begins it.
    """

    path: str
    step: str
    at: int
    events: list[Emitted] = []
    cleanup: bool = False


class SagaCompensating(Struct, frozen=True, omit_defaults=True, gc=False):
    """`saga_compensating`, and the journal's row for it: the block has failed with `error`; nothing of it goes on."""

    path: str
    error: Failure
    at: int
    events: list[Emitted] = []


class SagaCompensated(Struct, frozen=True, omit_defaults=True, gc=False):
    """`saga_compensated`, and the journal's row for it: every step that had an undo is undone, or could not be."""

    path: str
    at: int
    events: list[Emitted] = []


class StepState(enum.StrEnum):
    """What became of a step of a saga."""

    STARTED = "started"  # its function has begun; what it did is not known: it runs, or failed, or the process died
    DONE = "done"
    UNDONE = "undone"
    KEPT = "kept"  # the saga was undone, and this step has no undo
    NOT_UNDONE = "could not be undone"


class SagaStep(Struct, frozen=True, gc=False):
    """A step of a saga, by its path."""

    path: str
    state: StepState


class SagaRecord(Struct, frozen=True, omit_defaults=True, gc=False):
    """What a saga came to, step by step, those with an undo in the order they began: of an execution up to 1,000 steps.

    `error` is why it is being undone; None as long as it goes forward, or when it did to its end. `compensated`: all of
    it has been undone, but for the steps that say otherwise. `steps_left_out` counts steps that are not listed.
    """

    path: str
    steps: list[SagaStep]
    error: Failure | None = None
    compensated: bool = False
    steps_left_out: int = 0


class ExecutionResumed(Struct, frozen=True, omit_defaults=True, gc=False):
    """`execution_resumed`, and the journal's row for it: the process has died `deaths` times while this may have run.

    `alone`: it is about to run while nothing else does. Otherwise it has done so and the process lived: it counts anew.
    """

    at: int
    deaths: int = 0
    alone: bool = False


class ExecutionCompleted(Struct, frozen=True, omit_defaults=True, gc=False):
    """`execution_completed`: the end, with everything the handler gave.

    `undelivered` lists the oldest of the signals that no wait took, up to 1,000; `undelivered_count` counts all. So do
    `children`, the first of them up to 1,000, and `children_count`.
    """

    result: Raw
    at: int
    artifacts: dict[str, Raw] = {}
    events: list[Emitted] = []
    undelivered: list[Signal] = []
    undelivered_count: int = 0
    sagas: list[SagaRecord] = []
    children: list[ChildRecord] = []
    children_count: int = 0


class ExecutionFailed(Struct, frozen=True, omit_defaults=True, gc=False):
    """`execution_failed`: the end, with why, and what was given before."""

    error: Failure
    at: int
    artifacts: dict[str, Raw] = {}
    events: list[Emitted] = []
    undelivered: list[Signal] = []
    undelivered_count: int = 0
    sagas: list[SagaRecord] = []
    children: list[ChildRecord] = []
    children_count: int = 0


class ExecutionCancelled(Struct, frozen=True, omit_defaults=True, gc=False):
    """`execution_cancelled`: the end after a cancel. `error` is what the handler raised meanwhile, if anything."""

    at: int
    error: Failure | None = None
    artifacts: dict[str, Raw] = {}
    events: list[Emitted] = []
    undelivered: list[Signal] = []
    undelivered_count: int = 0
    sagas: list[SagaRecord] = []
    children: list[ChildRecord] = []
    children_count: int = 0


class StateSet(Struct, frozen=True, gc=False):
    """`state_set`: the user's own document of a session or execution, or a file reference, was set to `value`.

    Of what a session's handlers share, the record's execution has set it, in the commit of its completion.
    """

    collection: str
    key: str
    value: Raw


class EventPublished(Struct, frozen=True, omit_defaults=True, gc=False):
    """`event_published`: a relay round settled these outbox positions (inclusive ranges), or gave these events up.

    Or events of the record's execution that were given up wait again, from this record on: `revived`.
    """

    published: list[tuple[int, int]]
    at: int
    dead: list[str] = []
    revived: list[Emitted] = []


class WriterOpened(Struct, frozen=True, omit_defaults=True, gc=False):
    """`writer_opened`: a new owner's first record; what an older epoch still sends is refused from here on.

    `deaths` is when it was found that an earlier owner had not left in good order, the last 64 times.
    """

    host: str
    pid: int
    at: int
    deaths: list[int] = []


class ContentExpired(Struct, frozen=True, omit_defaults=True, gc=False):
    """`content_expired`: what retention took away, because it had ended at least `age` seconds before.

    Not `gone`: the documents of `executions` left the hot store, and stay in cold state. `gone`: they, what belongs to
    them, `sessions`, `keys` and `files` (by digest) left every store. Log entries that end below the sequence `below`
    left the hot store, or every one.
    """

    at: int
    age: int = 0
    gone: bool = False
    executions: list[str] = []
    sessions: list[str] = []
    keys: list[str] = []
    files: list[str] = []
    below: int = 0


class ErasureStarted(Struct, frozen=True, omit_defaults=True, gc=False):
    """`erasure_started`: everything before this of the record's session, or without one of its tenant, is to go.

    From here on nothing of it is written but what the erasure itself writes. `drop_open`: executions that have not
    ended are stopped where they are.
    """

    at: int
    drop_open: bool = False


class ContentErased(Struct, frozen=True, omit_defaults=True, gc=False):
    """`content_erased`. With `at`: the erasure of the record's session or tenant has come so far; `done`: to its end.

    Without: a record stood here whose content was erased. Its place, session and execution are all that is left.
    """

    at: int = 0
    done: bool = False
    executions: int = 0
    records: int = 0
    documents: int = 0
    keys: int = 0
    events: int = 0
    journals: int = 0
    files: int = 0
