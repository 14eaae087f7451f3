"""What a store is planned to do to whoever uses it: raise once, be out for a while, crash its caller."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final, Literal

import anyio

from intendant import StoreUnavailable
from intendant.domain.commit import Batch
from tests.faults.faulty_store import Plan


def unavailable() -> Exception:
    return StoreUnavailable("planted: the store does not answer")


def crash() -> Exception:
    return RuntimeError("planted: a fault of ours")


FAULTS: Final[dict[str, tuple[Literal["before", "after"], Callable[[], Exception]]]] = {
    "not applied": ("before", unavailable),
    "applied, reply lost": ("after", unavailable),
    "writer crashes before": ("before", crash),
    "writer crashes after": ("after", crash),
}


class Fault(Plan):
    """Raises once: around commit number `at`."""

    def __init__(self, at: int, when: Literal["before", "after"], error: Callable[[], Exception]) -> None:
        self.at = at
        self.when = when
        self.error = error
        self.done = False

    async def before_commit(self, number: int, batch: Batch) -> None:
        await self._fault(number, "before")

    async def after_commit(self, number: int, batch: Batch) -> None:
        await self._fault(number, "after")

    async def _fault(self, number: int, when: str) -> None:
        if number >= self.at and when == self.when and not self.done:
            self.done = True
            raise self.error()


class ReadFault(Plan):
    """Raises once: at read number `at`."""

    def __init__(self, at: int, error: Callable[[], Exception]) -> None:
        self.at = at
        self.error = error

    async def before_read(self, number: int, what: str) -> None:
        if number == self.at:
            raise self.error()


class Outage(Plan):
    """From its beginning on, or from that read on, the store answers nothing for so many seconds."""

    def __init__(self, seconds: float, at_read: int = 0) -> None:
        self.refused = 0
        self._at_read = at_read
        self._seconds = seconds
        self._until = -math.inf

    def begin(self) -> None:
        self._until = anyio.current_time() + self._seconds

    async def before_commit(self, number: int, batch: Batch) -> None:
        self._check()

    async def before_read(self, number: int, what: str) -> None:
        if number == self._at_read:
            self.begin()
        self._check()

    def _check(self) -> None:
        if anyio.current_time() < self._until:
            self.refused += 1
            raise unavailable()


class CrashSoon(Plan):
    """Once `arm` was called, the next commit meets a fault of ours, before or after it is applied."""

    def __init__(self, when: Literal["before", "after"]) -> None:
        self.when = when
        self.armed = False
        self.done = False

    def arm(self) -> None:
        self.armed = True

    async def before_commit(self, number: int, batch: Batch) -> None:
        self._crash("before")

    async def after_commit(self, number: int, batch: Batch) -> None:
        self._crash("after")

    def _crash(self, when: str) -> None:
        if self.armed and when == self.when and not self.done:
            self.done = True
            raise crash()
