"""Whether handlers may begin in this process: everybody's, or one alone. Shared by its partitions."""

from __future__ import annotations

from typing import Protocol

import anyio


class Troupe(Protocol):
    """The executions of one partition."""

    @property
    def running(self) -> int:
        """How many handlers run."""
        ...

    def fill(self) -> None:
        """Begin what waits, as far as there is room."""
        ...

    async def stand(self, *, aside: bool) -> None:
        """One of other troupes is about to run alone, or has. Durable when this returns."""
        ...


class Stage:
    """Open, unless somebody is about to run alone, or does."""

    def __init__(self) -> None:
        self._troupes: list[Troupe] = []
        self._lock: anyio.Lock | None = None
        self.open = True
        """Whether handlers may begin."""
        self._closed = 0  # by so many
        self._empty = anyio.Event()

    def join(self, troupe: Troupe) -> None:
        """These play here, too."""
        self._troupes.append(troupe)

    def close(self) -> None:
        """Nobody begins any more, until `reopen` was called as often."""
        self._closed += 1
        self.open = False

    def reopen(self) -> None:
        """Let everybody begin who waits, if nobody else has closed it."""
        self._closed -= 1
        self.open = not self._closed
        if self.open:
            for troupe in self._troupes:
                troupe.fill()

    async def give(self, troupe: object, *, alone: bool) -> None:
        """One of this troupe is about to run alone, or has: all others know it when this returns."""
        for other in self._troupes:
            if other is not troupe:
                await other.stand(aside=alone)

    def left(self) -> None:
        """Fewer handlers run than before; to be said when it is closed."""
        if self._is_empty():
            self._empty.set()

    async def emptied(self, patience: float) -> bool:
        """Wait until no handler runs, on a closed stage; False when some still do after `patience` seconds."""
        with anyio.move_on_after(patience):
            while not self._is_empty():
                self._empty = anyio.Event()
                await self._empty.wait()
        return self._is_empty()

    def _is_empty(self) -> bool:
        return not any(troupe.running for troupe in self._troupes)

    @property
    def turn(self) -> anyio.Lock:
        """Held by whoever runs somebody alone: partitions do that one after the other."""
        if self._lock is None:
            self._lock = anyio.Lock()
        return self._lock
