"""The door for other threads: call the runtime's own functions from where there is no event loop."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager, ExitStack
from functools import partial
from types import TracebackType
from typing import Any, ParamSpec, TypeVar

from intendant.runtime.runtime import Runtime

P = ParamSpec("P")
T = TypeVar("T")


class Blocking(AbstractContextManager["Blocking"]):
    """Calls coroutine functions in a runtime's event loop and waits for their result, from any other thread.

    It is the door to a runtime that was entered, or runs one in a thread of its own:

        door = intendant.blocking(runtime)                       # of one that was entered
        session = door.call(runtime.open_session, "acme", "desk-1")

        with intendant.blocking(runtime) as door:                # runs one
            ...
    """

    def __init__(self, runtime: Runtime, backend: str = "asyncio") -> None:
        self._runtime = runtime
        self._backend = backend
        self._stack = ExitStack()

    def call(self, function: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call `function` in the runtime's loop and wait. Raises what it raises; RuntimeStopped if it is not run."""
        return self._runtime.portal.call(partial(function, *args, **kwargs))

    def __enter__(self) -> Blocking:
        from anyio.from_thread import start_blocking_portal  # noqa: PLC0415  see `Engine`

        portal = self._stack.enter_context(start_blocking_portal(self._backend))
        try:
            self._stack.enter_context(portal.wrap_async_context_manager(self._runtime))
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> Any:
        return self._stack.__exit__(kind, error, trace)


def blocking(runtime: Runtime, *, backend: str = "asyncio") -> Blocking:
    """The door to `runtime` for other threads; as a context manager, it also runs the runtime, on `backend`."""
    return Blocking(runtime, backend)
