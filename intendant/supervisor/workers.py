"""Pooled tasks for short pieces of work: spawning a task costs some 15 to 40 µs, waking a parked one 3.

Where pieces end without having waited for anything, one worker does all that come together, which spares a wake-up for
each. One that has to wait ends that: the next turn of the loop gives what is left to others.
Workers are added while work waits and fewer than `limit` exist, a few at a time, so that a crowd does not keep the loop
from others; beyond that work queues, first in first out.
At most `keep` park when idle, the others end. A worker also ends after work that left context variables changed, so
that nothing of one piece of work is visible to the next, and after it raised anything but an Exception. One whose work
was dropped goes on: where very many are dropped, new tasks would be most of what that costs.
"""

from __future__ import annotations

import contextvars
import math
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Generator
from contextlib import contextmanager
from functools import partial
from typing import Any, Protocol

import anyio
import anyio.lowlevel

from .parking import Parking

__all__ = ["Piece", "Work", "Worker", "Workers", "current_worker"]

ADDED = 50  # workers, before others get a turn
IN_A_ROW = 64  # pieces of work done by one worker while more of it waits, before others get a turn
BRISK = 64  # pieces that ended without waiting, the latest ones, after which the next are expected to


class Work(Protocol):
    """A piece of work for a resident child."""

    @property
    def child_id(self) -> str:
        """Whose it is."""
        ...

    def body(self) -> Awaitable[None]:
        """Do it."""
        ...

    def on_crash(self, cause: BaseException, /) -> None:
        """It raised that, and the back-off is over: the resident may be rebuilt."""
        ...


class Piece:
    """Work made of functions."""

    def __init__(
        self, child_id: str, body: Callable[[], Awaitable[None]], on_crash: Callable[[BaseException], None]
    ) -> None:
        self.child_id = child_id
        self.body = body
        self.on_crash = on_crash


class Worker:
    """A pooled task: where it parks, what it is to do."""

    __slots__ = ("dropped", "interrupted", "parking", "scope", "shields", "task_id", "work")

    def __init__(self, parking: Parking, work: Work, deadline: float) -> None:
        self.parking = parking
        self.scope = anyio.CancelScope(shield=True, deadline=deadline)  # as with children: only the supervisor ends it
        self.shields: list[anyio.CancelScope] = []  # of what its work shields
        self.work: Work | None = work
        self.dropped = False  # it ends because its work is not wanted any more
        self.interrupted = False  # its work is cancelled, but for what that shields
        self.task_id = 0  # as `id` of the backend's task gives it

    @property
    def cancelled(self) -> bool:
        """Whether the supervisor has cancelled its work, and what that shields."""
        if self.interrupted:
            return anyio.current_time() >= self.scope.deadline
        return self.scope.cancel_called

    @contextmanager
    def shield(self) -> Generator[anyio.CancelScope]:
        """A scope that no cancellation reaches but the supervisor's own: none of the work's scopes, groups or limits.

        An interruption does not reach it either. It swallows the supervisor's cancellation as any scope does its own;
        behind it, the next await raises it again.
        """
        with anyio.CancelScope(shield=True, deadline=self.scope.deadline) as scope:
            if self.cancelled:
                scope.cancel()
            self.shields.append(scope)
            try:
                yield scope
            finally:
                self.shields.remove(scope)

    def begin_anew(self, deadline: float) -> None:
        """Its work was dropped, and has ended: it takes other work, which nothing cancels."""
        self.scope = anyio.CancelScope(shield=True, deadline=deadline)
        self.work = None
        self.dropped = self.interrupted = False

    def cancel(self) -> None:
        """Cancel its work, shielded or not."""
        self.interrupted = False
        for scope in (self.scope, *self.shields):
            scope.cancel()

    def interrupt(self) -> None:
        """Cancel its work, but for what that shields."""
        if not self.scope.cancel_called:
            self.interrupted = True
            self.scope.cancel()

    def drop(self, *, shielded: bool = True) -> None:
        """Cancel its work, `shielded` or not, because it is not wanted any more: it is neither done nor crashed."""
        self.dropped = True
        if shielded:
            self.cancel()
        else:
            self.interrupt()

    def end_by(self, deadline: float) -> None:
        """Cancel its work when that time has come."""
        for scope in (self.scope, *self.shields):
            scope.deadline = deadline


_current: contextvars.ContextVar[Worker | None] = contextvars.ContextVar("intendant.worker", default=None)


current_worker: Callable[[], Worker | None] = _current.get
"""The worker that this task is, or was started by: compare `task_id` where that matters."""


class Workers:
    """The pool. It tells what a piece of work raised, that a worker is gone, and that `grow` is to be called."""

    def __init__(
        self,
        *,
        spawn: Callable[[Callable[[], Coroutine[Any, Any, None]], str], None],
        parking: Callable[[], Parking],
        crashed: Callable[[Work, BaseException], None],
        ended: Callable[[], None],
        crowded: Callable[[], None],
        name: str,
        limit: int,
        keep: int,
    ) -> None:
        self._spawn = spawn
        self._new_parking = parking
        self._crashed = crashed
        self._ended = ended
        self._crowded = crowded
        self._name = name
        self._limit = limit
        self._keep = keep
        self._deadline = math.inf
        self._idle: list[Worker] = []
        self._all: set[Worker] = set()
        self._backlog: deque[Work] = deque()
        self._coming: Worker | None = None  # it was given work last, and has not begun
        self._latest: Worker | None = None  # it began a piece of work last
        self._brisk = 0  # pieces, since the last one that had to wait
        self._added = 0  # workers, since others had a turn

    def __len__(self) -> int:
        return len(self._all)

    @property
    def backlog(self) -> int:
        """Pieces of work that wait for a worker."""
        return len(self._backlog)

    def do(self, work: Work) -> None:
        """Have `work` done by the worker that parked last, by a new one, or by the next that is free.

        Or by the one that is about to begin, where it is expected to end its own piece in the same turn of the loop.
        """
        if not (self._in_a_row or self._backlog) and (self._idle or self._has_room):
            self._coming = self._give(work)
        else:
            if not self._backlog:
                self._crowded()
            self._backlog.append(work)

    def grow(self) -> bool:
        """Others had a turn: give what waits to more workers; True if still more are wanted after another turn."""
        self._added = 0
        if self._in_a_row:  # who is to do what waits has not had a turn yet
            return True
        if self._backlog and anyio.current_time() >= self._deadline:
            self._backlog.clear()
        if self._backlog:
            self._brisk = 0
        while self._backlog and (self._idle or self._has_room):
            self._give(self._backlog.popleft())
        return bool(self._backlog) and len(self._all) < self._limit

    @property
    def _in_a_row(self) -> bool:
        return self._coming is not None and self._brisk >= BRISK

    @property
    def _has_room(self) -> bool:
        return self._added < ADDED and len(self._all) < self._limit

    def drop(self, child_id: str, *, shielded: bool) -> None:
        """Drop the work of one child. Looks at all workers."""
        self._backlog = deque(work for work in self._backlog if work.child_id != child_id)
        for worker in self._all:
            if worker.work is not None and worker.work.child_id == child_id:
                worker.drop(shielded=shielded)

    def close(self, seconds: float) -> None:
        """Keep nobody idle, and cancel after so many seconds what is not done by then."""
        self._keep = 0
        self._deadline = anyio.current_time() + seconds
        for worker in self._all:
            worker.end_by(self._deadline)
        for worker in self._idle:
            worker.cancel()
        self._idle.clear()

    def abandon(self) -> None:
        """Cancel all at once and forget the backlog."""
        self._keep = 0
        self._deadline = -math.inf
        self._backlog.clear()
        for worker in self._all:
            worker.cancel()

    def _give(self, work: Work) -> Worker:
        if not self._idle:
            return self._grow(work)
        worker = self._idle.pop()
        worker.work = work
        worker.parking.wake()
        return worker

    def _grow(self, work: Work) -> Worker:
        worker = Worker(self._new_parking(), work, self._deadline)
        self._spawn(partial(self._run, worker), self._name)
        self._all.add(worker)
        self._added += 1
        return worker

    async def _run(self, worker: Worker) -> None:
        worker.task_id = anyio.get_current_task().id
        _current.set(worker)  # once for each worker: setting it for each piece of work would cost every message
        clean = contextvars.copy_context()
        try:
            while True:
                with worker.scope:
                    await self._serve(worker, clean)
                if not worker.dropped or contextvars.copy_context() != clean:
                    break
                worker.begin_anew(self._deadline)
        except BaseException as exc:
            if worker.work is not None:
                self._crashed(worker.work, exc)
        self._all.discard(worker)
        worker.work = None  # which holds what nobody needs any more, and perhaps this pool
        if worker is self._coming:  # it was cancelled before it began
            self._coming = None
        if worker in self._idle:  # somebody else cancelled its task while it was parked
            self._idle.remove(worker)
        if self._backlog:
            self._hand_over(worker)
        self._ended()

    async def _serve(self, worker: Worker, clean: contextvars.Context) -> None:
        done = 0
        while True:
            if worker.work is not None:
                self._latest = worker
                if worker is self._coming:
                    self._coming = None
                try:
                    await worker.work.body()
                except Exception as exc:
                    self._crashed(worker.work, exc)
                done += 1
                self._brisk = self._brisk + 1 if self._latest is worker else 0
                worker.work = None
                if worker.scope.cancel_called or contextvars.copy_context() != clean:
                    return
            if self._backlog and done % IN_A_ROW == 0:
                await anyio.lowlevel.checkpoint()
            if self._backlog:
                worker.work = self._backlog.popleft()
            elif len(self._idle) < self._keep:
                self._idle.append(worker)
                await worker.parking.wait()
                done = 0
            if worker.work is None:
                return

    def _hand_over(self, worker: Worker) -> None:
        if worker.scope.cancel_called and not worker.dropped:
            self._backlog.clear()
        elif self._has_room:
            self._grow(self._backlog.popleft())
        else:
            self._crowded()
