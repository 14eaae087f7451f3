"""Handles: what callers hold of a session and of an execution. They are cheap, and keep no state but an address."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

from intendant.actors.endings import Ending
from intendant.actors.messages import Progress
from intendant.context import Context
from intendant.domain import state as states
from intendant.domain.erasure import Scope
from intendant.domain.errors import ExecutionCancelled, ExecutionFailed
from intendant.domain.payloads import ChildRecord, SagaRecord
from intendant.domain.state import CancelResult, ExecutionState, Outcome, Status
from intendant.runtime.event_stream import ExecutionEvent
from intendant.runtime.intent import Intent, prepare
from intendant.runtime.views import ExecutionView, SessionView

if TYPE_CHECKING:
    from intendant.runtime.runtime import Runtime

P = TypeVar("P")
R = TypeVar("R")
T = TypeVar("T")


class Execution(Generic[R]):
    """One execution, by tenant and id. Waiting through it survives restarts; a wait that ends early changes nothing."""

    __slots__ = ("_result_type", "_runtime", "ending", "id", "intent_id", "tenant")

    def __init__(
        self, runtime: Runtime, tenant: str, id: str, intent_id: str | None, result_type: Any, ending: Ending
    ) -> None:
        self.tenant = tenant
        self.id = id
        self.intent_id = intent_id
        """The intent that was submitted through this handle; None for a handle that was looked up by id."""
        self._runtime = runtime
        self._result_type = result_type
        self.ending = ending
        """Where this process notes the end; held here so that it is known at once."""

    async def result(self, *, timeout: float | None = None) -> R:
        """Wait for the end and return what the handler returned.

        Raises ExecutionFailed or ExecutionCancelled, with the outcome; TimeoutError after `timeout` seconds (the
        execution goes on); UnknownExecution; RuntimeStopped or Fenced when no answer can come through this runtime.
        """
        state = await self._runtime.ends.wait(self, timeout)
        if state.status is Status.COMPLETED:
            result: R = states.decode_result(state.result, self._result_type)
            return result
        outcome = self.outcome_of(state)
        reason = outcome.error
        why = f": {reason.code}: {reason.message}" if reason else ""
        ended = ExecutionCancelled if outcome.status is Status.CANCELLED else ExecutionFailed
        raise ended(f"{outcome.type} {self.id} {outcome.status}{why}", outcome)

    async def outcome(self, *, timeout: float | None = None) -> Outcome[R]:
        """Wait for the end and return all that is known of it; raises as `result`, but not for a failure."""
        return self.outcome_of(await self._runtime.ends.wait(self, timeout))

    def outcome_of(self, state: ExecutionState) -> Outcome[R]:
        """The outcome that this execution's document tells, with the result in its type."""
        return states.outcome_of(state, self._result_type)

    async def view(self) -> ExecutionView:
        """What is known now. Raises UnknownExecution."""
        return await self._runtime.view_execution(self.tenant, self.id)

    async def progress(self, *, timeout: float = 5.0) -> Progress | None:
        """Ask its actor which steps run now, and how many are recorded; None when no handler of it runs here."""
        return await self._runtime.ask_progress(self.tenant, self.id, timeout)

    async def sagas(self) -> list[SagaRecord]:
        """Its sagas, step by step: done, undone, kept, or could not be undone. Raises UnknownExecution.

        Of one that has ended, the same as in its outcome; of an open one what is recorded by now.
        """
        return await self._runtime.read_sagas(self.tenant, self.id)

    async def children(self) -> list[ChildRecord]:
        """What its handler has submitted by `ctx.submit`, and what has become of each. Raises UnknownExecution.

        Of one that has ended as in its outcome: what had become of them by then.
        """
        return await self._runtime.read_children(self.tenant, self.id)

    async def signal(
        self, name: str, payload: object = None, *, id: str | None = None, timeout: float | None = None
    ) -> None:
        """Send a signal, for `ctx.wait_signal(name)` of the handler; when this returns, it is received, durably.

        It is delivered to the handler once, in the order in which signals of its name came; one that comes before the
        handler waits for it lies ready, up to 10,000 of them. What no wait has taken when the execution ends is listed
        in `outcome().undelivered`. `payload` is anything that msgspec can encode, up to 64 KiB.

        `id` tells this signal's repetitions from another one: one that was received with this id is not received
        again. Without it one is made.

        Raises InvalidIntent, InvalidValue, UnknownExecution; ExecutionEnded when it has ended and did not receive it;
        IdempotencyConflict for an `id` that came with another name or payload; Overloaded when too many lie ready;
        UnreadableJournal when what it has recorded can't be read by the code that is here; or
        OutcomeUnknown after `timeout` seconds: then sending it again with `id=error.key` is safe.
        """
        await self._runtime.signal(self.tenant, self.id, name, payload, id, timeout)

    @overload
    async def query(self, name: str, *, type: type[T], timeout: float | None = None) -> T: ...
    @overload
    async def query(self, name: str, *, timeout: float | None = None) -> Any: ...
    async def query(self, name: str, *, type: Any = Any, timeout: float | None = None) -> Any:
        """What the handler answers by the function that it gave to `ctx.on_query(name, …)`, as `type`.

        Nothing is recorded. A handler that was suspended in a wait is resumed for it, and one that has just been
        resumed answers when it has come as far as it was. Raises UnknownQuery when it answers none of this name,
        UnknownExecution, ExecutionEnded, TimeoutError after `timeout` seconds, and what the function raises.
        """
        return await self._runtime.query(self.tenant, self.id, name, type, timeout)

    def events(self, *, after: str | None = None) -> AsyncIterator[ExecutionEvent]:
        """What happens to it, as it happens: its statuses, its steps, what its handler emits; to its end.

        Begins with its acceptance, or behind the event whose `cursor` is `after`: nothing is left out and nothing comes
        twice, also after a restart, and after the end for as long as the history is kept. All of it is durable. It is
        read from the log when it is asked for, so that a slow reader costs no memory.

        Raises InvalidIntent for what is no cursor; while it is read UnknownExecution, StoreUnavailable, and
        RuntimeStopped or Fenced when nothing can come through this runtime any more.
        """
        return self._runtime.streams.of(self.tenant, self.id, after)

    async def cancel(self, *, timeout: float | None = None) -> CancelResult:
        """Cancel the execution; when this returns, that is durable, and the execution can only end cancelled.

        Its handler is cancelled at its next await, in a step too, and may clean up (see docs/cancellation.md); then it
        ends, whatever the handler returns or raises: `await execution.outcome()` tells when. One that has not begun
        ends without running. Any number of cancels do what one does. The result says what it came to: `REQUESTED`, or
        how the execution has ended, which may be before.

        Raises UnknownExecution, BeingErased, StoreUnavailable; OutcomeUnknown after `timeout` seconds: cancelling again
        is safe.
        """
        return await self._runtime.cancellations.cancel(self.tenant, self.id, timeout)

    async def fork(
        self, from_step: str, *, idempotency_key: str | None = None, timeout: float | None = None
    ) -> Execution[R]:
        """Start a new execution that goes on from what this one recorded before `from_step`, and runs on from there.

        It is one of the same session, with the same parameters and of the same version; `from_step` is the path of a
        step or wait, as in `events()` and errors. This one may be open or have ended, and is not changed. What comes
        along: results of steps, sleeps that are over, signals that a wait took before that step, and its events, which
        go out as the new one's. Other signals do not, nor a cancel. See docs/versions.md.

        With an `idempotency_key`, a repetition returns the same execution. Raises InvalidIntent for a step that it has
        not recorded, and when a saga has begun to undo what would come along; InvalidValue when that is more than one
        commit may hold (512 records); UnknownExecution when its records are not kept any more; else as
        `Session.submit`.
        """
        return await self._runtime.forks.fork(self, from_step, idempotency_key, timeout)

    async def retry(self, *, idempotency_key: str | None = None, timeout: float | None = None) -> Execution[R]:
        """Run its intent once more, from the beginning, as a new execution of the same session; it must have failed,
        or been cancelled, and is not changed.

        The new one has the same parameters, metadata, solution and priority, and the newest version of the handler;
        nothing that was recorded comes along (`fork` does that). Repeated, it returns the same execution, unless there
        is another `idempotency_key`: retry that one when it fails as well. Raises InvalidIntent when this one has not
        failed, or its parameters no longer fit; UnknownExecution; else as `Session.submit`.
        """
        return await self._runtime.forks.retry(self, idempotency_key, timeout)

    async def status(self) -> Status:
        """Where it stands now. Raises UnknownExecution."""
        status = (await self.view()).status
        return status if status is not None else Status.ACCEPTED

    def __repr__(self) -> str:
        return f"<Execution {self.tenant}/{self.id}>"


class Session:
    """One session, by tenant and id."""

    def __init__(self, runtime: Runtime, tenant: str, id: str) -> None:
        self.tenant = tenant
        self.id = id
        self._runtime = runtime

    @overload
    async def submit(
        self,
        handler: Callable[[Context, P], Awaitable[R]],
        parameters: P,
        *,
        idempotency_key: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        solution: str | None = None,
        priority: int = 0,
        timeout: float | None = None,
    ) -> Execution[R]: ...
    @overload
    async def submit(
        self,
        handler: str,
        parameters: Mapping[str, Any],
        *,
        idempotency_key: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        solution: str | None = None,
        priority: int = 0,
        timeout: float | None = None,
    ) -> Execution[Any]: ...
    async def submit(
        self,
        handler: Any,
        parameters: Any,
        *,
        idempotency_key: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        solution: str | None = None,
        priority: int = 0,
        timeout: float | None = None,
    ) -> Execution[Any]:
        """Submit an intent; when this returns, it is accepted and durable, and will end.

        `handler` is a registered function, or its type as text. With an `idempotency_key` that this tenant used for
        the same type and parameters, the execution of then is returned and nothing runs twice. Without a key, the
        intent's own id is its key. Executions of one session begin in the order of their submission; between sessions
        of a tenant those of the highest `priority` (-100 to 100) begin first when there are more than may run.

        Raises InvalidIntent naming the field, UnknownSession, SessionClosed, IdempotencyConflict, Overloaded; or
        OutcomeUnknown after `timeout` seconds: then it may be accepted or not, and submitting again with
        `idempotency_key=error.key` is safe. A cancelled call leaves the same doubt, and the same cure given a key.
        """
        intent: Intent[Any] = Intent(
            handler,
            parameters,
            idempotency_key=idempotency_key,
            metadata=metadata,
            solution=solution,
            priority=priority,
        )
        runtime = self._runtime
        prepared = prepare(intent, runtime.repertoire, runtime.now())
        return (await runtime.submit_prepared(self.tenant, self.id, (prepared,), timeout))[0]

    async def submit_many(self, intents: Sequence[Intent[R]], *, timeout: float | None = None) -> list[Execution[R]]:
        """Submit up to 512 intents in one commit: all are accepted, or none; returns their executions, in order.

        Raises as `submit` does; the first intent that is wrong refuses them all.
        """
        return await self._runtime.submit(self.tenant, self.id, intents, timeout)

    async def close(self) -> None:
        """Take no more intents; what was accepted goes on. Closing twice is no error. Raises UnknownSession."""
        await self._runtime.close_session(self.tenant, self.id)

    async def cancel(self, *, timeout: float | None = None) -> dict[str, CancelResult]:
        """Cancel all executions of this session that are open now, as `Execution.cancel` does; results by id.

        The session stays open: what is submitted meanwhile may be cancelled or not. Each cancel is recorded by itself.
        Raises UnknownSession, and OutcomeUnknown when `timeout` seconds do not do: some are cancelled then, and
        cancelling again is safe.
        """
        return await self._runtime.cancellations.cancel_all(Scope(self.tenant, self.id), timeout)

    @overload
    async def state(self) -> dict[str, Any]: ...
    @overload
    async def state(self, type: type[T]) -> T: ...
    async def state(self, type: Any = dict) -> Any:
        """What its handlers share (`ctx.session.state`), as a `type`: as the last completion left it; empty at first.

        Raises UnknownSession; InvalidValue when it does not fit `type`.
        """
        return await self._runtime.read_session_state(self.tenant, self.id, type)

    async def view(self) -> SessionView:
        """What is known now. Raises UnknownSession."""
        return await self._runtime.view_session(self.tenant, self.id)

    def __repr__(self) -> str:
        return f"<Session {self.tenant}/{self.id}>"
