"""Intendant: supervised actors with a durable log, embedded in a Python process."""

from intendant.actors.actor import Actor
from intendant.actors.mailbox import Mailbox
from intendant.actors.messages import Progress
from intendant.actors.outbox_relay import DeadLetter, RelaySettings
from intendant.actors.ref import Ref
from intendant.actors.services import Limits
from intendant.actors.system import ActorSystem
from intendant.context import Context
from intendant.domain.errors import (
    AcknowledgedDataMissing,
    ActorStopped,
    DuplicateStep,
    Ended,
    ExecutionCancelled,
    ExecutionFailed,
    Fenced,
    IdempotencyConflict,
    IntendantError,
    InternalError,
    InvalidIntent,
    InvalidValue,
    JournalMismatch,
    NotAuthorized,
    NotOwner,
    OutcomeUnknown,
    Overloaded,
    PartitionOwned,
    Rejected,
    Retryable,
    RuntimeStopped,
    SessionClosed,
    SessionExists,
    StepFailed,
    Stopped,
    StoreUnavailable,
    Suspended,
    UnknownExecution,
    UnknownSession,
    WrongThread,
)
from intendant.domain.payloads import Failure
from intendant.domain.records import LogRecord
from intendant.domain.state import Event, FileReference, Outcome, Status
from intendant.parking import Reply
from intendant.realm import Realm
from intendant.runtime.blocking import blocking
from intendant.runtime.config import Shutdown
from intendant.runtime.handles import Execution, Session
from intendant.runtime.intent import Intent
from intendant.runtime.runtime import Runtime, Stats
from intendant.runtime.views import ExecutionView, Page, SessionView

__all__ = [
    "AcknowledgedDataMissing",
    "Actor",
    "ActorStopped",
    "ActorSystem",
    "Context",
    "DeadLetter",
    "DuplicateStep",
    "Ended",
    "Event",
    "Execution",
    "ExecutionCancelled",
    "ExecutionFailed",
    "ExecutionView",
    "Failure",
    "Fenced",
    "FileReference",
    "IdempotencyConflict",
    "IntendantError",
    "Intent",
    "InternalError",
    "InvalidIntent",
    "InvalidValue",
    "JournalMismatch",
    "Limits",
    "LogRecord",
    "Mailbox",
    "NotAuthorized",
    "NotOwner",
    "Outcome",
    "OutcomeUnknown",
    "Overloaded",
    "Page",
    "PartitionOwned",
    "Progress",
    "Realm",
    "Ref",
    "Rejected",
    "RelaySettings",
    "Reply",
    "Retryable",
    "Runtime",
    "RuntimeStopped",
    "Session",
    "SessionClosed",
    "SessionExists",
    "SessionView",
    "Shutdown",
    "Stats",
    "Status",
    "StepFailed",
    "Stopped",
    "StoreUnavailable",
    "Suspended",
    "UnknownExecution",
    "UnknownSession",
    "WrongThread",
    "blocking",
]
