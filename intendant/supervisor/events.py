"""What supervisors tell: one frozen value for everything they do or see, in the order it happens.

Paths are the names from the root down, joined by slashes. An event says what is so already; a listener
is called synchronously, must be quick and must not raise: if it does, the supervisor stops and escalates.
"""

from __future__ import annotations

import enum

from .value import Value

__all__ = [
    "AskFailed",
    "ChildCrashed",
    "ChildExited",
    "ChildRestarting",
    "ChildStarted",
    "ChildStarting",
    "ChildStopped",
    "ChildStopping",
    "Ending",
    "Event",
    "IntensityExceeded",
    "SupervisorEnding",
    "SupervisorEscalated",
    "SupervisorStarted",
    "SupervisorStopped",
]


class Ending(enum.Enum):
    """How a child that was to stop came to its end."""

    ASKED = "asked"
    """By itself, in time."""
    CANCELLED = "cancelled"
    """It had to be cancelled."""
    CRASHED = "crashed"
    """It raised; a `ChildCrashed` came before."""


class SupervisorStarted(Value):
    """Every child was ready once (a dynamic supervisor: children may be added)."""

    path: str


class SupervisorStopped(Value):
    """Every child has ended; `cause` is what `run` raises, None after a stop that was asked for or a cancellation."""

    path: str
    cause: BaseException | None


class SupervisorEnding(Value):
    """The supervisor ends normally because this significant child has, and begins to stop the others."""

    path: str
    child: str


class SupervisorEscalated(Value):
    """The supervisor gives up because of this child and begins to stop the others."""

    path: str
    child: str
    cause: BaseException


class IntensityExceeded(Value):
    """This child's exit was one more than `restarts` within `period` seconds."""

    path: str
    cause: BaseException
    restarts: int
    period: float


class ChildStarting(Value):
    """The child's start is being called."""

    path: str


class ChildStarted(Value):
    """The child is ready."""

    path: str


class ChildExited(Value):
    """The child returned and nobody had asked it to."""

    path: str


class ChildCrashed(Value):
    """The child raised. `restarts_in_window` counts this one if a restart is what it asks for."""

    path: str
    cause: BaseException
    restarts_in_window: int


class ChildRestarting(Value):
    """The child will be started again, at the earliest after so many seconds."""

    path: str
    after: float


class ChildStopping(Value):
    """The child is being asked to stop or cancelled."""

    path: str


class ChildStopped(Value):
    """The child that was to stop has ended."""

    path: str
    how: Ending


class AskFailed(Value):
    """The child's `stop` raised; it has been cancelled instead."""

    path: str
    cause: BaseException


Event = (
    SupervisorStarted
    | SupervisorStopped
    | SupervisorEnding
    | SupervisorEscalated
    | IntensityExceeded
    | ChildStarting
    | ChildStarted
    | ChildExited
    | ChildCrashed
    | ChildRestarting
    | ChildStopping
    | ChildStopped
    | AskFailed
)
