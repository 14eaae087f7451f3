"""The execution's actor: runs a handler once per resume, records what it does, and writes its end."""

from __future__ import annotations

import contextlib
import functools
import logging
import random
from collections.abc import Awaitable, Callable, Collection, Coroutine, Generator, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import Any, Final

import anyio
import anyio.lowlevel
import msgspec
from msgspec import Raw

from intendant.actors.actor import Actor
from intendant.actors.conclusion import Conclusion
from intendant.actors.endings import Ending
from intendant.actors.history import Accepted, Blocked, History
from intendant.actors.intents import prepare_child
from intendant.actors.messages import Describe, ExecutionMessage, Progress
from intendant.actors.noted_files import NotedFiles
from intendant.actors.offspring import Offspring, Record
from intendant.actors.pure import value_of
from intendant.actors.services import Services
from intendant.actors.waits import Place, Query
from intendant.context import Context
from intendant.domain.children import ChildIntent, ChildRequest, earliest
from intendant.domain.codec import encode_value
from intendant.domain.errors import (
    IntendantError,
    Stopped,
    Suspended,
    UnknownQuery,
)
from intendant.domain.journal import HANDLER
from intendant.domain.logs import about, told
from intendant.domain.payloads import (
    Emitted,
    ExecutionCompleted,
    Failure,
    StepCompleted,
    StepFailed,
    Submitted,
    TimerSet,
)
from intendant.domain.sagas import SagaRow, Sagas, is_of_saga
from intendant.domain.state import ExecutionState, Status
from intendant.domain.telemetry import UNTRACED, ExecutionTrace
from intendant.domain.waits import Wait, WaitEnd
from intendant.realm import Handler
from intendant.steps.attempt import TimeLimits, sleep_until
from intendant.steps.cancellation import Cancellation
from intendant.steps.steps import failure_of
from intendant.supervisor import SupervisorError, Worker, current_worker

logger = logging.getLogger("intendant.execution")

NO_HANDLER: Final = "unknown_intent_type"


class HandlerCrashed(Exception):
    """A handler raised what no handler should (SystemExit, GeneratorExit, ...): a crash, not a failed attempt."""


class ExecutionActor(Actor[ExecutionMessage]):
    """One execution in this process. `run` is its life; ending it early suspends the handler, and records nothing.

    What it records goes through its `history`, which is also where a resume goes on from. While the handler does
    nothing but wait, it may be made `passive`: it is suspended alone, until what it waits for has come.
    """

    def __init__(
        self,
        services: Services,
        tenant: str,
        id: str,
        accepted: Accepted | None,
        place: Place,
    ) -> None:
        self.passive = False
        self.cancellation: Cancellation | None = None
        self.history = History(services, tenant, id, place, accepted)
        self._services = services
        self._id = id
        self._place = place
        self.now = services.clock.now
        self._context: Context | None = None
        self.files = NotedFiles(services.files)
        self._worker: Worker | None = None  # that it runs on
        self._waiting: dict[str, int] = {}  # what it waits for, by path, and the task that does
        self._pausing: list[str] = []  # between two attempts: steps by path, or "attempt()" for itself
        self._resting = False
        self._playing: Handler | None = None
        self._awaited: dict[str, Ending] = {}  # of children, by the path of what is to be recorded of it
        self.trace: ExecutionTrace | None = None  # who is told what it does
        self._resumed = False  # its handler began earlier
        self._fault: Exception | None = None  # of ours, that the handler met
        self._unreadable: Blocked | None = None  # something recorded that this code can't read

    # --- the life of an execution

    async def run(self) -> None:
        """Load, run the handler, decide the end. Returns early when suspended; raises when this process is at fault.

        Nobody waits here until the end is durable: whoever waits for that is told by the writer (`History.end`), and
        the task and the place to run are free for the next one.
        """
        try:
            handler, tracing = await self._begin(), self._services.tracing
            with (
                UNTRACED
                if tracing is None or handler is None
                else tracing.execution(self.history.state, resumed=self._resumed)
            ) as self.trace:
                while handler is not None and not await self._play(handler):
                    await self.history.load()  # the next attempt goes on from what was recorded
            if self._unreadable is not None:
                raise self._unreadable
        except Blocked as blocked:
            self._block(blocked.failure)
        except Stopped:
            if self._services.writer.serving:
                raise
            # the writer stopped under it: this is a suspension, whoever restarts the writer resumes it
        finally:
            self._context = None  # which knows this actor: without the circle nothing is left to the collector

    async def _begin(self) -> Handler | None:
        """Load, and find the handler that is to run; None when nothing is to run any more."""
        state = self.history.take_accepted()
        if state is None:
            state = await self.history.load()
        self._resumed = self.history.resumed and state.status is not Status.ACCEPTED
        if state.status.ended:
            self._place.end(None)
            return None
        if state.status is Status.ACCEPTED and self.history.fold.cancelled is not None:
            self._conclude().cancel(None, None)
            return None
        handler = self._place.handler or self._services.repertoire.of_version(state.type, state.version)
        if handler is None:
            raise Blocked(NO_HANDLER, self._services.repertoire.missing(state.type, state.version))
        if state.status is Status.ACCEPTED:
            await self.history.start()
        return handler

    @property
    def suspended(self) -> bool:
        """Whether nothing more may be recorded: the handler is being unwound to resume later, or the end is written."""
        history, worker = self.history, self._worker
        if history.over or history.cut_off:
            return True
        cancelled = worker is not None and worker.cancelled
        return cancelled or not self._place.owner.serving

    async def receive(self, message: ExecutionMessage) -> None:
        """Answer what others ask about this execution."""
        match message:
            case Describe(reply):
                running = self._context.in_progress if self._context is not None else []
                reply.set(Progress(list(running), self.history.steps, [*self._waiting, *self._pausing]))

    @functools.cached_property
    def offspring(self) -> Offspring:
        """Its children."""
        return Offspring(self._services, self.history)

    @property
    def steps(self) -> list[str]:
        """Where its handler is: the steps whose functions run, else what it waits for."""
        running = self._context.in_progress if self._context is not None else []
        return [*running] or [*self._waiting, *self._pausing]

    def may_leave(self, parents: Collection[int | None]) -> bool:
        """Whether the handler's own task waits, alone: `parents` are the tasks that have started others."""
        if len(self._waiting) != 1 or not self._resting or self._pausing or self.cancellation is not None:
            return False
        ((path, task),) = self._waiting.items()
        if self._worker is None or task != self._worker.task_id or task in parents:
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
        assert self._worker is not None  # noqa: S101  a handler that waits runs on one
        self._worker.drop()

    def cut_off(self) -> None:
        """Record nothing more, whatever the handler still does."""
        self.history.cut_off = True
        if self.cancellation is not None:
            self.cancellation.abort()

    @property
    def leaves(self) -> bool:
        """Whether the handler was interrupted alone, and not with all the others."""
        return self.passive or (self.cancellation is not None and self.cancellation.struck)

    def cancel(self) -> None:
        """A cancel is recorded: the handler is told, if it runs; if it does not, that is looked for when it is to."""
        if self._playing is None or self.cancellation is not None:
            return
        limit, context = self._playing.cleanup.total_seconds(), self._context
        self.cancellation = Cancellation(limit, context.ahead if context else 0, self._place.interrupt)
        try:
            watch = self.cancellation.watch
            children = self.history.journal.children
            self._place.beside(partial(self.offspring.cancelled_with, watch) if children else watch)
        except SupervisorError:
            self.cancellation.abort()  # handlers are being suspended: nothing of it begins
        else:
            self.cancellation.begin()

    async def condemn(self, failure: Failure) -> None:
        """End it, failed, without running its handler."""
        state = self.history.take_accepted() or await self.history.load()
        if not state.status.ended:
            conclusion, ended = self._conclude(), self._place.wait_end()
            await conclusion.settle_children()
            conclusion.end_failed(failure, None)
            await ended.wait(self._services.seam)

    def compute(self, handler: Handler) -> ExecutionCompleted | None:
        """Call a pure handler, here and now; None when it has failed, and is to run as others do."""
        state = self.history.take_accepted()
        assert state is not None  # noqa: S101  it is being accepted
        context, tracing = self._new_context(handler, 1), self._services.tracing
        with UNTRACED if tracing is None else tracing.execution(state, resumed=False) as trace:
            try:
                result = encode_value(value_of(handler.function(context, handler.decode(state.parameters))), "result")
            except KeyboardInterrupt:
                raise
            except BaseException:
                return None
            if trace is not None:
                trace.ended(Status.COMPLETED)
        return ExecutionCompleted(Raw(result), self.now(), context.artifacts, context.take_events())

    async def _play(self, handler: Handler) -> bool:
        """One attempt of the handler; False when it failed and there is to be another one."""
        failed = self.history.failed
        if failed is not None and failed.next_at > self.now() and self.history.cancelled:
            await self._end_cancelled()
            return True
        parameters = self._parameters(handler)
        self._playing = handler
        try:
            try:
                if failed is not None or self.cancellation is not None:
                    await self._may_begin(failed)
                result = encode_value(await self._call(handler, parameters, failed), "result")
            except BaseExceptionGroup as group:
                raise _without_cancellation(group) from None
            finally:
                self._playing = None
                if self.cancellation is not None:
                    self.cancellation.close()
        except Exception as error:
            self._check_fault()
            return self.suspended or await self._attempt_failed(handler, error, self._called)
        except self._services.seam.cancelled:
            if self.leaves and not self.suspended:
                await self._end_cancelled()
            raise
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            raise HandlerCrashed(f"{self.history.state.type} raised {error!r}") from error
        self._check_fault()
        if not self.suspended:
            await self._conclude().complete(result, self._called)
        return True

    def _conclude(self) -> Conclusion:
        return Conclusion(self._services, self.history, self.trace, self.cancellation, self._worker)

    async def _end_cancelled(self) -> None:
        conclusion = self._conclude()
        await conclusion.settle_children()
        conclusion.cancel(None, self._context)

    def _check_fault(self) -> None:
        """What is no doing of the handler is a crash, whatever the handler made of it."""
        if self._fault is not None:
            raise HandlerCrashed(f"{self.history.state.type} met {self._fault!r}") from self._fault

    def _parameters(self, handler: Handler) -> Any:
        try:
            return handler.decode(self.history.state.parameters)
        except msgspec.MsgspecError as error:
            reason = f"its parameters do not fit {handler.type} of version {handler.version}: {error}"
            raise Blocked("ValidationError", reason) from error

    async def _may_begin(self, failed: StepFailed | None) -> None:
        """Wait until the attempt may begin."""
        if failed is not None:
            self._context = None  # nobody asks the attempt that is over
            await self.pause("attempt()", failed.next_at)
        if self.cancellation is not None:
            await anyio.lowlevel.checkpoint()  # it was interrupted in the moment when its wait was over

    def _call(self, handler: Handler, parameters: Any, failed: StepFailed | None) -> Awaitable[Any]:
        """The handler's run, in a new context and within its time limits; it begins when it is awaited."""
        state = self.history.state
        context = self._context = self._new_context(handler, failed.attempt + 1 if failed else 1)
        self._worker = current_worker()
        policy, until = handler.policy, state.parent.deadline if state.parent else 0
        cancelled = self.history.cancelled
        if cancelled:
            self.cancel()
        if not (policy.limited or until):
            return handler.function(context, parameters)
        now, limit, left = self.now(), "", None  # its clean-up after a cancel has a limit of its own
        if not cancelled:
            left = policy.seconds_left(*self._begun(), now)
            if until and (left is None or (until - now) / 1e6 < left):
                left, limit = max(until - now, 0) / 1e6, "its parent had left"
        return TimeLimits(policy, left, limit).run(partial(handler.function, context, parameters))

    def _new_context(self, handler: Handler, attempt: int) -> Context:
        services = self._services
        limiter = services.threads[handler.realm]
        return services.context(self, handler.facts(self.history.state, self.files, limiter, attempt))

    @property
    def _called(self) -> Context:
        assert self._context is not None  # noqa: S101  the handler was called with it
        return self._context

    def _begun(self) -> tuple[int, int]:
        """When the execution was accepted, and when this attempt began: times that a restart does not change."""
        failed = self.history.failed
        return self.history.state.accepted_at, failed.next_at if failed else self.history.state.started_at

    async def _attempt_failed(self, handler: Handler, error: Exception, context: Context) -> bool:
        """Record it: as the execution's end, or as an attempt that another one follows."""
        if isinstance(error, Stopped) and not self._services.writer.serving:
            raise error  # not the handler's doing
        if self.history.fold.cancelled is not None:
            await self._conclude().fail(error, context)
            return True
        now = self.now()
        next_at = handler.policy.next_attempt(
            context.attempt, error, self.history.state.accepted_at, now, random.random
        )
        until = self.history.state.parent.deadline if self.history.state.parent else 0
        if next_at is None or 0 < until <= next_at:
            await self._conclude().fail(error, context)
            return True
        context.close()
        failed = StepFailed(
            HANDLER, failure_of(error), now, context.attempt, False, events=context.take_events(), next_at=next_at
        )
        logger.info(
            "attempt %d of %s %s failed: %s",
            *(context.attempt, self.history.state.type, self._id, told(error)),
            extra=self._about(context.attempt),
        )
        await self.record_step(failed)
        if self.trace is not None:
            self.trace.attempt_failed(failed)
        return False

    def _block(self, why: Failure) -> None:
        """Let it stay open until it is resumed with other code; end what nobody had a handler for when it came."""
        state = self.history.state
        never = state.version == 0 and (state.status is Status.ACCEPTED or why.code != NO_HANDLER)
        if never:
            self._conclude().end_failed(why, None)
        else:
            reason = why.message if why.code == NO_HANDLER else why.code  # others may quote what does not fit
            logger.error("execution %s of %s is blocked: %s", self._id, state.type, reason, extra=self._about())
            self._place.block(why.message)

    def _about(self, attempt: int = 0) -> dict[str, str | int]:
        state = self.history.state
        return about(state.tenant, state.session, state.id, attempt=attempt)

    def block(self, reason: str) -> None:
        """See `Recording.block`."""
        self._unreadable = Blocked("ValidationError", reason)
        self.cut_off()

    # --- what the context records through

    @property
    def resumes(self) -> bool:
        """See `Recording.resumes`."""
        return not self.history.untouched

    @property
    def journal(self) -> Mapping[str, StepCompleted | StepFailed]:
        """What was recorded before this attempt of the handler: of each step the newest."""
        return self.history.journal.steps

    def fence(self) -> int:
        """See `WalWriter.fence`."""
        return self._services.writer.fence()

    @property
    def recorded_events(self) -> Sequence[Emitted]:
        """See `Recording.recorded_events`."""
        return self.history.journal.events

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

    def prepare(self, handler: Any, parameters: Any) -> ChildIntent:
        """See `Recording.prepare`."""
        return prepare_child(self._services.repertoire, handler, parameters)

    async def submit(self, request: ChildRequest, record: Record) -> StepCompleted:
        """See `Recording.submit`."""
        parent, playing = self.history.state.parent, self._playing
        own = playing.policy.end(*self._begun()) if playing is not None else None
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
            self._fault, self.history.cut_off = error, True
            raise Suspended(f"execution {self._id} is suspended, and resumes: {error!r}") from error

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

    async def record_saga(self, row: SagaRow) -> None:
        """See `Recording.record_saga`."""
        reply = self.history.append(row, row.events)
        self.history.follow(row)
        await self.history.durable(reply)

    @property
    def sagas(self) -> Sagas:
        """See `Recording.sagas`."""
        return self.history.journal.sagas

    def shield(self) -> AbstractContextManager[object]:
        """See `Recording.shield`."""
        return anyio.CancelScope(shield=True) if self._worker is None else self._worker.shield()

    @property
    def waits(self) -> Mapping[str, Wait]:
        """What was waited for before this attempt of the handler, and is now."""
        return self.history.fold.by_path

    async def read_shared(self) -> bytes | None:
        """See `Recording.read_shared`."""
        try:
            return await self.history.read_shared()
        except Exception as error:
            self._fault, self.history.cut_off = error, True
            raise Suspended(f"execution {self._id} can't read its session's state: {error!r}") from error

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
        resting = waits and not (self._context is not None and self._context.in_progress)
        if resting is not self._resting:
            self._resting = resting
            self._place.rest(resting)

    def open_waits(self) -> None:
        """Somebody outside needs them; they are not to be had while the journal is being read."""
        if self.history.loaded:
            self.history.waits()

    def _answer(self, queries: list[Query]) -> None:
        """Answer queries, once the handler has come as far as it was, and knows them or waits itself."""
        context = self._context
        if context is None or context.replaying or self.suspended:
            return
        for query in list(queries):
            if (answer := context.queries.get(query.name)) is not None:
                _answer(query, answer)
            elif self._waiting:
                query.reply.fail(UnknownQuery(query.name, sorted(context.queries)))
        queries[:] = [query for query in queries if not query.reply.settled]


def _without_cancellation(group: BaseExceptionGroup) -> BaseException:
    """Trio's: what a task group raised in a handler that is interrupted."""
    _, rest = group.split(anyio.get_cancelled_exc_class())
    return group if rest is None else rest


def _answer(query: Query, answer: Callable[[], Any]) -> None:
    try:
        query.reply.set(encode_value(answer(), f"the answer of query {query.name!r}"))
    except Exception as error:
        query.reply.fail(error)
