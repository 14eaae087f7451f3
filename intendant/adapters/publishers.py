"""Where events go: into a function of the program. Other publishers speak to other systems."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable

from intendant.domain.state import Event


class CallbackPublisher:
    """Calls a function, plain or async, with each event.

    A plain one runs on the event loop and must not block. Raising any Exception leaves the event to be tried again.
    """

    def __init__(self, call: Callable[[Event], Awaitable[object] | object]) -> None:
        self._call = call

    async def publish(self, event: Event) -> None:
        """See `Publisher.publish`."""
        returned = self._call(event)
        if inspect.isawaitable(returned):
            await returned
