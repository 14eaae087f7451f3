"""How hard an actor is pressed, found out by looking.

To note the time of every message would cost every message. Here an actor only counts what it takes, and whoever looks
leaves a mark: at this time, so many had come. What is still there at a later look is at least as old as the mark.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from msgspec import Struct

_MARKS: Final = 1_000


class Pressure(Struct, frozen=True):
    """An actor that has work, as it was when one looked. Times are seconds, and true to the time between two looks."""

    path: str
    depth: int
    """Messages that wait."""
    oldest: float
    """How long the oldest of them has waited, at least."""
    in_hand: float
    """How long the message in hand has been handled, at least; 0 also when none is."""


class Gauge:
    """What earlier looks at one actor have seen."""

    __slots__ = ("_marks", "_since", "_taken")

    def __init__(self) -> None:
        self._marks: deque[tuple[float, int]] = deque()  # by this time, so many had come
        self._taken = -1
        self._since = 0.0  # when the message in hand was first seen there

    def look(self, now: float, taken: int, depth: int, handling: bool) -> tuple[float, float]:
        """The ages of the oldest message that waits and of the one in hand; never before an earlier look."""
        while self._marks and self._marks[0][1] <= taken:
            self._marks.popleft()
        oldest = now - self._marks[0][0] if depth and self._marks else 0.0
        come = taken + depth
        if len(self._marks) < _MARKS and (not self._marks or self._marks[-1][1] < come):
            self._marks.append((now, come))
        if taken != self._taken or not handling:
            self._taken, self._since = (taken, now) if handling else (-1, now)
        return oldest, now - self._since
