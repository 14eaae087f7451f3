"""Where handles ask for forks and retries. A fork is read from the log, hot or archived: its origin may have ended."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from intendant.actors.messages import PreparedIntent
from intendant.domain.codec import digest
from intendant.domain.errors import InvalidIntent, UnknownExecution
from intendant.domain.forks import fork
from intendant.domain.ids import check_id, make_id
from intendant.domain.journal import Row, row_of_record
from intendant.domain.records import LogRecord
from intendant.domain.state import Status

if TYPE_CHECKING:
    from intendant.runtime.handles import Execution
    from intendant.runtime.runtime import Runtime

_PAGE = 1_000


class Forks:
    """Makes new executions from what others have recorded."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    async def fork(self, origin: Execution[Any], step: str, key: str | None, timeout: float | None) -> Execution[Any]:
        """See `Execution.fork`."""
        if not step:
            raise InvalidIntent("from_step", f"must be the path of a step, not {step!r:.60}")
        runtime = self._runtime
        state = await runtime.state.tracked_execution(origin.tenant, origin.id)
        if state is None:
            raise UnknownExecution(origin.id)
        id = make_id(runtime.now())
        prepared = PreparedIntent(
            id=id,
            type=state.type,
            key=id if key is None else check_id(key, "idempotency_key"),
            parameters=bytes(state.parameters),
            metadata=state.metadata,
            solution=state.solution,
            priority=state.priority,
            digest=digest(state.type.encode(), bytes(state.parameters), origin.id.encode(), step.encode()),
            version=state.version,
            fork=fork(origin.id, await self._rows(origin.tenant, origin.id), step),
        )
        return (await runtime.submit_prepared(origin.tenant, state.session, (prepared,), timeout))[0]

    async def retry(self, origin: Execution[Any], key: str | None, timeout: float | None) -> Execution[Any]:
        """See `Execution.retry`."""
        runtime = self._runtime
        state = await runtime.state.tracked_execution(origin.tenant, origin.id)
        if state is None:
            raise UnknownExecution(origin.id)
        if state.status not in (Status.FAILED, Status.CANCELLED):
            why = "completed: submit its intent anew" if state.status.ended else "not ended: cancel it, or wait"
            raise InvalidIntent("execution", f"{origin.id} has {why}; what failed or was cancelled can be retried")
        handler, parameters = runtime.repertoire.find(state.type), bytes(state.parameters)
        if handler is not None:
            parameters = handler.encode(msgspec.msgpack.decode(parameters))
        prepared = PreparedIntent(
            id=make_id(runtime.now()),
            type=state.type,
            key=f"{origin.id}:retry" if key is None else check_id(key, "idempotency_key"),
            parameters=parameters,
            metadata=state.metadata,
            solution=state.solution,
            priority=state.priority,
            digest=digest(state.type.encode(), parameters),
            version=0 if handler is None else handler.version,
        )
        return (await runtime.submit_prepared(origin.tenant, state.session, (prepared,), timeout))[0]

    async def _rows(self, tenant: str, execution: str) -> list[Row]:
        """The journal of an execution, as the log tells it."""
        records: list[LogRecord] = []
        cursor: str | None = None
        while True:
            page = await self._runtime.wal.query(
                tenant, execution=execution, newest_first=False, limit=_PAGE, cursor=cursor
            )
            records += page.items
            cursor = page.cursor
            if cursor is None:
                break
        if not records or records[0].type != "intent_received":
            raise UnknownExecution(execution)
        try:
            return [row for each in records if (row := row_of_record(each.type, each.raw)) is not None]
        except msgspec.MsgspecError as error:
            raise InvalidIntent("from_step", f"the journal of {execution} can't be read: {error}") from error
