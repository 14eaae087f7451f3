"""When the refused are to come again: the later, the more they are, so that refusing leaves time for work."""

from __future__ import annotations

import time
from typing import Final

_A_SECOND: Final = 100  # refusals that may come in each second


class Refusals:
    """Counts the refusals of this second and of the one before."""

    def __init__(self) -> None:
        self._second = 0
        self._count = 0
        self._before = 0

    def later(self, now: float | None = None) -> dict[str, str]:
        """Count one, and say when it is to come again: in 1 s, and in one more for each 100 refusals in a second."""
        second = int(time.monotonic() if now is None else now)
        if second != self._second:
            self._before = self._count if second == self._second + 1 else 0
            self._second, self._count = second, 0
        self._count += 1
        return {"Retry-After": str(1 + max(self._count, self._before) // _A_SECOND)}
