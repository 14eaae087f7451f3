"""Cancels as callers make them: of an execution, of all that is open in a session, of all of a tenant."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import anyio

from intendant.actors.barred import open_executions
from intendant.domain.erasure import Scope
from intendant.domain.errors import BeingErased, OutcomeUnknown, UnknownExecution, UnknownSession
from intendant.domain.state import CancelResult
from intendant.runtime.intent import seconds_of
from intendant.runtime.surface import StateSurface

if TYPE_CHECKING:
    from intendant.runtime.engine import Engine

SIDE_BY_SIDE: Final = 64  # cancels of one call


class Cancellations:
    """Where handles ask for cancels. `serving` returns the engine, or raises when calls are not served.

    `timeout` is how many seconds a call waits that does not say.
    """

    def __init__(self, serving: Callable[[], Engine], state: StateSurface, timeout: float) -> None:
        self._serving = serving
        self._state = state
        self._timeout = timeout

    async def cancel(self, tenant: str, execution: str, timeout: float | None) -> CancelResult:
        """Cancel one; `Execution.cancel` is the door to it."""
        seconds = seconds_of(timeout, self._timeout)
        try:
            with anyio.fail_after(seconds):
                return await self._cancel(tenant, execution, seconds)
        except TimeoutError:
            again = f"no answer whether execution {execution!r} was cancelled; cancel it again, which is safe"
            raise OutcomeUnknown(execution, execution, again) from None

    async def cancel_all(self, scope: Scope, timeout: float | None) -> dict[str, CancelResult]:
        """Cancel what is open; `Session.cancel` and `Runtime.cancel_tenant` are the doors to it."""
        seconds = seconds_of(timeout, self._timeout)
        results: dict[str, CancelResult] = {}
        try:
            with anyio.fail_after(seconds):
                await self._check(scope)
                engine = self._serving()
                partition = engine.partition(scope.tenant)
                found = await engine.persist(partition, lambda _left: open_executions(partition.log, scope), seconds)
                await self._cancel_each(scope.tenant, found, results, seconds)
        except TimeoutError:
            again = f"not all of {scope} was cancelled in time; {len(results)} executions were: cancel again"
            raise OutcomeUnknown(scope.member, scope.member, again) from None
        return dict(sorted(results.items()))

    async def _check(self, scope: Scope) -> None:
        self._serving()
        if scope.session:
            view = await self._state.session(scope.tenant, scope.session)
            if view is None or not view.tracked:
                raise UnknownSession(scope.session)

    async def _cancel_each(
        self, tenant: str, executions: list[str], results: dict[str, CancelResult], seconds: float
    ) -> None:
        waiting = iter(executions)

        async def work() -> None:
            for execution in waiting:
                try:
                    results[execution] = await self._cancel(tenant, execution, seconds)
                except UnknownExecution:
                    continue  # it has ended and was taken away meanwhile

        try:
            async with anyio.create_task_group() as group:
                for _ in range(min(SIDE_BY_SIDE, len(executions))):
                    group.start_soon(work)
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from None

    async def _cancel(self, tenant: str, execution: str, seconds: float) -> CancelResult:
        engine = self._serving()
        partition = engine.partition(tenant)
        if await engine.persist(partition, lambda _left: partition.calls.cancel(tenant, execution), seconds):
            return CancelResult.REQUESTED
        state = await self._state.tracked_execution(tenant, execution)
        if state is None:
            raise UnknownExecution(execution)
        if not state.status.ended:
            raise BeingErased(tenant, state.session)  # nothing else stops what is open
        return CancelResult(state.status.value)
