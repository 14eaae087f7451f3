"""The run's own story, as the page tells it: when what was finished, and when the worker was killed."""

from __future__ import annotations

from msgspec import Struct


class Sample(Struct, frozen=True, array_like=True):
    """At so many seconds, so many executions had ended."""

    seconds: float
    done: int


class Kill(Struct, frozen=True):
    """The worker was killed at `seconds`, with `done` executions ended and `running` accepted ones open."""

    seconds: float
    resumed: float
    done: int
    running: int


class Figures(Struct, frozen=True):
    """What the log holds of this run, counted by the audit."""

    executions: int
    completed: int
    failed: int
    records: int
    events: int
    steps: int
    again: int
    known: int
    changed: list[str]
    curve: list[Sample]
    flaws: list[str]


class Run(Struct, frozen=True):
    """One run of the demo, from the first worker's start to the last one's end."""

    seconds: float
    kill: Kill | None
    figures: Figures

    @property
    def rate(self) -> float:
        """Executions ended per second, the time lost by the kill included."""
        return self.figures.executions / self.seconds if self.seconds else 0.0
