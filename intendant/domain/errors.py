"""Every error a caller can meet, drawn as a tree by what the reader can do about it.

IntendantError
├── Retryable            try again later, unchanged
│   ├── Overloaded           a queue is full at the door, or the store has no room
│   ├── StoreUnavailable     a store does not answer
│   ├── BeingErased          the tenant or session is being erased
│   ├── NotOwner             another process owns the tenant's partition
│   └── TargetUnavailable    where events go to takes none at the moment
├── Rejected             fix the call
│   ├── InvalidIntent        malformed input; `field` names it
│   ├── InvalidValue         a value that can't be stored; says where and which limit
│   ├── UnknownSession, SessionExists, SessionClosed, UnknownExecution, ExecutionEnded, UnknownQuery
│   ├── UnreadableJournal    what an execution recorded can't be read by the code that is here
│   ├── IdempotencyConflict  the key is taken by something else; shows both
│   ├── StillOpen            what is to be erased has executions that have not ended
│   ├── DuplicateStep, JournalMismatch, StepFailed, SagaFailed, NotExclusive     inside a handler
│   ├── Deadlock             actors ask each other in a circle; names it
│   │   └── ChildDeadlock        a child would wait for the end of its parent
│   ├── Undeliverable        an event that its target will never take
│   ├── WrongThread          called from another thread or loop; names the right door
│   └── NotAuthorized
├── OutcomeUnknown       ask or submit again with `intent_id`; both are safe
├── Ended                the execution ended without a result
│   ├── ExecutionFailed
│   └── ExecutionCancelled
├── Stopped              this runtime, partition or actor does not serve any more
│   ├── RuntimeStopped, Fenced, PartitionOwned, AcknowledgedDataMissing
│   ├── UnfinishedMigration  the store is half a copy
│   ├── ActorStopped         the asked actor ended before it answered
│   └── Suspended            the handler is being unwound; it resumes later
└── InternalError        a bug of ours: please report it
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest
from typing import Any, ClassVar


class IntendantError(Exception):
    """Base of everything this package raises on purpose. `code` is stable across versions."""

    code: ClassVar[str] = "error"


class Retryable(IntendantError):
    """Nothing was done; the same call may succeed later."""

    code = "retryable"


class Overloaded(Retryable):
    """A bounded queue is full, or the store is nearly so. Nothing was accepted; wait and send again.

    `queue` names what is full, and `limit` how much it may hold: items of a queue, bytes of a store. `own` says that it
    is a limit of the caller's tenant or execution, and others are served; else it is the runtime that has no room.
    `kind` is a word for which limit it is, of a small closed set: refusals are counted by it.
    """

    code = "overloaded"

    def __init__(self, queue: str, limit: int, message: str = "", *, own: bool = False, kind: str = "mailbox") -> None:
        super().__init__(message or f"{queue} holds its limit of {limit}; nothing was accepted, send again later")
        self.queue = queue
        self.limit = limit
        self.own = own
        self.kind = kind


class StoreUnavailable(Retryable):
    """A store did not answer, or answered that it can't serve now."""

    code = "store_unavailable"


class BeingErased(Retryable):
    """The tenant or session is being erased, and nothing of it is written meanwhile. Try again when that is done."""

    code = "being_erased"

    def __init__(self, tenant: str, session: str = "") -> None:
        what = f"session {session!r} of tenant {tenant!r}" if session else f"tenant {tenant!r}"
        super().__init__(f"{what} is being erased; nothing was written, try again when that is done")
        self.tenant = tenant
        self.session = session


class NotOwner(Retryable):
    """Another process owns the partition that this tenant lives in. Ask that one.

    `host` and `pid` are those of the last owner that was seen; "" and 0 when nobody was.
    """

    code = "not_owner"

    def __init__(self, partition: int, host: str = "", pid: int = 0) -> None:
        owner = f"process {pid} on {host} owns it" if pid else "nobody was seen to own it"
        super().__init__(
            f"the tenant lives in partition {partition}, which this runtime does not serve (its `own` leaves it out); "
            f"{owner}: send this there"
        )
        self.partition = partition
        self.host = host
        self.pid = pid


class TargetUnavailable(Retryable):
    """Where an event was to go takes none at the moment, whichever it is. A publisher raises it.

    It is for what the event had certainly no part in, such as a refused connection: the attempt does not count towards
    those after which an event becomes a dead letter. `after`: seconds until it is worth trying again, if that is known.
    """

    code = "target_unavailable"

    def __init__(self, message: str, after: float | None = None) -> None:
        super().__init__(message)
        self.after = after


class Rejected(IntendantError):
    """The call itself is wrong; sending it again unchanged gives the same answer."""

    code = "rejected"


class InvalidIntent(Rejected):
    """An intent, session or id that is malformed. `field` names what is wrong; nothing was accepted."""

    code = "invalid_intent"

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}")
        self.field = field


class InvalidValue(Rejected):
    """A value that can't be stored: its type, size, nesting or content. `what` names it."""

    code = "invalid_value"

    def __init__(self, what: str, problem: str) -> None:
        super().__init__(f"{what}: {problem}")
        self.what = what


class UnknownSession(Rejected):
    """No such session of this tenant. Another tenant's session gives exactly this answer."""

    code = "unknown_session"

    def __init__(self, session_id: str) -> None:
        super().__init__(f"session {session_id!r} does not exist; open it with runtime.open_session(tenant, id)")
        self.session_id = session_id


class SessionExists(Rejected):
    """`create_session` met a session of this id; `open_session` gets or creates."""

    code = "session_exists"

    def __init__(self, session_id: str) -> None:
        super().__init__(f"session {session_id!r} exists already; open_session gets or creates")
        self.session_id = session_id


class SessionClosed(Rejected):
    """The session was closed and takes no new intents. `expired`: because it was idle for as long as it may be."""

    code = "session_closed"

    def __init__(self, session_id: str, *, expired: bool = False) -> None:
        why = "has expired: it had no work for its idle_timeout" if expired else "is closed"
        super().__init__(f"session {session_id!r} {why}; open one with another id")
        self.session_id = session_id
        self.expired = expired


class UnknownExecution(Rejected):
    """No such execution of this tenant. Another tenant's execution gives exactly this answer."""

    code = "unknown_execution"

    def __init__(self, execution_id: str) -> None:
        super().__init__(f"execution {execution_id!r} does not exist")
        self.execution_id = execution_id


class ExecutionEnded(Rejected):
    """The execution has ended: it takes no signals and answers no queries. Its outcome has all there is."""

    code = "execution_ended"

    def __init__(self, execution_id: str, status: str) -> None:
        super().__init__(f"execution {execution_id!r} has ended ({status}); its outcome() has what it came to")
        self.execution_id = execution_id
        self.status = status


class UnreadableJournal(Rejected):
    """What an open execution has recorded can't be read by the code that is here: it is blocked."""

    code = "unreadable_journal"

    def __init__(self, execution_id: str, reason: str) -> None:
        super().__init__(
            f"the journal of execution {execution_id!r} can't be read: {reason}; until a start with code that can, "
            f"it takes no signals and can't be forked: cancel() is recorded all the same"
        )
        self.execution_id = execution_id
        self.reason = reason


class UnknownQuery(Rejected):
    """The execution's handler answers no query of this name, as far as it has come. `known` are those it answers."""

    code = "unknown_query"

    def __init__(self, name: str, known: Sequence[str]) -> None:
        there = ", ".join(known) or "none"
        super().__init__(f"the handler answers no query {name!r}; it answers {there}: see ctx.on_query")
        self.name = name
        self.known = list(known)


class IdempotencyConflict(Rejected):
    """The key is taken in this tenant by an intent of another type or with other parameters."""

    code = "idempotency_conflict"

    def __init__(self, key: str, existing: str, submitted: str, execution_id: str) -> None:
        super().__init__(
            f"idempotency key {key!r} is taken by execution {execution_id!r}: it was {existing}, this is {submitted}; "
            "use another key, or submit the same type and parameters"
        )
        self.key = key
        self.existing = existing
        self.submitted = submitted
        self.execution_id = execution_id


class StillOpen(Rejected):
    """What is to be erased has executions that have not ended. Nothing was erased. `open` is how many there are."""

    code = "still_open"

    def __init__(self, tenant: str, session: str, open: int) -> None:
        what = f"session {session!r} of tenant {tenant!r}" if session else f"tenant {tenant!r}"
        many = "1 execution that has" if open == 1 else f"{open:,} executions that have"
        super().__init__(
            f"{what} has {many} not ended; nothing was erased. Wait for their ends, or erase with drop_open=True: "
            "then they are stopped where they are, and never go on"
        )
        self.tenant = tenant
        self.session = session
        self.open = open


class DuplicateStep(Rejected):
    """The name of a step, a sleep or a wait was used twice in one scope without `key=`."""

    code = "duplicate_step"

    def __init__(self, path: str, call: str = "") -> None:
        how = call or f"ctx.step({path!r}, ..., key=item_id)"
        super().__init__(
            f"step {path!r} was already used in this execution; tell them apart: {how}, "
            "or `with ctx.scope(name):` around each"
        )
        self.path = path


class JournalMismatch(Rejected):
    """A recorded step is asked for with other arguments than it was recorded with.

    `recorded_steps` and `called_steps` are the two histories, oldest first, each up to its last twenty steps.
    """

    code = "journal_mismatch"

    def __init__(
        self,
        path: str,
        recorded: str,
        called: str,
        recorded_steps: Sequence[str] = (),
        called_steps: Sequence[str] = (),
    ) -> None:
        histories = "".join(
            f"\n  {before:<32} {now}" for before, now in zip_longest(recorded_steps, called_steps, fillvalue="")
        )
        super().__init__(
            f"step {path!r} was recorded with arguments of digest {recorded} and is now called with {called}; "
            "give the changed call another name or key, or pass what may differ in a closure"
            + (f"\n  {'recorded':<32} called now{histories}" if histories else "")
        )
        self.path = path
        self.recorded = recorded
        self.called = called
        self.recorded_steps = list(recorded_steps)
        self.called_steps = list(called_steps)


class StepFailed(Rejected):
    """A step's function raised. It is recorded: at every resume the same step raises the same again.

    `path` is the step's. `kind` is the name of the exception's class, without its module, and `message` its text: the
    exception itself is not kept. A handler that goes on after some of them compares `kind`.
    """

    code = "step_failed"

    def __init__(self, path: str, kind: str, message: str) -> None:
        super().__init__(f"step {path!r} failed with {kind}: {message}")
        self.path = path
        self.kind = kind
        self.message = message


class SagaFailed(Rejected):
    """A saga's block failed before this run of the handler, and goes on no more; this is what it failed with.

    At the run in which it failed the block raises the error itself, and so it does when the same error comes again.
    `kind` is the name of that error's class, and `message` its text.
    """

    code = "saga_failed"

    def __init__(self, path: str, kind: str, message: str) -> None:
        super().__init__(f"saga {path!r} failed with {kind}: {message}")
        self.path = path
        self.kind = kind
        self.message = message


class NotExclusive(Rejected):
    """A handler sets its session's state, and is not exclusive: others of the session may run beside it."""

    code = "not_exclusive"

    def __init__(self, type: str) -> None:
        super().__init__(
            f"the handler of {type!r} sets the state of its session, and other handlers of the session may run beside "
            "it: register it with `exclusive=True`"
        )
        self.type = type


class Deadlock(Rejected):
    """An actor asks one that waits, through others or at once, for its own answer. `cycle` has their paths, in order.

    Nothing was sent. Let one of them tell instead of ask, or answer before it asks.
    """

    code = "deadlock"

    def __init__(self, cycle: Sequence[str]) -> None:
        super().__init__(
            f"{' asks '.join([*cycle, cycle[0]])}: none of them could answer; let one of them tell instead of ask"
        )
        self.cycle = list(cycle)


class ChildDeadlock(Deadlock):
    """A child would wait for the end of its parent, which waits for it. Nothing was submitted, or waited for."""

    code = "child_deadlock"

    def __init__(self, type: str, session: str, why: str) -> None:
        Rejected.__init__(
            self,
            f"{type} in session {session!r}, which is that of its parent or of one above it, {why}; submit it into "
            "another session, or do not wait for it",
        )
        self.cycle = []
        self.session_id = session


class Undeliverable(Rejected):
    """An event's target will never take it. A publisher raises it; the event becomes a dead letter at once."""

    code = "undeliverable"


class WrongThread(Rejected):
    """The runtime was called from a thread or event loop other than its own."""

    code = "wrong_thread"


class NotAuthorized(Rejected):
    """The caller may not do this."""

    code = "not_authorized"


class OutcomeUnknown(IntendantError):
    """The deadline passed before the answer came: it may be done or not.

    Submitting again with `idempotency_key=error.key` is safe: it returns the same execution if there is one. Opening,
    closing and setting may be repeated as they are.
    """

    code = "outcome_unknown"

    def __init__(self, intent_id: str, key: str, message: str = "") -> None:
        super().__init__(
            message
            or f"no answer for intent {intent_id} by its deadline; ask or submit again with idempotency_key={key!r}"
        )
        self.intent_id = intent_id
        self.key = key


class Ended(IntendantError):
    """The execution has ended and there is no result. `outcome` holds all that is known."""

    code = "ended"

    def __init__(self, message: str, outcome: Any) -> None:  # Any: an Outcome of any result type
        super().__init__(message)
        self.outcome = outcome


class ExecutionFailed(Ended):
    """The execution ended failed. `outcome.error` says with what."""

    code = "execution_failed"


class ExecutionCancelled(Ended):
    """The execution ended by a recorded cancel."""

    code = "execution_cancelled"


class Stopped(IntendantError):
    """What was asked does not serve any more."""

    code = "stopped"


class RuntimeStopped(Stopped):
    """The runtime is not running: not entered yet, left, or given up (`runtime.failed` has the cause)."""

    code = "runtime_stopped"


class Fenced(Stopped):
    """Another owner has taken this partition; the store refuses what this process appends."""

    code = "fenced"


class PartitionOwned(Stopped):
    """Another live process owns the partition and did not release it within `takeover_timeout`."""

    code = "partition_owned"

    def __init__(self, partition: int, host: str, pid: int, age: float, waited: float) -> None:
        super().__init__(
            f"partition {partition} is owned by process {pid} on {host} since {age:.1f} s (waited {waited:.1f} s); "
            "stop that process, or raise takeover_timeout to stand by for longer"
        )
        self.partition = partition
        self.host = host
        self.pid = pid
        self.age = age


class AcknowledgedDataMissing(Stopped):
    """The store lost records that were acknowledged, and they could not be put back; the message names sequences."""

    code = "acknowledged_data_missing"


class UnfinishedMigration(Stopped):
    """The store is the target of a migration that has not come to its end; run `intendant migrate` again."""

    code = "unfinished_migration"


class ActorStopped(Stopped):
    """The asked actor ended, or ends, without an answer."""

    code = "actor_stopped"


class Suspended(Stopped):
    """The handler is being suspended (shutdown or restart): durable calls are refused until it resumes."""

    code = "suspended"


class InternalError(IntendantError):
    """An invariant of ours is broken. Please report it with the traceback."""

    code = "internal_error"
