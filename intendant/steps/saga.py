"""Sagas, as a handler sees them: a block whose steps are undone, the last one first, when it fails."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextvars import Token
from datetime import timedelta
from functools import partial
from types import TracebackType
from typing import Any, Final, TypeVar, TypeVarTuple, Unpack, overload

from intendant.domain.errors import InvalidValue
from intendant.domain.retry import Policy, Retry
from intendant.steps.forward import Block, current_block, enter, leave
from intendant.steps.function import inspect_function
from intendant.steps.policy import StepPolicy, policy_of
from intendant.steps.recording import Recording
from intendant.steps.step import Step
from intendant.steps.steps import Steps
from intendant.steps.undoing import Undo, Undoing, error_of

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

UNDO_RETRY: Final = Retry(attempts=5)
UNDO_TIMEOUT: Final = timedelta(minutes=10)


class Saga:
    """A block whose steps are undone, the last one first, when it fails: `async with ctx.saga("place") as saga:`.

    It fails when an `Exception` leaves it, or a cancellation that is not a suspension: a cancel of the execution, a
    scope or a task group around it, or a time limit of the handler. That is recorded, and from then on nothing in it
    goes forward, at any resume: a durable call whose outcome was not recorded raises what the block failed with. Then
    the undos run, shielded from all cancellation but suspension, each as a recorded step with a retry policy of its
    own. One that could not be undone is told by the event `saga.could_not_undo`; the others are undone all the same. At
    last the block raises what it failed with; a cancel of the execution passes on. Suspension undoes nothing.

    Steps must be over when the block is left: run them side by side in a task group inside of it.
    """

    def __init__(
        self,
        recording: Recording,
        steps: Steps,
        undoing: Undoing,
        scope: str | None,
        name: str,
        key: str | None,
        undo: Policy,
    ) -> None:
        self.path = ""
        """Where it stands: its name and key, behind those of the sagas around it. Empty before it is entered."""
        self._recording = recording
        self._steps = steps
        self._undoing = undoing
        self._place = (scope, name, key)
        self._undo = undo
        self._open = False
        self._late = False  # it was entered by the clean-up after a cancel
        self._around: Block | None = None
        self._token: Token[Block]

    # --- what a handler calls

    @overload
    async def step(
        self,
        name: str,
        function: Callable[[Step, *Ts], Awaitable[T]],
        *arguments: *Ts,
        undo: Callable[[Step, T | None, *Ts], object] | None = None,
        undo_retry: Retry | None = None,
        key: str | None = None,
        **policy: Unpack[StepPolicy],
    ) -> T: ...
    @overload
    async def step(
        self,
        name: str,
        function: Callable[[Step, *Ts], T],
        *arguments: *Ts,
        undo: Callable[[Step, T | None, *Ts], object] | None = None,
        undo_retry: Retry | None = None,
        key: str | None = None,
        **policy: Unpack[StepPolicy],
    ) -> T: ...
    @overload
    async def step(
        self,
        name: str,
        function: Callable[[*Ts], Awaitable[T]],
        *arguments: *Ts,
        undo: Callable[[Step, T | None, *Ts], object] | None = None,
        undo_retry: Retry | None = None,
        key: str | None = None,
        **policy: Unpack[StepPolicy],
    ) -> T: ...
    @overload
    async def step(
        self,
        name: str,
        function: Callable[[*Ts], T],
        *arguments: *Ts,
        undo: Callable[[Step, T | None, *Ts], object] | None = None,
        undo_retry: Retry | None = None,
        key: str | None = None,
        **policy: Unpack[StepPolicy],
    ) -> T: ...
    async def step(
        self,
        name: str,
        function: Callable[..., Any],
        *arguments: *Ts,  # pyright: ignore[reportInvalidTypeVarUse]  # mypy wants it as in the overloads
        undo: Callable[..., Any] | None = None,
        undo_retry: Retry | None = None,
        key: str | None = None,
        **policy: Unpack[StepPolicy],
    ) -> Any:
        """Run a step as `ctx.step` does, in this saga's scope, and say how it is undone.

        `undo(step, result, *arguments)` is called when the block fails: `step` is as for a step's function, with an
        idempotency key of the undo's own; `result` is what the step returned, or None when that was not recorded: its
        function may have acted, or have failed half way, or not at all. It is plain or async, may be called more than
        once like any step's function, and what it returns is dropped. `undo_retry` says how often it is tried; by
        default as the saga says. Without `undo` the step is kept.

        That there is something to undo is durable before the function first runs: it costs a commit.

        Raises as `ctx.step`; what the block failed with, when it has; InvalidValue outside of the block.
        """
        if not self._open:
            given = f"must be called inside of the saga's block: async with ctx.saga({self._place[1]!r}) as saga"
            raise InvalidValue("saga.step", given)
        path = self._steps.claim_in(self.path, name, key, "saga.step({!r}, ..., key=item_id)")
        kind, tried = inspect_function(function), policy_of(policy)
        if undo is not None:  # known before anything is awaited: a cancellation may come at once
            how = Policy(undo_retry or self._undo.retry, self._undo.timeout)
            self._undoing.undos[path] = Undo(undo, arguments, how, kind)
        begin = partial(self._begin, None if undo is None else path)
        run = partial(self._steps.complete, path, function, kind, arguments, tried, begin)
        return await self._steps.result(await self._steps.durably(run, [path]), kind)

    def saga(self, name: str, *, key: str | None = None, undo_retry: Retry | None = None) -> Saga:
        """A saga in this one's scope: `async with saga.saga("pay") as inner`. Its steps belong to this one, too.

        When its own block fails it is undone alone, and raises; when this one fails later, its steps are undone in
        their turn. It has the undo policy of this one, unless `undo_retry` says otherwise.
        """
        undo = self._undo if undo_retry is None else Policy(undo_retry, self._undo.timeout)
        return Saga(self._recording, self._steps, self._undoing, self.path, name, key, undo)

    # --- the block

    async def __aenter__(self) -> Saga:
        scope, name, key = self._place
        self.path = self._steps.claim_scope(name, key, "ctx.saga({!r}, key=item_id)", scope)
        self._late = self._steps.cleaning_up
        self._around = current_block()
        self._token = enter(self)
        self._open = True
        return self

    async def __aexit__(
        self, _type: type[BaseException] | None, error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        leave(self._token)
        self._open = False
        failure = self._undoing.reason(self.path, error)
        if failure is None:
            return
        await self._undoing.compensate(self.path, failure)
        if not (self._late and isinstance(error, Exception)):
            await self._undoing.pass_cancel_on(failure)
        raised = self._undoing.raised(self.path, failure, error)
        if raised is not None:
            raise raised from error

    def check_forward(self) -> None:
        """Raise what this block, or one around it, has failed with."""
        failed = self._undoing.sagas.failed(self.path)
        if failed is not None and failed.error is not None:
            raise error_of(failed.path, failed.error)
        if self._around is not None:
            self._around.check_forward()

    async def _begin(self, undoable: str | None) -> None:
        self.check_forward()
        if undoable is not None:
            await self._undoing.note(self.path, undoable)


def undo_policy(retry: Retry, timeout: timedelta | None) -> Policy:
    """How undos are tried. Raises InvalidValue."""
    try:
        return Policy(retry, timeout)
    except ValueError as error:
        raise InvalidValue("saga", f"undo_{error}") from None
