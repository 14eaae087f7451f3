"""The executions of a partition: a dynamic supervisor of their actors, and who waits for a turn."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

import anyio
import msgspec

from intendant.actors.actor import Cell
from intendant.actors.execution import Accepted, ExecutionActor, decode_execution
from intendant.actors.messages import ExecutionMessage
from intendant.actors.ref import Ref
from intendant.actors.services import Services
from intendant.domain import state as states
from intendant.domain.errors import Overloaded
from intendant.domain.ports import IndexMember
from intendant.supervisor import (
    Backoff,
    DynamicSupervisor,
    Event,
    Intensity,
    Started,
    SupervisorError,
)

logger = logging.getLogger("intendant.executions")

_END = "/end"  # under this name a condemned execution is ended; no id holds a slash
_PAGE = 1_000  # members of the open set that are read at a time


class _Open:
    """An execution that has not ended: waiting for its turn, or running."""

    __slots__ = ("accepted", "actor", "cell", "id", "tenant", "waiting")

    def __init__(self, tenant: str, id: str, accepted: Accepted | None) -> None:
        self.tenant = tenant
        self.id = id
        self.accepted = accepted
        self.waiting = True  # for its turn
        self.actor: ExecutionActor | None = None
        self.cell: Cell[ExecutionMessage] | None = None  # made when somebody has a message for it

    def left(self) -> None:
        """Its handler does not run any more: what it was asked is answered with ActorStopped."""
        self.actor = None
        if self.cell is not None:
            self.cell.end()
            self.cell = None

    @property
    def child_id(self) -> str:
        """Its name under the supervisor, and its key here."""
        return f"{self.tenant}/{self.id}"


class Places(msgspec.Struct, frozen=True, gc=False):
    """Places to run that were reserved. Void when the executions were restarted since."""

    life: int
    count: int


class Executions:
    """Starts executions within their limits, resumes those found open, and knows which are.

    `run` is its life; at every restart all is forgotten, and read again from the open set.
    """

    def __init__(
        self,
        services: Services,
        *,
        path: str,
        on_event: Callable[[Event], None],
        intensity: Intensity,
        backoff: Backoff,
    ) -> None:
        self.restarts = 0
        self._services = services
        self._path = path
        self._on_event = on_event
        self._intensity = intensity
        self._backoff = backoff
        self._open: dict[str, _Open] = {}
        self._waiting: deque[_Open] = deque()  # one that was preferred stands in it twice
        self._found: dict[tuple[str, int], list[_Open]] = {}  # by session, what a resume found open
        self._running = 0
        self._life = 0
        self._serving = False
        self._idle_calls: list[Callable[[], None]] = []
        self._supervisor: DynamicSupervisor
        self._loading: anyio.CancelScope

    # --- what sessions ask

    def check_room(self, count: int) -> None:
        """Raise Overloaded when `count` more executions would be too many open at a time."""
        if len(self._open) + count > self._services.limits.open:
            raise Overloaded("the set of open executions", self._services.limits.open)

    def reserve(self, count: int) -> Places | None:
        """Take places to run at once, if there are as many and nobody waits for them."""
        if self._running + count > self._services.limits.running or self._waiting or not self._serving:
            return None
        self._running += count
        return Places(self._life, count)

    def give_back(self, places: Places) -> None:
        """Give reserved places back."""
        if places.life == self._life:
            self._running -= places.count
            self._fill()

    def prefer(self, tenant: str, session: str) -> None:
        """A session that gets an intent is resumed first: what was found open of it goes ahead of all that waits."""
        if self._found and (entries := self._found.pop((tenant, states.open_score(session)), None)):
            self._waiting.extendleft(sorted(entries, key=lambda entry: entry.id, reverse=True))
            self._fill()

    def start(self, accepted: Accepted, places: Places | None) -> None:
        """Run an execution that was just accepted: in its reserved place, or when its turn comes."""
        state = accepted.state
        if self.is_open(state.tenant, state.id):
            return  # found in the open set by a restart that came in between
        entry = self._add(_Open(state.tenant, state.id, accepted))
        if places is not None and places.life == self._life:
            self._launch(entry)
        else:
            self._waiting.append(entry)
            self._fill()

    # --- what others ask

    def is_open(self, tenant: str, execution: str) -> bool:
        """Whether this execution is known here as not ended."""
        return f"{tenant}/{execution}" in self._open

    def ref(self, tenant: str, execution: str) -> Ref[ExecutionMessage] | None:
        """The reference of a running execution's actor; None when its handler does not run here."""
        entry = self._open.get(f"{tenant}/{execution}")
        if entry is None or entry.actor is None:
            return None
        if entry.cell is None:
            entry.cell = self._cell(entry.child_id, entry.actor)
        return entry.cell.ref

    @property
    def open(self) -> int:
        """How many have not ended."""
        return len(self._open)

    @property
    def running(self) -> int:
        """How many handlers run."""
        return self._running

    def when_idle(self, call: Callable[[], None]) -> None:
        """Call once no handler runs and none waits: at once, or when the last one has left."""
        if self._running or self._waiting:
            self._idle_calls.append(call)
        else:
            call()

    # --- life

    async def run(self, task_status: Started) -> None:
        """Read the open set, then run what is in it and what is added, until stopped."""
        self._supervisor = DynamicSupervisor(
            "executions",
            path=self._path,
            intensity=self._intensity,
            backoff=self._backoff,
            on_event=self._on_event,
            on_give_up=self._give_up,
            parking=self._services.seam.parking,
            workers=self._services.limits.running + 64,  # those that are condemned must not wait for those that run
            idle_workers=1024,
            work_shutdown=0.0,  # suspending is cancelling at once: nothing is recorded by it
        )
        self._life += 1
        self._open.clear()
        self._waiting.clear()
        self._found.clear()
        self._running = 0
        self._loading = anyio.CancelScope()
        try:
            with self._loading:
                await self._read_open_set()
                await self._tell_missed_ends()
            if not self._loading.cancel_called:
                await self._supervisor.run(_Ready(task_status, self._begin))
        finally:
            self._serving = False

    def stop(self) -> None:
        """Suspend every handler and end; nothing is recorded by that."""
        self._serving = False
        self._loading.cancel()
        self._supervisor.stop()

    async def _read_open_set(self) -> None:
        """Every open execution waits for its turn, the oldest first."""
        after: IndexMember | None = None
        found: list[_Open] = []
        while page := await self._services.log.index(states.OPEN, after=after, limit=_PAGE):
            for member in page:
                entry = self._add(_Open(member.tenant, member.member, None))
                self._found.setdefault((member.tenant, member.score), []).append(entry)
                found.append(entry)
            after = page[-1]
        self._waiting.extend(sorted(found, key=lambda entry: entry.id))

    async def _tell_missed_ends(self) -> None:
        """Tell those who wait for what ended in a commit whose answer nobody here got, because the writer crashed."""
        for tenant, execution in self._services.endings.awaited():
            if not self.is_open(tenant, execution):
                document = await self._services.log.document(tenant, states.EXECUTIONS, execution)
                state = None if document is None else decode_execution(document.body)
                if state is not None and state.status.ended:
                    self._services.endings.tell(state)

    def _add(self, entry: _Open) -> _Open:
        self._open[entry.child_id] = entry
        return entry

    def _begin(self) -> None:
        self._serving = True
        self._fill()

    def _fill(self) -> None:
        """Give free places to those who wait, in order."""
        while self._serving and self._waiting and self._running < self._services.limits.running:
            entry = self._waiting.popleft()
            if entry.waiting:
                self._running += 1
                self._launch(entry)
        if not self._waiting:
            self._found.clear()

    def _launch(self, entry: _Open) -> None:
        entry.waiting = False
        try:
            self._supervisor.perform(entry.child_id, partial(self._live, entry), partial(self._crashed, entry))
        except SupervisorError:
            self._serving = False  # on its way down: what is open will be found in the open set

    async def _live(self, entry: _Open) -> None:
        actor = entry.actor = self._actor(entry)
        await actor.run()
        self._left(entry)

    def _actor(self, entry: _Open) -> ExecutionActor:
        accepted, entry.accepted = entry.accepted, None
        return ExecutionActor(
            self._services,
            entry.tenant,
            entry.id,
            accepted=accepted,
            suspended=lambda: not self._serving,
            on_end=lambda: self._ended(entry),
        )

    def _cell(self, child_id: str, actor: ExecutionActor) -> Cell[ExecutionMessage]:
        def schedule() -> None:
            try:
                self._supervisor.perform(f"{child_id}/mailbox", cell.turn, cell.crashed)
            except SupervisorError:
                cell.end()

        services = self._services
        cell: Cell[ExecutionMessage] = Cell(
            f"{self._path}/executions/{child_id}",
            lambda: actor,
            capacity=services.limits.session_mailbox,
            seam=services.seam,
            deadlines=services.deadlines,
            schedule=schedule,
        )
        return cell

    def _ended(self, entry: _Open) -> None:
        self._open.pop(entry.child_id, None)

    def _crashed(self, entry: _Open, _cause: BaseException) -> None:
        """Resume it, after the back-off that the supervisor decided: all is read from hot state again."""
        self.restarts += 1
        entry.left()
        self._launch(entry)

    def _left(self, entry: _Open) -> None:
        """The handler does not run any more: ended, suspended, or without a handler."""
        entry.left()
        self._running -= 1
        self._fill()
        if not self._running and not self._waiting:
            calls, self._idle_calls = self._idle_calls, []
            for call in calls:
                call()

    def _give_up(self, child_id: str, cause: BaseException) -> None:
        """The restart budget is spent: end it, failed. If not even that works, it stays open for the next resume."""
        entry = self._open.get(child_id.removesuffix(_END))
        if entry is None or not self._serving:
            return
        if child_id.endswith(_END):
            logger.error("execution %s could not be ended and stays open", entry.child_id, exc_info=cause)
            self._left(entry)
            return
        logger.error("execution %s crashed too often and is ended", child_id, exc_info=cause)
        self._condemn(entry, cause)

    def _condemn(self, entry: _Open, cause: BaseException) -> None:
        async def condemn() -> None:
            await self._actor(entry).condemn(cause)
            self._left(entry)

        self._supervisor.perform(f"{entry.child_id}{_END}", condemn, lambda _cause: self._condemn(entry, cause))


class _Ready(msgspec.Struct):
    """Passes `started` on, and says so here as well."""

    status: Started
    ready: Callable[[], None]

    def started(self, value: Any = None) -> None:
        """The supervisor takes children from now on."""
        self.ready()
        self.status.started(value)
