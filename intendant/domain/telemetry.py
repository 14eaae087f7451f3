"""What a runtime tells of itself, and to whom: metrics and traces. Pure; what carries them out is an adapter."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Final, Literal, Protocol, runtime_checkable

from msgspec import Struct

from intendant.domain.payloads import StepFailed
from intendant.domain.state import ExecutionState, Status

UNTRACED: Final = nullcontext(None)
"""What stands where nobody is told."""

Labels = tuple[tuple[str, str], ...]
Kind = Literal["counter", "gauge", "histogram"]

_SUFFIXES: Final = {"s": "_seconds", "By": "_bytes"}  # of units, as OpenMetrics wants them


class Metric(Struct, frozen=True):
    """What one metric is. `name` and `unit` are OpenTelemetry's; units in braces are only told there."""

    name: str
    kind: Kind
    unit: str
    help: str

    @property
    def prometheus(self) -> str:
        """The name that it has in Prometheus, by the rules that exporters of OpenTelemetry follow."""
        name = self.name.replace(".", "_") + _SUFFIXES.get(self.unit, "")
        return f"{name}_total" if self.kind == "counter" else name


class Distribution:
    """How often which values came: `counts[i]` of them were at most `bounds[i]`, the last one counts what was above."""

    __slots__ = ("bounds", "counts", "sum", "tell")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0
        self.tell: Callable[[float], None] | None = None  # somebody else who is told of every value

    def add(self, value: float) -> None:
        """One value more."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value
        if self.tell is not None:
            self.tell(value)


class Sample(Struct, frozen=True):
    """The value of a metric at this moment; a histogram's is its distribution."""

    value: float | Distribution
    labels: Labels = ()


class ExecutionTrace(Protocol):
    """What is told of one execution while it is in this process."""

    def step(self, path: str) -> AbstractContextManager[str]:
        """A step that was not recorded before begins, and ends with the block; gives its `traceparent`, or ""."""
        ...

    def attempt_failed(self, failed: StepFailed) -> None:
        """An attempt failed, of a step that is under way or of the handler; it is recorded."""
        ...

    def ended(self, status: Status, code: str = "") -> None:
        """Its end is decided: it failed with this code, if it did."""
        ...


class Tracing(Protocol):
    """Who is told what happens. Every method may be called often: nothing of it waits."""

    def submit(self, tenant: str, session: str, type: str, count: int) -> AbstractContextManager[str]:
        """Intents, the first of this type, are submitted while the block runs; gives the `traceparent` to keep with
        them, or "" for none.
        """
        ...

    def execution(self, state: ExecutionState, *, resumed: bool) -> AbstractContextManager[ExecutionTrace]:
        """An execution's handler is in memory while the block runs; `resumed`: it began earlier."""
        ...


@runtime_checkable
class Telemetry(Protocol):
    """Carries out what a runtime tells of itself."""

    @property
    def tracing(self) -> Tracing | None:
        """Who is told what happens; None when no traces are wanted."""
        ...

    def observe(self, name: str, metrics: Sequence[Metric], read: Callable[[Metric], Sequence[Sample]]) -> None:
        """The runtime of this name has been entered. `read` may be called at any time, from any thread."""
        ...

    def forget(self, name: str) -> None:
        """It is being left: nothing more is to be read of it."""
        ...
