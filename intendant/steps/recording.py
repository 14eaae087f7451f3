"""The door from a handler's durable calls to whoever records them."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable, Mapping
from contextlib import AbstractContextManager
from typing import Any, Protocol

from intendant.domain.children import ChildIntent, ChildRequest
from intendant.domain.payloads import Emitted, StepCompleted, StepFailed, Submitted, TimerSet
from intendant.domain.sagas import SagaRow, Sagas
from intendant.domain.state import ExecutionState
from intendant.domain.telemetry import ExecutionTrace
from intendant.domain.waits import Wait, WaitEnd
from intendant.steps.cancellation import Cancellation


class Recording(Protocol):
    """Where a context's durable calls go."""

    @property
    def resumes(self) -> bool:
        """Whether something may have been recorded of this execution before this run, or been sent to it."""
        ...

    @property
    def journal(self) -> Mapping[str, StepCompleted | StepFailed]:
        """What was recorded of this execution before this run, by path: of each step the newest."""
        ...

    @property
    def recorded_events(self) -> Iterable[Emitted]:
        """The events that were recorded before this run."""
        ...

    @property
    def suspended(self) -> bool:
        """Whether the handler is being unwound to resume later."""
        ...

    @property
    def cancellation(self) -> Cancellation | None:
        """The cancel of this run; None as long as none is recorded."""
        ...

    @property
    def trace(self) -> ExecutionTrace | None:
        """Who is told of steps; None when no traces are wanted."""
        ...

    def record_step(self, step: StepCompleted | StepFailed) -> Coroutine[Any, Any, None]:
        """Make a step durable. It is handed over at once; what is awaited returns when it is durable."""
        ...

    @property
    def waits(self) -> Mapping[str, Wait]:
        """What was waited for before this run, and is now, by path."""
        ...

    async def wait(self, path: str, timer: TimerSet | None) -> WaitEnd:
        """Wait, and return what ended it, once that is durable.

        `timer` begins the wait and is made durable first; None goes on with one that `waits` has. A wait that is
        cancelled, unless the handler is being suspended, is withdrawn.
        """
        ...

    def prepare(self, handler: Any, parameters: Any) -> ChildIntent:
        """What a handler wants to submit, checked and encoded. Raises InvalidIntent; touches nothing."""
        ...

    async def submit(
        self, request: ChildRequest, record: Callable[[Submitted, Callable[[StepCompleted], None]], StepCompleted]
    ) -> StepCompleted:
        """Submit a child; returns its row when the child and the row are durable, which they become together.

        `record` is called with the child once it is accepted, and with what commits it together with the row that
        `record` makes; or it is not called, and the reason is raised: Overloaded, UnknownSession, SessionClosed,
        InvalidValue, Deadlock, BeingErased, Suspended.
        """
        ...

    async def child_end(self, path: str, child: Submitted) -> ExecutionState:
        """Wait for a child's end, as what is to be recorded at `path`. Raises UnknownExecution, Deadlock."""
        ...

    async def cancel_child(self, child: Submitted) -> None:
        """Cancel a child and those below it; durable when this returns, if it had not ended."""
        ...

    @property
    def sagas(self) -> Sagas:
        """What sagas have recorded, before this run and by now."""
        ...

    async def record_saga(self, row: SagaRow) -> None:
        """Make it durable; returns when it is."""
        ...

    def shield(self) -> AbstractContextManager[object]:
        """While it is entered, no cancellation comes through but suspension, which it swallows: no cancel does."""
        ...

    async def read_shared(self) -> bytes | None:
        """What is stored as the state that the session's handlers share; None when that was never set."""
        ...

    async def pause(self, path: str, until: int) -> None:
        """Wait for the next attempt at a step, until then (µs since 1970 UTC): whoever does that takes no place."""
        ...

    def active(self) -> None:
        """A step's function has begun or ended, or the handler answers one query more."""
        ...

    def block(self, reason: str) -> None:
        """Something recorded can't be read by this code: the handler is unwound, and resumes with other code."""
        ...

    def fence(self) -> int:
        """A fencing token: higher than every one given out before, in this process or an earlier owner's."""
        ...

    def now(self) -> int:
        """The wall clock, in µs since 1970 UTC."""
        ...
