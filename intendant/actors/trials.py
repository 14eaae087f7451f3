"""The executions that may have killed the process: each runs alone, or is held back, until it is known (`poison`)."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Sequence
from typing import Final, Protocol

import anyio
from msgspec import Raw

from intendant.actors.history import Accepted
from intendant.actors.open_execution import OpenExecution
from intendant.actors.readings import AT_ONCE, read
from intendant.actors.services import Services
from intendant.domain.codec import encode
from intendant.domain.commit import AppendJournal, Commit
from intendant.domain.errors import BeingErased, Stopped
from intendant.domain.ids import first_id
from intendant.domain.journal import as_recorded
from intendant.domain.logs import about
from intendant.domain.payloads import ExecutionResumed, Failure
from intendant.domain.poison import Finding, Suspect, Verdict, find, suspect_of, trial
from intendant.domain.records import Record

logger = logging.getLogger("intendant.executions")

ALL_TRIALS_S: Final = 60.0  # that suspects keep others waiting at a start, all together
EMPTYING_S: Final = 10.0  # that handlers of other partitions have to come to rest before one runs alone


class Director(Protocol):
    """Who runs executions."""

    def launch(self, entry: OpenExecution) -> None:
        """Run its handler now."""
        ...

    def queue(self, entry: OpenExecution) -> None:
        """Run its handler when its turn comes."""
        ...

    def hold(self, entry: OpenExecution) -> None:
        """Do not run its handler, until it is launched or queued."""
        ...

    def condemn(self, entry: OpenExecution, failure: Failure) -> None:
        """End it, failed."""
        ...


class Trials:
    """Those of one start of a partition."""

    def __init__(self, services: Services, director: Director) -> None:
        self._services = services
        self._director = director
        self._suspects: list[OpenExecution] = []
        self._held: list[OpenExecution] = []
        self._deaths: dict[OpenExecution, int] = {}
        self._closed = False

    def __bool__(self) -> bool:
        return bool(self._suspects or self._held)

    async def look_at(self, found: Sequence[OpenExecution]) -> None:
        """Find the suspects among what is open: they wait for their trial, and not for their turn.

        Only what was accepted before the process died so often is read, and nothing when it did not.
        """
        deaths, attempts = self._services.writer.deaths, self._services.limits.deaths
        if len(deaths) < attempts:
            return
        below = first_id(deaths[-attempts])
        known: dict[OpenExecution, Suspect] = {}
        unread = [entry for entry in found if entry.id < below]
        for place in range(0, len(unread), AT_ONCE):
            some = unread[place : place + AT_ONCE]
            known |= zip(some, map(_suspect, await read(self._services.log, some)), strict=True)
        for entry, finding in find(known, deaths, attempts).items():
            self._take(entry, finding)
        self._suspects.sort(key=lambda entry: (-self._deaths[entry], entry.id))

    def _take(self, entry: OpenExecution, finding: Finding) -> None:
        if finding.verdict is Verdict.AGAIN:
            return
        self._director.hold(entry)
        entry.held = True
        self._deaths[entry] = finding.deaths
        (self._held if finding.verdict is Verdict.CONDEMNED else self._suspects).append(entry)

    def begin(self) -> None:
        """Nobody else begins from now on."""
        if not self._closed:
            self._closed = True
            self._services.stage.close()

    def end(self) -> None:
        """Everybody may begin who is not held back."""
        suspects, self._suspects = self._suspects, []
        for entry in suspects:
            self._release(entry)
        if self._closed:
            self._closed = False
            self._services.stage.reopen()

    async def run(self) -> None:
        """Let the suspects run, one alone after the other; then condemn those without which the process lives on."""
        seconds = trial(self._services.writer.deaths, self._services.limits.deaths)
        try:
            async with self._services.stage.turn:
                await self._run_suspects(seconds)
        except Stopped:
            return  # of the writer: whoever restarts it finds all this again
        finally:
            self.end()
        if self._held:
            await anyio.sleep(seconds)
            for entry in self._held:
                self._condemn(entry)

    async def _run_suspects(self, seconds: float) -> None:
        if not self._suspects or not await self._services.stage.emptied(EMPTYING_S):
            return
        end = anyio.current_time() + ALL_TRIALS_S
        await self._services.stage.give(self._director, alone=True)
        while self._suspects and anyio.current_time() < end:
            entry = self._suspects.pop(0)
            with contextlib.suppress(BeingErased):  # it is about to be dropped
                await self._run_alone(entry, seconds)
        await self._services.stage.give(self._director, alone=False)

    async def _run_alone(self, entry: OpenExecution, seconds: float) -> None:
        deaths = self._deaths[entry]
        logger.warning(
            "execution %s runs alone: the process died %d times while it may have been running",
            *(entry.child_id, deaths),
            extra=about(entry.tenant, entry.session, entry.id),
        )
        await self._record(entry, ExecutionResumed(self._services.clock.now(), deaths, alone=True))
        if entry.dropped is not None:
            return
        over = anyio.Event()
        entry.held = False
        entry.on_change = over.set
        self._director.launch(entry)
        with anyio.move_on_after(seconds):
            await over.wait()
        entry.on_change = None
        if not (over.is_set() or entry.closed or entry.dropped):
            await self._record(entry, ExecutionResumed(self._services.clock.now()))

    async def _record(self, entry: OpenExecution, resumed: ExecutionResumed) -> None:
        body = encode(resumed)
        type, row = as_recorded(resumed, body)
        record = Record(type, entry.session, entry.id, Raw(body))
        await self._services.writer.commit(Commit(entry.tenant, [record], [AppendJournal(entry.id, row)]))

    def _release(self, entry: OpenExecution) -> None:
        if entry.held and entry.dropped is None:
            entry.held = False
            self._director.queue(entry)

    def _condemn(self, entry: OpenExecution) -> None:
        if entry.dropped is not None:
            return
        entry.held = False
        message = (
            f"the process died {self._deaths[entry]} times while it ran, the last time while nothing else did, and "
            "lived on without it. Find out what ends the process there (native code, memory, os._exit), let that run "
            "in a process of its own, and submit it again"
        )
        extra = about(entry.tenant, entry.session, entry.id)
        logger.error("execution %s is ended: %s", entry.child_id, message, extra=extra)
        self._director.condemn(entry, Failure("crashed", message))


def _suspect(recorded: Accepted | None) -> Suspect:
    if recorded is None or recorded.journal is None:
        return Suspect(0)  # it is blocked, and runs nothing
    return suspect_of(recorded.state, recorded.journal)
