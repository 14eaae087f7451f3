"""How many restarts are too many: a budget in a sliding window. Time is an argument."""

from __future__ import annotations

import math
import sys
from collections import deque

from .value import Value

__all__ = ["Intensity", "Window"]

UNLIMITED = sys.maxsize
_REMEMBERED = 1_000  # of an unlimited budget: enough to show a crash loop, little enough to hold


class Intensity(Value):
    """At most `restarts` within any `period` seconds; one more spends the budget."""

    restarts: int = 5
    period: float = 30.0

    def __post_init__(self) -> None:
        if self.restarts < 0:
            raise ValueError(f"restarts must be 0 or more, not {self.restarts}")
        if math.isnan(self.period) or self.period <= 0:
            raise ValueError(f"period must be more than 0 seconds, not {self.period}")

    @classmethod
    def unlimited(cls, period: float = 30.0) -> Intensity:
        """A budget that is never spent, for what must go on trying; counts in events end at 1,000."""
        return cls(UNLIMITED, period)


class Window:
    """The restarts of the last `period` seconds.

    Holds at most one more than the budget allows, so its size is bounded whatever crashes.
    """

    __slots__ = ("_intensity", "_times")

    def __init__(self, intensity: Intensity) -> None:
        self._intensity = intensity
        kept = _REMEMBERED if intensity.restarts == UNLIMITED else intensity.restarts + 1
        self._times: deque[float] = deque(maxlen=kept)

    def spend(self, now: float) -> bool:
        """Count a restart at `now` (never before an earlier one); False if that is one too many."""
        self._forget(now)
        self._times.append(now)
        return len(self._times) <= self._intensity.restarts

    def count(self, now: float) -> int:
        """Restarts within the period that ends now."""
        self._forget(now)
        return len(self._times)

    def empty_at(self) -> float:
        """The time after which nothing is left to remember; minus infinity if that is so already."""
        return self._times[-1] + self._intensity.period if self._times else -math.inf

    def _forget(self, now: float) -> None:
        times, period = self._times, self._intensity.period
        while times and now - times[0] > period:
            times.popleft()
