"""What operators are told, beside the views of sessions and executions."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from msgspec import Struct

from intendant.domain.errors import UnknownExecution
from intendant.domain.payloads import ChildRecord, SagaRecord
from intendant.domain.records import LogRecord
from intendant.domain.replay import World
from intendant.domain.state import CancelResult, Status
from intendant.runtime.views import ExecutionView, moment, view_execution


class RecordView(Struct, frozen=True):
    """A record of the log, readable."""

    sequence: int
    time: datetime
    type: str
    tenant: str
    session: str
    execution: str
    payload: dict[str, Any]


class ExecutionReport(Struct, frozen=True):
    """Everything about one execution. `records` are its newest ones, the oldest first; `more`: there are older ones."""

    execution: ExecutionView
    sagas: list[SagaRecord]
    children: list[ChildRecord]
    records: list[RecordView]
    more: bool


class Cancelled(Struct, frozen=True):
    """What a cancel came to."""

    execution: str
    result: CancelResult


class Signalled(Struct, frozen=True):
    """A signal is received."""

    execution: str
    name: str


class Begun(Struct, frozen=True):
    """A new execution, made from `origin`."""

    execution: str
    origin: str


class Folded(Struct, frozen=True):
    """What a tenant's log leads to; `execution` when it was folded alone, and the log has its beginning."""

    records: int
    last_sequence: int
    sessions: int
    executions: dict[Status, int]
    keys: int
    pending: int
    published: int
    dead: int
    violations: list[str]
    execution: ExecutionView | None = None


class Waits(Struct, frozen=True):
    """Events that were dead letters and wait to be published again."""

    events: list[str]


def view_record(record: LogRecord) -> RecordView:
    """A record with its payload as plain values."""
    time = moment(record.time)
    assert time is not None  # noqa: S101  a record has one
    return RecordView(
        record.sequence, time, record.type, record.tenant, record.session, record.execution, record.payload
    )


def view_world(world: World, tenant: str, execution: str | None) -> Folded:
    """What a fold says, counted. Raises UnknownExecution when it was of one that has no records."""
    states = list(world.executions.values())
    alone = None if execution is None else world.executions.get((tenant, execution))
    if execution is not None and not world.records:
        raise UnknownExecution(execution)
    return Folded(
        records=world.records,
        last_sequence=world.last_sequence,
        sessions=len(world.sessions),
        executions=_counted([each.status for each in states]),
        keys=len(world.keys),
        pending=len(world.outbox),
        published=len(world.published),
        dead=len(world.dead),
        violations=world.violations,
        execution=None if alone is None else view_execution(alone),
    )


def _counted(statuses: Sequence[Status]) -> dict[Status, int]:
    return {status: count for status in Status if (count := statuses.count(status))}
