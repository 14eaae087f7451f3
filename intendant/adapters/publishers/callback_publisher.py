"""Events into a function of the program."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, cast

import anyio
import anyio.to_thread

from intendant.domain.state import Event

Call = Callable[[Event], Awaitable[object] | object]


class CallbackPublisher:
    """Calls a function, plain or async, with each event.

    A plain one runs on the event loop and must not block; with `threads` it runs in one of so many worker threads of
    its own. A thread can't be stopped: one that is late is waited for, and its session waits with it. Raising any
    Exception leaves the event to be tried again.
    """

    def __init__(self, call: Call, *, threads: int = 0) -> None:
        self._call = call
        self._threads = 0 if _is_async(call) else threads
        self._limiter: anyio.CapacityLimiter | None = None
        self.name = f"function {getattr(call, '__qualname__', type(call).__name__)}"

    async def publish(self, event: Event) -> None:
        """See `Publisher.publish`."""
        returned = await self._in_thread(event) if self._threads else self._call(event)
        if inspect.isawaitable(returned):
            await returned

    async def aclose(self) -> None:
        """See `LastingPublisher.aclose`."""
        self._limiter = None  # it belongs to an event loop

    async def _in_thread(self, event: Event) -> object:
        if self._limiter is None:
            self._limiter = anyio.CapacityLimiter(self._threads)
        boxed = await anyio.to_thread.run_sync(self._boxed, event, limiter=self._limiter)
        return boxed[0]

    def _boxed(self, event: Event) -> tuple[object]:
        return (self._call(event),)  # trio takes no coroutine out of a thread as it is


def _is_async(call: Call) -> bool:
    bare = cast("Any", call)
    while isinstance(bare, partial):
        bare = bare.func
    return inspect.iscoroutinefunction(bare) or inspect.iscoroutinefunction(getattr(bare, "__call__", None))  # noqa: B004
