"""What both supervisors share: being run, being cancelled, giving up, telling what they do.

A node is one loop in the task that called `run`. Tasks of children only append to its queue of endings
and wake it; it alone decides and acts. The children's tasks inherit the context variables of `run`,
never those of whoever caused a start.
"""

from __future__ import annotations

import abc
import contextvars
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from functools import partial
from typing import Any

import anyio
import anyio.lowlevel
from anyio.abc import TaskGroup

from .backoff import Backoff
from .child import Child, ChildCounts, ChildInfo, Life, Watch
from .errors import Escalated, NotRunning, StartFailed, Stopping, UnexpectedExit, holds
from .events import (
    AskFailed,
    ChildCrashed,
    ChildExited,
    ChildStarted,
    ChildStarting,
    ChildStopped,
    ChildStopping,
    Event,
    IntensityExceeded,
    SupervisorEnding,
    SupervisorEscalated,
    SupervisorStarted,
    SupervisorStopped,
)
from .intensity import Intensity
from .parking import Parking
from .spec import AutoShutdown, ChildSpec, Restart, Started
from .strategy import Exit

__all__ = ["Node", "ignore"]

DEFAULT_INTENSITY = Intensity()
DEFAULT_BACKOFF = Backoff()
HOST_SIGNALS = (KeyboardInterrupt, SystemExit)
"""Meant for the host and nobody else: they pass through every supervisor as they are."""


def ignore(event: Event) -> None:
    """Listen to nothing."""
    del event


class Node(abc.ABC):
    """A supervisor without its policy. `path` is that of the parent; the node's own adds its name."""

    def __init__(
        self,
        name: str,
        *,
        intensity: Intensity,
        backoff: Backoff,
        on_event: Callable[[Event], None],
        clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[Any]],
        random: Callable[[], float],
        path: str,
        parking: Callable[[], Parking],
        auto_shutdown: AutoShutdown,
    ) -> None:
        if not name:
            raise ValueError("a supervisor needs a name")
        self.name = name
        self.path = f"{path}/{name}" if path else name
        self._intensity = intensity
        self._backoff = backoff
        self._on_event = on_event
        self._clock = clock
        self._sleep = sleep
        self._random = random
        self._new_parking = parking
        self._auto_shutdown = auto_shutdown
        self._watch = Watch(self._life_starting, self._life_ready, self._life_ended, self._ask_failed)
        self._group: TaskGroup | None = None
        self._reset()

    async def run(self, task_status: Started) -> None:
        """Supervise until stopped; a valid `ChildSpec.start`, so that supervisors nest, and may be run again.

        Returns after `stop`, and when significant children have ended, see `AutoShutdown`. Raises `StartFailed` if a
        child's first start fails, `Escalated` when giving up, `KeyboardInterrupt` or `SystemExit` as a child raised
        it. When the host is cancelled the cancellation goes on after every child has ended. However it ends, no
        child is left and nothing started is running.
        """
        if self._group is not None:
            raise RuntimeError(f"{self.path} is running already")
        self._reset()
        try:
            async with anyio.create_task_group() as self._group:
                await self._serve(task_status)
        except anyio.get_cancelled_exc_class():
            if self._failure is None:
                raise
            # As in a task group, an exception outranks the cancellation that came meanwhile.
        finally:
            self._group = None
            self._emit(SupervisorStopped(self.path, self._failure))
        self._raise_failure()

    def stop(self) -> None:
        """Ask the supervisor to stop its children in order and return. Nothing happens if it isn't running."""
        self._begin_stop()
        self._wake()

    def as_child(
        self,
        *,
        restart: Restart = Restart.PERMANENT,
        fatal: tuple[type[BaseException], ...] = (),
        significant: bool = False,
    ) -> ChildSpec:
        """This supervisor as a child of another, with all the time it needs to start and to stop."""
        forever = float("inf")
        return ChildSpec(
            self.name,
            self.run,
            restart,
            self.stop,
            shutdown=forever,
            start_timeout=forever,
            fatal=fatal,
            significant=significant,
            supervises=True,
        )

    def children(self) -> list[ChildInfo]:
        """Every child that the supervisor knows, in order of start; before a first run as if due to start."""
        return [child.info() for child in self._known()]

    def count_children(self) -> ChildCounts:
        """How many there are: cheaper than `children`."""
        return ChildCounts.of(self._known())

    @property
    def restarts_in_window(self) -> int:
        """How much of a budget that all children share is spent; 0 where each has its own."""
        return 0

    # ------------------------------------------------------------------ what a policy fills in

    @abc.abstractmethod
    def _known(self) -> Iterable[Child]:
        """Every child with an entry, in order of start."""

    @abc.abstractmethod
    def _advance(self, task_status: Started) -> float | None:
        """Do all that can be done now; return the seconds after which to call again even if nothing happens."""

    @abc.abstractmethod
    def _over(self) -> bool:
        """Whether a stop is complete."""

    @abc.abstractmethod
    def _doom_all(self) -> None:
        """Plan the end of every child and forget all that was to be started."""

    @abc.abstractmethod
    def _abandon(self) -> None:
        """Cancel everything that still runs, because the loop itself has been torn out."""

    # ------------------------------------------------------------------ the loop

    def _reset(self) -> None:
        self._ended: deque[Life] = deque()
        self._stopping = False
        self._failure: BaseException | None = None
        self._parking: Parking | None = None
        self._announced = False
        self._completed_by: Child | None = None  # the significant child whose end is the end of all
        self._context = contextvars.copy_context()

    async def _serve(self, task_status: Started) -> None:
        self._parking = self._new_parking()
        try:
            try:
                await self._loop(task_status)
            except anyio.get_cancelled_exc_class():
                self._begin_stop()
                with anyio.CancelScope(shield=True):  # bounded by the children's shutdown times
                    await self._loop(task_status)
                raise
        finally:
            self._abandon()

    async def _loop(self, task_status: Started) -> None:
        while True:
            again = self._advance(task_status)
            if self._stopping and self._over():
                return
            await self._wait(again)

    async def _wait(self, seconds: float | None) -> None:
        """Until woken, or for so long."""
        if self._parking is None:
            raise NotRunning(self.path)
        if seconds is None:
            await self._parking.wait()
        elif seconds <= 0:
            await anyio.lowlevel.checkpoint()
        else:
            async with anyio.create_task_group() as group:
                group.start_soon(self._ring, seconds)
                await self._parking.wait()
                group.cancel_scope.cancel()

    async def _ring(self, seconds: float) -> None:
        await self._sleep(seconds)
        self._wake()

    def _wake(self) -> None:
        if self._parking is not None:
            self._parking.wake()

    def _spawn(self, run: Callable[[], Coroutine[Any, Any, None]], name: str) -> None:
        if self._group is None:
            raise NotRunning(self.path)
        self._context.run(partial(self._group.start_soon, run, name=name))

    def _announce(self, task_status: Started) -> None:
        self._announced = True
        self._emit(SupervisorStarted(self.path))
        task_status.started(self)

    def _check_running(self) -> None:
        if self._group is None or not self._announced:
            raise NotRunning(self.path)
        if self._stopping:
            raise Stopping(self.path)

    def _check_spec(self, spec: ChildSpec) -> None:
        if spec.significant and self._auto_shutdown is AutoShutdown.NEVER:
            raise ValueError(f"{spec.id} is significant, but {self.path} has auto_shutdown=NEVER: set it, or unmark it")

    # ------------------------------------------------------------------ what lives tell

    def _life_starting(self, life: Life) -> None:
        self._emit(ChildStarting(life.child.path))

    def _life_ready(self, life: Life) -> None:
        life.child.fresh = False
        self._emit(ChildStarted(life.child.path))

    def _life_ended(self, life: Life) -> None:
        self._ended.append(life)
        self._wake()

    def _ask_failed(self, life: Life, cause: BaseException) -> None:
        self._emit(AskFailed(life.child.path, cause))

    # ------------------------------------------------------------------ stopping and giving up

    def _stop_life(self, life: Life) -> None:
        if not life.stopping:
            self._emit(ChildStopping(life.child.path))
            life.stop()

    def _stopped(self, child: Child, life: Life, restarts_in_window: int) -> None:
        """Account for a child that was to end and has, before it was asked or afterwards."""
        if life.cause is not None:
            child.crashed(self._clock(), life.cause)
            self._emit(ChildCrashed(child.path, life.cause, restarts_in_window))
            self._keep(child.path, life.cause)
        if life.stopping:
            self._emit(ChildStopped(child.path, life.ending))
        elif life.cause is None:
            self._emit(ChildExited(child.path))

    def _keep(self, path: str, cause: BaseException) -> None:
        """Lose nothing of what is raised while something else brings the supervisor down."""
        if holds(cause, HOST_SIGNALS):
            self._give_up(cause)
        elif isinstance(self._failure, Escalated | StartFailed):
            self._failure.add_note(f"{path} raised while it was stopped: {cause!r}")
            self._failure.others.append((path, cause))

    def _tell_exit(self, child: Child, cause: BaseException | None, restarts_in_window: int) -> None:
        if cause is not None or child.spec.restart is Restart.PERMANENT:
            child.crashed(self._clock(), reason(child, cause))
        if cause is None:
            self._emit(ChildExited(child.path))
        else:
            self._emit(ChildCrashed(child.path, cause, restarts_in_window))

    def _ended_for_good(self, child: Child) -> None:
        """A child has ended by itself and stays down: that may be the end of all, once all have started."""
        if not child.spec.significant or self._auto_shutdown is AutoShutdown.NEVER:
            return
        if self._auto_shutdown is AutoShutdown.ANY_SIGNIFICANT or not any(
            other.spec.significant and other.active for other in self._known()
        ):
            self._completed_by = child

    def _end_if_completed(self) -> None:
        if self._completed_by is not None and self._announced and not self._stopping:
            self._emit(SupervisorEnding(self.path, self._completed_by.spec.id))
            self._begin_stop()

    def _escalate(self, child_id: str, cause: BaseException) -> None:
        """Give up because of a child: stop all, then raise."""
        if self._failure is not None:
            return
        if holds(cause, HOST_SIGNALS):
            self._give_up(cause)
            return
        failure = Escalated(self.path, child_id)
        failure.__cause__ = cause
        self._give_up(failure)
        self._emit(SupervisorEscalated(self.path, child_id, cause))

    def _exceeded(self, path: str, cause: BaseException) -> None:
        self._emit(IntensityExceeded(path, cause, self._intensity.restarts, self._intensity.period))

    def _give_up(self, failure: BaseException) -> None:
        self._failure = failure
        self._begin_stop()

    def _begin_stop(self) -> None:
        if self._group is not None and not self._stopping:
            self._stopping = True
            self._doom_all()

    def _raise_failure(self) -> None:
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure

    def _emit(self, event: Event) -> None:
        try:
            self._on_event(event)
        except Exception as exc:
            self._listener_failed(exc)

    def _listener_failed(self, cause: Exception) -> None:
        if self._failure is None:
            failure = Escalated(self.path, "its listener")
            failure.__cause__ = cause
            self._give_up(failure)
            self._wake()


def how_ended(cause: BaseException | None) -> Exit:
    """An exit that nobody asked for, in the words of a strategy."""
    return Exit.NORMAL if cause is None else Exit.CRASHED


def reason(child: Child, cause: BaseException | None) -> BaseException:
    """What to blame an exit on."""
    return UnexpectedExit(child.path) if cause is None else cause
