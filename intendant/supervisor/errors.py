"""What supervisors raise.

SupervisorError
├─ StartFailed      a child was not ready when its supervisor started
├─ StartTimedOut    ... because it took too long
├─ UnexpectedExit   a child that must not end returned
├─ Escalated        a supervisor gave up
├─ DuplicateChild   the id is in use
├─ UnknownChild     no child has this id
├─ ChildActive      the child runs or will; stop it first
├─ Stopping         too late for new work
└─ NotRunning       nobody is there to do it
"""

from __future__ import annotations

from typing import cast

__all__ = [
    "ChildActive",
    "DuplicateChild",
    "Escalated",
    "NotRunning",
    "StartFailed",
    "StartTimedOut",
    "Stopping",
    "SupervisorError",
    "UnexpectedExit",
    "UnknownChild",
]


class SupervisorError(Exception):
    """Base of everything a supervisor raises itself."""

    @property
    def cause(self) -> BaseException | None:
        """What it was raised from: the same as `__cause__`."""
        return self.__cause__

    @property
    def origin(self) -> BaseException:
        """What started it all: the innermost cause, past every supervisor that passed it on."""
        error: BaseException = self
        while isinstance(error, SupervisorError) and error.__cause__ is not None:
            error = error.__cause__
        return error


class StartFailed(SupervisorError):
    """A child's first start, or one that was asked for, failed. The reason is the `__cause__`.

    When a supervisor starts, it has undone the earlier ones. One child that was asked for leaves the others alone.

    What other children raised while they were stopped for it is in `others`, with their paths.
    """

    def __init__(self, path: str) -> None:
        super().__init__(f"{path} did not start")
        self.path = path
        self.others: list[tuple[str, BaseException]] = []


class StartTimedOut(SupervisorError):
    """A child was not ready in time and has been cancelled."""

    def __init__(self, path: str, seconds: float) -> None:
        super().__init__(f"{path} was not ready after {seconds:g} s")
        self.path = path
        self.seconds = seconds


class UnexpectedExit(SupervisorError):
    """A permanent child returned."""

    def __init__(self, path: str) -> None:
        super().__init__(f"{path} is permanent but returned")
        self.path = path


class Escalated(SupervisorError):
    """A supervisor gave up because of one child and has stopped all others. The reason is the `__cause__`.

    What other children raised while they were stopped for it is in `others`, with their paths.
    """

    def __init__(self, path: str, child: str) -> None:
        super().__init__(f"{path} gave up because of {child}")
        self.path = path
        self.child = child
        self.others: list[tuple[str, BaseException]] = []


class DuplicateChild(SupervisorError):
    """A child with this id is there already."""

    def __init__(self, path: str) -> None:
        super().__init__(f"{path} is there already")
        self.path = path


class UnknownChild(SupervisorError):
    """No child of this supervisor has this id; it never had, or was deleted."""

    def __init__(self, path: str) -> None:
        super().__init__(f"{path} is not there; start_child adds it")
        self.path = path


class ChildActive(SupervisorError):
    """What was asked is possible only while the child is stopped; `state` says what it is doing instead."""

    def __init__(self, path: str, state: str) -> None:
        super().__init__(f"{path} is {state}; stop_child first")
        self.path = path
        self.state = state


class Stopping(SupervisorError):
    """The supervisor, or the child of this id, is on its way down."""

    def __init__(self, path: str) -> None:
        super().__init__(f"{path} is stopping")
        self.path = path


class NotRunning(SupervisorError):
    """The supervisor has not been started or has ended."""

    def __init__(self, path: str) -> None:
        super().__init__(f"{path} is not running")
        self.path = path


def holds(exc: BaseException, types: tuple[type[BaseException], ...]) -> bool:
    """Whether `exc` is one of `types`, has one inside a group, or escalates one."""
    if isinstance(exc, types):
        return True
    if isinstance(exc, BaseExceptionGroup):
        group = cast("BaseExceptionGroup[BaseException]", exc)  # pyright does not know of what
        return any(holds(each, types) for each in group.exceptions)
    return isinstance(exc, SupervisorError) and exc.__cause__ is not None and holds(exc.__cause__, types)
