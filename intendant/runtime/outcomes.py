"""Waiting for many executions at once."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, TypeVar

import anyio

from intendant.actors.endings import Wait
from intendant.domain.state import ExecutionState, Outcome
from intendant.parking import Reply, Seam
from intendant.runtime.handles import Execution

R = TypeVar("R")


class Outcomes(AsyncIterator[tuple[Execution[R], Outcome[R]]]):
    """Executions with their outcomes, as they end.

    An object and not a generator, so that a loop may be left early without closing anything.
    """

    def __init__(
        self,
        executions: Sequence[Execution[R]],
        look_up_end: Callable[[Execution[Any]], Awaitable[None]],
        seam: Seam,
        timeout: float | None,
    ) -> None:
        self._replies = [(execution, execution.ending.wait()) for execution in executions]
        self._unread = deque(self._replies)
        self._ended: deque[tuple[Execution[R], Reply[ExecutionState]]] = deque()
        self._left = len(self._replies)
        self._look_up_end = look_up_end
        self._seam = seam
        self._parking = seam.parking()
        self._deadline = None if timeout is None else seam.time() + timeout

    async def __anext__(self) -> tuple[Execution[R], Outcome[R]]:
        while self._unread and not self._ended:
            execution, reply = self._unread[0]
            await self._look_up_end(execution)
            self._unread.popleft()
            self._notify(execution, reply)
        if not self._left:
            raise StopAsyncIteration
        while not self._ended:
            with anyio.fail_after(None if self._deadline is None else self._deadline - self._seam.time()):
                await self._parking.wait()
        execution, ended = self._ended.popleft()
        self._left -= 1
        return execution, execution.outcome_of(ended.result())

    def _notify(self, execution: Execution[R], reply: Wait) -> None:
        ended, parking = self._ended, self._parking

        def settled(outcome: Reply[ExecutionState]) -> None:
            ended.append((execution, outcome))
            parking.wake()

        if reply.settled:
            settled(reply)
        else:
            reply.on_settled(settled)

    def __del__(self) -> None:
        for execution, reply in self._replies:
            execution.ending.forget(reply)
