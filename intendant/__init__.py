"""Intendant: supervised actors with a durable log, embedded in a Python process."""

from intendant.actors.actor import Actor
from intendant.actors.mailbox import Mailbox, Overflow
from intendant.actors.messages import Progress
from intendant.actors.outbox_relay import DeadLetter, RelaySettings
from intendant.actors.ref import Ref
from intendant.actors.services import Limits
from intendant.actors.system import ActorSystem
from intendant.context import Context
from intendant.domain.erasure import Erased
from intendant.domain.errors import (
    AcknowledgedDataMissing,
    ActorStopped,
    BeingErased,
    ChildDeadlock,
    Deadlock,
    DuplicateStep,
    Ended,
    ExecutionCancelled,
    ExecutionEnded,
    ExecutionFailed,
    Fenced,
    IdempotencyConflict,
    IntendantError,
    InternalError,
    InvalidIntent,
    InvalidValue,
    JournalMismatch,
    NotAuthorized,
    NotExclusive,
    NotOwner,
    OutcomeUnknown,
    Overloaded,
    PartitionOwned,
    Rejected,
    Retryable,
    RuntimeStopped,
    SagaFailed,
    SessionClosed,
    SessionExists,
    StepFailed,
    StillOpen,
    Stopped,
    StoreUnavailable,
    Suspended,
    TargetUnavailable,
    Undeliverable,
    UnfinishedMigration,
    UnknownExecution,
    UnknownQuery,
    UnknownSession,
    UnreadableJournal,
    WrongThread,
)
from intendant.domain.payloads import ChildRecord, ChildState, Failure, SagaRecord, SagaStep, Signal, StepState
from intendant.domain.quotas import TenantLimits
from intendant.domain.records import LogRecord
from intendant.domain.retention import Retention
from intendant.domain.retry import Retry, RetryAfter
from intendant.domain.state import CancelResult, Event, FileReference, Outcome, Status
from intendant.parking import Reply
from intendant.realm import Realm
from intendant.runtime.blocking import blocking
from intendant.runtime.config import Shutdown
from intendant.runtime.configuration import Configuration
from intendant.runtime.event_stream import ExecutionEvent
from intendant.runtime.handles import Execution, Session
from intendant.runtime.intent import Intent
from intendant.runtime.runtime import Runtime
from intendant.runtime.stats import Stats
from intendant.runtime.tenants import TenantView
from intendant.runtime.tree_node import ActorCrash, LoopBlock, TreeNode
from intendant.runtime.views import ExecutionView, Page, SessionView
from intendant.steps.children import Child
from intendant.steps.saga import Saga
from intendant.steps.session import HandlerSession, SharedState
from intendant.steps.step import Step

__all__ = [
    "AcknowledgedDataMissing",
    "Actor",
    "ActorCrash",
    "ActorStopped",
    "ActorSystem",
    "BeingErased",
    "CancelResult",
    "Child",
    "ChildDeadlock",
    "ChildRecord",
    "ChildState",
    "Configuration",
    "Context",
    "DeadLetter",
    "Deadlock",
    "DuplicateStep",
    "Ended",
    "Erased",
    "Event",
    "Execution",
    "ExecutionCancelled",
    "ExecutionEnded",
    "ExecutionEvent",
    "ExecutionFailed",
    "ExecutionView",
    "Failure",
    "Fenced",
    "FileReference",
    "HandlerSession",
    "IdempotencyConflict",
    "IntendantError",
    "Intent",
    "InternalError",
    "InvalidIntent",
    "InvalidValue",
    "JournalMismatch",
    "Limits",
    "LogRecord",
    "LoopBlock",
    "Mailbox",
    "NotAuthorized",
    "NotExclusive",
    "NotOwner",
    "Outcome",
    "OutcomeUnknown",
    "Overflow",
    "Overloaded",
    "Page",
    "PartitionOwned",
    "Progress",
    "Realm",
    "Ref",
    "Rejected",
    "RelaySettings",
    "Reply",
    "Retention",
    "Retry",
    "RetryAfter",
    "Retryable",
    "Runtime",
    "RuntimeStopped",
    "Saga",
    "SagaFailed",
    "SagaRecord",
    "SagaStep",
    "Session",
    "SessionClosed",
    "SessionExists",
    "SessionView",
    "SharedState",
    "Shutdown",
    "Signal",
    "Stats",
    "Status",
    "Step",
    "StepFailed",
    "StepState",
    "StillOpen",
    "Stopped",
    "StoreUnavailable",
    "Suspended",
    "TargetUnavailable",
    "TenantLimits",
    "TenantView",
    "TreeNode",
    "Undeliverable",
    "UnfinishedMigration",
    "UnknownExecution",
    "UnknownQuery",
    "UnknownSession",
    "UnreadableJournal",
    "WrongThread",
    "blocking",
]
