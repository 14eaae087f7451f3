"""A `Context` for unit tests of handlers: no runtime, no store."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from intendant.adapters.memory import MemoryFileStore
from intendant.context import Context
from intendant.domain.codec import decode_plain, encode_value
from intendant.domain.payloads import StepCompleted, StepFailed

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


class UnitContext(Context):
    """A context that takes some results from the test, runs the other steps for real, and remembers everything."""

    def __init__(self, steps: Mapping[str, Any], now: datetime, **facts: Any) -> None:
        self.recorded = Recorded()
        self._given = dict(steps)
        self._unused = set(steps)
        at = (now - _EPOCH) // timedelta(microseconds=1)
        super().__init__(_Recording(self.recorded, at), started_at=at, **facts)

    @property
    def unused(self) -> set[str]:
        """Paths of `steps=` that the handler has not come to: a misspelt one shows here."""
        return set(self._unused)

    def emit(self, name: str, payload: object = None) -> None:
        """See `Context.emit`."""
        super().emit(name, payload)
        self.recorded.events.append((name, _plain(payload)))

    def artifact(self, name: str, value: object) -> None:
        """See `Context.artifact`."""
        super().artifact(name, value)
        self.recorded.artifacts[name] = _plain(value)

    async def _call(self, path: str, function: Callable[..., Any], arguments: Any) -> Any:
        if path not in self._given:
            return await super()._call(path, function, arguments)
        self._unused.discard(path)
        given = self._given[path]
        if isinstance(given, BaseException):
            raise given
        return given


class _Recording:
    """Keeps what the context records, in memory."""

    suspended = False

    def __init__(self, recorded: Recorded, at: int) -> None:
        self.journal: dict[str, StepCompleted | StepFailed] = {}
        self._recorded = recorded
        self._at = at

    async def record_step(self, step: StepCompleted | StepFailed) -> None:
        """Remember it."""
        self._recorded.steps[step.path] = decode_plain(step.result) if isinstance(step, StepCompleted) else step.error

    def now(self) -> int:
        """The time that the test has set."""
        return self._at


def context(
    steps: Mapping[str, Any] | None = None,
    *,
    tenant_id: str = "tenant",
    session: str = "session",
    solution: str = "default",
    execution_id: str = "execution",
    now: datetime = _NOON,
) -> UnitContext:
    """A context to call a handler with, in a unit test.

    A step whose path (`name`, or `name[key]`) is in `steps` is not run: it returns the value given there, through the
    type that its function says it returns, or raises the exception given there, as StepFailed. Any other step is run.

        ctx = context(steps={"charge": Payment("p-1", 5)})
        receipt = await place(ctx, Order("tea"))
        assert ctx.recorded.events == [("placed", {"item": "tea"})]
    """
    return UnitContext(
        steps or {},
        now,
        tenant_id=tenant_id,
        session=session,
        solution=solution,
        execution_id=execution_id,
        files=MemoryFileStore(),
    )


def _plain(value: object) -> Any:
    return decode_plain(encode_value(value, "value"))


__all__ = ["Recorded", "UnitContext", "context"]
