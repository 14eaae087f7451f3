"""How long to wait before a restart: exponential, capped, with jitter. Randomness is an argument."""

from __future__ import annotations

import math
from collections.abc import Callable

from .value import Value

__all__ = ["Backoff"]


class Backoff(Value):
    """Wait `initial` seconds first, then `factor` times more each time, never more than `maximum`.

    `jitter` is the share of a wait that chance may take off, so that children which fell together do
    not rise together: 0 for none, 1 for anything between nothing and the full wait.
    """

    initial: float = 0.05
    factor: float = 2.0
    maximum: float = 5.0
    jitter: float = 0.2

    def __post_init__(self) -> None:
        if not (0 <= self.initial < math.inf and 0 <= self.maximum < math.inf):
            raise ValueError(f"initial and maximum must be finite and not negative: {self}")
        if not 1 <= self.factor < math.inf:
            raise ValueError(f"factor must be finite and 1 or more: {self}")
        if not 0 <= self.jitter <= 1:
            raise ValueError(f"jitter must be between 0 and 1: {self}")

    @classmethod
    def none(cls) -> Backoff:
        """Restart at once, always."""
        return cls(initial=0.0, maximum=0.0, jitter=0.0)

    def delay(self, attempt: int, random: Callable[[], float]) -> float:
        """Seconds to wait before restart number `attempt`, counted from 0; `random` yields [0, 1)."""
        full = self._full(attempt)
        return full * (1 - self.jitter * random()) if full and self.jitter else full

    def _full(self, attempt: int) -> float:
        if not self.initial:
            return 0.0
        try:
            return min(self.maximum, self.initial * self.factor**attempt)
        except OverflowError:
            return self.maximum
