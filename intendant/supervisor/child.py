"""A child and its lives: the entry a supervisor keeps, and one run of it from start to exit."""

from __future__ import annotations

import enum
import math
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import anyio

from .errors import StartTimedOut
from .events import Ending
from .intensity import Window
from .request import Request
from .spec import ChildSpec, Restart
from .strategy import Situation
from .value import Value

__all__ = ["Child", "ChildCounts", "ChildInfo", "ChildState", "Crash", "Life", "ResidentInfo", "Watch"]


class ChildState(enum.Enum):
    """Where a child is in its life."""

    STARTING = "starting"
    """Its start has been or is about to be called; it is not ready."""
    RUNNING = "running"
    RESTARTING = "restarting"
    """It is down and will be started again."""
    STOPPING = "stopping"
    """It was asked to stop or cancelled and has not ended."""
    STOPPED = "stopped"
    """It is down and stays so."""


class Crash(Value):
    """Why a child was down: what it raised, or that it returned and must not; `at` is the supervisor's clock."""

    at: float
    cause: BaseException


class ChildInfo(Value):
    """A child as it was when one asked."""

    id: str
    path: str
    state: ChildState
    restarts: int
    """How often its supervisor started it again after an exit; `restart_child` does not count."""
    crashes: tuple[Crash, ...]
    """The latest `spec.remember` of them, the last one last; also those on its way down."""
    spec: ChildSpec

    @property
    def last_crash(self) -> BaseException | None:
        """What it crashed with last."""
        return self.crashes[-1].cause if self.crashes else None


class ResidentInfo(Value):
    """A resident of a dynamic supervisor, as it was when one asked."""

    restarts: int
    """Crashes within its budget's period."""
    crashes: tuple[Crash, ...]
    """The latest five, the last one last; forgotten when none was in its budget's period."""
    down: bool
    """Whether it has crashed and waits to be rebuilt."""


class ChildCounts(Value):
    """How many children a supervisor has."""

    specs: int
    """All, dead or alive."""
    active: int
    """Those that are starting, running or on their way down."""
    supervisors: int
    workers: int

    @classmethod
    def of(cls, children: Iterable[Child]) -> ChildCounts:
        """Count these."""
        specs = active = supervisors = 0
        for child in children:
            specs += 1
            active += child.state not in (ChildState.RESTARTING, ChildState.STOPPED) and child.life is not None
            supervisors += child.spec.supervises
        return cls(specs, active, supervisors, specs - supervisors)


class Child:
    """A supervisor's entry for one child; only its supervisor writes it."""

    __slots__ = (
        "crashes",
        "doomed",
        "due",
        "failed_at",
        "failures",
        "fresh",
        "life",
        "not_before",
        "on_request",
        "path",
        "restarts",
        "spec",
        "starter",
        "stoppers",
        "window",
    )

    def __init__(self, spec: ChildSpec, path: str) -> None:
        self.spec = spec
        self.path = path
        self.life: Life | None = None
        self.due = True  # to be started
        self.doomed = False  # to be stopped, with or without a start afterwards
        self.fresh = True  # has never been ready
        self.not_before = -math.inf  # earliest time of the start that is due
        self.restarts = 0
        self.crashes: deque[Crash] | None = None  # made when first needed, as many children never crash
        self.failures = 0  # in a row, none more than a period after the one before
        self.failed_at = -math.inf
        self.window: Window | None = None  # a budget of its own, made when first needed
        self.starter: Request | None = None  # of whoever waits until it is ready
        self.on_request = False  # whether a failure of the present start is the starter's affair and no crash
        self.stoppers: list[Request] = []  # of those who wait until it is down

    def failed(self, now: float, period: float) -> int:
        """Count a failure; how many there were before it in a row, which is the number of the next attempt."""
        self.failures = self.failures + 1 if now - self.failed_at <= period else 1
        self.failed_at = now
        return self.failures - 1

    def crashed(self, at: float, cause: BaseException) -> None:
        """Remember a crash."""
        if self.crashes is None:
            self.crashes = deque(maxlen=self.spec.remember)
        self.crashes.append(Crash(at, cause))

    @property
    def restart(self) -> Restart:
        """As its spec says."""
        return self.spec.restart

    @property
    def situation(self) -> Situation:
        """What there is of it, for a strategy."""
        if self.life is not None:
            return Situation.ALIVE
        return Situation.DUE if self.due else Situation.DOWN

    @property
    def active(self) -> bool:
        """Whether it runs or will."""
        return self.life is not None or self.due

    @property
    def state(self) -> ChildState:
        """Where it is now."""
        if self.life is not None:
            return self.life.state
        if not self.due:
            return ChildState.STOPPED
        return ChildState.STARTING if self.fresh else ChildState.RESTARTING

    def info(self) -> ChildInfo:
        """A picture of it for others."""
        return ChildInfo(self.spec.id, self.path, self.state, self.restarts, tuple(self.crashes or ()), self.spec)


class Watch(Value):
    """Whom a life tells what happens to it. Called in the child's task or in that of whoever stops it."""

    starting: Callable[[Life], None]
    ready: Callable[[Life], None]
    ended: Callable[[Life], None]
    ask_failed: Callable[[Life, BaseException], None]


class Life:
    """One run of a child in a task of its own: wait `delay` seconds, start, be ready, end.

    It is also what the child's start gets to say that it is ready. The scope is shielded: when the host is
    cancelled it is the supervisor that ends its children, in order; nothing else may.
    Deadlines of start and stop are the scope's own, so they cost no task.
    """

    __slots__ = (
        "_begun",
        "_delay",
        "_latest",
        "_over",
        "_scope",
        "_sleep",
        "_watch",
        "cause",
        "child",
        "ready",
        "stopping",
    )

    def __init__(self, child: Child, watch: Watch, delay: float, sleep: Callable[[float], Awaitable[Any]]) -> None:
        self.child = child
        self.cause: BaseException | None = None
        self.ready = False
        self.stopping = False
        self._begun = False
        self._latest = math.inf  # when it must be ready
        self._over = False
        self._watch = watch
        self._delay = delay
        self._sleep = sleep
        self._scope = anyio.CancelScope(shield=True)

    async def live(self) -> None:
        """Be the child's task. Never raises: how it ended is in `cause`, and `Watch.ended` is called last."""
        try:
            with self._scope:
                if self._delay > 0:
                    await self._sleep(self._delay)
                if not self.stopping:
                    self._begin()
                    await self.child.spec.start(self)
        except BaseException as exc:
            self.cause = exc
        self._over = True
        if self._scope.cancel_called and not self.stopping:
            late = StartTimedOut(self.child.path, self.child.spec.start_timeout)
            late.__cause__ = self.cause
            self.cause = late
        self._watch.ended(self)

    def started(self, value: Any = None) -> None:  # noqa: ARG002 - the signature of `Started`
        """The child's way to say that it is ready. Too late after a time-out or a stop, and then without effect."""
        if self.ready:
            raise RuntimeError(f"{self.child.path} said twice that it is ready")
        self.ready = True
        if self.stopping or self._scope.cancel_called:
            return
        if self._scope.deadline < math.inf:
            self._scope.deadline = math.inf
        self._watch.ready(self)

    def limit_start(self) -> None:
        """Have the scope cancel it when it is not ready in time. Not needed by who is ready in its first step, and a
        timer that is set and taken back costs a seventh of a restart: so not done before that."""
        if not (self.ready or self.stopping or self._over):
            self._scope.deadline = self._latest

    def stop(self) -> None:
        """Ask, and let the scope cancel when the time is up; cancel at once what can't be asked. Once is enough."""
        if self.stopping or self._over:
            return
        self.stopping = True
        spec = self.child.spec
        if spec.stop is None or not spec.asks or not self._begun:
            self._scope.cancel()
            return
        self._scope.deadline = anyio.current_time() + spec.shutdown
        try:
            spec.stop()
        except Exception as exc:
            self._scope.cancel()
            self._watch.ask_failed(self, exc)

    def cancel(self) -> None:
        """Cancel now, also one that was asked before."""
        if not self._over:
            self.stopping = True
            self._scope.cancel()

    @property
    def state(self) -> ChildState:
        """Where it is now."""
        if self.stopping:
            return ChildState.STOPPING
        if self.ready:
            return ChildState.RUNNING
        return ChildState.STARTING if self._begun or self.child.fresh else ChildState.RESTARTING

    @property
    def ending(self) -> Ending:
        """How the stop went; only once it has ended."""
        if self.cause is not None:
            return Ending.CRASHED
        return Ending.CANCELLED if self._scope.cancel_called else Ending.ASKED

    def _begin(self) -> None:
        self._begun = True
        timeout = self.child.spec.start_timeout
        if timeout < math.inf:
            self._latest = anyio.current_time() + timeout
        self._watch.starting(self)
