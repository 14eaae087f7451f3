"""The sessions of a partition, reached through one door: `activate`."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import TypeVar

from intendant.actors.actor import Cell
from intendant.actors.direct_cell import DirectCell
from intendant.actors.executions import Executions
from intendant.actors.messages import Due, PreparedIntent, SessionMessage, Submit, WorkEnded
from intendant.actors.ref import Ref
from intendant.actors.residents import Residents
from intendant.actors.services import Services
from intendant.actors.session import SessionActor
from intendant.domain.errors import ActorStopped
from intendant.domain.logs import about, trace_of
from intendant.domain.state import ExecutionState
from intendant.parking import Reply
from intendant.supervisor import (
    Backoff,
    DynamicSupervisor,
    Event,
    Intensity,
    ResidentInfo,
    Started,
    SupervisorError,
)

T = TypeVar("T")

logger = logging.getLogger("intendant.sessions")


class Sessions:
    """A dynamic supervisor of session actors. A resident session is an object with a mailbox, and no task.

    One that nobody has asked for a while leaves memory, and is read again when somebody does.
    """

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
        self.services = services
        self.executions = executions
        self.serving = False
        self.path = path
        self._on_event = on_event
        self._intensity = intensity
        self._backoff = backoff
        limits = services.limits
        self._residents: Residents[ResidentSession] = Residents(
            limits.sessions_resident, limits.session_idle, services.deadlines, services.seam
        )
        self._missed: dict[tuple[str, str], int] = {}  # whose time came while nobody served, and when
        self._supervisor: DynamicSupervisor

    def activate(self, tenant: str, session: str) -> Ref[SessionMessage]:
        """The session's reference, resident or not: its actor loads it from hot state when the first message comes.

        Use it at once: it ends when the session leaves memory. Whether there is such a session is the actor's answer,
        not this one's. Raises ActorStopped while the partition does not serve.
        """
        if not self.serving:
            raise ActorStopped(f"{self.path}/sessions is not running")
        resident = self._residents.use(f"{tenant}/{session}")
        if resident is None:
            resident = ResidentSession(self, tenant, session)
            self._residents.add(resident.id, resident)
        return resident.cell.ref

    def ask(
        self, tenant: str, session: str, question: Callable[[Reply[T]], SessionMessage], timeout: float
    ) -> Awaitable[T]:
        """Ask a session, resident or not; see `Ref.ask`. When it raises ActorStopped, its successor may be asked."""
        return self.activate(tenant, session).ask(question, timeout=timeout)

    def submit(
        self, tenant: str, session: str, intents: tuple[PreparedIntent, ...], timeout: float
    ) -> Awaitable[list[str | ExecutionState]]:
        """Have a session accept intents; returns what `Submit` answers, raises as `ask`."""
        return self.activate(tenant, session).ask(partial(Submit, intents), timeout=timeout)

    def evict(self, tenant: str, session: str = "") -> None:
        """Forget a session, or all of a tenant; who asks next finds what hot state holds then."""
        child_id = f"{tenant}/{session}"
        for id in [each for each in self._residents if each == child_id or (not session and each.startswith(child_id))]:
            if (resident := self._residents.pop(id)) is not None:
                resident.leave()

    def due(self, tenant: str, session: str, now: int) -> None:
        """The time has come that a session with an idle time-out stands at in the index of timers."""
        if self.serving and self.executions.serving:
            self.activate(tenant, session).tell_control(Due(now))
        else:
            self._missed[tenant, session] = now

    def tell_missed(self) -> None:
        """It is known which executions are open: tell those whose time came before."""
        missed, self._missed = self._missed, {}
        for (tenant, session), now in missed.items():
            self.due(tenant, session, now)

    def work_ended(self, tenant: str, session: str) -> None:
        """None of the session's executions is open any more. Where nobody serves, that is found when its time comes."""
        with suppress(ActorStopped):
            self.activate(tenant, session).tell_control(WorkEnded())

    def cells(self) -> list[tuple[str, Cell[SessionMessage]]]:
        """Those in memory, by `tenant/session`."""
        found = [self._residents.get(id) for id in self._residents]
        return [(each.id, each.cell) for each in found if each is not None]

    def pressed(self) -> tuple[int, float]:
        """How many messages wait for sessions, and how long the oldest has, since a look saw it. From any thread."""
        crowded = [each.cell for each in self._residents.all() if each.cell.mailbox]
        pressures = [cell.pressure() for cell in crowded]
        return sum(each.depth for each in pressures), max((each.oldest for each in pressures), default=0.0)

    def fares(self, child_id: str) -> ResidentInfo:
        """What the supervisor knows of a session's crashes. Only while sessions serve."""
        return self._supervisor.resident(child_id)

    @property
    def resident(self) -> int:
        """How many sessions are in memory."""
        return len(self._residents)

    async def run(self, task_status: Started) -> None:
        """Serve until stopped; then every open question is answered with ActorStopped."""
        self._supervisor = DynamicSupervisor(
            "sessions",
            path=self.path,
            intensity=self._intensity,
            backoff=self._backoff,
            on_event=self._on_event,
            on_give_up=self._give_up,
            parking=self.services.seam.parking,
        )
        self.serving = True
        try:
            await self._supervisor.run(task_status)
        finally:
            self.serving = False
            for resident in self._residents.clear():
                resident.leave()

    def stop(self) -> None:
        """Finish what is under way, then end."""
        self.serving = False
        self._supervisor.stop()

    def schedule(self, resident: ResidentSession) -> None:
        """See to it that it has its turn."""
        try:
            self._supervisor.perform(resident.id, resident.cell.turn, resident.cell.crashed)
        except SupervisorError:
            resident.cell.end()

    def forget(self, resident: ResidentSession) -> None:
        """There is no such session: it need not be in memory, unless somebody asks for it at this moment."""
        if not resident.cell.mailbox and self._residents.get(resident.id) is resident:
            self._residents.pop(resident.id)
            resident.leave()

    def _give_up(self, child_id: str, cause: BaseException) -> None:
        """This session crashed too often: it leaves memory, and the next message loads it anew."""
        tenant, _, session = child_id.partition("/")
        logger.error(
            "session %s crashed too often and is given up until it is asked again\n%s",
            *(child_id, trace_of(cause)),
            extra=about(tenant, session),
        )
        resident = self._residents.pop(child_id)
        if resident is not None:
            resident.cell.end(cause)


class ResidentSession:
    """A session in memory. It is the `Place` of its actor."""

    __slots__ = ("_commits", "_landing", "_session", "_sessions", "_tenant", "cell", "id", "used")

    def __init__(self, sessions: Sessions, tenant: str, session: str) -> None:
        self.id = f"{tenant}/{session}"  # under the supervisor, too
        self.used = 0.0
        self._sessions = sessions
        self._tenant = tenant
        self._session = session
        self._commits = 0  # on their way
        self._landing: Reply[None] | None = None  # somebody waits for them
        services = sessions.services
        self.cell: DirectCell[SessionMessage] = DirectCell(
            f"{sessions.path}/sessions/{self.id}",
            self._actor,
            capacity=services.limits.session_mailbox,
            seam=services.seam,
            deadlines=services.deadlines,
            schedule=self._schedule,
        )

    @property
    def may_leave(self) -> bool:
        """Whether no message waits, no question is open, nothing runs or is on its way, and nobody watches."""
        return self.cell.idle and not self._commits and not self.cell.watched

    def leave(self) -> None:
        """It is not in memory any more."""
        self.cell.end()

    def _actor(self) -> SessionActor:
        sessions = self._sessions
        return SessionActor(sessions.services, sessions.executions, self._tenant, self._session, self)

    def _schedule(self) -> None:
        self._sessions.schedule(self)

    # --- what its actor asks

    @property
    def waiting(self) -> bool:
        """See `Place`."""
        return bool(self.cell.mailbox)

    def handed_over(self) -> None:
        """See `Place`."""
        self._commits += 1

    def landed(self) -> None:
        """See `Place`."""
        self._commits -= 1
        if not self._commits and self._landing is not None:
            self._landing.set(None)

    async def all_landed(self) -> None:
        """See `Place`."""
        while self._commits:
            self._landing = Reply()
            await self._landing.wait(self._sessions.services.seam)

    def unknown(self) -> None:
        """See `Place`."""
        self._sessions.forget(self)

    def watch_work(self) -> None:
        """See `Place`."""
        tenant, session, sessions = self._tenant, self._session, self._sessions
        sessions.executions.places.when_ended(tenant, session, lambda: sessions.work_ended(tenant, session))
