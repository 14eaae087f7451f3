"""A `Context` for unit tests of handlers: no runtime, no store."""

from __future__ import annotations

import typing
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import anyio
import anyio.lowlevel
from msgspec import Raw, structs

from intendant.adapters.memory import MemoryFileStore
from intendant.context import Context, Facts
from intendant.domain.children import ChildIntent, ChildRequest
from intendant.domain.codec import decode_plain, encode_value
from intendant.domain.errors import InternalError, InvalidValue
from intendant.domain.payloads import (
    Emitted,
    SagaRecord,
    SignalReceived,
    StepCompleted,
    StepFailed,
    Submitted,
    TimerFired,
    TimerSet,
)
from intendant.domain.sagas import SagaRow, Sagas, is_of_saga
from intendant.domain.shared_state import encode_shared
from intendant.domain.state import ExecutionState, Status
from intendant.domain.waits import Wait, WaitEnd
from intendant.steps.attempt import call_here
from intendant.steps.cancellation import CLEANUP, Cancellation
from intendant.steps.function import StepFunction
from intendant.steps.steps import failure_of

_NOON: Final = datetime(2000, 1, 1, 12, tzinfo=UTC)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass
class Recorded:
    """What a handler did through its context, as plain values."""

    steps: dict[str, Any] = field(default_factory=dict[str, Any])
    """Results by path, in the order they were recorded; the `Failure` of a step that raised."""
    events: list[tuple[str, Any]] = field(default_factory=list[tuple[str, Any]])
    """Names and payloads, in the order they were emitted."""
    artifacts: dict[str, Any] = field(default_factory=dict[str, Any])
    state: dict[str, Any] | None = None
    """What the handler has set as its session's state; None when it has set none."""
    waits: list[tuple[str, timedelta | None]] = field(default_factory=list[tuple[str, timedelta | None]])
    """Paths of sleeps and waits, `sleep()[key]` or `signal(name)[key]`, each with how long it was to be at most."""
    children: dict[str, Any] = field(default_factory=dict[str, Any])
    """Parameters by path, `submit(name)[key]`, of what it submitted."""
    cancelled: list[str] = field(default_factory=list[str])
    """Paths of children that it cancelled."""


class UnitContext(Context):
    """A context that takes some results from the test, runs the other steps for real, and remembers everything."""

    def __init__(
        self,
        steps: Mapping[str, Any],
        signals: Mapping[str, Sequence[Any]],
        children: Mapping[str, Any],
        state: object,
        facts: Facts,
    ) -> None:
        self._recorded = Recorded()
        self._given = dict(steps)
        self._unused = set(steps)
        self._sagas = Sagas()
        shared = None if state is None else encode_shared(state)
        self._recorder = _Recording(self._recorded, facts.started_at, signals, children, self._sagas, shared)
        super().__init__(self._recorder, facts, self._give_or_call)

    @property
    def recorded(self) -> Recorded:
        """What the handler did, by now."""
        changed = self.changed_state
        self._recorded.state = None if changed is None else decode_plain(changed)
        return self._recorded

    @property
    def unused(self) -> set[str]:
        """Paths of `steps=` that the handler has not come to: a misspelt one shows here."""
        return set(self._unused)

    @property
    def sagas(self) -> list[SagaRecord]:
        """What became of each step of its sagas, by now."""
        return self._sagas.records()

    def query(self, name: str) -> Any:
        """What the handler answers now, as plain data. Raises KeyError when it answers no such query."""
        return _plain(self.queries[name]())

    def emit(self, name: str, payload: object = None) -> None:
        """See `Context.emit`."""
        super().emit(name, payload)
        self._recorded.events.append((name, _plain(payload)))

    def artifact(self, name: str, value: object) -> None:
        """See `Context.artifact`."""
        super().artifact(name, value)
        self._recorded.artifacts[name] = _plain(value)

    def cancelled_at(self, path: str) -> anyio.CancelScope:
        """Let the handler be cancelled in this step or wait, and clean up after it. Call it inside of this scope.

            with ctx.cancelled_at("pack"):
                await place(ctx, order)

        What it recorded after that is its clean-up's; `cancelled_caught` of the scope says whether it came so far.
        """
        scope = anyio.CancelScope()
        self._recorder.cancel_at = (path, Cancellation(CLEANUP.total_seconds(), 0, scope.cancel))
        return scope

    async def _give_or_call(
        self, path: str, kind: StepFunction, function: Callable[..., Any], arguments: tuple[Any, ...]
    ) -> Any:
        await self._recorder.come_to(path)
        if path not in self._given:
            return await call_here(None, path, kind, function, arguments)
        self._unused.discard(path)
        given = self._given[path]
        if isinstance(given, BaseException):
            raise given
        return given


class _Recording:
    """Keeps what the context records, in memory."""

    suspended = False
    resumes = False
    trace = None

    def __init__(
        self,
        recorded: Recorded,
        at: int,
        signals: Mapping[str, Sequence[Any]],
        children: Mapping[str, Any],
        sagas: Sagas,
        shared: bytes | None,
    ) -> None:
        self.journal: dict[str, StepCompleted | StepFailed] = {}
        self.recorded_events: list[Emitted] = []
        self.waits: dict[str, Wait] = {}
        self.sagas = sagas
        self.cancellation: Cancellation | None = None
        self.cancel_at: tuple[str, Cancellation] | None = None
        self._signals = {name: iter(payloads) for name, payloads in signals.items()}
        self._children = children
        self._submitted: dict[str, str] = {}  # paths by execution
        self._shared = shared
        self._recorded = recorded
        self._at = at
        self._fences = 0

    async def wait(self, path: str, timer: TimerSet | None) -> WaitEnd:
        """Skip a sleep; take the next signal that the test gives, or the time-out if there is none."""
        assert timer is not None  # noqa: S101  nothing was recorded before
        await self.come_to(path)
        self._recorded.waits.append((path, timedelta(microseconds=timer.due - timer.at) if timer.due else None))
        for payload in self._signals.get(timer.signal, ()):
            encoded = Raw(encode_value(payload, f"signal {timer.signal!r}"))
            return SignalReceived(timer.signal, f"signal-{len(self._recorded.waits)}", encoded, self._at)
        if not timer.due:
            given = f"pass signals={{{timer.signal!r}: [...]}}, as many as are waited for"
            raise InvalidValue(f"signal {timer.signal!r}", f"would be waited for for ever: {given}")
        self._at = max(self._at, timer.due)
        return TimerFired(path, self._at)

    def prepare(self, handler: Any, parameters: Any) -> ChildIntent:
        """A function goes by its name here: no realm is known."""
        if isinstance(handler, str):
            return ChildIntent(handler, encode_value(parameters, "parameters"), Any)
        result = typing.get_type_hints(handler, localns={"Context": Context}).get("return", Any)
        return ChildIntent(handler.__name__, encode_value(parameters, "parameters"), result)

    async def submit(
        self, request: ChildRequest, record: Callable[[Submitted, Callable[[StepCompleted], None]], StepCompleted]
    ) -> StepCompleted:
        """Remember it."""
        await self.come_to(request.path)
        id = f"child-{len(self._submitted) + 1}"
        self._submitted[id] = request.path
        self._recorded.children[request.path] = decode_plain(request.intent.parameters)
        child = Submitted(id, request.session, request.intent.type, request.abandoned)
        return record(child, lambda _row: None)

    async def child_end(self, path: str, child: Submitted) -> ExecutionState:
        """End as the test says, or cancelled if it was."""
        await self.come_to(path)
        name = self._submitted[child.execution]
        state = ExecutionState(child.execution, "", "", child.session, "", child.type, "", Raw(b""), {}, self._at)
        if name in self._recorded.cancelled:
            return structs.replace(state, status=Status.CANCELLED)
        if name not in self._children:
            raise InvalidValue(f"child {name!r}", f"would be waited for for ever: pass children={{{name!r}: ...}}")
        given = self._children[name]
        if isinstance(given, Exception):
            return structs.replace(state, status=Status.FAILED, error=failure_of(given))
        return structs.replace(state, status=Status.COMPLETED, result=Raw(encode_value(given, f"child {name!r}")))

    async def cancel_child(self, child: Submitted) -> None:
        """Remember it."""
        self._recorded.cancelled.append(self._submitted[child.execution])

    async def pause(self, path: str, until: int) -> None:  # noqa: ARG002  the protocol's
        """Skip the wait between two attempts, as a sleep."""
        self._at = max(self._at, until)

    async def come_to(self, path: str) -> None:
        """Be cancelled there, if the test wants it."""
        if self.cancel_at is not None and self.cancel_at[0] == path:
            self.cancellation, self.cancel_at = self.cancel_at[1], None
            self.cancellation.strike()
            await anyio.lowlevel.checkpoint()

    async def read_shared(self) -> bytes | None:
        """What the test gives."""
        return self._shared

    def active(self) -> None:
        """Nobody looks."""

    def block(self, reason: str) -> None:
        """Nothing was recorded before."""

    def fence(self) -> int:
        """One more than the last."""
        self._fences += 1
        return self._fences

    async def record_saga(self, row: SagaRow) -> None:
        """Remember it."""
        self._follow(row)

    def _follow(self, row: SagaRow | StepCompleted | StepFailed) -> None:
        if not self.sagas.add(row):
            raise InternalError(f"{row!r:.200} does not follow what sagas have recorded")

    def shield(self) -> AbstractContextManager[object]:
        """Nobody suspends a unit test's handler."""
        return anyio.CancelScope(shield=True)

    async def record_step(self, step: StepCompleted | StepFailed) -> None:
        """Remember it."""
        if is_of_saga(step):
            self._follow(step)
        self._recorded.steps[step.path] = decode_plain(step.result) if isinstance(step, StepCompleted) else step.error

    def now(self) -> int:
        """The time that the test has set."""
        return self._at


def context(
    steps: Mapping[str, Any] | None = None,
    *,
    signals: Mapping[str, Sequence[Any]] | None = None,
    children: Mapping[str, Any] | None = None,
    state: object = None,
    exclusive: bool = True,
    tenant_id: str = "tenant",
    session: str = "session",
    solution: str = "default",
    execution_id: str = "execution",
    now: datetime = _NOON,
) -> UnitContext:
    """A context to call a handler with, in a unit test.

    A step whose path is in `steps` (`name`, or `name[key]`; `saga/name` in a saga, and `undo(saga/name)` for its undo)
    is not run: it returns the value given there, through the type that its function says it returns, or raises the
    exception given there, as StepFailed. Any other step is run.

    Sleeps, and waits for a step's next attempt, are skipped, and move `ctx.now()`. `signals` has payloads by name, in
    the order they are waited for; a wait with a time-out that finds none left ends by it. `children` has results, or
    exceptions they failed with, by path: `submit(name)`, or `submit(name)[key]`, with the name of the handler's
    function, or the type where that is submitted as text; nothing of a child is run. `state` is what the session's
    handlers share, a mapping or a struct; the handler may set it unless `exclusive` is False. The idempotency keys of
    steps are made of `execution_id`: where several contexts meet one fake, give each an id of its own.

        ctx = context(steps={"charge": Payment("p-1", 5)})
        receipt = await place(ctx, Order("tea"))
        assert ctx.recorded.events == [("placed", {"item": "tea"})]
    """
    at = (now - _EPOCH) // timedelta(microseconds=1)
    facts = Facts(tenant_id, session, solution, execution_id, at, exclusive=exclusive, files=MemoryFileStore())
    return UnitContext(steps or {}, signals or {}, children or {}, state, facts)


def _plain(value: object) -> Any:
    return decode_plain(encode_value(value, "value"))


__all__ = ["Recorded", "UnitContext", "context"]
