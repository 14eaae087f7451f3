"""Every error a caller can meet, drawn as a tree by what the reader can do about it.

IntendantError
├── Retryable            try again later, unchanged
│   ├── Overloaded           a queue is full at the door
│   ├── StoreUnavailable     a store does not answer
│   └── NotOwner             another process owns the tenant's partition
├── Rejected             fix the call
│   ├── InvalidIntent        malformed input; `field` names it
│   ├── InvalidValue         a value that can't be stored; says where and which limit
│   ├── UnknownSession, SessionExists, SessionClosed, UnknownExecution
│   ├── IdempotencyConflict  the key is taken by something else; shows both
│   ├── DuplicateStep, JournalMismatch, StepFailed     inside a handler
│   ├── WrongThread          called from another thread or loop; names the right door
│   └── NotAuthorized
├── OutcomeUnknown       ask or submit again with `intent_id`; both are safe
├── Ended                the execution ended without a result
│   ├── ExecutionFailed
│   └── ExecutionCancelled
├── Stopped              this runtime, partition or actor does not serve any more
│   ├── RuntimeStopped, Fenced, PartitionOwned, AcknowledgedDataMissing
│   ├── ActorStopped         the asked actor ended before it answered
│   └── Suspended            the handler is being unwound; it resumes later
└── InternalError        a bug of ours: please report it
"""

from __future__ import annotations

from typing import Any, ClassVar


class IntendantError(Exception):
    """Base of everything this package raises on purpose. `code` is stable across versions."""

    code: ClassVar[str] = "error"


class Retryable(IntendantError):
    """Nothing was done; the same call may succeed later."""

    code = "retryable"


class Overloaded(Retryable):
    """A bounded queue is full. Nothing was accepted; wait and send again."""

    code = "overloaded"

    def __init__(self, queue: str, limit: int) -> None:
        super().__init__(f"{queue} holds its limit of {limit}; nothing was accepted, send again later")
        self.queue = queue
        self.limit = limit


class StoreUnavailable(Retryable):
    """A store did not answer, or answered that it can't serve now."""

    code = "store_unavailable"


class NotOwner(Retryable):
    """Another process owns the partition that this tenant lives in."""

    code = "not_owner"


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
    """The session was closed and takes no new intents."""

    code = "session_closed"

    def __init__(self, session_id: str) -> None:
        super().__init__(f"session {session_id!r} is closed; open one with another id")
        self.session_id = session_id


class UnknownExecution(Rejected):
    """No such execution of this tenant. Another tenant's execution gives exactly this answer."""

    code = "unknown_execution"

    def __init__(self, execution_id: str) -> None:
        super().__init__(f"execution {execution_id!r} does not exist")
        self.execution_id = execution_id


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


class DuplicateStep(Rejected):
    """A step name was used twice in one scope without `key=`."""

    code = "duplicate_step"

    def __init__(self, path: str) -> None:
        super().__init__(
            f"step {path!r} was already used in this execution; tell them apart: ctx.step({path!r}, ..., key=item_id)"
        )
        self.path = path


class JournalMismatch(Rejected):
    """A recorded step is asked for with other arguments than it was recorded with."""

    code = "journal_mismatch"

    def __init__(self, path: str, recorded: str, called: str) -> None:
        super().__init__(
            f"step {path!r} was recorded with arguments of digest {recorded} and is now called with {called}; "
            "give the changed call another name or key, or pass what may differ in a closure"
        )
        self.path = path
        self.recorded = recorded
        self.called = called


class StepFailed(Rejected):
    """A step's function raised. It is recorded: at every resume the same step raises the same again."""

    code = "step_failed"

    def __init__(self, path: str, kind: str, message: str) -> None:
        super().__init__(f"step {path!r} failed with {kind}: {message}")
        self.path = path
        self.kind = kind
        self.message = message


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
    """The store lost records that were acknowledged, and they could not be restored."""

    code = "acknowledged_data_missing"


class ActorStopped(Stopped):
    """The asked actor ended, or ends, without an answer."""

    code = "actor_stopped"


class Suspended(Stopped):
    """The handler is being suspended (shutdown or restart): durable calls are refused until it resumes."""

    code = "suspended"


class InternalError(IntendantError):
    """An invariant of ours is broken. Please report it with the traceback."""

    code = "internal_error"
