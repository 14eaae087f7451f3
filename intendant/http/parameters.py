"""The types of what comes with a request, and of pages that go out."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Generic, Literal, TypeVar

from msgspec import Meta, Struct

from intendant.domain.state import Status
from intendant.runtime.views import ExecutionView

T = TypeVar("T")
Id = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.@:-]{0,127}$")]
IntentType = Annotated[str, Meta(pattern=r"^[A-Za-z][A-Za-z0-9_-]*(\.[A-Za-z][A-Za-z0-9_-]*)+$", max_length=128)]
Moment = Annotated[datetime, Meta(tz=True)]
Limit = Annotated[int, Meta(ge=1, le=100)]


class PageQuery(Struct, forbid_unknown_fields=True):
    """Which part of a list."""

    limit: Limit = 50
    cursor: str | None = None


class SessionsQuery(PageQuery):
    """Which sessions."""

    solution: Id | None = None


class ExecutionsQuery(PageQuery):
    """Which executions."""

    status: Status | None = None
    type: IntentType | None = None
    session: Id | None = None
    solution: Id | None = None
    parent: Id | None = None
    since: Moment | None = None


class WalQuery(PageQuery):
    """Which records. `since` is inclusive, `until` is not."""

    type: str | None = None
    session: Id | None = None
    execution: Id | None = None
    since: Moment | None = None
    until: Moment | None = None
    order: Literal["newest", "oldest"] = "newest"


class SessionBody(Struct, forbid_unknown_fields=True):
    """What a session is created with."""

    user_id: str = ""
    solution: Id = "default"
    metadata: dict[str, Any] = {}
    concurrency: Annotated[int, Meta(ge=1, le=1_000_000)] | None = None


class NewSessionBody(SessionBody):
    """The same, with its id, or without for a new one."""

    id: Id | None = None


class IntentBody(Struct, forbid_unknown_fields=True):
    """An intent."""

    type: IntentType
    parameters: dict[str, Any] = {}
    metadata: dict[str, Any] = {}
    solution: Id | None = None
    priority: Annotated[int, Meta(ge=-100, le=100)] = 0


class SignalBody(Struct, forbid_unknown_fields=True):
    """A signal's payload."""

    payload: Any = None


class Accepted(Struct):
    """An execution that has not ended, as far as was waited."""

    execution: str
    status: Status


class Answer(Struct):
    """What a handler answers."""

    answer: Any


class Cancelled(Struct):
    """What a cancel came to."""

    result: str


class Standing(Struct):
    """How the process stands."""

    status: str


class HttpPage(Struct, Generic[T]):
    """Part of a list. `cursor` continues it; null at the end."""

    items: list[T]
    cursor: str | None


class Record(Struct):
    """A record of the log."""

    sequence: int
    time: datetime
    type: str
    session: str
    execution: str
    payload: dict[str, Any]


class ExecutionSummary(Struct):
    """An execution in a list: without parameters, result and artifacts."""

    id: str
    session: str
    intent_id: str
    solution: str
    type: str
    key: str
    status: Status | None
    accepted_at: datetime | None
    started_at: datetime | None
    ended_at: datetime | None
    parent: str
    error: str


def summary(view: ExecutionView) -> ExecutionSummary:
    """An execution as lists show it."""
    return ExecutionSummary(
        view.id,
        view.session,
        view.intent_id,
        view.solution,
        view.type,
        view.key,
        view.status,
        view.accepted_at,
        view.started_at,
        view.ended_at,
        view.parent,
        view.error.code if view.error else "",
    )
