"""What a child is: how it starts, when it is restarted, how it is asked to stop, and whose end is the end of all."""

from __future__ import annotations

import enum
import math
from collections.abc import Awaitable, Callable
from typing import Any, Protocol, overload

from .value import Value

__all__ = ["AutoShutdown", "ChildSpec", "Restart", "Start", "Started"]


class Restart(enum.Enum):
    """When a child that ended by itself is started again."""

    PERMANENT = "permanent"
    """Always: a normal return counts as a failure too."""
    TRANSIENT = "transient"
    """Only after a crash."""
    TEMPORARY = "temporary"
    """Never, not even when its whole group is restarted."""


class AutoShutdown(enum.Enum):
    """Whether a supervisor ends, normally, when significant children have ended by themselves and stay down."""

    NEVER = "never"
    ANY_SIGNIFICANT = "any_significant"
    """With the first of them."""
    ALL_SIGNIFICANT = "all_significant"
    """With the last of them."""


class Started(Protocol):
    """Handed to a child's start, which says once, by `started()`, that others can rely on it.

    anyio's `TaskStatus` fits, and so does any `def started(self, value: Any = None) -> None`.
    """

    @overload
    def started(self) -> None: ...

    @overload
    def started(self, value: Any) -> None: ...  # Any: the value is of no use to a supervisor, so all will do


Start = Callable[[Started], Awaitable[None]]
"""Runs a child for its whole life: calls `started()` when ready, returns for a normal exit, raises for a crash."""


class ChildSpec(Value):
    """A child, as data. All times are seconds.

    `stop` is the polite request: synchronous, quick, allowed at any time after `start` was called and
    also more than once. The child then has `shutdown` seconds before it is cancelled. Without `stop`
    it is cancelled at once. A child that ignores its cancellation is waited for: no task can be killed.
    """

    id: str
    start: Start
    restart: Restart = Restart.PERMANENT
    stop: Callable[[], None] | None = None
    shutdown: float = 5.0
    """Seconds between asking and cancelling; `math.inf`: as long as it takes; 0: cancel without asking."""
    start_timeout: float = 30.0
    """Seconds a start may take until it is ready; one that takes longer is cancelled and counts as crashed."""
    fatal: tuple[type[BaseException], ...] = ()
    """An exit by one of these, alone, inside a group or as the cause of an escalation, is never followed by
    a restart: it stops the supervisor, which escalates at once."""
    significant: bool = False
    """Its end may be the supervisor's, see `AutoShutdown`; for children that may end, not for permanent ones."""
    supervises: bool = False
    """Whether the child is a supervisor itself: told in its info and in counts, and nothing else."""
    remember: int = 5
    """How many of its latest crashes are kept, with their times."""

    def __post_init__(self) -> None:
        if not self.id:
            raise ValueError("a child needs an id")
        if math.isnan(self.shutdown) or self.shutdown < 0:
            raise ValueError(f"{self.id}: shutdown must be 0 or more seconds, not {self.shutdown}")
        if math.isnan(self.start_timeout) or self.start_timeout <= 0:
            raise ValueError(f"{self.id}: start_timeout must be more than 0 seconds, not {self.start_timeout}")
        if self.significant and self.restart is Restart.PERMANENT:
            raise ValueError(f"{self.id}: a permanent child never ends, so it can't be significant: make it transient")
        if self.remember < 1:
            raise ValueError(f"{self.id}: remember must be 1 or more crashes, not {self.remember}")

    @property
    def asks(self) -> bool:
        """Whether stopping begins with a polite request."""
        return self.stop is not None and self.shutdown > 0
