"""A supervisor with a fixed list of children: a node of the static tree.

The plan is kept in the children's entries: `doomed` ones are stopped from right to left, one at a time; then those
that are `due` are started from left to right. An exit only changes the plan, so any number of exits in
any order, also in the middle of stopping or starting, come down to the same two passes.
"""

import random as stdlib_random
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import anyio

from .backoff import Backoff
from .child import Child, ChildInfo, Life
from .errors import StartFailed, holds
from .events import ChildRestarting, Event
from .intensity import Intensity, Window
from .node import DEFAULT_BACKOFF, DEFAULT_INTENSITY, HOST_SIGNALS, Node, how_ended, ignore, reason
from .parking import EventParking, Parking
from .spec import ChildSpec, Restart, Started
from .strategy import Exit, Member, Situation, StopChild, Strategy, decide, wants_restart

__all__ = ["Supervisor"]


class Supervisor(Node):
    """Runs its children, restarts them by its strategy, gives up when its budget is spent.

    First starts are in order, each child ready before the next begins; so are the starts of a group that
    goes up together. Under one_for_one a restart waits for nobody and nobody for it.
    `intensity` counts the exits of all children together; `backoff` grows with each child's own failures.
    `clock` and `sleep` rule windows and back-off; deadlines of start and stop run on the event loop's clock.
    """

    def __init__(
        self,
        name: str,
        children: Sequence[ChildSpec],
        *,
        strategy: Strategy = Strategy.ONE_FOR_ONE,
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
        self._specs = tuple(children)
        self._strategy = strategy
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
        )

    def children(self) -> list[ChildInfo]:
        """Every child in the order of the specs; before a first run as if due to start."""
        return [child.info() for child in self._children]

    def _reset(self) -> None:
        super()._reset()
        self._children = [Child(spec, f"{self.path}/{spec.id}", i) for i, spec in enumerate(self._specs)]
        self._window = Window(self._intensity)

    # ------------------------------------------------------------------ acting

    def _advance(self, task_status: Started) -> None:
        while self._ended:
            self._exited(self._ended.popleft())
        if not self._stop_next():
            self._start_due()
        if not self._announced and not self._stopping and not any(child.fresh for child in self._children):
            self._announce(task_status)

    def _over(self) -> bool:
        return all(child.life is None for child in self._children)

    def _doom_all(self) -> None:
        for child in self._children:
            child.due = False
            child.doomed = child.life is not None

    def _abandon(self) -> None:
        for child in self._children:
            if child.life is not None:
                child.life.cancel()

    def _stop_next(self) -> bool:
        """See to it that the last doomed child is on its way down; False if nobody is doomed."""
        for child in reversed(self._children):
            if child.doomed and child.life is not None:
                self._stop_life(child.life)
                return True
        return False

    def _start_due(self) -> None:
        waiting = False  # for an earlier child to be ready
        for child in self._children:
            if child.due and not (waiting and self._keeps_order(child)):
                self._start(child)
            waiting = waiting or child.due or (child.life is not None and not child.life.ready)

    def _keeps_order(self, child: Child) -> bool:
        return child.fresh or self._strategy is not Strategy.ONE_FOR_ONE

    def _start(self, child: Child) -> None:
        child.due = False
        delay = child.not_before - self._clock()
        child.life = Life(child, self._watch, delay, self._sleep)
        self._spawn(child.life.live, child.path)

    def _life_ready(self, life: Life) -> None:
        super()._life_ready(life)
        self._wake()  # others may be waiting for it

    # ------------------------------------------------------------------ deciding

    def _exited(self, life: Life) -> None:
        child, cause = life.child, life.cause
        child.life = None
        if child.doomed:
            self._exited_doomed(child, life)
        elif child.fresh and (cause is not None or child.spec.restart is Restart.PERMANENT):
            self._first_start_failed(child, cause)
        elif cause is not None and holds(cause, (*HOST_SIGNALS, *child.spec.fatal)):
            self._tell_exit(child, cause, self._window.count(self._clock()))
            self._escalate(child.spec.id, cause)
        else:
            self._exited_by_itself(child, cause)

    def _exited_doomed(self, child: Child, life: Life) -> None:
        child.doomed = False
        self._stopped(child, life, self._window.count(self._clock()))
        if life.cause is not None and not self._stopping and holds(life.cause, child.spec.fatal):
            self._escalate(child.spec.id, life.cause)

    def _first_start_failed(self, child: Child, cause: BaseException | None) -> None:
        self._tell_exit(child, cause, self._window.count(self._clock()))
        if cause is not None and holds(cause, HOST_SIGNALS):
            self._give_up(cause)
            return
        failure = StartFailed(child.path)
        failure.__cause__ = reason(child, cause)
        self._give_up(failure)

    def _exited_by_itself(self, child: Child, cause: BaseException | None) -> None:
        now, how = self._clock(), how_ended(cause)
        child.fresh = False  # a child that need not be restarted may end before it is ready
        within = not wants_restart(child.spec.restart, how) or self._window.spend(now)
        self._tell_exit(child, cause, self._window.count(now))
        if not within:
            self._exceeded(child.path, reason(child, cause))
            self._escalate(child.spec.id, reason(child, cause))
        elif not self._stopping:
            self._plan(child, how, now)

    def _plan(self, child: Child, how: Exit, now: float) -> None:
        actions = decide(self._strategy, [_member(each) for each in self._children], child.index, how)
        if not actions:
            return
        delay = self._backoff.delay(child.failed(now, self._intensity.period), self._random)
        for action in actions:
            concerned = self._children[action.index]
            if isinstance(action, StopChild):
                concerned.doomed = True
            else:
                concerned.restarts += not concerned.due
                concerned.due = True
                concerned.not_before = max(concerned.not_before, now + delay)
        self._emit(ChildRestarting(child.path, delay))


def _member(child: Child) -> Member:
    if child.life is not None:
        return Member(child.spec.restart, Situation.ALIVE)
    return Member(child.spec.restart, Situation.DUE if child.due else Situation.DOWN)
