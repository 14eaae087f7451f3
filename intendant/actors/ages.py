"""How old what was committed is: which sequence is older than a store's loss window."""

from __future__ import annotations

from collections import deque
from typing import Final

_GRAIN: Final = 0.1  # seconds; what is committed within this time shares a mark
_MARKS: Final = 4_096  # so windows up to 400 seconds can be told


class Ages:
    """Marks of (time, sequence): by that time of the event loop's clock, everything up to there was committed."""

    def __init__(self) -> None:
        self._marks: deque[tuple[float, int]] = deque(maxlen=_MARKS)
        self._began = 0.0  # when the newest mark was first set

    def begin(self, now: float, sequence: int) -> None:
        """Forget all; what stands in the log counts from now."""
        self._marks.clear()
        self._mark(now, sequence)

    def add(self, now: float, sequence: int) -> None:
        """Everything up to `sequence` is committed now."""
        if now - self._began < _GRAIN:
            self._marks[-1] = (now, sequence)  # later than true for what it held before: never too old
        else:
            self._mark(now, sequence)

    def again(self, now: float, first: int, sequence: int) -> None:
        """What was lost from `first` on is committed again now, up to `sequence`."""
        while self._marks and self._marks[-1][1] >= first:
            self._marks.pop()
        self._mark(now, sequence)

    def settled(self, time: float) -> int:
        """The highest sequence that was committed at `time` or before; 0 if none is known."""
        return next((sequence for marked, sequence in reversed(self._marks) if marked <= time), 0)

    def since(self, sequence: int) -> float | None:
        """When a sequence was committed, to a tenth of a second; None when it was not, or nobody knows any more."""
        found: float | None = None
        for marked, newest in reversed(list(self._marks)):  # a copy: it may be asked from any thread
            if newest < sequence:
                break
            found = marked
        return found

    def _mark(self, now: float, sequence: int) -> None:
        self._marks.append((now, sequence))
        self._began = now
