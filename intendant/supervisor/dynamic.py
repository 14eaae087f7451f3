"""A supervisor whose children come and go: thousands of them, each with a restart budget of its own.

Children's tasks only append how they ended to a queue; one loop works it off a slice at a time, and a pace keeps
restarts apart, so that ten thousand crashes at once do not hold up everybody else on the event loop.
"""

from __future__ import annotations

import heapq
import itertools
import math
import random as stdlib_random
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from typing import Any

import anyio

from .backoff import Backoff
from .child import Child, Crash, Life, ResidentInfo
from .errors import DuplicateChild, NotRunning, Stopping, holds
from .events import ChildCrashed, ChildRestarting, ChildStopped, ChildStopping, Ending, Event
from .intensity import Intensity, Window
from .node import DEFAULT_BACKOFF, DEFAULT_INTENSITY, HOST_SIGNALS, Node, how_ended, ignore, reason
from .pace import Pace
from .parking import EventParking, Parking
from .spec import AutoShutdown, ChildSpec, Started
from .strategy import wants_restart
from .workers import Piece, Work, Workers

__all__ = ["DynamicSupervisor"]

EARLY = 1e-6  # seconds: what is due so soon is due, lest rounding make the loop wait for nothing
REMEMBER = 5  # of a resident's latest crashes
SLICE = 100  # endings and restarts handled before others get a turn: some 2 ms


class DynamicSupervisor(Node):
    """Supervises children that are added while it runs; one's end concerns nobody else.

    `intensity` is each child's own budget. A child that has spent it is removed and handed to
    `on_give_up(id, cause)`; without that the supervisor escalates. `restarts_per_second` paces restarts after a
    burst of 100; `math.inf` switches that off. Stopping asks all children at once.

    Residents are children without a task: `perform` runs their work on pooled workers (at most `workers`, of which
    `idle_workers` stay parked) and answers for their crashes with the same budget. `work_shutdown` seconds after a
    stop was asked for, work that is still under way is cancelled.
    """

    def __init__(
        self,
        name: str,
        *,
        intensity: Intensity = DEFAULT_INTENSITY,
        backoff: Backoff = DEFAULT_BACKOFF,
        on_event: Callable[[Event], None] = ignore,
        clock: Callable[[], float] = anyio.current_time,
        sleep: Callable[[float], Awaitable[Any]] = anyio.sleep,
        random: Callable[[], float] = stdlib_random.random,
        path: str = "",
        restarts_per_second: float = 1000.0,
        on_give_up: Callable[[str, BaseException], None] | None = None,
        parking: Callable[[], Parking] = EventParking,
        workers: int = 4096,
        idle_workers: int = 64,
        work_shutdown: float = 5.0,
        auto_shutdown: AutoShutdown = AutoShutdown.NEVER,
    ) -> None:
        self._per_second = restarts_per_second
        self._on_give_up = on_give_up
        self._worker_limit = workers
        self._worker_keep = idle_workers
        self._work_shutdown = work_shutdown
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

    # ------------------------------------------------------------------ children

    def start_child(self, spec: ChildSpec) -> None:
        """Add a child and schedule its start; it has the rest of its life to be ready.

        Raises `DuplicateChild` if the id is in use, `Stopping` if that child or the supervisor is on its way
        down, `NotRunning` if the supervisor doesn't run. A failed start counts as a crash of the child.
        """
        self._check_running()
        self._check_spec(spec)
        known = self._entries.get(spec.id)
        if known is not None:
            raise (Stopping if known.doomed else DuplicateChild)(known.path)
        child = Child(spec, f"{self.path}/{spec.id}")
        self._begin_life(child)
        self._entries[spec.id] = child

    def stop_child(self, child_id: str) -> None:
        """Ask the child to end, cancel it when its time is up, and don't start it again. Unknown ids are ignored."""
        child = self._entries.get(child_id)
        if child is not None:
            self._end(child, Life.stop)

    def cancel_child(self, child_id: str) -> None:
        """Cancel the child now and don't start it again. Unknown ids are ignored."""
        child = self._entries.get(child_id)
        if child is not None:
            self._end(child, Life.cancel)

    def __contains__(self, child_id: object) -> bool:
        return child_id in self._entries

    def __len__(self) -> int:
        return len(self._entries)

    # ------------------------------------------------------------------ residents

    def perform(
        self, child_id: str, work: Callable[[], Awaitable[None]], on_crash: Callable[[BaseException], None]
    ) -> None:
        """Run a short piece of work for a resident child on a pooled task, and return at once.

        If it raises, the resident's budget decides: `on_crash(cause)` is called after the back-off and rebuilds the
        resident (raising counts as another crash), or the resident is given up. Pieces of one resident
        may run side by side; keeping them apart is the owner's part. Work that is waiting for other work must not do
        so in great numbers: the workers are limited. Raises `Stopping` or `NotRunning`; what was taken
        before a stop is done, until `work_shutdown` cancels it.
        """
        self.do(Piece(child_id, work, on_crash))

    def do(self, work: Work) -> None:
        """As `perform`, for what is a piece of work itself."""
        if self._workers is None or self._stopping:
            self._check_running()
            raise NotRunning(self.path)
        self._workers.do(work)

    def cancel_work(self, child_id: str, *, shielded: bool = True) -> None:
        """Cancel what a resident does now, and do not begin what waits; it is no crash. Unknown ids are ignored.

        What it does behind `Worker.shield` goes on to its end, unless `shielded`.
        """
        if self._workers is not None:
            self._workers.drop(child_id, shielded=shielded)

    def crashes(self, child_id: str) -> tuple[Crash, ...]:
        """The latest five crashes of a resident, the last one last; forgotten when none was in its budget's period."""
        record = self._records.get(child_id)
        return tuple(record.crashes) if record else ()

    def resident(self, child_id: str) -> ResidentInfo:
        """How a resident fares."""
        record = self._records.get(child_id)
        if record is None:
            return _SOUND
        return ResidentInfo(record.window.count(self._clock()), tuple(record.crashes), record.down)

    @property
    def backlog(self) -> int:
        """Pieces of work that wait for a free worker."""
        return 0 if self._workers is None else self._workers.backlog

    # ------------------------------------------------------------------ the loop's part

    def _known(self) -> Iterable[Child]:
        return self._entries.values()

    def _reset(self) -> None:
        super()._reset()
        self._entries: dict[str, Child] = {}
        self._records: dict[str, _Record] = {}  # of residents that crashed lately, the latest last
        self._crashes: deque[tuple[Work, BaseException]] = deque()
        self._agenda: list[tuple[float, int, Callable[[], None]]] = []  # a heap
        self._leaving: deque[Child] = deque()  # to be asked to end, with everything else
        self._order = itertools.count()
        self._pace = Pace(self._per_second, burst=SLICE)
        self._workers: Workers | None = None

    def _advance(self, task_status: Started) -> float | None:
        if not self._announced and not self._stopping:
            self._open()
            self._announce(task_status)
        for _ in range(SLICE):
            if self._ended:
                self._exited(self._ended.popleft())
            elif self._crashes:
                self._work_crashed(*self._crashes.popleft())
            elif self._leaving:
                self._send_off(self._leaving.popleft())
            else:
                break
        self._do_due()
        self._end_if_completed()
        crowded = self._workers is not None and self._workers.grow()
        return 0.0 if crowded else self._next_turn()

    def _open(self) -> None:
        self._workers = Workers(
            spawn=self._spawn,
            parking=self._new_parking,
            crashed=self._work_raised,
            ended=self._worker_ended,
            crowded=self._wake,
            name=f"{self.path} worker",
            limit=self._worker_limit,
            keep=self._worker_keep,
        )

    def _do_due(self) -> None:
        now = self._clock() + EARLY if self._agenda else 0.0
        for _ in range(SLICE):
            if not self._agenda or self._agenda[0][0] > now:
                return
            heapq.heappop(self._agenda)[2]()

    def _next_turn(self) -> float | None:
        if self._ended or self._crashes or self._leaving:
            return 0.0
        now = self._clock() if self._agenda or self._records else 0.0
        self._forget_records(now)
        due = self._agenda[0][0] if self._agenda else math.inf
        if self._records and not self._stopping:
            due = min(due, next(iter(self._records.values())).window.empty_at())
        return max(0.0, due - now) if due < math.inf else None

    def _over(self) -> bool:
        return not (self._entries or self._ended or self._workers or self._crashes or self.backlog)

    def _doom_all(self) -> None:
        self._agenda.clear()
        for child in self._entries.values():
            child.doomed = True
        self._leaving.extend(self._entries.values())
        if self._workers is not None:
            self._workers.close(self._work_shutdown)

    def _abandon(self) -> None:
        for child in self._entries.values():
            if child.life is not None:
                child.life.cancel()
        if self._workers is not None:
            self._workers.abandon()

    # ------------------------------------------------------------------ lives

    def _begin_life(self, child: Child) -> None:
        child.due = False
        child.life = Life(child, self._watch, 0.0, self._sleep)
        self._spawn(child.life.live, child.path)

    def _life_starting(self, life: Life) -> None:
        super()._life_starting(life)
        life.limit_start()

    def _end(self, child: Child, how: Callable[[Life], None]) -> None:
        child.doomed = True
        if child.life is None:
            self._forget_due(child)
            return
        if not child.life.stopping:
            self._emit(ChildStopping(child.path))
        how(child.life)

    def _send_off(self, child: Child) -> None:
        if self._entries.get(child.spec.id) is child:
            self._end(child, Life.stop)

    def _forget_due(self, child: Child) -> None:
        """End a child that is waiting for its restart: what is on the agenda for it finds it gone."""
        child.due = False
        del self._entries[child.spec.id]
        self._emit(ChildStopping(child.path))
        self._emit(ChildStopped(child.path, Ending.ASKED))

    def _exited(self, life: Life) -> None:
        child, cause = life.child, life.cause
        child.life = None
        if child.doomed:
            del self._entries[child.spec.id]
            self._stopped(child, life, self._recent(child))
        elif cause is not None and holds(cause, (*HOST_SIGNALS, *child.spec.fatal)):
            del self._entries[child.spec.id]
            self._tell_exit(child, cause, self._recent(child))
            self._escalate(child.spec.id, cause)
        else:
            self._exited_by_itself(child, cause)

    def _exited_by_itself(self, child: Child, cause: BaseException | None) -> None:
        if not wants_restart(child.spec.restart, how_ended(cause)):
            del self._entries[child.spec.id]
            self._tell_exit(child, cause, self._recent(child))
            self._ended_for_good(child)
            return
        now = self._clock()
        if child.window is None:
            child.window = Window(self._intensity)
        within = child.window.spend(now)
        child.fresh = False
        child.due = True
        self._tell_exit(child, cause, child.window.count(now))
        if not child.due:
            return  # a listener has stopped it
        if not within:
            del self._entries[child.spec.id]
            self._spent(child.spec.id, child.path, reason(child, cause))
        else:
            child.restarts += 1
            self._schedule(child.path, child.failed(now, self._intensity.period), now, partial(self._restart, child))

    def _restart(self, child: Child) -> None:
        if child.due:
            self._begin_life(child)

    def _recent(self, child: Child) -> int:
        return 0 if child.window is None else child.window.count(self._clock())

    # ------------------------------------------------------------------ work

    def _work_raised(self, work: Work, cause: BaseException) -> None:
        self._crashes.append((work, cause))
        self._wake()

    def _worker_ended(self) -> None:
        if self._stopping:
            self._wake()

    def _work_crashed(self, work: Work, cause: BaseException) -> None:
        path, now = f"{self.path}/{work.child_id}", self._clock()
        record = self._records.pop(work.child_id, None) or _Record(self._intensity)
        record.crashes.append(Crash(now, cause))
        within = record.window.spend(now)
        self._emit(ChildCrashed(path, cause, record.window.count(now)))
        if self._stopping:
            self._keep(path, cause)
        elif holds(cause, HOST_SIGNALS):
            self._give_up(cause)
        elif within:
            record.down = True
            self._records[work.child_id] = record
            self._schedule(path, record.window.count(now) - 1, now, partial(self._rebuild, work, cause))
        else:
            self._spent(work.child_id, path, cause)

    def _rebuild(self, work: Work, cause: BaseException) -> None:
        record = self._records.get(work.child_id)
        if record is not None:
            record.down = False
        try:
            work.on_crash(cause)
        except Exception as exc:
            self._work_raised(work, exc)

    def _forget_records(self, now: float) -> None:
        while self._records:
            child_id, record = next(iter(self._records.items()))
            if record.window.empty_at() > now + EARLY:
                return
            del self._records[child_id]

    # ------------------------------------------------------------------ deciding for both

    def _schedule(self, path: str, attempt: int, now: float, action: Callable[[], None]) -> None:
        if self._stopping:
            return
        delay = self._backoff.delay(attempt, self._random)
        when = max(now + delay, self._pace.slot(now))
        heapq.heappush(self._agenda, (when, next(self._order), action))
        self._emit(ChildRestarting(path, when - now))

    def _spent(self, child_id: str, path: str, cause: BaseException) -> None:
        self._exceeded(path, cause)
        if self._on_give_up is None:
            self._escalate(child_id, cause)
            return
        try:
            self._on_give_up(child_id, cause)
        except Exception as exc:
            self._escalate(child_id, exc)


_SOUND = ResidentInfo(0, (), down=False)


class _Record:
    """What is known of a resident that crashed lately."""

    __slots__ = ("crashes", "down", "window")

    def __init__(self, intensity: Intensity) -> None:
        self.down = False  # it waits to be rebuilt
        self.window = Window(intensity)
        self.crashes: deque[Crash] = deque(maxlen=REMEMBER)
