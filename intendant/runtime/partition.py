"""One partition at work: its actors, put together."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

import anyio

from intendant.actors.barred import Barred
from intendant.actors.deadlines import Deadlines
from intendant.actors.endings import Endings
from intendant.actors.eraser import Eraser
from intendant.actors.erasure import Surroundings
from intendant.actors.execution_calls import ExecutionCalls
from intendant.actors.executions import Executions
from intendant.actors.orphans import WatchedFiles
from intendant.actors.outbox_relay import OutboxRelay, RelaySettings
from intendant.actors.retention import Sweeper
from intendant.actors.services import Limits, Periods, Services
from intendant.actors.sessions import Sessions
from intendant.actors.stage import Stage
from intendant.actors.state_writer import StateWriter
from intendant.actors.tiers import Tiers
from intendant.actors.timers import Timers
from intendant.actors.touched import Touched
from intendant.actors.wal_writer import WalWriter, WriterSettings
from intendant.context import Context, Facts
from intendant.domain.commit import Batch, Commit, Receipt
from intendant.domain.erasure import Scope
from intendant.domain.errors import AcknowledgedDataMissing, Fenced
from intendant.domain.ports import Clock, ColdStore, Log, Owner, Publisher
from intendant.domain.quotas import Quotas, limits_of
from intendant.domain.retention import RetentionPolicy
from intendant.domain.telemetry import Tracing
from intendant.parking import Reply, Seam
from intendant.realm import Repertoire
from intendant.steps.recording import Recording
from intendant.supervisor import Backoff, Event, Intensity, Start

Projection = tuple[str, Start, Callable[[], None]]  # name, life, how to stop it
LOST = (Fenced, AcknowledgedDataMissing)  # ends by these are final: nobody restarts a partition that is not ours


class Partition:
    """Everything that serves the tenants of one partition. What callers wait on lives here, across restarts."""

    def __init__(
        self,
        number: int,
        log: Log,
        *,
        owner: Owner,
        repertoire: Repertoire,
        clock: Clock,
        seam: Seam,
        deadlines: Deadlines,
        files: WatchedFiles,
        threads: Mapping[str, anyio.CapacityLimiter],
        stage: Stage,
        limits: Limits,
        writer_settings: WriterSettings,
        relay_settings: RelaySettings,
        cold: ColdStore | None,
        loss_window: float,
        partitions: int,
        retention: RetentionPolicy,
        publisher: Publisher | None,
        context: Callable[[Recording, Facts], Context],
        periods: Periods,
        on_event: Callable[[Event], None],
        path: str,
        tracing: Tracing | None,
    ) -> None:
        self.number = number
        self.log = log
        self.tiers = Tiers(log, cold, number)
        self._seam = seam
        self.endings = Endings()
        self.barred = Barred()
        self.writer = WalWriter(
            log,
            owner,
            number,
            clock=clock,
            seam=seam,
            settings=writer_settings,
            on_committed=self._committed,
            barred=self.barred,
        )
        services = Services(
            partition=number,
            log=log,
            writer=self.writer,
            repertoire=repertoire,
            clock=clock,
            seam=seam,
            deadlines=deadlines,
            files=files,
            threads=threads,
            endings=self.endings,
            limits=limits,
            quotas=Quotas(limits_of(limits.tenants)),
            barred=self.barred,
            stage=stage,
            context=context,
            tracing=tracing,
        )
        budget = Intensity(restarts=5, period=30.0)
        self.timers = Timers(log, clock, seam, longest=periods.wall_clock)
        self.executions = Executions(services, path=path, on_event=on_event, intensity=budget, backoff=Backoff())
        self.calls = ExecutionCalls(services, self.executions)
        self.timers.due = self._due
        self.sessions = Sessions(
            services, self.executions, path=path, on_event=on_event, intensity=budget, backoff=Backoff()
        )
        kin = services.kin
        kin.session, kin.cancel, kin.is_open = self.sessions.activate, self.calls.cancel, self.executions.is_open
        kin.serves = lambda: self.sessions.serving and self.executions.serving
        self.state_writer = StateWriter(log, cold, self.writer, seam, Backoff(), window=loss_window) if cold else None
        turn = anyio.Lock()
        self.sweeper = Sweeper(
            log,
            cold,
            self.writer,
            self.state_writer,
            clock,
            seam,
            retention,
            files,
            partitions=partitions,
            turn=turn,
            barred=self.barred,
            every=periods.sweep,
        )
        self.relay = (
            OutboxRelay(log, publisher, self.writer, clock, seam, relay_settings, self.barred) if publisher else None
        )
        around = Surroundings(
            log=log,
            cold=cold,
            writer=self.writer,
            state_writer=self.state_writer,
            files=files,
            clock=clock,
            barred=self.barred,
            window=loss_window,
            drop=self.executions.drop,
            files_in_hand=self.executions.files_in_hand,
            sent=self._sent,
            forget=self._forget,
        )
        self.eraser = Eraser(around, seam, turn)
        self.touched = Touched()
        self._serving: list[Reply[None]] = []
        self._watchers: set[Callable[[], None]] = set()
        self.lost: BaseException | None = None
        """What the partition failed with; None as long as it serves."""

    @property
    def projections(self) -> list[Projection]:
        """What follows the partition's log."""
        found: list[Projection] = []
        if self.state_writer is not None:
            found.append(("state-writer", self.state_writer.run, self.state_writer.stop))
        if self.relay is not None:
            found.append(("outbox-relay", self.relay.run, self.relay.stop))
        found.append(("retention", self.sweeper.run, self.sweeper.stop))
        found.append(("eraser", self.eraser.run, self.eraser.stop))
        return found

    async def commit(self, commit: Commit) -> Receipt:
        """Commit new work that needs no session's decision. Raises Overloaded, ActorStopped."""
        reply: Reply[Receipt] = Reply()
        self.writer.accept(commit, reply)
        return await reply.wait(self._seam)

    def wait_serving(self) -> Reply[None]:
        """A reply that is given when sessions and executions can be reached (again).

        Raises what the partition failed with: who begins to wait after that would be told by nobody.
        """
        self.check()
        reply: Reply[None] = Reply()
        if self.writer.serving and self.sessions.serving and self.executions.serving:
            reply.set(None)
        else:
            self._serving.append(reply)
        return reply

    def serves(self) -> None:
        """Sessions can be reached: whoever waited for that goes on."""
        waiting, self._serving = self._serving, []
        for reply in waiting:
            reply.set(None)
        self.sessions.tell_missed()
        self.eraser.wake()
        if self.relay is not None:
            self.relay.wake()  # a writer that crashed may have added events and not told

    async def _sent(self, scope: Scope) -> None:
        if self.relay is not None:
            await self.relay.sent(scope)

    def _forget(self, scope: Scope, executions: Collection[str]) -> None:
        """What was erased is not to be in memory either."""
        self.sessions.evict(scope.tenant, scope.session)
        self.endings.erase(scope.tenant, executions if scope.session else None)
        self.touched.missed()

    def watch_commits(self, call: Callable[[], None]) -> None:
        """Call after every batch that added records, and when the partition has failed."""
        self._watchers.add(call)

    def forget_commits(self, call: Callable[[], None]) -> None:
        """Do not call any more."""
        self._watchers.discard(call)

    def check(self) -> None:
        """Raise what the partition failed with, if it has."""
        if self.lost is not None:
            raise type(self.lost)(*self.lost.args) from self.lost  # callers' traces are not to add up in one

    def fail(self, error: BaseException) -> None:
        """The partition does not serve any more, nor does what follows its log: whoever waits is told."""
        self.lost = self.lost or error
        for _, _, stop in self.projections:
            stop()
        self.endings.fail(error)
        self.eraser.fail(error)
        waiting, self._serving = self._serving, []
        for reply in waiting:
            reply.fail(error)
        for call in list(self._watchers):
            call()
        self.touched.missed()

    def _due(self, tenant: str, execution: str, rest: str, now: int) -> None:
        """A time has come: of a wait of an execution, or of an idle session."""
        if execution:
            self.calls.due(tenant, execution, rest, now)
        else:
            self.sessions.due(tenant, rest, now)

    def _committed(self, batch: Batch) -> None:
        self.timers.committed(batch)
        self.touched.committed(batch)
        if self.relay is not None and batch.outbox_adds:
            self.relay.wake()
        if self.state_writer is not None and batch.count:
            self.state_writer.wake()
        if batch.count:
            for call in list(self._watchers):
                call()
