"""How a saga is undone: why, in which order, and what is recorded of it.

First it is recorded that nothing goes forward any more, then each undo as a step of its own, at last that all are
through. What was recorded is not done again: a process may die anywhere in between.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final, cast

import anyio
import anyio.lowlevel
import msgspec
from msgspec import Struct

from intendant.domain.errors import InvalidValue, SagaFailed, Suspended
from intendant.domain.errors import StepFailed as StepFailedError
from intendant.domain.payloads import Failure, SagaCompensated, SagaCompensating, SagaStarted
from intendant.domain.retry import Policy
from intendant.domain.sagas import SagaRow, Sagas, undo_path
from intendant.steps.function import StepFunction, inspect_function
from intendant.steps.recording import Recording
from intendant.steps.step import Step
from intendant.steps.steps import Steps, failure_of

COULD_NOT_UNDO: Final = "saga.could_not_undo"
"""The event that tells of a step that could not be undone."""

_UNDO: Final = StepFunction(is_async=True, takes_step=True)
_CANCELLED: Final = Failure(
    "cancelled", "its block was cancelled: by a scope or a group around it, a time limit of the handler, or its caller"
)
_EXECUTION_CANCELLED: Final = Failure("execution_cancelled", "the execution was cancelled")
_UNKNOWN: Final = Failure("no_undo", "the handler did not come to this step again, or gave it no undo any more")


class Undo(Struct):
    """How a step is undone, as this run of the handler says it."""

    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    policy: Policy
    kind: StepFunction  # of the step's function


class Undoing:
    """What a saga and those inside of it record in one run of a handler, and the undos by the paths of their steps."""

    def __init__(self, recording: Recording, steps: Steps, emit: Callable[[str, object], None]) -> None:
        self.undos: dict[str, Undo] = {}
        self._recording = recording
        self._steps = steps
        self._events = steps.events
        self._emit = emit
        self._turn = anyio.Lock()

    @property
    def sagas(self) -> Sagas:
        """What sagas have recorded by now."""
        return self._recording.sagas

    async def note(self, saga: str, step: str) -> None:
        """Make it durable that the saga has to undo the step, before the step's function first runs."""
        if step not in self.sagas.undoable:
            events, late = self._events.take(), self._steps.cleaning_up
            await self._record(SagaStarted(saga, step, self._recording.now(), events, late))
        elif step not in self._recording.journal:
            self._steps.reach(cleanup=step in self.sagas.late)

    def reason(self, saga: str, error: BaseException | None) -> Failure | None:
        """Why the saga is to be undone whose block is left with `error`; None if it is not, or with one around it."""
        failed = self.sagas.failed(saga)
        if failed is not None and failed.path != saga:
            return None
        if self._recording.suspended or _is_crash(error):
            return None
        if failed is not None:
            return failed.error
        if error is None or isinstance(error, Exception):
            return None if error is None else _failure_of(error)
        return _EXECUTION_CANCELLED if self._steps.cleaning_up else _CANCELLED

    async def pass_cancel_on(self, failure: Failure) -> None:
        """Behind a saga that failed so and is undone, the cancel of the execution is raised, if there is one."""
        cancellation = self._recording.cancellation
        if cancellation is None:
            return
        if failure.code == _EXECUTION_CANCELLED.code:
            cancellation.strike()  # as it did when that was recorded, whatever else lies ahead
        if cancellation.struck:
            await anyio.lowlevel.checkpoint()

    async def compensate(self, saga: str, failure: Failure) -> None:
        """Undo the saga, once. No cancellation comes through to it but suspension; then it goes on at the resume.

        It takes nothing of the time that the handler has to clean up after a cancel.
        """
        cancellation = self._recording.cancellation
        if cancellation is not None and cancellation.struck:
            await cancellation.shielded(partial(self._shielded, saga, failure), bounded=False)
            return
        await self._shielded(saga, failure)
        if (cancellation := self._recording.cancellation) is not None and cancellation.struck:
            cancellation.restart()

    async def _shielded(self, saga: str, failure: Failure) -> None:
        with self._recording.shield():
            async with self._turn:  # one inside of it may be at it, if the block was left while that was running
                await self._compensate(saga, failure)
            return
        await anyio.lowlevel.checkpoint()
        raise Suspended(f"saga {saga!r} is suspended while it is being undone, and goes on later")

    def raised(self, saga: str, failure: Failure, error: BaseException | None) -> Exception | None:
        """What the block raises instead of `error`, when that is not what the saga failed with."""
        same = isinstance(error, Exception) and _is(_failure_of(error), failure)
        return None if same else error_of(saga, failure)

    async def _compensate(self, path: str, failure: Failure) -> None:
        sagas = self.sagas
        saga = sagas.by_path.get(path)
        if saga is None or saga.error is None:
            await self._record_surely(SagaCompensating(path, failure, self._recording.now(), self._events.take()))
        for step in sagas.undone(path):
            self._steps.reach_undone(undo_path(step))
        for step in reversed(sagas.to_undo(path)):
            await self._undo(step)
        if not sagas.by_path[path].compensated:
            await self._record_surely(SagaCompensated(path, self._recording.now(), self._events.take()))

    async def _record_surely(self, row: SagaCompensating | SagaCompensated) -> None:
        try:
            await self._record(row)
        except InvalidValue:  # the events since the last record are larger than a commit may be: it goes without
            self._events.drop()
            await self._record(msgspec.structs.replace(row, events=[]))

    async def _undo(self, step: str) -> None:
        path, undo = undo_path(step), self.undos.get(step)
        if undo is None:
            await self._give_up(step, _UNKNOWN)
            return
        try:
            call, told = partial(self._call, step, undo), partial(self._alarm, step)
            await self._steps.complete(path, call, _UNDO, (), undo.policy, _at_once, told)
        except StepFailedError:
            pass  # it is recorded and told of; the others are undone all the same
        except InvalidValue as error:
            self._events.drop()
            await self._give_up(step, failure_of(error))

    async def _call(self, undone: str, undo: Undo, step: Step) -> None:
        """Call the undo's function; what it returns is nobody's."""
        path = undo_path(undone)
        step.undoes = f"{step.idempotency_key.removesuffix(path)}{undone}"
        completed = self._steps.completion(undone)
        result = None if completed is None else await self._steps.result(completed, undo.kind)
        kind = msgspec.structs.replace(inspect_function(undo.function), takes_step=True)
        await self._steps.call(path, kind, undo.function, (step, result, *undo.arguments))

    async def _give_up(self, step: str, failure: Failure) -> None:
        self._alarm(step, failure)
        await self._steps.give_up(undo_path(step), failure)

    def _alarm(self, step: str, failure: Failure) -> None:
        error = {"code": failure.code, "message": failure.message}
        self._emit(COULD_NOT_UNDO, {"saga": self.sagas.undoable[step], "step": step, "error": error})

    async def _record(self, row: SagaRow) -> None:
        self._steps.check_live()
        try:
            await self._recording.record_saga(row)
        except InvalidValue:
            self._events.put_back(row.events)
            raise
        self._steps.note(row.at, recorded=True)


def error_of(saga: str, failure: Failure) -> Exception:
    """What a saga failed with, as it can be raised at a later run."""
    if failure.code == TimeoutError.__name__:
        return TimeoutError(failure.message)
    if "step" in failure.details:
        return StepFailedError(failure.details["step"], failure.code, failure.details["message"])
    return SagaFailed(saga, failure.code, failure.message)


async def _at_once() -> None:
    """Nothing is to be durable before an undo but what is."""


def _failure_of(error: BaseException) -> Failure:
    if not isinstance(error, Exception):
        return _CANCELLED
    failure = failure_of(error)
    if isinstance(error, StepFailedError):
        return msgspec.structs.replace(failure, details={"step": error.path, "message": error.message})
    return failure


def _is(one: Failure, other: Failure) -> bool:
    return one.code == other.code and one.details.get("step") == other.details.get("step")


def _is_crash(error: BaseException | None) -> bool:
    """Whether it is neither a failure nor a cancellation: then the execution resumes."""
    if isinstance(error, BaseExceptionGroup):
        return any(_is_crash(each) for each in cast("BaseExceptionGroup[BaseException]", error).exceptions)
    return error is not None and not isinstance(error, (Exception, anyio.get_cancelled_exc_class()))
