"""When the next of many may go: a steady rate with a small burst. Time is an argument."""

from __future__ import annotations

import math

__all__ = ["Pace"]


class Pace:
    """Hands out points in time, `per_second` of them a second, at most `burst` of them at once.

    One that comes after a pause is let through at once; of a crowd each gets a time of its own.
    """

    __slots__ = ("_ahead", "_next", "_spacing")

    def __init__(self, per_second: float, burst: int) -> None:
        if not per_second > 0:
            raise ValueError(f"the rate must be more than 0 a second, not {per_second}")
        self._spacing = 1 / per_second if per_second < math.inf else 0.0
        self._ahead = (burst - 1) * self._spacing
        self._next = -math.inf

    def slot(self, now: float) -> float:
        """The time, `now` or later, at which the one who asks may go."""
        self._next = max(self._next + self._spacing, now - self._ahead)
        return max(self._next, now)
