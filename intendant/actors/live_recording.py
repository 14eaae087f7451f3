"""What the durable calls of a handler that runs come to: what is recorded, and what it waits for."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Collection, Coroutine, Generator, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

import anyio

from intendant.actors.endings import Ending
from intendant.actors.history import Blocked, History
from intendant.actors.intents import prepare_child
from intendant.actors.offspring import Offspring, Record
from intendant.actors.services import Services
from intendant.actors.waits import Place, Query
from intendant.context import Context
from intendant.domain.children import ChildIntent, ChildRequest, earliest
from intendant.domain.codec import encode_value
from intendant.domain.errors import IntendantError, Suspended, UnknownQuery
from intendant.domain.journal import HANDLER
from intendant.domain.payloads import Emitted, StepCompleted, StepFailed, Submitted, TimerSet
from intendant.domain.sagas import SagaRow, Sagas, is_of_saga
from intendant.domain.state import ExecutionState
from intendant.domain.telemetry import ExecutionTrace
from intendant.domain.waits import Wait, WaitEnd
from intendant.realm import Handler
from intendant.steps.attempt import sleep_until
from intendant.steps.cancellation import Cancellation
from intendant.supervisor import SupervisorError, Worker


class LiveRecording:
    """The `Recording` of an execution whose handler runs here, over all its attempts; what is recorded is `history`.

    While the handler does nothing but wait it rests, and takes no place to run. It may then be made `passive`: it is
    suspended alone, until what it waits for has come.
    """

    def __init__(self, services: Services, history: History, place: Place) -> None:
        self.history = history
        self.now = services.clock.now
        self.passive = False
        self.playing: Handler | None = None  # the handler, while it runs
        self.context: Context | None = None  # what it was called with
        self.worker: Worker | None = None  # that it runs on
        self.cancellation: Cancellation | None = None
        self.trace: ExecutionTrace | None = None  # who is told what it does
        self.fault: Exception | None = None  # of ours, that the handler met
        self.unreadable: Blocked | None = None  # something recorded that this code can't read
        self._services = services
        self._place = place
        self._waiting: dict[str, int] = {}  # what it waits for, by path, and the task that does
        self._pausing: list[str] = []  # between two attempts: steps by path, or "attempt()" for itself
        self._resting = False
        self._awaited: dict[str, Ending] = {}  # of children, by the path of what is to be recorded of it

    # --- how the handler fares

    @property
    def suspended(self) -> bool:
        """Whether nothing more may be recorded: the handler is being unwound to resume later, or the end is written."""
        history, worker = self.history, self.worker
        if history.over or history.cut_off:
            return True
        cancelled = worker is not None and worker.cancelled
        return cancelled or not self._place.owner.serving

    @functools.cached_property
    def offspring(self) -> Offspring:
        """Its children."""
        return Offspring(self._services, self.history)

    @property
    def in_progress(self) -> list[str]:
        """The steps whose functions run."""
        return [] if self.context is None else list(self.context.in_progress)

    @property
    def waiting(self) -> list[str]:
        """What it waits for, by path."""
        return [*self._waiting, *self._pausing]

    def begun(self) -> tuple[int, int]:
        """When the execution was accepted, and when this attempt began: times that a restart does not change."""
        state, failed = self.history.state, self.history.failed
        return state.accepted_at, failed.next_at if failed else state.started_at

    # --- suspending and cancelling it

    def may_leave(self, parents: Collection[int | None]) -> bool:
        """Whether the handler's own task waits, alone: `parents` are the tasks that have started others."""
        if len(self._waiting) != 1 or not self._resting or self._pausing or self.cancellation is not None:
            return False
        ((path, task),) = self._waiting.items()
        if self.worker is None or task != self.worker.task_id or task in parents:
            return False
        awaited = self._awaited.get(path)
        over = self.history.waits().over(path) if awaited is None else awaited.state is not None
        return not over  # else it is told in a moment, and nobody does that again

    def passivate(self) -> None:
        """Suspend the handler, which waits, alone: from here on it records nothing.

        What it awaits is cancelled, and with that nearly every handler is gone; whoever awaits something else then is
        to be told `leave`. To cancel all that it does is an eighth of what it costs to resume one.
        """
        self.passive = self.history.cut_off = True
        (path,) = self._waiting
        if not self.history.waits().turn_out(path):
            self.leave()

    def leave(self) -> None:
        """Cancel all that a handler does that is to leave memory."""
        assert self.worker is not None  # noqa: S101  a handler that waits runs on one
        self.worker.drop()

    @property
    def leaves(self) -> bool:
        """Whether the handler was interrupted alone, and not with all the others."""
        return self.passive or (self.cancellation is not None and self.cancellation.struck)

    def cut_off(self) -> None:
        """Record nothing more, whatever the handler still does."""
        self.history.cut_off = True
        if self.cancellation is not None:
            self.cancellation.abort()

    def block(self, reason: str) -> None:
        """See `Recording.block`."""
        self.unreadable = Blocked("ValidationError", reason)
        self.cut_off()

    def cancel(self) -> None:
        """A cancel is recorded: the handler is told, if it runs; if it does not, that is looked for when it is to."""
        if self.playing is None or self.cancellation is not None:
            return
        limit, context = self.playing.cleanup.total_seconds(), self.context
        self.cancellation = Cancellation(limit, context.ahead if context else 0, self._place.interrupt)
        try:
            watch = self.cancellation.watch
            children = self.history.journal.children
            self._place.beside(partial(self.offspring.cancelled_with, watch) if children else watch)
        except SupervisorError:
            self.cancellation.abort()  # handlers are being suspended: nothing of it begins
        else:
            self.cancellation.begin()

    def shield(self) -> AbstractContextManager[object]:
        """See `Recording.shield`."""
        return anyio.CancelScope(shield=True) if self.worker is None else self.worker.shield()

    # --- what was recorded before

    @property
    def resumes(self) -> bool:
        """See `Recording.resumes`."""
        return not self.history.untouched

    @property
    def journal(self) -> Mapping[str, StepCompleted | StepFailed]:
        """What was recorded before this attempt of the handler: of each step the newest."""
        return self.history.journal.steps

    @property
    def recorded_events(self) -> Sequence[Emitted]:
        """See `Recording.recorded_events`."""
        return self.history.journal.events

    @property
    def sagas(self) -> Sagas:
        """See `Recording.sagas`."""
        return self.history.journal.sagas

    @property
    def waits(self) -> Mapping[str, Wait]:
        """What was waited for before this attempt of the handler, and is now."""
        return self.history.fold.by_path

    async def read_shared(self) -> bytes | None:
        """See `Recording.read_shared`."""
        try:
            return await self.history.read_shared()
        except Exception as error:
            self.fault, self.history.cut_off = error, True
            state = self.history.state
            raise Suspended(f"execution {state.id} can't read its session's state: {error!r}") from error

    # --- recording

    def fence(self) -> int:
        """See `WalWriter.fence`."""
        return self._services.writer.fence()

    def record_step(self, step: StepCompleted | StepFailed) -> Coroutine[Any, Any, None]:
        """Commit a step's record and its row in the journal, and the events that ride with it."""
        history = self.history
        reply = history.append(step, step.events)
        if step.path == HANDLER:
            history.fold.forget_time_outs()
        elif is_of_saga(step):
            history.follow(step)
        history.new_steps += 1  # now: the handler may be cancelled while it waits, and the record stands all the same
        return history.durable(reply)

    async def record_saga(self, row: SagaRow) -> None:
        """See `Recording.record_saga`."""
        reply = self.history.append(row, row.events)
        self.history.follow(row)
        await self.history.durable(reply)

    # --- children

    def prepare(self, handler: Any, parameters: Any) -> ChildIntent:
        """See `Recording.prepare`."""
        return prepare_child(self._services.repertoire, handler, parameters)

    async def submit(self, request: ChildRequest, record: Record) -> StepCompleted:
        """See `Recording.submit`."""
        parent, playing = self.history.state.parent, self.playing
        own = playing.policy.end(*self.begun()) if playing is not None else None
        return await self.offspring.submit(request, earliest(own, parent.deadline if parent else 0), record)

    async def child_end(self, path: str, child: Submitted) -> ExecutionState:
        """See `Recording.child_end`."""
        ending = self._awaited[path] = self.offspring.ending(child)
        try:
            with self._no_fault_of_the_handler():
                return await self.offspring.end_of(child, ending, partial(self._stand, path))
        finally:
            del self._awaited[path]
            if self.passive:
                self._place.await_end(ending)

    async def cancel_child(self, child: Submitted) -> None:
        """See `Recording.cancel_child`."""
        with self._no_fault_of_the_handler():
            await self.offspring.cancel(child.execution)

    @contextlib.contextmanager
    def _no_fault_of_the_handler(self) -> Generator[None, None, None]:
        """What is raised meanwhile, and is no answer, is a crash: the handler is suspended, and resumes."""
        try:
            yield
        except IntendantError:
            raise
        except Exception as error:
            self.fault, self.history.cut_off = error, True
            raise Suspended(f"execution {self.history.state.id} is suspended, and resumes: {error!r}") from error

    # --- waiting

    @contextlib.contextmanager
    def _stand(self, path: str) -> Generator[None, None, None]:
        """Meanwhile a task of the handler does nothing but wait."""
        self._waiting[path] = self._services.seam.current_task()
        self.active()
        try:
            yield
        finally:
            self._waits_no_more(path)

    def _waits_no_more(self, path: str) -> None:
        self._waiting.pop(path, None)
        if not self.passive:  # to leave memory takes no place to run
            self.active()

    async def wait(self, path: str, timer: TimerSet | None) -> WaitEnd:
        """See `Recording.wait`."""
        waits = self.history.waits()
        try:
            if timer is not None:
                await self.history.durable(self.history.begin_wait(timer))
            waits.fire(path, self.now())  # its time may have come while nobody stood here
            if not waits.over(path):
                self._waiting[path] = self._services.seam.current_task()
                self.active()
            wait = waits.fold.by_path[path]
            while (end := waits.landed(wait)) is None:
                await waits.stand(path)
            return end
        except BaseException:
            if not self.suspended:
                waits.withdraw(path)
            raise
        finally:
            self._waits_no_more(path)

    async def pause(self, path: str, until: int) -> None:
        """See `Recording.pause`."""
        if until <= self.now():
            return
        self._pausing.append(path)
        self.active()
        try:
            await sleep_until(until, self.now)
        finally:
            self._pausing.remove(path)
            self.active()

    def active(self) -> None:
        """See `Recording.active`."""
        if self._place.queries:
            self._answer(self._place.queries)
        waits = bool(self._waiting or self._pausing)
        resting = waits and not (self.context is not None and self.context.in_progress)
        if resting is not self._resting:
            self._resting = resting
            self._place.rest(resting)

    def open_waits(self) -> None:
        """Somebody outside needs them; they are not to be had while the journal is being read."""
        if self.history.loaded:
            self.history.waits()

    def _answer(self, queries: list[Query]) -> None:
        """Answer queries, once the handler has come as far as it was, and knows them or waits itself."""
        context = self.context
        if context is None or context.replaying or self.suspended:
            return
        for query in list(queries):
            if (answer := context.queries.get(query.name)) is not None:
                _answer(query, answer)
            elif self._waiting:
                query.reply.fail(UnknownQuery(query.name, sorted(context.queries)))
        queries[:] = [query for query in queries if not query.reply.settled]


def _answer(query: Query, answer: Callable[[], Any]) -> None:
    try:
        query.reply.set(encode_value(answer(), f"the answer of query {query.name!r}"))
    except Exception as error:
        query.reply.fail(error)
