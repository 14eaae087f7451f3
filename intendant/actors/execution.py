"""The execution's actor: runs a handler once per resume, records what it does, and writes its end."""

from __future__ import annotations

import logging
import random
from collections.abc import Awaitable
from functools import partial
from typing import Any, Final

import anyio
import anyio.lowlevel
import msgspec
from msgspec import Raw

from intendant.actors.actor import Actor
from intendant.actors.conclusion import Conclusion
from intendant.actors.history import Accepted, Blocked, History
from intendant.actors.live_recording import LiveRecording
from intendant.actors.messages import Describe, ExecutionMessage, Progress
from intendant.actors.noted_files import NotedFiles
from intendant.actors.pure import value_of
from intendant.actors.services import Services
from intendant.actors.waits import Place
from intendant.context import Context
from intendant.domain.codec import encode_value
from intendant.domain.errors import Stopped
from intendant.domain.journal import HANDLER
from intendant.domain.logs import about, told
from intendant.domain.payloads import ExecutionCompleted, Failure, StepFailed
from intendant.domain.state import Status
from intendant.domain.telemetry import UNTRACED
from intendant.realm import Handler
from intendant.steps.attempt import TimeLimits
from intendant.steps.steps import failure_of
from intendant.supervisor import current_worker

logger = logging.getLogger("intendant.execution")

NO_HANDLER: Final = "unknown_intent_type"


class HandlerCrashed(Exception):
    """A handler raised what no handler should (SystemExit, GeneratorExit, ...): a crash, not a failed attempt."""


class ExecutionActor(Actor[ExecutionMessage]):
    """One execution in this process. `run` is its life; ending it early suspends the handler, and records nothing.

    What is recorded goes through its `history`, which is also where a resume goes on from; what its handler asks for
    goes there by `recording`.
    """

    def __init__(
        self,
        services: Services,
        tenant: str,
        id: str,
        accepted: Accepted | None,
        place: Place,
    ) -> None:
        self.history = History(services, tenant, id, place, accepted)
        self.recording = LiveRecording(services, self.history, place)
        self.files = NotedFiles(services.files)
        self._services = services
        self._id = id
        self._place = place
        self._resumed = False  # its handler began earlier

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
            ) as self.recording.trace:
                while handler is not None and not await self._play(handler):
                    await self.history.load()  # the next attempt goes on from what was recorded
            if self.recording.unreadable is not None:
                raise self.recording.unreadable
        except Blocked as blocked:
            self._block(blocked.failure)
        except Stopped:
            if self._services.writer.serving:
                raise
            # the writer stopped under it: this is a suspension, whoever restarts the writer resumes it
        finally:
            self.recording.context = None  # which knows it: without the circle nothing is left to the collector

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

    async def receive(self, message: ExecutionMessage) -> None:
        """Answer what others ask about this execution."""
        match message:
            case Describe(reply):
                recording = self.recording
                reply.set(Progress(recording.in_progress, self.history.steps, recording.waiting))

    @property
    def steps(self) -> list[str]:
        """Where its handler is: the steps whose functions run, else what it waits for."""
        return self.recording.in_progress or self.recording.waiting

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
        return ExecutionCompleted(Raw(result), self._services.clock.now(), context.artifacts, context.take_events())

    async def _play(self, handler: Handler) -> bool:
        """One attempt of the handler; False when it failed and there is to be another one."""
        recording, failed = self.recording, self.history.failed
        if failed is not None and failed.next_at > recording.now() and self.history.cancelled:
            await self._end_cancelled()
            return True
        parameters = self._parameters(handler)
        recording.playing = handler
        try:
            try:
                if failed is not None or recording.cancellation is not None:
                    await self._may_begin(failed)
                result = encode_value(await self._call(handler, parameters, failed), "result")
            except BaseExceptionGroup as group:
                raise _without_cancellation(group) from None
            finally:
                recording.playing = None
                if recording.cancellation is not None:
                    recording.cancellation.close()
        except Exception as error:
            self._check_fault()
            return recording.suspended or await self._attempt_failed(handler, error, self._called)
        except self._services.seam.cancelled:
            if recording.leaves and not recording.suspended:
                await self._end_cancelled()
            raise
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            raise HandlerCrashed(f"{self.history.state.type} raised {error!r}") from error
        self._check_fault()
        if not recording.suspended:
            await self._conclude().complete(result, self._called)
        return True

    def _conclude(self) -> Conclusion:
        return Conclusion(self._services, self.recording.history, self.recording)

    async def _end_cancelled(self) -> None:
        conclusion = self._conclude()
        await conclusion.settle_children()
        conclusion.cancel(None, self.recording.context)

    def _check_fault(self) -> None:
        """What is no doing of the handler is a crash, whatever the handler made of it."""
        fault = self.recording.fault
        if fault is not None:
            raise HandlerCrashed(f"{self.history.state.type} met {fault!r}") from fault

    def _parameters(self, handler: Handler) -> Any:
        try:
            return handler.decode(self.history.state.parameters)
        except msgspec.MsgspecError as error:
            reason = f"its parameters do not fit {handler.type} of version {handler.version}: {error}"
            raise Blocked("ValidationError", reason) from error

    async def _may_begin(self, failed: StepFailed | None) -> None:
        """Wait until the attempt may begin."""
        if failed is not None:
            self.recording.context = None  # nobody asks the attempt that is over
            await self.recording.pause("attempt()", failed.next_at)
        if self.recording.cancellation is not None:
            await anyio.lowlevel.checkpoint()  # it was interrupted in the moment when its wait was over

    def _call(self, handler: Handler, parameters: Any, failed: StepFailed | None) -> Awaitable[Any]:
        """The handler's run, in a new context and within its time limits; it begins when it is awaited."""
        state, recording = self.history.state, self.recording
        context = recording.context = self._new_context(handler, failed.attempt + 1 if failed else 1)
        recording.worker = current_worker()
        policy, until = handler.policy, state.parent.deadline if state.parent else 0
        cancelled = self.history.cancelled
        if cancelled:
            recording.cancel()
        if not (policy.limited or until):
            return handler.function(context, parameters)
        now, limit, left = recording.now(), "", None  # its clean-up after a cancel has a limit of its own
        if not cancelled:
            left = policy.seconds_left(*recording.begun(), now)
            if until and (left is None or (until - now) / 1e6 < left):
                left, limit = max(until - now, 0) / 1e6, "its parent had left"
        return TimeLimits(policy, left, limit).run(partial(handler.function, context, parameters))

    def _new_context(self, handler: Handler, attempt: int) -> Context:
        services = self._services
        limiter = services.threads[handler.realm]
        return services.context(self.recording, handler.facts(self.history.state, self.files, limiter, attempt))

    @property
    def _called(self) -> Context:
        context = self.recording.context
        assert context is not None  # noqa: S101  the handler was called with it
        return context

    async def _attempt_failed(self, handler: Handler, error: Exception, context: Context) -> bool:
        """Record it: as the execution's end, or as an attempt that another one follows."""
        if isinstance(error, Stopped) and not self._services.writer.serving:
            raise error  # not the handler's doing
        if self.history.fold.cancelled is not None:
            await self._conclude().fail(error, context)
            return True
        now = self.recording.now()
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
        await self.recording.record_step(failed)
        if self.recording.trace is not None:
            self.recording.trace.attempt_failed(failed)
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


def _without_cancellation(group: BaseExceptionGroup) -> BaseException:
    """Trio's: what a task group raised in a handler that is interrupted."""
    _, rest = group.split(anyio.get_cancelled_exc_class())
    return group if rest is None else rest
