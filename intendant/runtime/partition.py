"""One partition at work: its actors, put together."""

from __future__ import annotations

from collections.abc import Callable

import anyio

from intendant.actors.deadlines import Deadlines
from intendant.actors.endings import Endings
from intendant.actors.executions import Executions
from intendant.actors.outbox_relay import OutboxRelay, RelaySettings
from intendant.actors.services import Limits, Services
from intendant.actors.sessions import Sessions
from intendant.actors.state_writer import StateWriter
from intendant.actors.wal_writer import WalWriter, WriterSettings
from intendant.domain.commit import Batch, Commit, Receipt
from intendant.domain.errors import AcknowledgedDataMissing, Fenced
from intendant.domain.ports import Clock, ColdStore, FileStore, Log, Owner, Publisher
from intendant.parking import Reply, Seam
from intendant.realm import Repertoire
from intendant.supervisor import Backoff, Event, Intensity

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
        files: FileStore,
        threads: anyio.CapacityLimiter,
        limits: Limits,
        writer_settings: WriterSettings,
        relay_settings: RelaySettings,
        cold: ColdStore | None,
        publisher: Publisher | None,
        on_event: Callable[[Event], None],
        path: str,
    ) -> None:
        self.number = number
        self.log = log
        self._seam = seam
        self.endings = Endings()
        self.writer = WalWriter(
            log,
            owner,
            number,
            clock=clock,
            seam=seam,
            settings=writer_settings,
            on_committed=self._committed,
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
        )
        budget = Intensity(restarts=5, period=30.0)
        self.executions = Executions(services, path=path, on_event=on_event, intensity=budget, backoff=Backoff())
        self.sessions = Sessions(
            services, self.executions, path=path, on_event=on_event, intensity=budget, backoff=Backoff()
        )
        self.state_writer = StateWriter(log, cold, self.writer, seam, Backoff()) if cold else None
        self.relay = OutboxRelay(log, publisher, self.writer, clock, seam, relay_settings) if publisher else None
        self._serving: list[Reply[None]] = []
        self._watchers: set[Callable[[], None]] = set()
        self._error: BaseException | None = None

    async def commit(self, commit: Commit) -> Receipt:
        """Commit new work that needs no session's decision. Raises Overloaded, ActorStopped."""
        return await self.writer.accept(commit).wait(self._seam)

    def wait_serving(self) -> Reply[None]:
        """A reply that is given when sessions can be reached (again)."""
        reply: Reply[None] = Reply()
        if self.sessions.serving:
            reply.set(None)
        else:
            self._serving.append(reply)
        return reply

    def serves(self) -> None:
        """Sessions can be reached: whoever waited for that goes on."""
        waiting, self._serving = self._serving, []
        for reply in waiting:
            reply.set(None)
        if self.relay is not None:
            self.relay.wake()  # a writer that crashed may have added events and not told

    def watch_commits(self, call: Callable[[], None]) -> None:
        """Call after every batch that added records, and when the partition has failed."""
        self._watchers.add(call)

    def forget_commits(self, call: Callable[[], None]) -> None:
        """Do not call any more."""
        self._watchers.discard(call)

    def check(self) -> None:
        """Raise what the partition failed with, if it has."""
        if self._error is not None:
            raise self._error

    def fail(self, error: BaseException) -> None:
        """The partition does not serve any more: whoever waits is told."""
        self._error = error
        self.endings.fail(error)
        waiting, self._serving = self._serving, []
        for reply in waiting:
            reply.fail(error)
        for call in list(self._watchers):
            call()

    def _committed(self, batch: Batch) -> None:
        if self.relay is not None and batch.outbox_adds:
            self.relay.wake()
        if self.state_writer is not None and batch.count:
            self.state_writer.wake()
        if batch.count:
            for call in list(self._watchers):
                call()
