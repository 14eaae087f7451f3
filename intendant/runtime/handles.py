"""Handles: what callers hold of a session and of an execution. They are cheap, and keep no state but an address."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

from intendant.actors.messages import Progress
from intendant.context import Context
from intendant.domain import state as states
from intendant.domain.errors import ExecutionCancelled, ExecutionFailed
from intendant.domain.state import ExecutionState, Outcome, Status
from intendant.runtime.intent import Intent
from intendant.runtime.views import ExecutionView, SessionView

if TYPE_CHECKING:
    from intendant.runtime.runtime import Runtime

P = TypeVar("P")
R = TypeVar("R")


class Execution(Generic[R]):
    """One execution, by tenant and id. Waiting through it survives restarts; a wait that ends early changes nothing."""

    def __init__(self, runtime: Runtime, tenant: str, id: str, intent_id: str | None, result_type: Any) -> None:
        self.tenant = tenant
        self.id = id
        self.intent_id = intent_id
        """The intent that was submitted through this handle; None for a handle that was looked up by id."""
        self._runtime = runtime
        self._result_type = result_type
        self.ending = runtime.ending(tenant, id)
        """Where this process notes the end; held here so that it is known at once."""

    async def result(self, *, timeout: float | None = None) -> R:
        """Wait for the end and return what the handler returned.

        Raises ExecutionFailed or ExecutionCancelled, with the outcome; TimeoutError after `timeout` seconds (the
        execution goes on); UnknownExecution; RuntimeStopped or Fenced when no answer can come through this runtime.
        """
        outcome = await self.outcome(timeout=timeout)
        if outcome.status is Status.COMPLETED:
            return outcome.result  # type: ignore[return-value]  # a completed execution has one
        what = f"{outcome.type} {self.id} {outcome.status}"
        if outcome.status is Status.CANCELLED:
            raise ExecutionCancelled(what, outcome)
        reason = outcome.error
        raise ExecutionFailed(f"{what}: {reason.code}: {reason.message}" if reason else what, outcome)

    async def outcome(self, *, timeout: float | None = None) -> Outcome[R]:
        """Wait for the end and return all that is known of it; raises as `result`, but not for a failure."""
        return self.outcome_of(await self._runtime.wait_ended(self, timeout))

    def outcome_of(self, state: ExecutionState) -> Outcome[R]:
        """The outcome that this execution's document tells, with the result in its type."""
        return states.outcome_of(state, self._result_type)

    async def view(self) -> ExecutionView:
        """What is known now. Raises UnknownExecution."""
        return await self._runtime.view_execution(self.tenant, self.id)

    async def progress(self, *, timeout: float = 5.0) -> Progress | None:
        """Ask its actor which steps run now, and how many are recorded; None when no handler of it runs here."""
        return await self._runtime.ask_progress(self.tenant, self.id, timeout)

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
        timeout: float | None = None,
    ) -> Execution[Any]:
        """Submit an intent; when this returns, it is accepted and durable, and will end.

        `handler` is a registered function, or its type as text. With an `idempotency_key` that this tenant used for
        the same type and parameters, the execution of then is returned and nothing runs twice. Without a key, the
        intent's own id is its key.

        Raises InvalidIntent naming the field, UnknownSession, SessionClosed, IdempotencyConflict, Overloaded; or
        OutcomeUnknown after `timeout` seconds: then it may be accepted or not, and submitting again with
        `idempotency_key=error.key` is safe. A cancelled call leaves the same doubt, and the same cure given a key.
        """
        intent: Intent[Any] = Intent(
            handler, parameters, idempotency_key=idempotency_key, metadata=metadata, solution=solution
        )
        return (await self._runtime.submit(self.tenant, self.id, [intent], timeout))[0]

    async def submit_many(self, intents: Sequence[Intent[R]], *, timeout: float | None = None) -> list[Execution[R]]:
        """Submit up to 512 intents in one commit: all are accepted, or none; returns their executions, in order.

        Raises as `submit` does; the first intent that is wrong refuses them all.
        """
        return await self._runtime.submit(self.tenant, self.id, intents, timeout)

    async def close(self) -> None:
        """Take no more intents; what was accepted goes on. Closing twice is no error. Raises UnknownSession."""
        await self._runtime.close_session(self.tenant, self.id)

    async def view(self) -> SessionView:
        """What is known now. Raises UnknownSession."""
        return await self._runtime.view_session(self.tenant, self.id)

    def __repr__(self) -> str:
        return f"<Session {self.tenant}/{self.id}>"
