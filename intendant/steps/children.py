"""Children, as a handler sees them: executions that it submits, each by a recorded step, and waits for."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final, Generic, TypeVar

import anyio
from msgspec.structs import replace

from intendant.domain.children import ChildRequest, end_path, failure_of_child
from intendant.domain.errors import ExecutionCancelled, ExecutionFailed, IntendantError, InvalidIntent, InvalidValue
from intendant.domain.ids import check_id
from intendant.domain.payloads import NOTHING, StepCompleted, StepFailed, Submitted
from intendant.domain.state import Outcome, Status, decode_result
from intendant.steps.forward import check_forward
from intendant.steps.recording import Recording
from intendant.steps.steps import Steps

R = TypeVar("R")
T = TypeVar("T")

ABANDON: Final = "abandon"
CANCEL: Final = "cancel"


class Child(Generic[R]):
    """An execution that this handler has submitted. Valid as long as the handler's context."""

    def __init__(self, children: Children, path: str, submitted: Submitted, result: Any) -> None:
        self.id = submitted.execution
        """The id of the execution."""
        self.session = submitted.session
        self.type = submitted.type
        self.path = path
        """Of the call that submitted it: what the journal, and the parent's end, have it under."""
        self._children = children
        self._submitted = submitted
        self._result = result
        self._end: StepCompleted | StepFailed | None = None
        self._turn = anyio.Lock()

    async def result(self) -> R:
        """Wait for its end and return what its handler returned, as often as you like.

        The wait is durable: a restart in between costs nothing, it takes no place to run, and the handler may be
        suspended meanwhile. How the child has ended is recorded when it is first seen here, and the same at every
        resume. A wait that is cancelled changes nothing.

        Raises ExecutionFailed or ExecutionCancelled, with an outcome that has no artifacts and events; UnknownExecution
        when it was erased; Deadlock when it waits in line behind this execution.
        """
        end = await self._ended()
        if isinstance(end, StepFailed):
            raise self._error(end)
        result: R = decode_result(end.result, self._result)
        return result

    async def cancel(self) -> None:
        """Cancel it; when this returns, that is durable, and it ends cancelled, unless it has ended before.

        Nothing is recorded of it here: at a resume it is asked for again, which changes nothing. Its children are
        cancelled with it. `result()` tells when it has ended.
        """
        await self._children.cancel(self._submitted)

    async def _ended(self) -> StepCompleted | StepFailed:
        if self._end is None:
            async with self._turn:
                if self._end is None:
                    self._end = await self._children.end_of(self.path, self._submitted)
        return self._end

    def _error(self, end: StepFailed) -> ExecutionFailed | ExecutionCancelled:
        details = end.error.details
        status = Status(details["status"])
        error = type(end.error)(end.error.code, end.error.message, details["details"])
        outcome: Outcome[Any] = Outcome(
            tenant=self._children.tenant,
            session=self.session,
            execution_id=self.id,
            intent_id="",
            type=self.type,
            status=status,
            result=None,
            artifacts={},
            events=0,
            error=error,
            metadata={},
            parent=self._children.execution,
        )
        ended = ExecutionCancelled if status is Status.CANCELLED else ExecutionFailed
        return ended(f"{self.type} {self.id} {status}: {error.code}: {error.message}", outcome)

    def __repr__(self) -> str:
        return f"<Child {self.path} {self.id}>"


class Children:
    """What one run of a handler submits, and waits for. May be used by several tasks of one event loop at once."""

    def __init__(self, recording: Recording, steps: Steps, tenant: str, execution: str) -> None:
        self.tenant = tenant
        self.execution = execution
        self._recording = recording
        self._steps = steps
        self._events = steps.events

    async def submit(
        self,
        handler: Any,
        parameters: Any,
        session: str | None,
        key: str | None,
        on_parent_end: str,
        priority: int | None,
        attempt: int,
    ) -> Child[Any]:
        """See `Context.submit`."""
        if on_parent_end not in {CANCEL, ABANDON}:
            raise InvalidIntent("on_parent_end", f"must be {CANCEL!r} or {ABANDON!r}, not {on_parent_end!r:.40}")
        intent = self._recording.prepare(handler, parameters)
        into = "" if session is None else check_id(session, "session")
        path = self._steps.claim_wait(f"submit({intent.type})", key, "ctx.submit(..., key=item_id)")
        request = ChildRequest(path, intent, into, on_parent_end == ABANDON, priority, attempt)
        try:
            row = await self._durably(path, lambda: self._submit(request))
        except IntendantError:
            self._steps.release(path)  # nothing was submitted: it may be tried again
            raise
        assert row.child is not None  # noqa: S101  it was recorded by this call, now or before
        return Child(self, path, row.child, intent.result)

    async def _submit(self, request: ChildRequest) -> StepCompleted:
        recorded = self._recording.journal.get(request.path)
        if isinstance(recorded, StepCompleted):
            self._steps.reach_recorded(recorded, request.arguments)
            return recorded
        check_forward()
        if (trace := self._recording.trace) is None:
            row = await self._recording.submit(request, partial(self._record, request))
        else:
            with trace.step(request.path) as traceparent:
                request = replace(request, trace=traceparent)
                row = await self._recording.submit(request, partial(self._record, request))
        self._steps.note(row.at, recorded=True)
        return row

    def _record(
        self, request: ChildRequest, child: Submitted, append: Callable[[StepCompleted], None]
    ) -> StepCompleted:
        """Called by whoever accepts it, in that very moment: what was emitted and recorded by then stands before it."""
        self._steps.check_live()
        now, events, late = self._recording.now(), self._events.take(), self._steps.cleaning_up
        row = StepCompleted(request.path, NOTHING, now, request.arguments, events, cleanup=late, child=child)
        try:
            append(row)
        except InvalidValue:
            self._events.put_back(events)
            raise
        return row

    async def end_of(self, path: str, child: Submitted) -> StepCompleted | StepFailed:
        """What is recorded of a child's end, once it has come."""
        self._steps.check_live()
        return await self._durably(end_path(path), lambda: self._wait(path, child))

    async def _wait(self, path: str, child: Submitted) -> StepCompleted | StepFailed:
        end = end_path(path)
        recorded = self._recording.journal.get(end)
        if recorded is not None:
            self._steps.reach_recorded(recorded, b"")
            return recorded
        check_forward()
        state = await self._recording.child_end(end, child)
        self._steps.check_live()
        now, events, late = self._recording.now(), self._events.take(), self._steps.cleaning_up
        if state.status is Status.COMPLETED:
            return await self._steps.record(StepCompleted(end, state.result, now, events=events, cleanup=late))
        return await self._steps.record(StepFailed(end, failure_of_child(state), now, events=events, cleanup=late))

    async def cancel(self, child: Submitted) -> None:
        """See `Child.cancel`."""
        self._steps.check_live()
        cancellation = self._recording.cancellation
        call = self._recording.cancel_child
        if cancellation is None:
            await call(child)
        else:
            await cancellation.run(lambda: call(child), recorded=False)

    async def _durably(self, path: str, call: Callable[[], Awaitable[T]]) -> T:
        if self._recording.cancellation is None:
            return await call()
        return await self._steps.durably(call, [path])
