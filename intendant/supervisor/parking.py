"""Where a task waits until another one wakes it."""

from __future__ import annotations

from typing import Protocol

import anyio

__all__ = ["EventParking", "Parking"]


class Parking(Protocol):
    """A place for one waiting task. A wake that comes while nobody waits ends the next wait at once."""

    def wake(self) -> None:
        """End the present wait or, if there is none, the next one; several wakes are one. Never blocks."""
        ...

    async def wait(self) -> None:
        """Return once woken since the last return. Cancelling it loses no wake."""
        ...


class EventParking:
    """`Parking` on an anyio event, a new one for every wait."""

    __slots__ = ("_event", "_renew")

    def __init__(self) -> None:
        self._event = anyio.Event()
        self._renew = type(self._event)  # the backend's own type: saves looking up the backend at every wait

    def wake(self) -> None:
        """See `Parking`."""
        self._event.set()

    async def wait(self) -> None:
        """See `Parking`."""
        await self._event.wait()
        self._event = self._renew()
