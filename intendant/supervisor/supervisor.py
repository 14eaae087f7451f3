"""A supervisor with a fixed list of children: a node of the static tree.

The plan is kept in the children's entries: `doomed` ones are stopped from right to left, one at a time; then those
that are `due` are started from left to right. An exit, and what callers ask of one child, only change the plan, so any
number of them in any order, also in the middle of stopping or starting, come down to the same two passes.
"""

from __future__ import annotations

import math
import random as stdlib_random
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

import anyio

from .backoff import Backoff
from .child import Child, Life
from .errors import ChildActive, DuplicateChild, NotRunning, StartFailed, Stopping, UnknownChild, holds
from .events import ChildRestarting, Event
from .intensity import Intensity, Window
from .node import DEFAULT_BACKOFF, DEFAULT_INTENSITY, HOST_SIGNALS, Node, how_ended, ignore, reason
from .parking import EventParking, Parking
from .request import Request
from .spec import AutoShutdown, ChildSpec, Restart, Started
from .strategy import Exit, StopChild, Strategy, decide, wants_restart

__all__ = ["Supervisor"]


class Supervisor(Node):
    """Runs its children, restarts them by its strategy, gives up when its budget is spent.

    Children may be added, stopped, started again and deleted while it runs; a later run begins with the given ones.

    First starts are in order, each child ready before the next begins; so are the starts of a group that
    goes up together. Under one_for_one a restart waits for nobody and nobody for it. With `side_by_side`,
    for one_for_one only, first starts and stops wait for nobody either.
    `intensity` counts the exits of all children together; `backoff` grows with each child's own failures.
    `clock` and `sleep` rule windows and back-off; deadlines of start and stop run on the event loop's clock.
    """

    _children: list[Child]

    def __init__(
        self,
        name: str,
        children: Sequence[ChildSpec],
        *,
        strategy: Strategy = Strategy.ONE_FOR_ONE,
        side_by_side: bool = False,
        auto_shutdown: AutoShutdown = AutoShutdown.NEVER,
        intensity: Intensity = DEFAULT_INTENSITY,
        backoff: Backoff = DEFAULT_BACKOFF,
        on_event: Callable[[Event], None] = ignore,
        clock: Callable[[], float] = anyio.current_time,
        sleep: Callable[[float], Awaitable[Any]] = anyio.sleep,
        random: Callable[[], float] = stdlib_random.random,
        path: str = "",
        parking: Callable[[], Parking] = EventParking,
    ) -> None:
        ids = [spec.id for spec in children]
        if len(set(ids)) < len(ids):
            raise ValueError(f"{name}: two children have the same id: {sorted(ids)}")
        if side_by_side and strategy is not Strategy.ONE_FOR_ONE:
            raise ValueError(f"{name}: children of {strategy.value} depend on each other, and can't go side by side")
        self._specs = tuple(children)
        self._strategy = strategy
        self._side_by_side = side_by_side
        super().__init__(
            name,
            intensity=intensity,
            backoff=backoff,
            on_event=on_event,
            clock=clock,
            sleep=sleep,
            random=random,
            path=path,
            parking=parking,
            auto_shutdown=auto_shutdown,
        )
        for spec in children:
            self._check_spec(spec)

    # ------------------------------------------------------------------ what callers ask of one child

    async def start_child(self, spec: ChildSpec) -> None:
        """Add a child after all others, start it, return when it is ready.

        A child that may end and returns without having been ready is added, and stays stopped. Raises `StartFailed`
        if its start fails: then it is not added, and nobody else is concerned. Raises `DuplicateChild` if the id is
        in use, also by a stopped child; `Stopping` or `NotRunning` if the supervisor does not serve, or the child is
        stopped before it is ready. A cancelled wait takes nothing back.
        """
        self._check_running()
        self._check_spec(spec)
        if any(child.spec.id == spec.id for child in self._children):
            raise DuplicateChild(f"{self.path}/{spec.id}")
        child = Child(spec, f"{self.path}/{spec.id}")
        self._children = [*self._children, child]  # a new list: a listener may call this in the middle of a pass
        await self._asked_to_start(child)

    async def restart_child(self, child_id: str) -> None:
        """Start a stopped child again, return when it is ready; it costs nothing of the budget.

        Raises `UnknownChild`; `ChildActive` if it runs or will; `StartFailed` if its start fails: then it stays
        stopped. See `start_child` for the rest.
        """
        self._check_running()
        child = self._stopped_child(child_id)
        child.not_before = -math.inf
        await self._asked_to_start(child)

    async def stop_child(self, child_id: str) -> None:
        """Stop a child as its spec says, return when it has ended; it stays known, and stopped.

        A restart that it waits for is called off. It comes up again by `restart_child`, and with its group, unless it
        is temporary. Raises `UnknownChild`, `Stopping`, `NotRunning`. A cancelled wait takes nothing back.
        """
        self._check_running()
        child = self._child(child_id)
        self._call_off(child, Stopping(child.path))
        if child.life is None:
            return
        child.doomed = True
        request = Request(self._new_parking())
        child.stoppers.append(request)
        self._wake()
        await request.wait()

    def delete_child(self, child_id: str) -> None:
        """Forget a stopped child. Raises `UnknownChild`; `ChildActive` if it runs or will; `Stopping`, `NotRunning`."""
        self._check_running()
        self._forget(self._stopped_child(child_id))

    def _child(self, child_id: str) -> Child:
        for child in self._children:
            if child.spec.id == child_id:
                return child
        raise UnknownChild(f"{self.path}/{child_id}")

    def _stopped_child(self, child_id: str) -> Child:
        child = self._child(child_id)
        if child.active:
            raise ChildActive(child.path, child.state.value)
        return child

    def _forget(self, child: Child) -> None:
        self._children = [each for each in self._children if each is not child]

    async def _asked_to_start(self, child: Child) -> None:
        child.due = child.on_request = True
        child.starter = request = Request(self._new_parking())
        self._wake()
        await request.wait()

    def _call_off(self, child: Child, error: BaseException) -> None:
        """Start it no more. Who waits for its start is told: now, or when what runs of it has ended."""
        child.due = False
        if child.life is None:
            self._answer(child, error)

    def _answer(self, child: Child, error: BaseException | None = None) -> None:
        """Tell who waits that the child is ready, or why it is not. One that was to be added and failed is not."""
        starter, child.starter = child.starter, None
        if starter is not None:
            starter.settle(error)
            if error is not None and child.fresh and child.on_request:
                self._forget(child)
        child.on_request = False

    @property
    def restarts_in_window(self) -> int:
        """How much of the children's budget is spent."""
        return self._window.count(self._clock()) if self._group is not None else 0

    # ------------------------------------------------------------------ the loop's part

    def _known(self) -> Iterable[Child]:
        return self._children

    def _reset(self) -> None:
        super()._reset()
        self._children = [Child(spec, f"{self.path}/{spec.id}") for spec in self._specs]
        self._window = Window(self._intensity)
        self._starting: deque[Life] = deque()  # that have begun, and may be ready by now

    # ------------------------------------------------------------------ acting

    def _advance(self, task_status: Started) -> None:
        while self._ended:
            self._exited(self._ended.popleft())
        while self._starting:
            self._starting.popleft().limit_start()
        if not self._stop_next():
            self._start_due()
        if not self._announced and not self._stopping and not any(child.fresh for child in self._children):
            self._announce(task_status)
        if self._completed_by is not None:
            self._end_if_completed()
            self._stop_next()

    def _over(self) -> bool:
        return all(child.life is None for child in self._children)

    def _doom_all(self) -> None:
        for child in self._children:
            self._call_off(child, Stopping(child.path))
            child.doomed = child.life is not None

    def _abandon(self) -> None:
        for child in self._children:
            self._answer(child, NotRunning(self.path))
            self._answer_stoppers(child)
            if child.life is not None:
                child.life.cancel()

    def _stop_next(self) -> bool:
        """See to it that the last doomed child, or each, is on its way down; False if nobody is doomed."""
        doomed = [child.life for child in reversed(self._children) if child.doomed and child.life is not None]
        for life in doomed if self._side_by_side else doomed[:1]:
            self._stop_life(life)
        return bool(doomed)

    def _start_due(self) -> None:
        waiting = False  # for an earlier child to be ready
        for child in self._children:
            if child.due and not (waiting and self._keeps_order(child)):
                self._start(child)
            waiting = waiting or child.due or (child.life is not None and not child.life.ready)

    def _keeps_order(self, child: Child) -> bool:
        first = child.fresh and not child.on_request
        return not self._side_by_side and (first or self._strategy is not Strategy.ONE_FOR_ONE)

    def _start(self, child: Child) -> None:
        child.due = False
        delay = child.not_before - self._clock()
        child.life = Life(child, self._watch, delay, self._sleep)
        self._spawn(child.life.live, child.path)

    def _life_starting(self, life: Life) -> None:
        super()._life_starting(life)
        self._starting.append(life)
        self._wake()

    def _life_ready(self, life: Life) -> None:
        super()._life_ready(life)
        self._answer(life.child)
        self._wake()  # others may be waiting for it

    # ------------------------------------------------------------------ deciding

    def _exited(self, life: Life) -> None:
        child, cause = life.child, life.cause
        child.life = None
        if child.doomed:
            self._exited_doomed(child, life)
        elif child.on_request:
            self._requested_start_failed(child, cause)
        elif child.fresh and (cause is not None or child.spec.restart is Restart.PERMANENT):
            self._first_start_failed(child, cause)
        elif cause is not None and holds(cause, (*HOST_SIGNALS, *child.spec.fatal)):
            self._tell_exit(child, cause, self._window.count(self._clock()))
            self._escalate(child.spec.id, cause)
        else:
            self._exited_by_itself(child, cause)

    def _exited_doomed(self, child: Child, life: Life) -> None:
        child.doomed = False
        if not child.due:
            self._answer(child, Stopping(child.path))
        self._answer_stoppers(child)
        self._stopped(child, life, self._window.count(self._clock()))
        if life.cause is not None and not self._stopping and holds(life.cause, child.spec.fatal):
            self._escalate(child.spec.id, life.cause)

    def _answer_stoppers(self, child: Child) -> None:
        stoppers, child.stoppers = child.stoppers, []
        for request in stoppers:
            request.settle()

    def _requested_start_failed(self, child: Child, cause: BaseException | None) -> None:
        self._tell_exit(child, cause, self._window.count(self._clock()))
        if cause is None and child.spec.restart is not Restart.PERMANENT:
            self._answer(child)  # it may end, and has done so early
            self._ended_for_good(child)
            return
        self._answer(child, _start_failed(child, cause))
        if cause is not None and holds(cause, (*HOST_SIGNALS, *child.spec.fatal)):
            self._escalate(child.spec.id, cause)

    def _first_start_failed(self, child: Child, cause: BaseException | None) -> None:
        self._tell_exit(child, cause, self._window.count(self._clock()))
        if cause is not None and holds(cause, HOST_SIGNALS):
            self._give_up(cause)
            return
        self._give_up(_start_failed(child, cause))

    def _exited_by_itself(self, child: Child, cause: BaseException | None) -> None:
        now, how = self._clock(), how_ended(cause)
        child.fresh = False  # a child that need not be restarted may end before it is ready
        within = not wants_restart(child.spec.restart, how) or self._window.spend(now)
        self._tell_exit(child, cause, self._window.count(now))
        if not wants_restart(child.spec.restart, how):
            self._answer(child, None if cause is None else _start_failed(child, cause))
            self._ended_for_good(child)
        if not within:
            self._exceeded(child.path, reason(child, cause))
            self._escalate(child.spec.id, reason(child, cause))
        elif not self._stopping:
            self._plan(child, how, now)

    def _plan(self, child: Child, how: Exit, now: float) -> None:
        children = self._children
        actions = decide(self._strategy, children, children.index(child), how)
        if not actions:
            return
        delay = self._backoff.delay(child.failed(now, self._intensity.period), self._random)
        for action in actions:
            concerned = children[action.index]
            if concerned.on_request:
                concerned.on_request = concerned.fresh = False  # from here on its start is its group's affair
            if isinstance(action, StopChild):
                concerned.doomed = True
            else:
                concerned.restarts += not concerned.due
                concerned.due = True
                concerned.not_before = max(concerned.not_before, now + delay)
        self._emit(ChildRestarting(child.path, delay))


def _start_failed(child: Child, cause: BaseException | None) -> StartFailed:
    failure = StartFailed(child.path)
    failure.__cause__ = reason(child, cause)
    return failure
