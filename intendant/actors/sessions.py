"""The sessions of a partition, reached through one door: `activate`."""

from __future__ import annotations

import logging
from collections.abc import Callable

from intendant.actors.actor import Cell
from intendant.actors.executions import Executions
from intendant.actors.messages import SessionMessage
from intendant.actors.ref import Ref
from intendant.actors.services import Services
from intendant.actors.session import SessionActor
from intendant.domain.errors import ActorStopped
from intendant.supervisor import (
    Backoff,
    DynamicSupervisor,
    Event,
    Intensity,
    Started,
    SupervisorError,
)

logger = logging.getLogger("intendant.sessions")


class Sessions:
    """A dynamic supervisor of session actors. A resident session is an object with a mailbox, and no task."""

    def __init__(
        self,
        services: Services,
        executions: Executions,
        *,
        path: str,
        on_event: Callable[[Event], None],
        intensity: Intensity,
        backoff: Backoff,
    ) -> None:
        self._services = services
        self._executions = executions
        self._path = path
        self._on_event = on_event
        self._intensity = intensity
        self._backoff = backoff
        self._cells: dict[str, Cell[SessionMessage]] = {}
        self.serving = False
        self._supervisor: DynamicSupervisor

    def activate(self, tenant: str, session: str) -> Ref[SessionMessage]:
        """The session's reference, resident or not: its actor loads it from hot state when the first message comes.

        Whether there is such a session is the actor's answer, not this one's. Raises ActorStopped while the partition
        does not serve.
        """
        if not self.serving:
            raise ActorStopped(f"{self._path}/sessions is not running")
        cell = self._cells.get(f"{tenant}/{session}")
        return cell.ref if cell is not None else self._add(tenant, session).ref

    def evict(self, tenant: str, session: str = "") -> None:
        """Forget a session, or all of a tenant; who asks next finds what hot state holds then."""
        child_id = f"{tenant}/{session}"
        for id in [each for each in self._cells if each == child_id or (not session and each.startswith(child_id))]:
            self._cells.pop(id).end()

    @property
    def resident(self) -> int:
        """How many sessions are in memory."""
        return len(self._cells)

    async def run(self, task_status: Started) -> None:
        """Serve until stopped; then every open question is answered with ActorStopped."""
        self._supervisor = DynamicSupervisor(
            "sessions",
            path=self._path,
            intensity=self._intensity,
            backoff=self._backoff,
            on_event=self._on_event,
            on_give_up=self._give_up,
            parking=self._services.seam.parking,
        )
        self.serving = True
        try:
            await self._supervisor.run(task_status)
        finally:
            self.serving = False
            cells, self._cells = self._cells, {}
            for cell in cells.values():
                cell.end()

    def stop(self) -> None:
        """Finish what is under way, then end."""
        self.serving = False
        self._supervisor.stop()

    def _add(self, tenant: str, session: str) -> Cell[SessionMessage]:
        child_id = f"{tenant}/{session}"
        supervisor = self._supervisor

        def schedule() -> None:
            try:
                supervisor.perform(child_id, cell.turn, cell.crashed)
            except SupervisorError:
                cell.end()

        def forget() -> None:
            if not cell.mailbox and self._cells.get(child_id) is cell:
                del self._cells[child_id]
                cell.end()

        cell: Cell[SessionMessage] = Cell(
            f"{self._path}/sessions/{child_id}",
            lambda: SessionActor(self._services, self._executions, tenant, session, on_unknown=forget),
            capacity=self._services.limits.session_mailbox,
            seam=self._services.seam,
            deadlines=self._services.deadlines,
            schedule=schedule,
        )
        self._cells[child_id] = cell
        return cell

    def _give_up(self, child_id: str, cause: BaseException) -> None:
        """This session crashed too often: it leaves memory, and the next message loads it anew."""
        logger.error("session %s crashed too often and is given up until it is asked again", child_id, exc_info=cause)
        cell = self._cells.pop(child_id, None)
        if cell is not None:
            cell.end(cause)
