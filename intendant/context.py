"""What a handler sees: durable calls, and facts that are the same at every resume.

`Context` decides what a call means; the `Recording` behind it (an execution's actor, or a unit test's memory) keeps
what was decided. Replay is nothing but this: a call whose result is in the journal returns it.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import logging
import random
import typing
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Protocol, TypeVar, TypeVarTuple, overload

import anyio
import anyio.to_thread
import msgspec
import msgspec.inspect
from msgspec import Raw

from intendant.domain.codec import digest, encode_value
from intendant.domain.commit import PLACES as EVENTS_MAX
from intendant.domain.errors import DuplicateStep, IntendantError, InvalidValue, JournalMismatch, Suspended
from intendant.domain.errors import StepFailed as StepFailedError
from intendant.domain.ids import check_id
from intendant.domain.payloads import Emitted, Failure, StepCompleted, StepFailed
from intendant.domain.ports import FileStore
from intendant.domain.state import FileReference

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

ARGUMENTS_BYTES_MAX: Final = 16 * 1024 * 1024  # arguments are digested, not kept
MESSAGE_LENGTH_MAX: Final = 2_000  # of a recorded error

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Recording(Protocol):
    """Where a context's durable calls go."""

    @property
    def journal(self) -> Mapping[str, StepCompleted | StepFailed]:
        """What was recorded of this execution before this run, by path."""
        ...

    @property
    def suspended(self) -> bool:
        """Whether the handler is being unwound to resume later."""
        ...

    async def record_step(self, step: StepCompleted | StepFailed) -> None:
        """Make a step durable; returns when it is."""
        ...

    def now(self) -> int:
        """The wall clock, in µs since 1970 UTC."""
        ...


class Context:
    """One run of a handler. It is valid only while the handler runs, and only in its event loop.

    When the process dies, the handler is called anew: steps that were recorded return their result at once, and
    everything outside of steps runs again.
    """

    def __init__(
        self,
        recording: Recording,
        *,
        tenant_id: str,
        session: str,
        solution: str,
        execution_id: str,
        started_at: int,
        files: FileStore | None = None,
        limiter: anyio.CapacityLimiter | None = None,
    ) -> None:
        self.tenant_id = tenant_id
        self.session = session
        self.solution = solution
        self.execution_id = execution_id
        self.artifacts: dict[str, Raw] = {}
        self.in_progress: list[str] = []  # the steps whose functions run
        self._recording = recording
        self._files = files
        self._limiter = limiter
        self._now = started_at
        self._used: set[str] = set()
        self._emitted = 0
        self._recorded_events = sum(len(step.events) for step in recording.journal.values())
        self._waiting_events: list[Emitted] = []
        self._unreached = len(recording.journal)

    @property
    def replaying(self) -> bool:
        """Whether what runs now ran before: some recorded step has not been reached yet."""
        return self._unreached > 0

    @functools.cached_property
    def random(self) -> random.Random:
        """Random numbers that are the same at every resume."""
        return random.Random(self.execution_id)

    @functools.cached_property
    def logger(self) -> logging.LoggerAdapter[logging.Logger]:
        """Silent for what ran before a resume."""
        return _Logger(self)

    @functools.cached_property
    def files(self) -> Files:
        """Content too large for a value, kept by tenant and digest."""
        return Files(self, self._files, self._check_live)

    def now(self) -> datetime:
        """The time of the last thing recorded, in UTC: the same at every resume."""
        return _EPOCH + timedelta(microseconds=self._now)

    @overload
    async def step(
        self, name: str, function: Callable[[*Ts], Awaitable[T]], *arguments: *Ts, key: str | None = None
    ) -> T: ...
    @overload
    async def step(self, name: str, function: Callable[[*Ts], T], *arguments: *Ts, key: str | None = None) -> T: ...
    async def step(self, name: str, function: Callable[[*Ts], Any], *arguments: *Ts, key: str | None = None) -> Any:
        """Run `function(*arguments)` once and record its result; at every resume, return what was recorded.

        A plain function runs in a worker thread, an async one here. The step's identity is `name`, with `key` where a
        name is used more than once. Annotate the function's return type: the result comes back as that type (without
        one, as plain data), now and at every resume alike.

        After a crash the function may run a second time if it had not been recorded: its effects should bear that.
        Cancellation (a time-out around it, a suspension) records nothing; a thread that runs on is left behind and
        its result dropped.

        Raises DuplicateStep for a name used twice without `key`; InvalidValue for arguments that can't be encoded
        (pass them in a closure) and for a result that can't, or is over 64 KiB; JournalMismatch when it was recorded
        with other arguments; StepFailed when the function raised, from its exception: recorded too, and raised again
        at every resume.
        """
        path = self._claim(name, key)
        arguments_digest = _digest_arguments(path, arguments)
        recorded = self._recording.journal.get(path)
        if recorded is not None:
            return self._replay(recorded, arguments_digest, function)
        return await self._perform(path, function, arguments, arguments_digest)

    def emit(self, name: str, payload: object = None) -> None:
        """Emit an event to the outside. It leaves through the outbox once the next record of this execution is durable.

        Raises InvalidValue for a payload that can't be encoded or is over 64 KiB, and for more than 1,024 events since
        the last record.
        """
        self._check_live()
        check_id(name, "event name")
        event = Emitted(self._emitted, name, Raw(encode_value(payload, f"event {name!r}")))
        if self._emitted >= self._recorded_events:
            if len(self._waiting_events) == EVENTS_MAX:
                most = f"the {EVENTS_MAX:,} that ride with one record"
                raise InvalidValue(f"event {name!r}", f"is one more than {most}; record a step in between")
            self._waiting_events.append(event)
        self._emitted += 1

    def artifact(self, name: str, value: object) -> None:
        """Give a named result beside the handler's own; setting it again replaces it. Kept with the execution's end.

        Raises InvalidValue for a value that can't be encoded or is over 64 KiB: keep large ones as files.
        """
        self._check_live()
        self.artifacts[check_id(name, "artifact name")] = Raw(encode_value(value, f"artifact {name!r}"))

    def take_events(self) -> list[Emitted]:
        """What was emitted and rides with the next record. For whoever records."""
        events, self._waiting_events = self._waiting_events, []
        return events

    def _claim(self, name: str, key: str | None) -> str:
        self._check_live()
        check_id(name, "step name")
        path = name if key is None else f"{name}[{check_id(key, 'step key')}]"
        if path in self._used:
            raise DuplicateStep(path)
        self._used.add(path)
        return path

    def _check_live(self) -> None:
        if self._recording.suspended:
            raise Suspended(
                f"execution {self.execution_id} is being suspended, and resumes later, or its handler has returned"
            )

    def _replay(self, recorded: StepCompleted | StepFailed, arguments: bytes, function: Callable[..., Any]) -> Any:
        if recorded.arguments != arguments:
            raise JournalMismatch(recorded.path, recorded.arguments.hex() or "(none)", arguments.hex() or "(none)")
        self._unreached -= 1
        self._now = recorded.at
        if isinstance(recorded, StepFailed):
            raise StepFailedError(recorded.path, recorded.error.code, recorded.error.message)
        return _decode(recorded.result, function)

    async def _perform(self, path: str, function: Callable[..., Any], arguments: Any, arguments_digest: bytes) -> Any:
        self.in_progress.append(path)
        try:
            value = await self._call(path, function, arguments)
            result = encode_value(value, f"result of step {path!r}")
        except Exception as error:
            if self._recording.suspended or isinstance(error, InvalidValue):
                raise
            await self._record_failure(path, arguments_digest, error)
            raise StepFailedError(path, type(error).__name__, _message(error)) from error
        finally:
            self.in_progress.remove(path)
        completed = StepCompleted(path, Raw(result), self._recording.now(), arguments_digest, self.take_events())
        await self._record(completed)
        return _decode(completed.result, function)

    async def _record_failure(self, path: str, arguments: bytes, error: Exception) -> None:
        failure = failure_of(error)
        await self._record(
            StepFailed(path, failure, self._recording.now(), arguments=arguments, events=self.take_events())
        )

    async def _record(self, step: StepCompleted | StepFailed) -> None:
        self._check_live()
        self._unreached = 0  # what was recorded and not reached by now is not part of the handler any more
        try:
            await self._recording.record_step(step)
        except InvalidValue:
            self._waiting_events[:0] = step.events  # nothing was recorded
            raise
        self._now = step.at

    async def _call(self, path: str, function: Callable[..., Any], arguments: Any) -> Any:  # noqa: ARG002  for unit tests
        if _is_async(function):
            return await function(*arguments)
        # In a tuple, because trio refuses a coroutine from a thread: that of a lambda around an async function.
        (value,) = await anyio.to_thread.run_sync(
            lambda: (function(*arguments),), limiter=self._limiter, abandon_on_cancel=True
        )
        return await value if inspect.isawaitable(value) else value


class Files:
    """Content that is too large for a value, kept by tenant and digest."""

    def __init__(self, context: Context, store: FileStore | None, check_live: Callable[[], None]) -> None:
        self._context = context
        self._store = store
        self._check_live = check_live

    async def put(self, filename: str, content: bytes, metadata: dict[str, Any] | None = None) -> FileReference:
        """Keep content; it is durable when this returns. Keep the reference in a step's result or an artifact.

        The same content twice is kept once, so that running again at a resume costs nothing but time.
        """
        if not isinstance(content, bytes):  # pyright: ignore[reportUnnecessaryIsInstance]  # not every caller checks types
            raise InvalidValue("content", f"must be bytes, not {type(content).__name__}; encode text first")
        self._check_live()
        context = self._context
        key = await self._opened().put(context.tenant_id, content)
        return FileReference(
            reference=key,
            tenant=context.tenant_id,
            session=context.session,
            location=f"files:{key}",
            filename=filename,
            metadata=metadata or {},
            digest=key,
            size=len(content),
        )

    async def get(self, reference: FileReference) -> bytes | None:
        """The content of a reference, or None if it is not there any more."""
        return await self._opened().get(self._context.tenant_id, reference.digest)

    def _opened(self) -> FileStore:
        if self._store is None:
            raise InvalidValue("files", "this context has no file store; pass files=MemoryFileStore()")
        return self._store


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
    return digest(
        *(
            encode_value(argument, f"argument {place} of step {path!r} (pass it in a closure)", ARGUMENTS_BYTES_MAX)
            for place, argument in enumerate(arguments, 1)
        )
    )


def _is_async(function: Callable[..., Any]) -> bool:
    while isinstance(function, functools.partial):
        function = function.func
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__)


def _decode(result: Raw, function: Callable[..., Any]) -> Any:
    while isinstance(function, functools.partial):
        function = function.func
    if not inspect.isroutine(function) and not isinstance(function, type):
        function = type(function).__call__
    return msgspec.msgpack.decode(result, type=_return_type(getattr(function, "__func__", function)))


def _return_type(function: Callable[..., Any]) -> Any:
    """The type that a function says it returns; plain data when it doesn't say, or says what can't be looked up.

    Remembered by code and annotation, never by function: a closure would be kept alive with all that it holds.
    """
    try:
        said = function if isinstance(function, type) else getattr(function, "__annotations__", {}).get("return", Any)
        place = (getattr(function, "__code__", None), said)
        known = _return_types.get(place)
    except (TypeError, NameError):  # an annotation that can't be hashed, or not be evaluated
        return _look_up_type(function)
    if known is None:
        if len(_return_types) >= _RETURN_TYPES_MAX:
            _return_types.clear()
        known = _return_types[place] = _look_up_type(function)
    return known


_RETURN_TYPES_MAX: Final = 4096
_return_types: dict[tuple[Any, Any], Any] = {}


def _look_up_type(function: Callable[..., Any]) -> Any:
    try:
        annotation = function if isinstance(function, type) else typing.get_type_hints(function).get("return", Any)
        custom = isinstance(msgspec.inspect.type_info(annotation), msgspec.inspect.CustomType)
        msgspec.msgpack.Decoder(annotation)
    except (NameError, TypeError, AttributeError):
        return Any
    return Any if custom else annotation


class _Logger(logging.LoggerAdapter[logging.Logger]):
    def __init__(self, context: Context) -> None:
        super().__init__(
            logging.getLogger("intendant.handler"),
            {"tenant": context.tenant_id, "session": context.session, "execution": context.execution_id},
        )
        self._context = context

    def isEnabledFor(self, level: int) -> bool:  # noqa: N802  the standard library's name
        return not self._context.replaying and super().isEnabledFor(level)

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        kwargs["extra"] = {**(self.extra or {}), **kwargs.get("extra", {})}
        return msg, kwargs
