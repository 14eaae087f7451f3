"""What callers ask of open executions, and what timers tell them: answered where the handler is, or by resuming it."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from intendant.actors.executions import Executions
from intendant.actors.open_execution import OpenExecution
from intendant.actors.services import Services
from intendant.actors.waits import ExecutionWaits, Query
from intendant.domain import state as states
from intendant.domain.journal import Journal, cancel_among
from intendant.domain.state import ExecutionState, Status, decode_execution
from intendant.domain.waits import Waits
from intendant.parking import Reply


class ExecutionCalls:
    """Signals, queries and cancels of a partition's executions. Cancels go by no mailbox, and always have room."""

    def __init__(self, services: Services, executions: Executions) -> None:
        self._services = services
        self._executions = executions

    async def signal(self, tenant: str, execution: str, name: str, id: str, payload: bytes) -> bool:
        """Send a signal; it is durable when this returns. False when there is no such open execution.

        Raises ActorStopped while executions do not serve, Overloaded, IdempotencyConflict, UnreadableJournal.
        """
        entry = self._executions.entry(tenant, execution)
        waits = None if entry is None else await self._waits_of(entry)
        if entry is None or waits is None:
            return False
        if entry.closed:
            await entry.wait_end().wait(self._services.seam)
            return False
        await waits.receive(name, id, payload).wait(self._services.seam)
        return True

    async def query(self, tenant: str, execution: str, name: str) -> bytes | None:
        """What the handler answers, encoded; None when there is no such open execution. One that is passive resumes.

        Raises ActorStopped while executions do not serve, UnknownQuery, and what the handler's function raises.
        """
        entry = self._executions.entry(tenant, execution)
        if entry is None:
            return None
        query = Query(name, Reply())
        entry.ask(query)
        try:
            return await query.reply.wait(self._services.seam)
        finally:
            if entry.queries:
                entry.queries[:] = [each for each in entry.queries if each is not query]

    def due(self, tenant: str, execution: str, path: str, now: int) -> None:
        """The time of a wait has come. Where no handler stands, it is resumed, and finds that by itself."""
        entry = self._executions.open.find(tenant, execution)
        if entry is None or not self._executions.serving or entry.closed:
            return
        if entry.waits is not None:
            entry.waits.fire(path, now)
        elif entry.actor is None:
            self._executions.revive(entry)

    async def cancel(self, tenant: str, execution: str) -> bool:
        """Cancel an execution; when this returns, it is durable. False when it is not open, or has ended by now.

        One that has not begun ends without running; another is told, and ends when its handler has cleaned up. A resume
        finds the cancel in the journal. Raises ActorStopped while executions do not serve, BeingErased,
        StoreUnavailable.
        """
        entry = self._executions.entry(tenant, execution)
        waits = None if entry is None else await self._waits_of(entry)
        if entry is None or waits is None:
            return False
        unstarted = entry.waiting and entry.unstarted  # it is not to begin any more: the cancel is decided below
        if not entry.closed:
            await waits.cancel().wait(self._services.seam)
        if unstarted and entry.waiting:
            self._executions.launch(entry)  # it was recorded before a resume
        if self._executions.is_open(tenant, execution) and (unstarted or entry.closed):
            await entry.wait_end().wait(self._services.seam)
        return self._executions.is_open(tenant, execution)

    async def _waits_of(self, entry: OpenExecution) -> ExecutionWaits | None:
        """The waits of an open execution, read if they are not in memory; None when it has ended meanwhile."""
        if entry.waits is None and entry.actor is not None:
            entry.actor.recording.open_waits()
        if entry.waits is None and entry.accepted is not None:
            journal = entry.accepted.journal
            entry.open_waits(Waits() if journal is None else journal.waits, entry.session)
        if entry.waits is None:
            entry.loading += 1
            try:
                log = self._services.log
                document = await log.document(entry.tenant, states.EXECUTIONS, entry.id)
                rows = await log.journal(entry.tenant, entry.id)
            finally:
                entry.loading -= 1
            if document is None or self._executions.entry(entry.tenant, entry.id) is not entry:
                return None
            if entry.waits is None:
                state = decode_execution(document.body)
                self._fold_waits(entry, state, rows)
        return entry.waits

    def _fold_waits(self, entry: OpenExecution, state: ExecutionState, rows: Sequence[bytes]) -> None:
        try:
            waits = Journal.of(rows).waits
        except msgspec.MsgspecError as error:
            entry.open_waits(Waits(cancelled=cancel_among(rows)), state.session).unreadable = str(error)
        else:
            entry.unstarted = state.status is Status.ACCEPTED
            entry.open_waits(waits, state.session)
