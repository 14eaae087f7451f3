"""Calls that outlive the process: made again by callers that go on when it has died, as clients elsewhere do."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any, Protocol, TypeVar, cast

from intendant.domain.erasure import Scope
from intendant.domain.state import CancelResult, ExecutionState
from intendant.runtime.cancellations import Cancellations
from intendant.runtime.ends import Ends
from intendant.runtime.engine import Engine
from intendant.runtime.handles import Execution
from intendant.runtime.surface import StateSurface
from intendant.testing.history import ExecutionLog

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Awaitable[Any]])


class Outliving(Protocol):
    """What may die and go on."""

    state: StateSurface

    async def outlive(self, call: Callable[[], Awaitable[T]]) -> T:
        """Make a call, and again if the process died meanwhile."""
        ...

    async def log(self, execution: Execution[Any]) -> ExecutionLog:
        """What is recorded of an execution."""
        ...


def across(method: F) -> F:
    """The same method, whose calls may be repeated, called again by a caller that outlives the process."""

    @functools.wraps(method)
    async def call(self: Outliving, *arguments: Any, **named: Any) -> Any:
        return await self.outlive(lambda: method(self, *arguments, **named))

    return cast("F", call)


class EndsAcross(Ends):
    """Waits for ends across deaths, and for `patience` seconds where nothing else is said."""

    def __init__(self, runtime: Outliving, serving: Callable[[], Engine], patience: float) -> None:
        super().__init__(serving, runtime.state)
        self._runtime = runtime
        self._patience = patience

    async def wait(self, execution: Execution[Any], timeout: float | None) -> ExecutionState:
        """See `Ends.wait`."""
        wait = super().wait
        seconds = self._patience if timeout is None else timeout
        try:
            return await self._runtime.outlive(lambda: wait(execution, seconds))
        except TimeoutError:
            log = await self._runtime.log(execution)
            raise TimeoutError(f"it has not ended within {timedelta(seconds=seconds)}\n{log}") from None


class CancellationsAcross(Cancellations):
    """Cancels across deaths."""

    def __init__(self, runtime: Outliving, serving: Callable[[], Engine], timeout: float) -> None:
        super().__init__(serving, runtime.state, timeout)
        self._runtime = runtime

    async def cancel(self, tenant: str, execution: str, timeout: float | None) -> CancelResult:
        """See `Cancellations.cancel`."""
        cancel = super().cancel
        return await self._runtime.outlive(lambda: cancel(tenant, execution, timeout))

    async def cancel_all(self, scope: Scope, timeout: float | None) -> dict[str, CancelResult]:
        """See `Cancellations.cancel_all`."""
        cancel = super().cancel_all
        return await self._runtime.outlive(lambda: cancel(scope, timeout))
