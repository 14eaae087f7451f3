"""What an operator asks of a runtime from outside: a closed set of small requests, each a use of the public surface.

A `Question` only reads, so that a store at rest answers it as well; an `Order` changes something, and is for a runtime
that serves. Both are lines of JSON, told apart by `ask`: see `control`.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol

from msgspec import Struct

from intendant.actors.outbox_relay import DeadLetter
from intendant.domain.errors import InvalidIntent, UnknownExecution, UnknownSession
from intendant.domain.state import Event
from intendant.runtime.configuration import Configuration
from intendant.runtime.outbox import OutboxReader
from intendant.runtime.reports import (
    Begun,
    Cancelled,
    ExecutionReport,
    Folded,
    RecordView,
    Signalled,
    Waits,
    view_record,
    view_world,
)
from intendant.runtime.state_reader import StateReader
from intendant.runtime.tenants import TenantView
from intendant.runtime.views import ExecutionView, Page, SessionView
from intendant.runtime.wal import LogQueries

if TYPE_CHECKING:
    from intendant.runtime.runtime import Runtime

LIMIT_MAX: Final = 500  # of a list that is asked for through a control socket
SECONDS: Final = 30.0  # that an order may take, unless it says
_SHOWN_RECORDS: Final = 200


class Reading(Protocol):
    """What questions are asked of: a runtime that serves, or a store at rest."""

    @property
    def state(self) -> StateReader:
        """Sessions and executions."""
        ...

    @property
    def wal(self) -> LogQueries:
        """The log."""
        ...

    @property
    def outbox(self) -> OutboxReader:
        """Events."""
        ...

    async def tenants(self, *, limit: int, cursor: str | None) -> Page[TenantView]:
        """Whose all this is."""
        ...


class Question(Struct, frozen=True, tag_field="ask", forbid_unknown_fields=True):
    """Reads."""

    async def answer(self, of: Reading) -> Any:
        """What is told. Raises what the surface raises."""
        raise NotImplementedError


class Order(Struct, frozen=True, tag_field="ask", forbid_unknown_fields=True):
    """Changes something."""

    async def answer(self, of: Runtime) -> Any:
        """What is told when it is durable. Raises what the surface raises."""
        raise NotImplementedError


# --- tenants and sessions


class ListTenants(Question, frozen=True, tag="tenants"):
    """`Page[TenantView]`."""

    limit: int = 50
    cursor: str | None = None

    async def answer(self, of: Reading) -> Page[TenantView]:
        """See `Runtime.tenants`."""
        return await of.tenants(limit=_limit(self.limit), cursor=self.cursor)


class ListSessions(Question, frozen=True, tag="sessions"):
    """`Page[SessionView]`."""

    tenant: str
    solution: str | None = None
    limit: int = 50
    cursor: str | None = None

    async def answer(self, of: Reading) -> Page[SessionView]:
        """See `Runtime.sessions`."""
        limit = _limit(self.limit)
        return await of.state.sessions(self.tenant, solution=self.solution, limit=limit, cursor=self.cursor)


class ShowSession(Question, frozen=True, tag="session"):
    """`SessionView`."""

    tenant: str
    session: str

    async def answer(self, of: Reading) -> SessionView:
        """See `Session.view`."""
        view = await of.state.session(self.tenant, self.session)
        if view is None or not view.tracked:
            raise UnknownSession(self.session)
        return view


class CloseSession(Order, frozen=True, tag="close_session"):
    """`SessionView`."""

    tenant: str
    session: str

    async def answer(self, of: Runtime) -> SessionView:
        """See `Session.close`."""
        session = of.session(self.tenant, self.session)
        await session.close()
        return await session.view()


# --- executions


class ListExecutions(Question, frozen=True, tag="executions"):
    """`Page[ExecutionView]`."""

    tenant: str
    status: str | None = None
    type: str | None = None
    session: str | None = None
    solution: str | None = None
    parent: str | None = None
    since: datetime | None = None
    limit: int = 50
    cursor: str | None = None

    async def answer(self, of: Reading) -> Page[ExecutionView]:
        """See `Runtime.executions`."""
        return await of.state.executions(
            self.tenant,
            status=self.status,
            type=self.type,
            session=self.session,
            solution=self.solution,
            parent=self.parent,
            since=self.since,
            limit=_limit(self.limit),
            cursor=self.cursor,
        )


class ShowExecution(Question, frozen=True, tag="execution"):
    """`ExecutionReport`."""

    tenant: str
    execution: str

    async def answer(self, of: Reading) -> ExecutionReport:
        """See `Execution.view`, `sagas`, `children`."""
        view = await of.state.execution(self.tenant, self.execution)
        if view is None or not view.tracked:
            raise UnknownExecution(self.execution)
        page = await of.wal.query(self.tenant, execution=self.execution, limit=_SHOWN_RECORDS)
        return ExecutionReport(
            execution=view,
            sagas=await of.state.sagas(self.tenant, self.execution) or [],
            children=await of.state.children(self.tenant, self.execution) or [],
            records=[view_record(each) for each in reversed(page.items)],
            more=page.cursor is not None,
        )


class CancelExecution(Order, frozen=True, tag="cancel"):
    """`Cancelled`."""

    tenant: str
    execution: str
    timeout: float = SECONDS

    async def answer(self, of: Runtime) -> Cancelled:
        """See `Execution.cancel`."""
        result = await of.execution(self.tenant, self.execution).cancel(timeout=self.timeout)
        return Cancelled(self.execution, result)


class SignalExecution(Order, frozen=True, tag="signal"):
    """`Signalled`."""

    tenant: str
    execution: str
    name: str
    payload: Any = None
    id: str | None = None
    timeout: float = SECONDS

    async def answer(self, of: Runtime) -> Signalled:
        """See `Execution.signal`."""
        execution = of.execution(self.tenant, self.execution)
        await execution.signal(self.name, self.payload, id=self.id, timeout=self.timeout)
        return Signalled(self.execution, self.name)


class RetryExecution(Order, frozen=True, tag="retry"):
    """`Begun`."""

    tenant: str
    execution: str
    key: str | None = None
    timeout: float = SECONDS

    async def answer(self, of: Runtime) -> Begun:
        """See `Execution.retry`."""
        origin = of.execution(self.tenant, self.execution)
        return Begun((await origin.retry(idempotency_key=self.key, timeout=self.timeout)).id, origin.id)


class ForkExecution(Order, frozen=True, tag="fork"):
    """`Begun`."""

    tenant: str
    execution: str
    step: str
    key: str | None = None
    timeout: float = SECONDS

    async def answer(self, of: Runtime) -> Begun:
        """See `Execution.fork`."""
        origin = of.execution(self.tenant, self.execution)
        forked = await origin.fork(self.step, idempotency_key=self.key, timeout=self.timeout)
        return Begun(forked.id, origin.id)


# --- the log


class QueryLog(Question, frozen=True, tag="wal"):
    """`Page[RecordView]`."""

    tenant: str
    type: str | None = None
    session: str | None = None
    execution: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    newest_first: bool = True
    limit: int = 50
    cursor: str | None = None

    async def answer(self, of: Reading) -> Page[RecordView]:
        """See `WalReader.query`."""
        page = await of.wal.query(
            self.tenant,
            type=self.type,
            session=self.session,
            execution=self.execution,
            since=self.since,
            until=self.until,
            newest_first=self.newest_first,
            limit=_limit(self.limit),
            cursor=self.cursor,
        )
        return Page([view_record(each) for each in page.items], page.cursor)


class ReplayLog(Question, frozen=True, tag="wal_replay"):
    """`Folded`."""

    tenant: str
    execution: str | None = None

    async def answer(self, of: Reading) -> Folded:
        """See `WalReader.replay`."""
        return view_world(await of.wal.replay(self.tenant, self.execution), self.tenant, self.execution)


# --- the outbox


class ListOutbox(Question, frozen=True, tag="outbox"):
    """`Page[Event]`, of dead letters `Page[DeadLetter]`."""

    tenant: str
    which: Literal["pending", "published", "dead"] = "pending"
    limit: int = 50
    cursor: str | None = None

    async def answer(self, of: Reading) -> Page[Event] | Page[DeadLetter]:
        """See `Outbox.pending`, `published`, `dead_letters`."""
        limit = _limit(self.limit)
        if self.which == "dead":
            return await of.outbox.dead_letters(self.tenant, limit=limit, cursor=self.cursor)
        read = of.outbox.pending if self.which == "pending" else of.outbox.published
        return await read(self.tenant, limit=limit, cursor=self.cursor)


class RetryEvents(Order, frozen=True, tag="outbox_retry"):
    """`Waits`."""

    tenant: str
    events: list[str]

    async def answer(self, of: Runtime) -> Waits:
        """See `Outbox.retry`."""
        return Waits(await of.outbox.retry(self.tenant, self.events))


# --- the runtime


class ShowConfiguration(Order, frozen=True, tag="config"):
    """`Configuration`."""

    async def answer(self, of: Runtime) -> Configuration:
        """See `Runtime.configuration`."""
        return of.configuration()


QUESTIONS = (
    ListTenants | ListSessions | ShowSession | ListExecutions | ShowExecution | QueryLog | ReplayLog | ListOutbox
)
ORDERS = (
    CloseSession | CancelExecution | SignalExecution | RetryExecution | ForkExecution | RetryEvents | ShowConfiguration
)


def _limit(limit: int) -> int:
    if not 1 <= limit <= LIMIT_MAX:
        raise InvalidIntent("limit", f"must be from 1 to {LIMIT_MAX}, not {limit}")
    return limit
