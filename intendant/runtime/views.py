"""What lists and look-ups return: stored documents as people and programs want to see them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, Final, Generic, TypeVar

import msgspec
from msgspec import Raw, Struct

from intendant.domain.errors import InvalidIntent
from intendant.domain.payloads import Failure
from intendant.domain.state import ExecutionState, SessionState, Status

T = TypeVar("T")

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Page(Struct, Generic[T], frozen=True):
    """Part of a list. `cursor` continues it, and is None at the end."""

    items: list[T]
    cursor: str | None

    def __iter__(self) -> Any:
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)


class SessionView(Struct, frozen=True):
    """A session: what the runtime tracks, and in `data` the user's own document, None if it was never set.

    `tracked` is False for a document that was set under an id no session has. `expired`: it was closed because it had
    no work for its `idle_timeout`.
    """

    id: str
    tenant: str
    user_id: str
    solution: str
    metadata: dict[str, Any]
    created_at: datetime | None
    closed_at: datetime | None
    data: dict[str, Any] | None = None
    tracked: bool = True
    idle_timeout: timedelta | None = None
    expired: bool = False


class ExecutionView(Struct, frozen=True):
    """An execution: what the runtime tracks, and in `data` the user's own document, None if it was never set.

    `tracked` is False for a document that was set under an id no execution has; `status` is None then. `parent` is the
    execution whose handler submitted it, if one did. `blocked` is why it can't go on with the code that is here. A fork
    goes on from the journal of `forked_from`, up to `forked_at`.
    """

    id: str
    tenant: str
    session: str
    intent_id: str
    solution: str
    type: str
    key: str
    status: Status | None
    parameters: Any
    metadata: dict[str, Any]
    accepted_at: datetime | None
    started_at: datetime | None
    ended_at: datetime | None
    result: Any
    artifacts: dict[str, Any]
    events: int
    error: Failure | None
    data: dict[str, Any] | None = None
    tracked: bool = True
    parent: str = ""
    version: int = 1
    blocked: str = ""
    forked_from: str = ""
    forked_at: str = ""


LIMIT_MAX: Final = 10_000
_CURSOR_DIGITS_MAX: Final = 18  # a position is below 2 ** 63


def check_limit(limit: object) -> int:
    """Return a limit of a page that can be; raise InvalidIntent for any other."""
    if type(limit) is not int or not 1 <= limit <= LIMIT_MAX:
        raise InvalidIntent("limit", f"must be a whole number from 1 to {LIMIT_MAX:,}, not {limit!r:.40}")
    return limit


def check_cursor(cursor: object) -> str | None:
    """Return a cursor that is a position; raise InvalidIntent for one that no page has given."""
    if cursor is None:
        return None
    if isinstance(cursor, str) and cursor.isascii() and cursor.isdecimal() and len(cursor) <= _CURSOR_DIGITS_MAX:
        return cursor
    raise _not_a_cursor(cursor)


def check_key_cursor(cursor: object) -> str:
    """Return a cursor that is a key, "" for None; raise InvalidIntent for one that no page has given."""
    if cursor is None:
        return ""
    if isinstance(cursor, str) and cursor.isascii() and cursor.isprintable():
        return cursor
    raise _not_a_cursor(cursor)


def _not_a_cursor(cursor: object) -> InvalidIntent:
    return InvalidIntent("cursor", f"{cursor!r:.40} did not come from an earlier page of this list")


def moment(time: int) -> datetime | None:
    """µs since 1970 as a UTC time; 0 is None."""
    return _EPOCH + timedelta(microseconds=time) if time else None


def microseconds(time: object, field: str) -> int:
    """A time as µs since 1970 UTC. Raises InvalidIntent for what is none, or has no time zone."""
    if not isinstance(time, datetime):
        raise InvalidIntent(field, f"must be a datetime with a time zone, not {type(time).__name__}")
    if time.tzinfo is None:
        raise InvalidIntent(field, f"{time.isoformat()} has no time zone; say which, for example datetime.now(UTC)")
    return (time - _EPOCH) // timedelta(microseconds=1)


def view_session(state: SessionState, data: dict[str, Any] | None = None) -> SessionView:
    """A session's document as a view."""
    return SessionView(
        id=state.id,
        tenant=state.tenant,
        user_id=state.user_id,
        solution=state.solution,
        metadata=state.metadata,
        created_at=moment(state.created_at),
        closed_at=moment(state.closed_at),
        data=data,
        idle_timeout=timedelta(microseconds=state.idle_timeout) if state.idle_timeout else None,
        expired=state.expired,
    )


def view_execution(state: ExecutionState, data: dict[str, Any] | None = None, blocked: str = "") -> ExecutionView:
    """An execution's document as a view."""
    return ExecutionView(
        id=state.id,
        tenant=state.tenant,
        session=state.session,
        intent_id=state.intent_id,
        solution=state.solution,
        type=state.type,
        key=state.key,
        status=state.status,
        parameters=_plain(state.parameters),
        metadata=state.metadata,
        accepted_at=moment(state.accepted_at),
        started_at=moment(state.started_at),
        ended_at=moment(state.ended_at),
        result=_plain(state.result),
        artifacts={name: _plain(value) for name, value in state.artifacts.items()},
        events=state.events,
        error=state.error,
        data=data,
        parent=state.parent.execution if state.parent else "",
        version=state.version,
        blocked=blocked,
        forked_from=state.forked_from,
        forked_at=state.forked_at,
    )


def untracked_session(tenant: str, id: str, data: dict[str, Any]) -> SessionView:
    """A user's document under an id that no session has."""
    return SessionView(id, tenant, "", "", {}, None, None, data, tracked=False)


def untracked_execution(tenant: str, id: str, data: dict[str, Any]) -> ExecutionView:
    """A user's document under an id that no execution has."""
    return ExecutionView(
        id, tenant, "", "", "", "", "", None, None, {}, None, None, None, None, {}, 0, None, data, tracked=False
    )


def _plain(value: Raw) -> Any:
    return msgspec.msgpack.decode(value)
