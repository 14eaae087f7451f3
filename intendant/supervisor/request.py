"""What somebody asked of one child, and waits for."""

from __future__ import annotations

from .parking import Parking

__all__ = ["Request"]


class Request:
    """Settled once by the supervisor, awaited by one task. A cancelled wait takes nothing back: it goes on."""

    __slots__ = ("_error", "_parking", "_settled")

    def __init__(self, parking: Parking) -> None:
        self._parking = parking
        self._settled = False
        self._error: BaseException | None = None

    def settle(self, error: BaseException | None = None) -> None:
        """It is done, or failed with `error`."""
        self._settled = True
        self._error = error
        self._parking.wake()

    async def wait(self) -> None:
        """Return when it is done; raise what it failed with."""
        while not self._settled:
            await self._parking.wait()
        if self._error is not None:
            raise self._error
