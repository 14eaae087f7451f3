"""The ends of executions, as callers wait for them: told by this process's actors, or read from the store."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import anyio

from intendant.actors.endings import Ending
from intendant.domain.errors import UnknownExecution
from intendant.domain.state import ExecutionState, Outcome
from intendant.runtime.engine import Engine
from intendant.runtime.intent import check_timeout
from intendant.runtime.outcomes import Outcomes
from intendant.runtime.surface import StateSurface

if TYPE_CHECKING:
    from intendant.runtime.handles import Execution

R = TypeVar("R")


class Ends:
    """Where handles wait. `serving` returns the engine, or raises when calls are not served."""

    def __init__(self, serving: Callable[[], Engine], state: StateSurface) -> None:
        self._serving = serving
        self._state = state

    def of(self, tenant: str, execution: str) -> Ending:
        """The end of an execution, as far as this process knows or will know."""
        return self._serving().partition(tenant).endings.of(tenant, execution)

    async def wait(self, execution: Execution[Any], timeout: float | None) -> ExecutionState:
        """Wait for the end of an execution; returns its document. Raises TimeoutError, UnknownExecution."""
        ending = execution.ending
        if ending.state is not None:
            return ending.state
        engine = self._serving()
        partition = engine.partition(execution.tenant)
        if ending.error is not None:  # of an earlier time that this runtime was entered
            ending = execution.ending = self.of(execution.tenant, execution.id)
        wait = ending.wait()
        tick = None if timeout is None or timeout == math.inf else engine.deadlines.add(wait, timeout)
        try:
            if partition.executions.open.find(execution.tenant, execution.id) is None:
                with anyio.fail_after(timeout):  # a store is asked, which may not answer
                    await self._look_up(execution)
            return await wait.wait(engine.seam)
        finally:
            if not wait.settled:
                ending.forget(wait)
            if tick is not None:
                engine.deadlines.remove(wait, tick)

    def wait_all(
        self, executions: Sequence[Execution[R]], timeout: float | None
    ) -> AsyncIterator[tuple[Execution[R], Outcome[R]]]:
        """Yield executions with their outcomes as they end."""
        engine = self._serving()
        for execution in executions:
            if execution.ending.state is None:  # a handle may come from an earlier life of the runtime
                execution.ending = self.of(execution.tenant, execution.id)
        return Outcomes(executions, self._look_up, engine.seam, check_timeout(timeout))

    async def _look_up(self, execution: Execution[Any]) -> None:
        """If the execution is not known here as open, its end may stand in the store: tell it then."""
        ending = execution.ending
        executions = self._serving().partition(execution.tenant).executions
        if ending.state is None and not executions.is_open(execution.tenant, execution.id):
            state = await self._state.tracked_execution(execution.tenant, execution.id)
            if state is None:
                raise UnknownExecution(execution.id)
            if state.status.ended:
                ending.tell(state)
