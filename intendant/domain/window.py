"""The near part of an ordered index of times, in memory: a heap that knows how far it reaches. Pure."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from typing import Final

from intendant.domain.ports import IndexMember

Timer = tuple[int, str, str]  # when it is due, in µs since 1970 UTC; tenant, member

_BEHIND: Final = 2  # entries for each one that is there, before those that were taken away are swept out


class Window:
    """The earliest entries of an index, up to `reach`; what lies behind is not known here, and `whole` says if it is.

    Pages of `size` entries are added to it when it is empty; when additions make it twice that many, the later half
    is let go.
    """

    def __init__(self, size: int) -> None:
        self.reach: Timer | None = None  # entries up to this one are known
        self.whole = False  # all are
        self._size = size
        self._heap: list[Timer] = []
        self._known: set[Timer] = set()

    def __len__(self) -> int:
        return len(self._known)

    def load(self, page: Sequence[IndexMember]) -> None:
        """Add the index's page behind `reach`; one shorter than `size` is the last."""
        for each in page:
            timer = (each.score, each.tenant, each.member)
            self._known.add(timer)
            heapq.heappush(self._heap, timer)
            self.reach = timer
        self.whole = len(page) < self._size

    def add(self, timer: Timer) -> bool:
        """An entry was added to the index; True when it is now the first one here."""
        if timer in self._known or not (self.whole or (self.reach is not None and timer <= self.reach)):
            return False
        self._known.add(timer)
        heapq.heappush(self._heap, timer)
        if len(self._known) > 2 * self._size:
            self._shrink()
        return bool(self._heap) and self._heap[0] == timer

    def remove(self, timer: Timer) -> None:
        """An entry was removed from the index; it need not be here."""
        self._known.discard(timer)
        if len(self._heap) > _BEHIND * len(self._known) + self._size:
            self._heap = sorted(self._known)

    def next_due(self) -> int | None:
        """When the first entry is due, in µs; None when there is none: then the next page is wanted, unless `whole`."""
        while self._heap and self._heap[0] not in self._known:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def take_due(self, now: int, limit: int) -> list[Timer]:
        """Take out up to `limit` entries whose time has come, the earliest first."""
        taken: list[Timer] = []
        while len(taken) < limit and self._heap and self._heap[0][0] <= now:
            timer = heapq.heappop(self._heap)
            if timer in self._known:
                self._known.discard(timer)
                taken.append(timer)
        return taken

    def _shrink(self) -> None:
        kept = sorted(self._known)[: self._size]
        self.reach, self.whole = kept[-1], False
        self._heap, self._known = kept, set(kept)
