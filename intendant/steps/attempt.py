"""One attempt at a step or a handler: called in its way, within its time limits."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

import anyio
import anyio.to_thread

from intendant.domain.retry import Policy
from intendant.steps.function import StepFunction

T = TypeVar("T")

_LONGEST_SLEEP_S: Final = 60.0  # the wall clock may be set while somebody waits for it


class TimeLimits:
    """The time limits of one attempt; `left` is how many seconds are left to it, None for no limit.

    They are what its policy leaves it, or less: then `why` says what else there is. Where nothing limits it, none are
    made: see `Policy.limited`.
    """

    def __init__(self, policy: Policy, left: float | None, why: str = "") -> None:
        self._policy = policy
        self._why = why
        self._left = left
        self._heartbeat = None if policy.heartbeat is None else policy.heartbeat.total_seconds()
        self._scope: anyio.CancelScope | None = None
        self._end = 0.0

    async def run(self, call: Callable[[], Awaitable[T]]) -> T:
        """Await `call()`. Raises TimeoutError that names the limit; a thread that runs on is left behind."""
        self._end = float("inf") if self._left is None else anyio.current_time() + self._left
        with anyio.CancelScope() as self._scope:
            self.beat()
            return await call()
        raise TimeoutError(self._passed())

    def beat(self) -> None:
        """The attempt is alive."""
        if self._scope is not None:
            silence = float("inf") if self._heartbeat is None else anyio.current_time() + self._heartbeat
            self._scope.deadline = min(self._end, silence)

    def _passed(self) -> str:
        if anyio.current_time() < self._end:
            return f"no heartbeat for {self._heartbeat:g} s"
        if self._why:
            return f"took longer than {self._why}"
        limits = [f"{name}={limit}" for name in ("timeout", "deadline") if (limit := getattr(self._policy, name))]
        return f"took longer than its {' and '.join(limits)}"


def call_here(
    threads: anyio.CapacityLimiter | None,
    _path: str,
    kind: StepFunction,
    function: Callable[..., Any],
    arguments: tuple[Any, ...],
) -> Awaitable[Any]:
    """Call a step's function in this process: an async one here, a plain one in a worker thread."""
    return function(*arguments) if kind.is_async else _call_in_thread(threads, function, arguments)


async def _call_in_thread(
    threads: anyio.CapacityLimiter | None, function: Callable[..., Any], arguments: tuple[Any, ...]
) -> Any:
    # In a tuple, because trio refuses a coroutine from a thread: that of a lambda around an async function.
    (value,) = await anyio.to_thread.run_sync(lambda: (function(*arguments),), limiter=threads, abandon_on_cancel=True)
    return await value if inspect.isawaitable(value) else value


async def sleep_until(time: int, now: Callable[[], int]) -> None:
    """Wait for the wall clock, in µs since 1970 UTC; returns at once, without giving way, when it is past."""
    while (left := time - now()) > 0:  # noqa: ASYNC110  a clock announces nothing
        await anyio.sleep(min(left / 1e6, _LONGEST_SLEEP_S))
