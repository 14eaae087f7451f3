"""The reading half of the state surface: hot first, then cold, whether a runtime serves or the store is at rest."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, TypeVar

import msgspec

from intendant.domain import state as states
from intendant.domain.children import child_records
from intendant.domain.errors import InvalidIntent, UnreadableJournal
from intendant.domain.ids import check_id, check_type
from intendant.domain.journal import Journal
from intendant.domain.payloads import ChildRecord, SagaRecord
from intendant.domain.state import (
    ExecutionState,
    FileReference,
    SessionState,
    Status,
    decode_execution,
    decode_file,
    decode_session,
)
from intendant.runtime.readable import Readable
from intendant.runtime.views import (
    ExecutionView,
    Page,
    SessionView,
    check_key_cursor,
    check_limit,
    microseconds,
    untracked_execution,
    untracked_session,
    view_execution,
    view_session,
)

S = TypeVar("S")
_READ = 256  # documents that are read at a time while a list is filtered


class StateReader:
    """Reads what the runtime tracks, and the user's own documents beside it."""

    def __init__(self, partition_of: Callable[[str], Readable]) -> None:
        self._readable = partition_of

    # --- one

    async def session(self, tenant: str, id: str) -> SessionView | None:
        """A session with the user's document, or None if this tenant has neither."""
        check_id(tenant, "tenant")
        check_id(id, "session")
        body = await self._read(tenant, states.SESSIONS, id)
        data = await self._data(tenant, states.SESSION_DATA, id)
        if body is not None:
            return view_session(decode_session(body), data)
        return None if data is None else untracked_session(tenant, id, data)

    async def execution(self, tenant: str, id: str) -> ExecutionView | None:
        """An execution with the user's document, or None if this tenant has neither."""
        check_id(tenant, "tenant")
        check_id(id, "execution")
        body = await self._read(tenant, states.EXECUTIONS, id)
        data = await self._data(tenant, states.EXECUTION_DATA, id)
        if body is not None:
            return self._view(self._live(tenant, decode_execution(body)), data)
        return None if data is None else untracked_execution(tenant, id, data)

    async def tracked_execution(self, tenant: str, id: str) -> ExecutionState | None:
        """An execution's document as it is stored, or None."""
        body = await self._read(tenant, states.EXECUTIONS, id)
        return None if body is None else decode_execution(body)

    async def sagas(self, tenant: str, id: str) -> list[SagaRecord] | None:
        """An execution's sagas, step by step, or None if this tenant has no such execution."""
        state, journal = await self._with_journal(tenant, id)
        return None if state is None else list(state.sagas) if state.status.ended else journal.sagas.records()

    async def children(self, tenant: str, id: str) -> list[ChildRecord] | None:
        """What an execution has submitted, or None if this tenant has no such execution."""
        state, journal = await self._with_journal(tenant, id)
        if state is None or state.status.ended:
            return None if state is None else list(state.children)
        found = [await self.tracked_execution(tenant, child) for child in journal.children]
        return child_records(journal.children, found, ending=False)

    async def _with_journal(self, tenant: str, id: str) -> tuple[ExecutionState | None, Journal]:
        """An execution's document, and if it has not ended its journal. Raises UnreadableJournal."""
        check_id(tenant, "tenant")
        check_id(id, "execution")
        rows: list[bytes] = []
        state = await self.tracked_execution(tenant, id)
        if state is not None and not state.status.ended:
            rows = await self._readable(tenant).log.journal(tenant, id)
            if not rows:  # it may have ended meanwhile, which takes its journal away
                state = await self.tracked_execution(tenant, id)
        try:
            return state, Journal.of(rows)
        except msgspec.MsgspecError as error:
            raise UnreadableJournal(id, str(error)) from error

    async def file(self, tenant: str, reference: str) -> FileReference | None:
        """A file reference, or None if this tenant has none of that name."""
        body = await self._read(check_id(tenant, "tenant"), states.FILES, check_id(reference, "reference"))
        return None if body is None else decode_file(body)

    async def shared_state(self, tenant: str, session: str) -> bytes | None:
        """What the handlers of a session share, as it is stored; None when it was never set."""
        return await self._read(tenant, states.SESSION_STATE, session)

    # --- many

    async def sessions(
        self, tenant: str, *, solution: str | None = None, limit: int = 100, cursor: str | None = None
    ) -> Page[SessionView]:
        """A tenant's sessions by id."""
        if solution is not None:
            check_id(solution, "solution")

        def wanted(state: SessionState) -> bool:
            return solution is None or state.solution == solution

        return await self._list(tenant, states.SESSIONS, decode_session, wanted, view_session, limit, cursor)

    async def executions(
        self,
        tenant: str,
        *,
        status: Status | str | None = None,
        type: str | None = None,
        session: str | None = None,
        solution: str | None = None,
        parent: str | None = None,
        since: datetime | None = None,
        limit: int = 100,
        cursor: str | None = None,
    ) -> Page[ExecutionView]:
        """A tenant's executions, the newest first, filtered. `since` is when they were accepted, at the earliest."""
        for field, value in (("session", session), ("solution", solution), ("parent", parent)):
            if value is not None:
                check_id(value, field)
        if type is not None:
            check_type(type)
        wanted_status = None if status is None else _status(status)
        earliest = 0 if since is None else microseconds(since, "since")

        def wanted(state: ExecutionState) -> bool:
            return (
                (wanted_status is None or state.status is wanted_status)
                and (type is None or state.type == type)
                and (session is None or state.session == session)
                and (solution is None or state.solution == solution)
                and (parent is None or (state.parent is not None and state.parent.execution == parent))
            )

        def over(state: ExecutionState) -> bool:
            return state.accepted_at < earliest

        return await self._list(
            tenant,
            states.EXECUTIONS,
            lambda body: self._live(tenant, decode_execution(body)),
            wanted,
            self._view,
            limit,
            cursor,
            over,
            newest_first=True,
        )

    async def execution_data(
        self, tenant: str, *, limit: int = 100, cursor: str | None = None
    ) -> Page[tuple[str, dict[str, Any]]]:
        """The user's documents of a tenant's executions, as (execution id, document), by id."""
        check_id(tenant, "tenant")
        found = await self._readable(tenant).tiers.documents(
            tenant, states.EXECUTION_DATA, after=check_key_cursor(cursor), limit=check_limit(limit)
        )
        items = [(each.key, msgspec.msgpack.decode(each.body)) for each in found]
        return Page(items, items[-1][0] if len(items) == limit else None)

    # --- how

    def _live(self, tenant: str, state: ExecutionState) -> ExecutionState:
        """That a handler waits, or that there is none, is not stored: it would cost a document each time."""
        if state.status.ended:
            return state
        executions = self._readable(tenant).executions
        if executions.why_blocked(tenant, state.id):
            return msgspec.structs.replace(state, status=Status.BLOCKED)
        if state.status is Status.RUNNING and executions.is_waiting(tenant, state.id):
            return msgspec.structs.replace(state, status=Status.WAITING)
        return state

    def _view(self, state: ExecutionState, data: dict[str, Any] | None = None) -> ExecutionView:
        if state.status is not Status.BLOCKED:
            return view_execution(state, data)
        return view_execution(state, data, self._readable(state.tenant).executions.why_blocked(state.tenant, state.id))

    async def _read(self, tenant: str, collection: str, key: str) -> bytes | None:
        return await self._readable(tenant).tiers.document(tenant, collection, key)

    async def _data(self, tenant: str, collection: str, key: str) -> dict[str, Any] | None:
        body = await self._read(tenant, collection, key)
        return None if body is None else msgspec.msgpack.decode(body)

    async def _list(
        self,
        tenant: str,
        collection: str,
        decode: Callable[[bytes], S],
        wanted: Callable[[S], bool],
        view: Callable[[S], Any],
        limit: int,
        cursor: str | None,
        over: Callable[[S], bool] = lambda _state: False,
        *,
        newest_first: bool = False,
    ) -> Page[Any]:
        tiers = self._readable(check_id(tenant, "tenant")).tiers
        found: list[Any] = []
        after = check_key_cursor(cursor)
        check_limit(limit)
        while True:
            documents = await tiers.documents(tenant, collection, after=after, limit=_READ, newest_first=newest_first)
            for document in documents:
                state = decode(document.body)
                if over(state):
                    return Page(found, None)
                if wanted(state):
                    found.append(view(state))
                if len(found) == limit:
                    return Page(found, document.key)
            if len(documents) < _READ:
                return Page(found, None)
            after = documents[-1].key


def _status(status: object) -> Status:
    try:
        return Status(status)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]  # that is the check
    except ValueError:
        raise InvalidIntent("status", f"{status!r:.40} is none of {', '.join(Status)}") from None
