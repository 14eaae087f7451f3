"""The steps of one run of a handler: each is replayed if it was recorded, else tried as its policy says."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import partial
from typing import Any, Final, TypeVar

import msgspec
from msgspec import Raw

from intendant.domain.codec import VALUE_BYTES_MAX, digest, encode_value
from intendant.domain.errors import (
    DuplicateStep,
    IntendantError,
    InvalidValue,
    JournalMismatch,
    SagaFailed,
    Suspended,
)
from intendant.domain.errors import StepFailed as StepFailedError
from intendant.domain.ids import check_id
from intendant.domain.payloads import NOTHING, Failure, StepCompleted, StepFailed
from intendant.domain.ports import FileStore
from intendant.domain.retry import Policy
from intendant.domain.sagas import is_undo
from intendant.steps.attempt import TimeLimits
from intendant.steps.events import Events
from intendant.steps.forward import check_forward
from intendant.steps.function import StepFunction, inspect_function
from intendant.steps.recording import Recording
from intendant.steps.scopes import Scope, within
from intendant.steps.step import Step

T = TypeVar("T")
R = TypeVar("R", StepCompleted, StepFailed)

ARGUMENTS_BYTES_MAX: Final = 16 * 1024 * 1024  # arguments are digested, not kept
RESULT_BYTES_MAX: Final = 64 * 1024 * 1024  # over 64 KiB it is kept as a file
MESSAGE_LENGTH_MAX: Final = 2_000  # of a recorded error
SHOWN_MAX: Final = 20  # paths of each history that a mismatch shows


def _unlimited() -> None:
    """No silence is too long."""


def _pass_on(_failure: Failure) -> None:
    """Nobody else is to be told of a failure."""


Call = Callable[[str, StepFunction, Callable[..., Any], tuple[Any, ...]], Awaitable[Any]]
"""Calls a step's function: (path, what it is like, function, arguments)."""


class Steps:
    """What was recorded, and what is added to it. May be used by several tasks of one event loop at once."""

    def __init__(
        self,
        recording: Recording,
        *,
        tenant: str,
        execution: str,
        now: int,
        files: FileStore | None,
        call: Call,
    ) -> None:
        self.in_progress: list[str] = []  # the steps whose functions run
        self.now = now  # the time of the newest record that was reached
        self.events = Events(recording)
        self._recording = recording
        self._tenant = tenant
        self._execution = execution
        self._files = files
        self.call = call
        self.closed = False  # the run is over
        self._used: dict[str, bool] = {}  # by path, in the order they were reached: whether it is a saga's step
        self._completions: dict[str, StepCompleted] = {}  # of steps of sagas, that this run has recorded
        self._journal: Mapping[str, StepCompleted | StepFailed] = {}
        self._unreached = 0
        if recording.resumes:
            self._journal = recording.journal
            self._unreached = len(self._journal) + len(recording.waits)
            if undoable := recording.sagas.undoable:
                self._unreached += sum(step not in self._journal for step in undoable)

    @property
    def ahead(self) -> int:
        """How much lies ahead of this run that was recorded, and not by a clean-up."""
        if self.closed:
            return 0
        recording = self._recording
        late = sum(step.cleanup for step in self._journal.values())
        late += sum(wait.timer.cleanup for wait in recording.waits.values())
        late += sum(step not in self._journal for step in recording.sagas.late)
        return max(self._unreached - late, 0)

    @property
    def called(self) -> list[str]:
        """The paths that this run has come to, in that order; those of scopes end in "/"."""
        return list(self._used)

    @property
    def replaying(self) -> bool:
        """Whether some recorded step has not been reached yet."""
        return self._unreached > 0

    def close(self) -> None:
        """The run is over: nothing that it left behind may record any more."""
        self.closed = True

    def check_live(self) -> None:
        """Raise Suspended when nothing more may be recorded."""
        if self.closed or self._recording.suspended:
            raise Suspended(
                f"execution {self._execution} is being suspended, and resumes later, or its handler has returned"
            )

    def claim(self, name: str, key: str | None) -> str:
        """The path of a step that is about to run. Raises DuplicateStep when this run has used it."""
        self.check_live()
        return self._claim(check_id(name, "step name"), key, "ctx.step({!r}, ..., key=item_id)")

    def claim_in(self, saga: str, name: str, key: str | None, call: str) -> str:
        """The path of a saga's step that is about to run; raises as `claim` does, showing `call` with its name."""
        self.check_live()
        path = self._claim(check_id(name, "step name"), key, call, scope=saga)
        self._used[path] = True
        return path

    def scope(self, name: str, key: str | None) -> Scope:
        """The scope of this name, which what is called in it has before its own; claimed when it is entered."""
        return Scope(lambda: self.claim_scope(name, key, "ctx.scope({!r}, key=item_id)"))

    def claim_scope(self, name: str, key: str | None, call: str, scope: str | None = None) -> str:
        """The path of a scope that is about to be entered, in that scope, or where this task is; raises as `claim`."""
        self.check_live()
        return self._claim(check_id(name, "scope name"), key, call, "/", scope).removesuffix("/")

    def claim_wait(self, name: str, key: str | None, call: str) -> str:
        """The path of a sleep or a wait, which no step's can be like; raises as `claim` does, showing `call`."""
        self.check_live()
        return self._claim(name, key, call)

    def release(self, path: str) -> None:
        """What was to run there was refused, and nothing of it recorded: it may be tried again."""
        self._used.pop(path, None)

    def reach(self, *, cleanup: bool) -> None:
        """What was recorded before this run is asked for again; `cleanup`: it was recorded by a clean-up."""
        self._unreached -= 1
        if not cleanup and (cancellation := self._recording.cancellation) is not None:
            cancellation.reached()

    def reach_undone(self, path: str) -> None:
        """The undo recorded at this path need not run any more."""
        recorded = self._journal.get(path)
        if recorded is not None and path not in self._used:
            self._used[path] = False
            self.reach_recorded(recorded, recorded.arguments)

    def note(self, at: int, *, recorded: bool) -> None:
        """Something else was reached, at that time; `recorded`: by this run."""
        if recorded:
            self._reach_all()
        self.now = max(self.now, at)

    @property
    def cleaning_up(self) -> bool:
        """Whether what is recorded now is the handler's clean-up after a cancel."""
        cancellation = self._recording.cancellation
        return cancellation is not None and cancellation.struck

    def _reach_all(self) -> None:
        """What was recorded and not reached by now is not part of the handler any more."""
        self._unreached = 0
        if (cancellation := self._recording.cancellation) is not None:
            cancellation.reached(None)

    def completion(self, path: str) -> StepCompleted | None:
        """What a saga's step came to, by this run or before it; None when that was not recorded."""
        found = self._completions.get(path) or self._journal.get(path)
        return found if isinstance(found, StepCompleted) else None

    def is_recorded(self, path: str) -> bool:
        """Whether a step's result was recorded before this run, and not by a clean-up."""
        step = self._journal.get(path)
        return step is not None and not step.cleanup and (isinstance(step, StepCompleted) or step.final)

    def _claim(self, name: str, key: str | None, call: str = "", kind: str = "", scope: str | None = None) -> str:
        """Every path is made here: enclosing scopes, name, key; and `kind`, so that a scope is like no step.

        The scope is where this task is, if it is not said.
        """
        last = name if key is None else f"{name}[{check_id(key, 'step key')}]"
        path = (within(last) if scope is None else f"{scope}/{last}") + kind
        if path in self._used:
            raise DuplicateStep(path, call.format(name))
        self._used[path] = False
        return path

    def raise_recorded(self, paths: list[str]) -> None:
        """Raise the first failure that ended these steps before: nothing may run that was cancelled by it."""
        journal = self._journal
        failed = [each for path in paths if isinstance(each := journal.get(path), StepFailed) and each.final]
        if failed:
            first = min(failed, key=lambda each: each.at)
            raise StepFailedError(first.path, first.error.code, first.error.message)

    async def durably(self, call: Callable[[], Awaitable[T]], paths: Iterable[str]) -> T:
        """Make a handler's call of steps at these paths, cancelled or not."""
        cancellation = self._recording.cancellation
        if cancellation is None:
            return await call()
        return await cancellation.run(call, recorded=all(map(self.is_recorded, paths)))

    async def run(self, path: str, function: Callable[..., Any], arguments: tuple[Any, ...], policy: Policy) -> Any:
        """The step's result: what was recorded, or what its function returns now."""
        kind = inspect_function(function)
        return await self.result(await self.complete(path, function, kind, arguments, policy), kind)

    async def complete(
        self,
        path: str,
        function: Callable[..., Any],
        kind: StepFunction,
        arguments: tuple[Any, ...],
        policy: Policy,
        begin: Callable[[], Awaitable[None]] | None = None,
        spent: Callable[[Failure], None] = _pass_on,
    ) -> StepCompleted:
        """What was recorded of the step, or is recorded of it now.

        Before its function runs, `begin` is awaited; without, it is only looked whether it may. `spent` is told when it
        has failed for the last time, before that is recorded: events that it emits ride with the record.
        """
        asked = _digest_arguments(path, arguments)
        recorded = self._journal.get(path)
        if recorded is not None:
            self.reach_recorded(recorded, asked)
            if isinstance(recorded, StepCompleted):
                return recorded
            if recorded.final:
                raise StepFailedError(path, recorded.error.code, recorded.error.message)
        self.in_progress.append(path)
        self._recording.active()
        try:
            if begin is None:
                check_forward()
            else:
                await begin()
            call = partial(self.call, path, kind, function)
            if (trace := self._recording.trace) is None:
                return await self._try(path, call, kind, arguments, asked, policy, spent)
            with trace.step(path):
                return await self._try(path, call, kind, arguments, asked, policy, spent)
        finally:
            self.in_progress.remove(path)
            self._recording.active()

    async def give_up(self, path: str, failure: Failure) -> None:
        """Record that the step has failed for good, without another attempt and without events but what is emitted."""
        events, late = self.events.take(), self.cleaning_up
        await self.record(StepFailed(path, failure, self._recording.now(), events=events, cleanup=late))

    def reach_recorded(self, recorded: StepCompleted | StepFailed, asked: bytes) -> None:
        """What was recorded is asked for again."""
        if recorded.arguments != asked:
            raise self._mismatch(recorded, asked)
        self.reach(cleanup=recorded.cleanup)
        self.now = max(self.now, recorded.at)

    def _mismatch(self, recorded: StepCompleted | StepFailed, asked: bytes) -> JournalMismatch:
        journal = sorted(self._journal.values(), key=lambda step: step.at)
        return JournalMismatch(
            recorded.path,
            recorded.arguments.hex() or "(none)",
            asked.hex() or "(none)",
            [step.path for step in journal][-SHOWN_MAX:],
            list(self._used)[-SHOWN_MAX:],
        )

    async def result(self, recorded: StepCompleted, kind: StepFunction) -> Any:
        """The result of a step, in the type that its function says it returns."""
        content: bytes | Raw | None = recorded.result
        if recorded.file:
            content = None if self._files is None else await self._files.get(self._tenant, recorded.file)
        if content is None:
            raise InvalidValue(f"result of step {recorded.path!r}", f"is file {recorded.file}, which is not there")
        try:
            return kind.decode(content)
        except msgspec.ValidationError as error:
            if self._journal.get(recorded.path) is not recorded:
                raise  # it is this code's own
            reason = f"the recorded result of step {recorded.path!r} does not fit {kind.returns}: {error}"
            self._recording.block(reason)
            raise Suspended(reason) from error

    async def _try(
        self,
        path: str,
        call: Callable[[tuple[Any, ...]], Awaitable[Any]],
        kind: StepFunction,
        arguments: tuple[Any, ...],
        asked: bytes,
        policy: Policy,
        spent: Callable[[Failure], None],
    ) -> StepCompleted:
        """Attempt the step until it succeeds or its policy gives up, behind what was recorded of it.

        A result that can't be recorded fails its attempt as well, for good: another one would give the same. An undo's
        is told to whoever undoes.
        """
        recording = self._recording
        failed = self._journal.get(path)
        assert not isinstance(failed, StepCompleted)  # noqa: S101  its result was returned
        first = failed.began if failed else recording.now()
        while True:
            if failed:
                await self._pause(failed)
            limits = None
            if policy.limited:
                now = recording.now()
                limits = TimeLimits(policy, policy.seconds_left(first, now, now))
            step = self._step(path, failed, limits) if kind.takes_step else None
            given = arguments if step is None else (step, *arguments)
            try:
                value = await (call(given) if limits is None else limits.run(partial(call, given)))
                completed = await self._completed(path, value, asked)
                await self.record(completed)
            except Exception as error:
                if recording.suspended or (isinstance(error, InvalidValue) and is_undo(path)):
                    raise
                failed = self._failed(path, error, step, failed, asked, first, policy, spent)
                await self.record(failed)
                if recording.trace is not None:
                    recording.trace.attempt_failed(failed)
                if failed.final:
                    raise StepFailedError(path, failed.error.code, failed.error.message) from error
            else:
                return completed

    async def _pause(self, failed: StepFailed) -> None:
        """Wait for the next attempt: meanwhile its function does not run."""
        if failed.next_at > self._recording.now():
            self.in_progress.remove(failed.path)
            try:
                await self._recording.pause(failed.path, failed.next_at)
            finally:
                self.in_progress.append(failed.path)
        self.check_live()

    def _step(self, path: str, failed: StepFailed | None, limits: TimeLimits | None) -> Step:
        """What a function is given that asks for it."""
        return Step(
            f"{self._execution}/{path}",
            self._recording.fence(),
            failed.attempt + 1 if failed else 1,
            failed.progress if failed else NOTHING,
            _unlimited if limits is None else limits.beat,
        )

    async def _completed(self, path: str, value: Any, asked: bytes) -> StepCompleted:
        files = self._files
        limit = VALUE_BYTES_MAX if files is None else RESULT_BYTES_MAX
        result, file = encode_value(value, f"result of step {path!r}", limit), ""
        if files is not None and len(result) > VALUE_BYTES_MAX:
            file, result = await files.put(self._tenant, result), bytes(NOTHING)
        events, now, of_saga = self.events.take(), self._recording.now(), self._used.get(path, False)
        return StepCompleted(path, Raw(result), now, asked, events, file, self.cleaning_up, of_saga)

    def _failed(
        self,
        path: str,
        error: Exception,
        step: Step | None,
        before: StepFailed | None,
        asked: bytes,
        first: int,
        policy: Policy,
        spent: Callable[[Failure], None],
    ) -> StepFailed:
        """The record of a failed attempt, with what is to follow."""
        now, failure, late = self._recording.now(), failure_of(error), self.cleaning_up
        of_saga, attempt = self._used.get(path, False), before.attempt + 1 if before else 1
        if isinstance(error, InvalidValue):  # what was emitted may be what is too large: it waits for the next record
            return StepFailed(path, failure, now, attempt, arguments=asked, cleanup=late, saga=of_saga)
        next_at = policy.next_attempt(attempt, error, first, now, random.random)
        if next_at is None:
            spent(failure)
            events = self.events.take()
            return StepFailed(path, failure, now, attempt, arguments=asked, events=events, cleanup=late, saga=of_saga)
        events = self.events.take()
        told = before.progress if before else NOTHING
        left = told if step is None else step.recorded_progress
        return StepFailed(
            path, failure, now, attempt, False, asked, events, first, next_at, left, cleanup=late, saga=of_saga
        )

    async def record(self, step: R) -> R:
        """Make a step durable; returns it when it is."""
        self.check_live()
        if self._unreached or self._recording.cancellation is not None:
            self._reach_all()
        try:
            if step.saga:
                await self._record_of_saga(step)
            else:
                await self._recording.record_step(step)
        except (InvalidValue, SagaFailed):
            self.events.put_back(step.events)
            raise
        self.now = max(self.now, step.at)
        return step

    async def _record_of_saga(self, step: StepCompleted | StepFailed) -> None:
        """A step that was left running behind its saga's block must not be recorded once the saga is being undone.

        From its call on the record stands, also where whoever waits for it is cancelled: what undoes it has to know.
        """
        saga = self._recording.sagas.failed(step.path.rpartition("/")[0])
        if saga is not None and saga.error is not None:
            raise SagaFailed(saga.path, saga.error.code, saga.error.message)
        durable = self._recording.record_step(step)
        if isinstance(step, StepCompleted):
            self._completions[step.path] = step
        await durable


def failure_of(error: BaseException) -> Failure:
    """As it is recorded: errors of ours by their code, others by their type's name, messages cut to 2,000 letters."""
    if isinstance(error, StepFailedError):
        return Failure(error.kind, _message(error))
    code = error.code if isinstance(error, IntendantError) else type(error).__name__
    return Failure(code, _message(error))


def _message(error: BaseException) -> str:
    with contextlib.suppress(Exception):
        return str(error).encode("utf-8", "replace").decode()[:MESSAGE_LENGTH_MAX]
    return "(its message can't be read)"


def _digest_arguments(path: str, arguments: tuple[Any, ...]) -> bytes:
    if not arguments:
        return b""
    parts: list[bytes] = []
    for argument in arguments:
        what = f"argument {len(parts) + 1} of step {path!r} (pass it in a closure)"
        parts.append(encode_value(argument, what, ARGUMENTS_BYTES_MAX))
    return digest(*parts)
