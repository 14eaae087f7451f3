"""Deadlines for many questions at the price of one task.

A timer per question would cost more than the question. Here questions that end within the same tick share a bucket,
and one task sweeps the buckets that are over; an answered question leaves its bucket at once.
"""

from __future__ import annotations

import heapq
import math
from typing import Final, Protocol

import anyio

from intendant.parking import Seam

TICK: Final = 0.02  # seconds; a deadline is met this much late at most


class Expiring(Protocol):
    """Something with a deadline."""

    def expire(self) -> None:
        """The deadline has passed."""
        ...


class Deadlines:
    """Calls `expire` on what was added and not removed when its time is over."""

    def __init__(self, seam: Seam) -> None:
        self._seam = seam
        self._buckets: dict[int, set[Expiring]] = {}
        self._ticks: list[int] = []
        self._parking = seam.parking()

    def add(self, item: Expiring, timeout: float) -> int:
        """Expire `item` in `timeout` seconds, at most a tick late. Returns the bucket, for `remove`."""
        tick = math.ceil((self._seam.time() + timeout) / TICK)
        bucket = self._buckets.get(tick)
        if bucket is None:
            self._buckets[tick] = {item}
            heapq.heappush(self._ticks, tick)
            if self._ticks[0] == tick:
                self._parking.wake()
        else:
            bucket.add(item)
        return tick

    def remove(self, item: Expiring, tick: int) -> None:
        """Forget `item`; it need not be there any more."""
        bucket = self._buckets.get(tick)
        if bucket is not None:
            bucket.discard(item)
            if not bucket:
                bucket.clear()  # an empty set keeps the room it once needed, and there is one for each tick

    def __len__(self) -> int:
        return sum(map(len, self._buckets.values()))

    async def run(self) -> None:
        """Sweep until cancelled."""
        while True:
            wait = self._sweep()
            with anyio.move_on_after(wait):
                await self._parking.wait()

    def _sweep(self) -> float:
        """Expire all that is over; return the seconds until the next look."""
        while self._ticks:
            wait = self._ticks[0] * TICK - self._seam.time()
            if wait > 0:
                return wait
            for item in list(self._buckets.pop(heapq.heappop(self._ticks))):
                item.expire()
        return math.inf
