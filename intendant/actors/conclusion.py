"""How one execution ends: what becomes of its children is seen to, and one commit holds all that it leaves."""

from __future__ import annotations

import contextlib
import logging

import anyio.lowlevel
from msgspec import Raw, Struct

from intendant.actors.history import History
from intendant.actors.live_recording import LiveRecording
from intendant.actors.services import Services
from intendant.context import Context
from intendant.domain.errors import InvalidValue, Stopped, Suspended
from intendant.domain.logs import about, told
from intendant.domain.payloads import (
    ChildRecord,
    ExecutionCancelled,
    ExecutionCompleted,
    ExecutionFailed,
    Failure,
    SagaRecord,
    Signal,
)
from intendant.domain.state import Status
from intendant.steps.steps import failure_of

logger = logging.getLogger("intendant.execution")

_Left = tuple[list[Signal], int, list[SagaRecord], list[ChildRecord], int]


class Conclusion(Struct, gc=False):
    """Made when an execution is about to end. Nobody waits here until that is durable: see `History.end`.

    `recording` is that of its handler, whether it ran or not, and `history` what is recorded.
    """

    services: Services
    history: History
    recording: LiveRecording
    became: list[ChildRecord] = []

    async def complete(self, result: bytes, context: Context) -> None:
        """End it with a result; cancelled, if a cancel was decided."""
        left: _Left = [], 0, [], [], 0
        if not self.history.untouched:
            await self.settle_children()
            if self.history.fold.cancelled is not None:
                self.cancel(None, context)
                return
            left = self._left()
        now, events = self.services.clock.now(), context.take_events()
        payload = ExecutionCompleted(Raw(result), now, context.artifacts, events, *left)
        try:
            self.history.end(payload, context.changed_state)
        except InvalidValue as error:  # all artifacts together are larger than a commit may be
            await self.fail(error, None)
        else:
            self._tell(Status.COMPLETED)

    async def fail(self, error: Exception, context: Context | None) -> None:
        """End it with what its handler raised; cancelled, if a cancel was decided."""
        if isinstance(error, Stopped) and not self.services.writer.serving:
            raise error  # not the handler's doing
        state = self.history.state
        if not isinstance(error, InvalidValue):
            attempt = 0 if context is None else context.attempt
            logger.info(
                "%s %s failed: %s",
                *(state.type, state.id, told(error)),
                extra=about(state.tenant, state.session, state.id, attempt=attempt),
            )
        failure = failure_of(error)
        await self.settle_children()
        try:
            self.end_failed(failure, context)
        except InvalidValue:  # what it gave is larger than a commit may be: its end goes without
            self.end_failed(failure, None)

    def end_failed(self, failure: Failure, context: Context | None) -> None:
        """End it failed, its children being settled; cancelled, if a cancel was decided."""
        if self.history.fold.cancelled is not None:
            self.cancel(failure, context)
            return
        artifacts = context.artifacts if context else {}
        events = context.take_events() if context else []
        payload = ExecutionFailed(failure, self.services.clock.now(), artifacts, events, *self._left())
        self.history.end(payload)
        self._tell(Status.FAILED, failure.code)

    def cancel(self, failure: Failure | None, context: Context | None) -> None:
        """Once a cancel was decided this is the end, whatever the handler came to. Its children are settled."""
        cancellation = self.recording.cancellation
        if failure is None and cancellation is not None and cancellation.overrun is not None:
            failure = failure_of(cancellation.overrun)
        artifacts = context.artifacts if context and not context.closed else {}
        events = context.take_events() if context else []
        payload = ExecutionCancelled(self.services.clock.now(), failure, artifacts, events, *self._left())
        try:
            self.history.end(payload)
        except InvalidValue:  # what it gave is larger than a commit may be: its end goes without
            self.cancel(failure, None)
        else:
            self._tell(Status.CANCELLED)

    async def settle_children(self) -> None:
        """Cancel those that it has not abandoned, and see what has become of all.

        Raises Suspended when handlers are suspended meanwhile: then it ends later.
        """
        if not self.history.journal.children:
            return
        worker = self.recording.worker
        with contextlib.nullcontext() if worker is None else worker.shield():
            self.became = await self.recording.offspring.settle()
            return
        await anyio.lowlevel.checkpoint()
        raise Suspended(f"execution {self.history.state.id} is suspended before its end, and goes on later")

    def _left(self) -> _Left:
        """What its end tells besides what the handler gave."""
        journal = self.history.journal
        return *self.history.undelivered(), journal.sagas.records(), self.became, len(journal.children)

    def _tell(self, status: Status, code: str = "") -> None:
        if self.recording.trace is not None:
            self.recording.trace.ended(status, code)
