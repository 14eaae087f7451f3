"""The watchdog: a thread that sees when the event loop is held, and by which handler.

It asks the loop for a sign of life a few times in each `limit`, and looks at the stack of the loop's thread when none
has come for that long. What holds the loop inside C code that keeps the interpreter's lock holds the watchdog as well:
then it sees nothing, or sees it late.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
import traceback
from collections.abc import Callable
from datetime import UTC, datetime
from types import FrameType
from typing import Final, Protocol

import anyio

from intendant.actors.execution import ExecutionActor
from intendant.context import Context
from intendant.domain.logs import about, trace_of
from intendant.runtime.tree_node import LoopBlock
from intendant.supervisor import Started

logger = logging.getLogger("intendant.watchdog")

LOOKS: Final = 4  # in each limit
_FRAMES_MAX: Final = 60  # of a stack that is kept, the newest
_STEPS_MAX: Final = 10
_RUN: Final = ExecutionActor.run.__code__

TypeOf = Callable[[str, str], str]
"""The intent type of an open execution, by tenant and id; empty when it is not known."""


class Pulse(Protocol):
    """The loop, as far as other threads may use it."""

    def call_soon(self, call: Callable[[], object]) -> None:
        """Run `call` on the loop soon. Raises RuntimeError once the loop has ended."""
        ...


class Watchdog:
    """Warns once of each block that is longer than `limit` seconds. Made in the loop's thread.

    `look` is what its thread does again and again; `clock` is in seconds from any start.
    """

    def __init__(
        self,
        limit: float,
        pulse: Pulse,
        type_of: TypeOf,
        *,
        clock: Callable[[], float] = time.monotonic,
        stack_of: Callable[[int], FrameType | None] = lambda thread: sys._current_frames().get(thread),  # pyright: ignore[reportPrivateUsage]  # the documented way
    ) -> None:
        self.blocks = 0
        self.last: LoopBlock | None = None
        self._limit = limit
        self._pulse = pulse
        self._type_of = type_of
        self._clock = clock
        self._stack_of = stack_of
        self._loop_thread = threading.get_ident()
        self._ended = threading.Event()
        self._asked = 0.0  # when the loop was asked for a sign of life
        self._alive = True  # whether it has given it
        self._told = False  # of the present block

    async def run(self, task_status: Started) -> None:
        """Keep the thread, until cancelled; it has ended when this returns."""
        self._ended.clear()
        self._alive = True
        thread = threading.Thread(target=self._watch, name="intendant watchdog", daemon=False)
        thread.start()
        try:
            task_status.started()
            await anyio.sleep_forever()
        finally:
            self._ended.set()
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(thread.join)

    def _watch(self) -> None:
        while not self._ended.wait(self._limit / LOOKS):
            try:
                self.look()
            except RuntimeError:
                return  # the loop has ended, and nobody stopped this before
            except Exception as error:
                logger.error("the watchdog could not look at the loop\n%s", trace_of(error), extra=about())

    def look(self) -> None:
        """Ask for a sign of life; when the last one has not come for too long, tell who holds the loop, once."""
        now = self._clock()
        if self._alive:
            self._alive = self._told = False
            self._asked = now
            self._pulse.call_soon(self._is_alive)
        elif not self._told and now - self._asked >= self._limit:
            self._tell(now - self._asked)

    def _is_alive(self) -> None:
        self._alive = True

    def _tell(self, seconds: float) -> None:
        frame = self._stack_of(self._loop_thread)
        if frame is None or self._alive:
            return
        self._told = True
        tenant, execution, steps = holder(frame)
        shown = traceback.extract_stack(frame)
        stack = "".join(traceback.format_list(shown[-_FRAMES_MAX:]))
        type = self._type_of(tenant, execution) if execution else ""
        self.blocks += 1
        self.last = LoopBlock(datetime.now(UTC), seconds, stack, tenant, execution, type, steps)
        logger.warning(
            "the event loop has been held for %.2f s by %s\n%s",
            *(seconds, describe(self.last), stack),
            extra=about(tenant, execution=execution, step=steps[0] if len(steps) == 1 else ""),
        )


def describe(block: LoopBlock) -> str:
    """Who held the loop, in a few words."""
    if not block.execution:
        return "something that is no handler"
    at = f" in step {', '.join(block.steps)}" if block.steps else ""
    return f"{block.type or 'the handler'} of execution {block.execution}, tenant {block.tenant}{at}"


def holder(frame: FrameType) -> tuple[str, str, tuple[str, ...]]:
    """Tenant, id and steps of the execution that a stack is in, empty if it is in none.

    A handler's own task has its actor's frame below it; a task that it started is known by the context it was given.
    """
    here: FrameType | None = frame
    given: Context | None = None
    while here is not None:
        if here.f_code is _RUN:
            actor = here.f_locals.get("self")
            if isinstance(actor, ExecutionActor):
                return actor.history.state.tenant, actor.history.state.id, tuple(actor.steps[:_STEPS_MAX])
        elif given is None:
            given = next((each for each in here.f_locals.values() if isinstance(each, Context)), None)
        here = here.f_back
    if given is None:
        return "", "", ()
    return given.tenant_id, given.execution_id, tuple(given.in_progress[:_STEPS_MAX])
