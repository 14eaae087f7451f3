"""The executions of a partition: a dynamic supervisor of their actors, and who waits for a turn."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

import anyio
import msgspec

from intendant.actors.actor import Cell
from intendant.actors.execution import ExecutionActor
from intendant.actors.found import Found, found_open
from intendant.actors.history import Accepted
from intendant.actors.messages import ExecutionMessage, PreparedIntent
from intendant.actors.open_execution import OpenExecution
from intendant.actors.open_set import OpenSet
from intendant.actors.passivation import Passivation
from intendant.actors.places import Places
from intendant.actors.pure import with_end
from intendant.actors.readings import Readings
from intendant.actors.ref import Ref
from intendant.actors.services import Services
from intendant.actors.trials import Trials
from intendant.domain import state as states
from intendant.domain.commit import Commit
from intendant.domain.errors import ActorStopped, InvalidValue, Stopped, UnknownQuery
from intendant.domain.ids import Ids
from intendant.domain.logs import about, trace_of
from intendant.domain.payloads import Failure
from intendant.domain.state import ExecutionState, SessionState, decode_execution
from intendant.supervisor import (
    Backoff,
    DynamicSupervisor,
    Event,
    Intensity,
    ResidentInfo,
    Started,
    SupervisorError,
)

logger = logging.getLogger("intendant.executions")

_END = "/end"  # under this name a condemned execution is ended; no id holds a slash
_CLEAN_UP = "/clean-up"  # and under this its clean-up is watched


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
        self.services = services
        self.serving = False
        self._stage = services.stage
        self._path = path
        self._on_event = on_event
        self._intensity = intensity
        self._backoff = backoff
        self.open = OpenSet(services)
        self.places = Places(services)
        self._passivation = Passivation(self.places, services.seam)
        self._ids = Ids()
        self._supervisor: DynamicSupervisor
        self._loading: anyio.CancelScope
        self._trials: Trials
        self._readings: Readings
        self._stage.join(self)
        services.writer.crowding.on_crowded = self._slow_down

    # --- what sessions ask

    def plan(self, session: SessionState, intent: PreparedIntent, now: int, *, within: bool = False) -> OpenExecution:
        """An execution that is about to be accepted; its id is higher than those of all before."""
        return self._entry_of(
            session.tenant,
            session.id,
            intent.type,
            self._ids.make(now),
            session.concurrency,
            intent.priority,
            intent.version,
            within=within,
        )

    def _entry_of(
        self,
        tenant: str,
        session: str,
        type: str,
        id: str,
        concurrency: int,
        priority: int,
        version: int,
        *,
        within: bool,
    ) -> OpenExecution:
        handler = self.services.repertoire.of_version(type, version)
        return OpenExecution(
            self,
            tenant,
            session,
            id,
            f"/{id}" if within else session,
            f"{tenant}/{id}",
            concurrency or self.services.limits.session_concurrency,
            type if handler is None else handler.type,  # one text for all of them
            handler,
            exclusive=handler is not None and handler.exclusive,
            priority=priority,
        )

    def begin(self, entries: Sequence[OpenExecution], now: int) -> bool:
        """Give all of them places at once, if nobody is passed over by that; else none."""
        return self.serving and self._stage.open and self.places.take_at_once(entries, now)

    def compute(
        self, entry: OpenExecution, accepted: ExecutionState, commit: Commit
    ) -> tuple[Commit, ExecutionState] | None:
        """If its handler is pure, compute it in its place: what accepts and ends it, and what it becomes by that.

        None when it is to run as others do, because it is not pure, or has not come to an end that can be recorded.
        """
        handler = entry.handler
        if handler is None or not handler.pure:
            return None
        entry.accepted = Accepted(accepted, since=0)
        end = self._actor(entry).compute(handler)
        try:
            computed = None if end is None else with_end(commit, accepted, end)
        except InvalidValue:  # its artifacts and events together are too large
            return None
        if computed is not None:
            self.give_back([entry])
        return computed

    def give_back(self, entries: Iterable[OpenExecution]) -> None:
        """They are not accepted: their places are free again."""
        self.places.give_back(entries)
        self._make_way()

    def prefer(self, tenant: str, session: str) -> None:
        """A session that gets an intent is resumed first: what was found open of it goes ahead of its tenant's."""
        if self.places.resuming:
            self.places.prefer(tenant, session)
            self.fill()

    def start(self, entry: OpenExecution, accepted: Accepted | None) -> None:
        """Run an execution that was just accepted: in the place that it was given, or when its turn comes.

        Without what its acceptance made, it is read from hot state.
        """
        if not self.open.add(entry):
            return  # found there by a restart that came in between
        entry.accepted = accepted
        if self.places.has_been_given(entry):
            self._launch(entry)
        else:
            entry.unstarted = True
            self.queue(entry)

    def queue(self, entry: OpenExecution) -> None:
        """Run its handler when its turn comes."""
        entry.waiting = True
        self.places.queue(entry)
        self.fill()

    def has_open(self, tenant: str, session: str) -> bool:
        """Whether a session has executions that have not ended, or it is not known."""
        return not self.serving or self.places.has_open(tenant, session)

    def _slow_down(self, tenant: str, more: int | None) -> None:
        """Many commits of a tenant wait: only so many more of it are to begin."""
        self.places.slow_down(tenant, more)
        self._make_way()

    async def stand(self, *, aside: bool) -> None:
        """See `Troupe`. Without a writer nothing of this partition runs anyway."""
        with contextlib.suppress(Stopped):
            await self.services.writer.stand(aside=aside)

    # --- what others ask

    @property
    def running(self) -> int:
        """See `Troupe`."""
        return self.places.running

    def is_open(self, tenant: str, execution: str) -> bool:
        """Whether this execution is known here as not ended."""
        return self.open.find(tenant, execution) is not None

    def ref(self, tenant: str, execution: str) -> Ref[ExecutionMessage] | None:
        """The reference of a running execution's actor; None when its handler does not run here."""
        entry = self.open.find(tenant, execution)
        if entry is None or entry.actor is None:
            return None
        if entry.cell is None:
            entry.cell = self._cell(entry.child_id, entry.actor)
        return entry.cell.ref

    def fares(self, entry: OpenExecution) -> ResidentInfo:
        """What its supervisor knows of its crashes. Only while executions serve."""
        return self._supervisor.resident(entry.child_id)

    def is_waiting(self, tenant: str, execution: str) -> bool:
        """Whether a handler that has begun does nothing but wait, in memory or out of it."""
        entry = self.open.find(tenant, execution)
        return entry is not None and (entry.resting or entry.passive)

    def why_blocked(self, tenant: str, execution: str) -> str:
        """Why it can't go on with the code that is here; empty when it can."""
        entry = self.open.find(tenant, execution)
        return "" if entry is None else entry.blocked

    async def drop(self, tenant: str, ids: Iterable[str], patience: float) -> None:
        """Stop these for good: their handlers are cancelled, and record nothing any more.

        Returns when all have left, or after `patience` seconds: a function in a thread can't be stopped.
        """
        found = [self.open.find(tenant, id) for id in ids]
        dropped = [entry for entry in found if entry is not None and self.open.remove(entry)]
        for entry in dropped:
            entry.waiting = False
            self.places.withdraw(entry)
            if entry.begun and not entry.launched:
                self.places.end(entry)
            entry.dropped = anyio.Event()
            entry.leave(None)
            entry.let_go()
            if entry.actor is not None:
                entry.actor.recording.cut_off()
                self._supervisor.cancel_work(entry.child_id)
        self.fill()  # those that stood behind them
        with anyio.move_on_after(patience):
            for entry in dropped:
                if entry.actor is not None and entry.dropped is not None:
                    await entry.dropped.wait()

    def files_in_hand(self, tenant: str) -> set[str]:
        """Digests of files that running handlers of a tenant have put, whether they have recorded it or not."""
        running = [entry.actor for entry in self.open if entry.tenant == tenant and entry.actor is not None]
        return {digest for actor in running for digest in actor.files.put_here}

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
            parking=self.services.seam.parking,
            workers=self.services.limits.open + 64,  # one that rests has a worker and no place; nobody waits for one
            idle_workers=1024,
            work_shutdown=0.0,  # suspending is cancelling at once: nothing is recorded by it
        )
        self.open.clear()
        self.places.begin_anew()
        self._loading = anyio.CancelScope()
        self._trials = Trials(self.services, self)
        self._readings = Readings(self.services, self._read_on, self._perform)
        try:
            with self._loading:
                found = await self._read_open_set()
                await self._trials.look_at(found)
                await self._tell_missed_ends()
            if not self._loading.cancel_called:
                await self._supervisor.run(_Ready(task_status, self._begin))
        finally:
            self.serving = False
            self._trials.end()
            self.open.leave(ActorStopped(f"{self._path}/executions has stopped"))
            self.places.begin_anew()

    def stop(self) -> None:
        """Suspend every handler and end; nothing is recorded by that."""
        self.serving = False
        self._loading.cancel()
        self._supervisor.stop()

    async def _read_open_set(self) -> list[OpenExecution]:
        """Every open execution waits for its turn, the oldest first."""
        found, barred = list[Found](), self.services.barred
        async for page in found_open(self.services.log):
            found += [each for each in page if not (barred and barred.holds(each.tenant, execution=each.id))]
        entries = [
            self._entry_of(
                *(each.tenant, each.session, each.type, each.id, each.concurrency, each.priority, each.version),
                within=each.within,
            )
            for each in sorted(found, key=lambda each: (each.since, each.id))
        ]
        for entry in entries:
            self.open.add(entry)
        self.places.add_found(entries)
        return entries

    async def _tell_missed_ends(self) -> None:
        """Tell those who wait for what ended in a commit whose answer nobody here got, because the writer crashed."""
        for tenant, execution in self.services.endings.awaited():
            if not self.is_open(tenant, execution):
                document = await self.services.log.document(tenant, states.EXECUTIONS, execution)
                state = None if document is None else decode_execution(document.body)
                if state is not None and state.status.ended:
                    self.services.endings.tell(state)

    def _begin(self) -> None:
        self.serving = True
        if self._trials:
            self._trials.begin()
            self._supervisor.perform("trials", self._trials.run, lambda cause: self._give_up("trials", cause))
        self.fill()

    def launch(self, entry: OpenExecution) -> None:
        """Run its handler now, whoever waits."""
        self.places.take(entry)
        self._launch(entry)

    def hold(self, entry: OpenExecution) -> None:
        """It is not to have its turn, until it is launched or queued."""
        entry.waiting = False
        self.places.withdraw(entry)

    def fill(self) -> None:
        """Give free places to those whose turn it is."""
        while self.serving and self._stage.open and (entry := self.places.next()) is not None:
            self._launch(entry)

    def _make_way(self) -> None:
        """A place is free, or a session or a tenant has room: others begin, or are told that nobody runs."""
        if self.places.waiting:
            self.fill()
        if not self._stage.open:
            self._stage.left()
        if self.places.idle_calls:
            self.places.tell_idle()

    def _launch(self, entry: OpenExecution) -> None:
        entry.waiting = entry.passive = entry.news = entry.resting = entry.unstarted = False
        entry.launched = entry.begun = True
        entry.blocked = ""
        if entry.accepted is None and (entry.newest is None or entry.newest.settled):
            self._readings.add(entry)
        else:
            self._perform(entry)

    def _perform(self, entry: OpenExecution) -> None:
        try:
            self._supervisor.do(entry)
        except SupervisorError:
            self.serving = False  # on its way down: what is open will be found in the open set

    def _read_on(self, read: Callable[[], Awaitable[None]]) -> None:
        try:
            self._supervisor.perform("readings", read, lambda cause: self._give_up("readings", cause))
        except SupervisorError:
            self.serving = False

    async def live(self, entry: OpenExecution) -> None:
        """Run its handler, on a pooled task."""
        if self._is_to_go(entry):
            self._left(entry)
            return
        actor = entry.actor = self._actor(entry)
        try:
            await actor.run()
        except BaseException as error:  # where it was cancelled, nobody else would say that it has left
            leaves = actor.recording.leaves and isinstance(error, self.services.seam.cancelled)
            if leaves or entry.dropped is not None:
                self._left(entry)
            # who leaves memory was cancelled in its wait alone, or its worker knows
            if not (leaves and actor.recording.passive):
                raise
        else:
            self._left(entry)

    def _is_to_go(self, entry: OpenExecution) -> bool:
        """Whether it is not to run any more, because it is being erased."""
        return entry.dropped is not None or self.services.barred.holds(entry.tenant, execution=entry.id)

    def _actor(self, entry: OpenExecution) -> ExecutionActor:
        accepted, entry.accepted = entry.accepted, None
        return ExecutionActor(self.services, entry.tenant, entry.id, accepted, entry)

    def _cell(self, child_id: str, actor: ExecutionActor) -> Cell[ExecutionMessage]:
        def schedule() -> None:
            try:
                self._supervisor.perform(f"{child_id}/mailbox", cell.turn, cell.crashed)
            except SupervisorError:
                cell.end()

        services = self.services
        cell: Cell[ExecutionMessage] = Cell(
            f"{self._path}/executions/{child_id}",
            lambda: actor,
            capacity=services.limits.session_mailbox,
            seam=services.seam,
            deadlines=services.deadlines,
            schedule=schedule,
        )
        return cell

    # --- what entries tell

    def ended(self, entry: OpenExecution) -> None:
        """It is not open any more. Its session goes on now, or when its handler has left."""
        if self.open.remove(entry) and entry.parted:
            self.places.end(entry)
            self._make_way()

    def rested(self, entry: OpenExecution) -> None:
        """Its handler has begun to do nothing but wait, or works again: waiting takes no place to run."""
        if entry.resting:
            self.places.rest(entry)
            self._passivation.make_room()
            self._make_way()
        else:
            self.places.go_on(entry)

    def revive(self, entry: OpenExecution) -> None:
        """It has news and no handler: one will run when its turn comes."""
        free = not (entry.launched or entry.waiting or entry.held or entry.closed)
        if free and self.serving and entry in self.open:
            self.queue(entry)

    def interrupt(self, entry: OpenExecution) -> None:
        """Cancel the task that its handler runs in, but for what that shields by its worker."""
        self._supervisor.cancel_work(entry.child_id, shielded=False)

    def beside(self, entry: OpenExecution, watch: Callable[[], Awaitable[None]]) -> None:
        """Run this beside its handler. Raises SupervisorError when handlers are being suspended."""
        self._supervisor.perform(f"{entry.child_id}{_CLEAN_UP}", watch, lambda _cause: None)

    def entry(self, tenant: str, execution: str) -> OpenExecution | None:
        """An execution that is open here. Raises ActorStopped while executions do not serve."""
        if not self.serving:
            raise ActorStopped(f"{self._path}/executions is not running")
        return self.open.find(tenant, execution)

    def crashed(self, entry: OpenExecution) -> None:
        """Resume it, after the back-off that the supervisor decided: all is read from hot state again."""
        if self._is_to_go(entry):
            self._left(entry)
            return
        self.restarts += 1
        entry.left()
        self.places.go_on(entry)
        self._launch(entry)

    def _left(self, entry: OpenExecution) -> None:
        """The handler does not run any more: ended, suspended, or without a handler."""
        if entry.dropped is not None:
            if entry.dropped.is_set():
                return
            entry.dropped.set()
        entry.passive = entry.actor is not None and entry.actor.recording.passive
        had_place = not (entry.passive and entry.resting)  # or had none, while it waited
        entry.launched = False
        entry.left()
        self.places.leave(entry, ended=entry not in self.open)
        entry.parted = entry.closed
        entry.resting = False
        if entry.passive:
            self._is_passive(entry)
        elif entry.queries:  # it has no handler here
            entry.leave(UnknownQuery(entry.queries[0].name, []))
        if had_place:
            self._make_way()

    def _is_passive(self, entry: OpenExecution) -> None:
        """What it holds is let go, unless some of it is needed at once."""
        if entry.newest is not None and entry.newest.settled:
            entry.newest = None
        if entry.waits is not None and not (entry.waits.flying or entry.loading):
            entry.waits = None
        if entry.news or entry.queries:
            self.revive(entry)

    def _give_up(self, child_id: str, cause: BaseException) -> None:
        """The restart budget is spent: end it, failed. If not even that works, it stays open for the next resume."""
        entry = self.open.named(child_id.removesuffix(_END))
        if entry is None or not self.serving:
            return
        extra = about(entry.tenant, entry.session, entry.id)
        if child_id.endswith(_END):
            logger.error(
                "execution %s could not be ended and stays open\n%s", entry.child_id, trace_of(cause), extra=extra
            )
            self._left(entry)
            return
        logger.error("execution %s crashed too often and is ended\n%s", child_id, trace_of(cause), extra=extra)
        self._condemn(entry, Failure("crashed", f"crashed again and again, last with {cause!r}"))

    def condemn(self, entry: OpenExecution, failure: Failure) -> None:
        """End one that does not run, failed."""
        self.places.take(entry)
        self._condemn(entry, failure)

    def _condemn(self, entry: OpenExecution, failure: Failure) -> None:
        async def condemn() -> None:
            await self._actor(entry).condemn(failure)
            self._left(entry)

        self._supervisor.perform(f"{entry.child_id}{_END}", condemn, lambda _cause: self._condemn(entry, failure))


class _Ready(msgspec.Struct):
    """Passes `started` on, and says so here as well."""

    status: Started
    ready: Callable[[], None]

    def started(self, value: Any = None) -> None:
        """The supervisor takes children from now on."""
        self.ready()
        self.status.started(value)
