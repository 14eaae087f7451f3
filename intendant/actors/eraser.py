"""The eraser: takes on what is to be erased in one partition, and does it to its end, one after the other.

An erasure is begun by a record, and from then on goes on by itself: after a crash, an outage, or when whoever asked
does not wait any more.
"""

from __future__ import annotations

import logging
from typing import Final

import anyio
import anyio.lowlevel
from msgspec.structs import replace

from intendant.actors.barred import open_executions
from intendant.actors.erasure import Erasure, Surroundings, beginning
from intendant.actors.state_writer import CHECKPOINT as COLD
from intendant.actors.survey import Survey
from intendant.domain.commit import Commit, MoveCheckpoint
from intendant.domain.erasure import Erased, Scope
from intendant.domain.errors import ActorStopped, InvalidValue, StillOpen, Stopped, StoreUnavailable
from intendant.domain.logs import about
from intendant.domain.records import SYSTEM_TENANT
from intendant.parking import Reply, Seam
from intendant.supervisor import Backoff, Started

logger = logging.getLogger("intendant.erasure")

CHECKPOINT: Final = "erasure"  # stands at 0: moving it waits until the batch that flies has landed
_RETRY: Final = Backoff(initial=0.2, maximum=60.0)


class Eraser:
    """Erases in one partition. Holds `turn` meanwhile, so that retention does not take away at the same time."""

    def __init__(self, around: Surroundings, seam: Seam, turn: anyio.Lock) -> None:
        self._around = replace(around, rest=self._rest)
        self._seam = seam
        self._turn = turn
        self._parking = seam.parking()
        self._stopped = seam.parking()
        self._stopping = False
        self._waiting: dict[Scope, list[Reply[Erased]]] = {}

    # --- what others ask

    async def survey(self, scope: Scope) -> Erased:
        """What an erasure would remove now. Changes nothing."""
        around = self._around
        return await Survey(scope, around.log, around.cold, around.files, partition=around.writer.partition).run(
            around.rest
        )

    async def erase(self, scope: Scope, *, drop_open: bool) -> Erased:
        """Begin an erasure, or join one that is under way, and wait for its end. A wait that ends early ends nothing.

        Raises StillOpen; InvalidValue when there is cold state and its store was not named; ActorStopped when it is not
        known whether it was begun.
        """
        await self.begin(scope, drop_open=drop_open)
        reply: Reply[Erased] = Reply()
        self._waiting.setdefault(scope, []).append(reply)
        self._parking.wake()
        return await reply.wait(self._seam)

    async def begin(self, scope: Scope, *, drop_open: bool) -> None:
        """Commit that it is to be erased, unless that is under way. Raises as `erase`."""
        around = self._around
        await self._check_cold()
        async with self._turn:
            if scope in around.barred.scopes:
                return
            await self._check_open(scope, drop_open=drop_open)
            around.barred.bar(scope, whole=False)
            try:
                # What flew when nothing new was taken any more has landed when this has: who is open now is all.
                await self._commit(Commit(SYSTEM_TENANT, (), [MoveCheckpoint(CHECKPOINT, 0)]))
                await self._check_open(scope, drop_open=drop_open)
            except BaseException:
                around.barred.lift(scope)
                raise
            around.barred.bar(scope)
            with anyio.CancelScope(shield=True):
                await self._commit(beginning(scope, around.clock.now(), drop_open=drop_open))

    async def _commit(self, commit: Commit) -> None:
        await self._around.writer.commit(commit, erasing=True)

    async def _check_cold(self) -> None:
        """What is archived in a store that is not at hand would stay there."""
        archived = 0 if self._around.cold is not None else await self._around.log.checkpoint(COLD)
        if archived:
            raise InvalidValue(
                "cold",
                f"this store is archived in a cold store, up to sequence {archived}; name it, nothing was erased",
            )

    async def _check_open(self, scope: Scope, *, drop_open: bool) -> None:
        open = 0 if drop_open else len(await open_executions(self._around.log, scope))
        if open:
            raise StillOpen(scope.tenant, scope.session, open)

    # --- life

    async def run(self, task_status: Started) -> None:
        """Erase what is to be erased, until stopped."""
        self._stopping = False
        task_status.started(self)
        failures = 0
        while not self._stopping:
            scope = next(iter(self._around.barred.scopes), None)
            if scope is None:
                await self._parking.wait()
            else:
                failures = 0 if await self._attempt(scope, failures) else failures + 1

    def stop(self) -> None:
        """End after the piece of work under way; the erasure goes on when this runs again."""
        self._stopping = True
        self._parking.wake()
        self._stopped.wake()

    def wake(self) -> None:
        """Something may have to be gone on with."""
        self._parking.wake()

    def fail(self, error: BaseException) -> None:
        """The partition does not serve any more: whoever waits is told."""
        waiting, self._waiting = self._waiting, {}
        for replies in waiting.values():
            for reply in replies:
                reply.fail(error)

    async def _attempt(self, scope: Scope, failures: int) -> bool:
        try:
            async with self._turn:
                erased = await Erasure(scope, self._around).run()
        except (StoreUnavailable, Stopped) as error:
            delay = _RETRY.delay(failures, lambda: 0.5)
            level = logging.DEBUG if isinstance(error, ActorStopped) else logging.WARNING
            extra = about(scope.tenant, scope.session)
            logger.log(level, "the erasure of %s goes on in %.1f s: %s", scope, delay, error, extra=extra)
            await self._pause(delay)
            return False
        logger.info(
            "%s was erased: %d records, %d documents",
            *(scope, erased.records, erased.documents),
            extra=about(scope.tenant, scope.session),
        )
        for reply in self._waiting.pop(scope, ()):
            reply.set(erased)
        return True

    async def _pause(self, seconds: float) -> None:
        if not self._stopping:
            with anyio.move_on_after(seconds):
                await self._stopped.wait()

    async def _rest(self) -> None:
        """Let others have the loop, between pieces of work."""
        if self._stopping:
            raise ActorStopped("the eraser was stopped")
        await anyio.lowlevel.checkpoint()
