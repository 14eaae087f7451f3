"""When something that failed is tried again, and how long it may take. Pure: time and chance are arguments."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import timedelta
from typing import Final

from msgspec import Struct

ATTEMPTS_MAX: Final = 1_000_000


class RetryAfter(Exception):
    """Raised by a step or a handler: this attempt failed, and the next one must not begin before `delay` is over.

    It counts as an attempt, and is tried again only if the policy has attempts left.
    """

    def __init__(self, delay: timedelta, reason: str = "") -> None:
        if delay < timedelta(0):
            raise ValueError(f"delay must not be negative, not {delay}")
        super().__init__(reason or f"try again in {delay}")
        self.delay = delay


class Retry(Struct, frozen=True):
    """How often a step or a handler is tried when it raises an `Exception`, and how long it waits in between.

    `attempts` counts all of them, the first one too. The n-th wait is `initial * factor**(n - 1)`, at most `maximum`,
    less up to the share `jitter` of it that chance takes off. Errors of a class in `never`, and those of no class in
    `only`, are not tried again. The wait is durable: a restart in the middle of it does not begin it anew.
    """

    attempts: int = 3
    initial: timedelta = timedelta(seconds=1)
    factor: float = 2.0
    maximum: timedelta = timedelta(minutes=1)
    jitter: float = 0.2
    only: tuple[type[Exception], ...] = (Exception,)
    never: tuple[type[Exception], ...] = ()

    def __post_init__(self) -> None:
        if not 1 <= self.attempts <= ATTEMPTS_MAX:
            raise ValueError(f"attempts must be 1 to {ATTEMPTS_MAX:,}, not {self.attempts}")
        if self.initial < timedelta(0) or self.maximum < timedelta(0):
            raise ValueError(f"initial and maximum must not be negative, not {self.initial} and {self.maximum}")
        if not 1 <= self.factor < math.inf:
            raise ValueError(f"factor must be finite and 1 or more, not {self.factor}")
        if not 0 <= self.jitter <= 1:
            raise ValueError(f"jitter must be between 0 and 1, not {self.jitter}")

    def after(self, attempt: int, error: Exception, random: Callable[[], float]) -> timedelta | None:
        """How long to wait after attempt number `attempt` (from 1) failed; None: it was the last one.

        `random` yields [0, 1).
        """
        if attempt >= self.attempts or isinstance(error, self.never):
            return None
        if isinstance(error, RetryAfter):
            return error.delay
        if not isinstance(error, self.only):
            return None
        return self._full(attempt) * (1 - self.jitter * random())

    def _full(self, attempt: int) -> timedelta:
        try:
            return min(self.maximum, self.initial * self.factor ** (attempt - 1))
        except OverflowError:
            return self.maximum


ONCE: Final = Retry(attempts=1)
"""No second attempt: the default of a step and of a handler."""


class Policy(Struct, frozen=True):
    """How a step or a handler is tried: how often, and how long.

    `timeout` limits each attempt; `deadline` all of them and the waits in between; `heartbeat` is how long an attempt
    may be silent. Times that are handed in are µs since 1970 UTC: they hold across restarts.
    """

    retry: Retry = ONCE
    timeout: timedelta | None = None
    deadline: timedelta | None = None
    heartbeat: timedelta | None = None

    def __post_init__(self) -> None:
        for name in ("timeout", "deadline", "heartbeat"):
            limit: timedelta | None = getattr(self, name)
            if limit is not None and limit <= timedelta(0):
                raise ValueError(f"{name} must be longer than nothing, not {limit}")

    @property
    def limited(self) -> bool:
        """Whether the time of an attempt is limited at all."""
        return not (self.timeout is None and self.deadline is None and self.heartbeat is None)

    def seconds_left(self, first: int, began: int, now: int) -> float | None:
        """How long the attempt that began at `began` may go on, when the first one did at `first`; None: for ever."""
        end = self.end(first, began)
        return None if end is None else max(end - now, 0) / 1e6

    def end(self, first: int, began: int) -> int | None:
        """When the attempt that began at `began` is over, when the first one did at `first`; None: never."""
        if self.deadline is None and self.timeout is None:
            return None
        return min(
            start + limit // _MICROSECOND
            for start, limit in ((first, self.deadline), (began, self.timeout))
            if limit is not None
        )

    def next_attempt(
        self, attempt: int, error: Exception, first: int, now: int, random: Callable[[], float]
    ) -> int | None:
        """When the next attempt may begin, after number `attempt` failed; None: it was the last one."""
        wait = self.retry.after(attempt, error, random)
        if wait is None:
            return None
        begins = now + wait // _MICROSECOND
        return None if self.deadline is not None and begins >= first + self.deadline // _MICROSECOND else begins


_MICROSECOND: Final = timedelta(microseconds=1)
