"""A handler called with what is recorded, up to where it would do something new: there it is stopped.

No step's function runs, and nothing is recorded. What lies between the steps of a handler does run, as it does at every
resume.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Final, Never

import anyio
import anyio.lowlevel
from msgspec import Struct

from intendant.actors.intents import prepare_child
from intendant.context import Context
from intendant.domain.children import ChildIntent, ChildRequest
from intendant.domain.errors import Suspended
from intendant.domain.journal import Journal
from intendant.domain.payloads import Emitted, StepCompleted, StepFailed, Submitted, TimerSet
from intendant.domain.ports import FileStore
from intendant.domain.sagas import SagaRow, Sagas
from intendant.domain.state import ExecutionState
from intendant.domain.waits import Wait, WaitEnd
from intendant.realm import Handler, Repertoire
from intendant.steps.cancellation import Cancellation
from intendant.steps.function import StepFunction

_TURNS: Final = 64  # of the loop that tasks beside the one that is stopped have, to come as far as they can


class DryRun(Struct, frozen=True):
    """How far a handler came without anything new. `stuck`: it did not get there in time."""

    context: Context
    stuck: bool
    returned: Any = None
    raised: Exception | None = None


async def run_dry(
    handler: Handler,
    parameters: Any,
    state: ExecutionState,
    recording: DryRecording,
    files: FileStore | None,
    seconds: float,
) -> DryRun:
    """Call a handler with what is recorded, up to where it would do something new."""
    failed = recording.failed
    facts = handler.facts(state, files, None, failed.attempt + 1 if failed else 1)
    context = Context(recording, facts, recording.call)
    recording.context = context
    returned, raised = None, None
    with anyio.move_on_after(seconds) as limit, recording.scope:
        try:
            returned = await handler.function(context, parameters)
        except Exception as error:
            raised = error
    context.close()
    return DryRun(context, limit.cancelled_caught, returned, raised)


class DryRecording:
    """What was recorded, and nothing more: whoever wants to record is stopped, and the handler with it."""

    cancellation: Cancellation | None = None

    def __init__(self, journal: Journal, state: ExecutionState, repertoire: Repertoire, shared: bytes | None) -> None:
        self.context: Context | None = None  # of the run that it is for
        self._repertoire = repertoire
        self._shared = shared
        self.scope = anyio.CancelScope()
        self.reached = ""
        self.suspended = False
        self.resumes = True
        self.trace = None
        self.unreadable = ""
        self._journal = journal
        self._now = max(state.started_at, journal.rows[-1].at if journal.rows else 0)

    @property
    def failed(self) -> StepFailed | None:
        """The handler's newest attempt that has failed."""
        return self._journal.failed

    @property
    def journal(self) -> Mapping[str, StepCompleted | StepFailed]:
        """See `Recording.journal`."""
        return self._journal.steps

    @property
    def recorded_events(self) -> Sequence[Emitted]:
        """See `Recording.recorded_events`."""
        return self._journal.events

    @property
    def waits(self) -> Mapping[str, Wait]:
        """See `Recording.waits`."""
        return self._journal.waits.by_path

    @property
    def sagas(self) -> Sagas:
        """See `Recording.sagas`."""
        return self._journal.sagas

    async def stop(self, path: str) -> Never:
        """Here the handler would go on; tasks beside come as far as they can."""
        self.reached = self.reached or path
        await self.wait_for_others()
        self.suspended = True
        self.scope.cancel()
        await anyio.lowlevel.checkpoint()
        raise Suspended("the rehearsal is over")

    async def call(self, path: str, _kind: StepFunction, _function: Callable[..., Any], _given: object) -> Never:
        """A step's function is not called here."""
        await self.stop(path)

    async def wait_for_others(self) -> None:
        """Let the handler's other tasks come as far as they can."""
        for _ in range(_TURNS):
            await anyio.lowlevel.checkpoint()

    async def record_step(self, step: StepCompleted | StepFailed) -> None:
        """See `Recording.record_step`."""
        await self.stop(step.path)

    async def record_saga(self, row: SagaRow) -> None:
        """See `Recording.record_saga`."""
        await self.stop(row.path)

    async def wait(self, path: str, timer: TimerSet | None) -> WaitEnd:
        """See `Recording.wait`."""
        wait = self.waits.get(path)
        if timer is None and wait is not None and wait.end is not None:
            return wait.end
        return await self.stop(path)

    def prepare(self, handler: Any, parameters: Any) -> ChildIntent:
        """See `Recording.prepare`."""
        return prepare_child(self._repertoire, handler, parameters)

    async def submit(self, request: ChildRequest, record: Callable[..., Any]) -> StepCompleted:  # noqa: ARG002
        """See `Recording.submit`."""
        return await self.stop(request.path)

    async def child_end(self, path: str, child: Submitted) -> ExecutionState:  # noqa: ARG002
        """See `Recording.child_end`."""
        return await self.stop(path)

    async def cancel_child(self, child: Submitted) -> None:
        """See `Recording.cancel_child`."""
        await self.stop(f"the cancel of {child.execution}")

    async def read_shared(self) -> bytes | None:
        """See `Recording.read_shared`."""
        return self._shared

    async def pause(self, path: str, until: int) -> None:  # noqa: ARG002  the protocol's
        """See `Recording.pause`."""
        await self.stop(path)

    def block(self, reason: str) -> None:
        """See `Recording.block`."""
        self.unreadable = reason
        self.suspended = True

    def shield(self) -> AbstractContextManager[object]:
        """See `Recording.shield`."""
        return anyio.CancelScope()

    def active(self) -> None:
        """Nobody looks."""

    def fence(self) -> int:
        """See `Recording.fence`."""
        return 0

    def now(self) -> int:
        """See `Recording.now`."""
        return self._now
