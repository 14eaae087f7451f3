"""What supervisors tell: one frozen value for everything they do or see, in the order it happens.

Paths are the names from the root down, joined by slashes. An event says what is so already; a listener
is called synchronously, must be quick and must not raise: if it does, the supervisor stops and escalates.
"""

import enum
from dataclasses import dataclass

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


@dataclass(frozen=True, slots=True)
class SupervisorStarted:
    """Every child was ready once (a dynamic supervisor: children may be added)."""

    path: str


@dataclass(frozen=True, slots=True)
class SupervisorStopped:
    """Every child has ended; `cause` is what `run` raises, None after a stop that was asked for or a cancellation."""

    path: str
    cause: BaseException | None


@dataclass(frozen=True, slots=True)
class SupervisorEnding:
    """The supervisor ends normally because this significant child has, and begins to stop the others."""

    path: str
    child: str


@dataclass(frozen=True, slots=True)
class SupervisorEscalated:
    """The supervisor gives up because of this child and begins to stop the others."""

    path: str
    child: str
    cause: BaseException


@dataclass(frozen=True, slots=True)
class IntensityExceeded:
    """This child's exit was one more than `restarts` within `period` seconds."""

    path: str
    cause: BaseException
    restarts: int
    period: float


@dataclass(frozen=True, slots=True)
class ChildStarting:
    """The child's start is being called."""

    path: str


@dataclass(frozen=True, slots=True)
class ChildStarted:
    """The child is ready."""

    path: str


@dataclass(frozen=True, slots=True)
class ChildExited:
    """The child returned and nobody had asked it to."""

    path: str


@dataclass(frozen=True, slots=True)
class ChildCrashed:
    """The child raised. `restarts_in_window` counts this one if a restart is what it asks for."""

    path: str
    cause: BaseException
    restarts_in_window: int


@dataclass(frozen=True, slots=True)
class ChildRestarting:
    """The child will be started again, at the earliest after so many seconds."""

    path: str
    after: float


@dataclass(frozen=True, slots=True)
class ChildStopping:
    """The child is being asked to stop or cancelled."""

    path: str


@dataclass(frozen=True, slots=True)
class ChildStopped:
    """The child that was to stop has ended."""

    path: str
    how: Ending


@dataclass(frozen=True, slots=True)
class AskFailed:
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
