"""Who stays in memory: in the order of last use, so many at most, and for so long without use."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from typing import Final, Generic, Protocol, TypeVar

from intendant.actors.deadlines import TICK, Deadlines
from intendant.parking import Seam

_LOOKS: Final = 4  # at those unused longest when one comes too many: so they get fewer as fast as they came
_SLICE: Final = 1_000  # looks in a row when it is time, before others get their turn
_CROWDED_S: Final = 1.0  # between two looks while too many are there


class Resident(Protocol):
    """Something in memory that can be had again."""

    used: float
    """When it was last used, by the event loop's clock."""

    @property
    def may_leave(self) -> bool:
        """Whether nothing of it would be lost."""
        ...

    def leave(self) -> None:
        """It is not in memory any more."""
        ...


R = TypeVar("R", bound=Resident)


class Residents(Generic[R]):
    """Lets those leave that were not used for `idle` seconds, and beyond `most` those that were not used longest.

    One that may not leave counts as used at that moment; while many may not, there are more than `most`. Nobody
    looks while nobody is there: the next look is one deadline for all of them.
    """

    def __init__(self, most: int, idle: float, deadlines: Deadlines, seam: Seam) -> None:
        self._most = most
        self._idle = idle
        self._deadlines = deadlines
        self._seam = seam
        self._all: OrderedDict[str, R] = OrderedDict()  # the one not used longest first
        self._next: tuple[float, int] | None = None  # when to look again, and where that stands among the deadlines

    def __len__(self) -> int:
        return len(self._all)

    def __iter__(self) -> Iterator[str]:
        return iter(self._all)

    def get(self, id: str) -> R | None:
        """The one of this id, without using it."""
        return self._all.get(id)

    def all(self) -> list[R]:
        """All of them, without using them. From any thread."""
        return list(self._all.values())

    def use(self, id: str) -> R | None:
        """The one of this id; used now."""
        resident = self._all.get(id)
        if resident is not None:
            resident.used = self._seam.time()
            self._all.move_to_end(id)
        return resident

    def add(self, id: str, resident: R) -> None:
        """One that has come; used now. Others may leave for it."""
        now = resident.used = self._seam.time()
        self._all[id] = resident
        if len(self._all) > self._most:
            self._look(now, min(_LOOKS, len(self._all) - 1))  # not at this one, which is about to be used
        self._look_later(now)

    def pop(self, id: str) -> R | None:
        """Take one out; it is not told."""
        return self._all.pop(id, None)

    def clear(self) -> list[R]:
        """Take all out; they are not told."""
        found = list(self._all.values())
        self._all.clear()
        self._forget_look()
        return found

    def expire(self) -> None:
        """It is time to look."""
        self._next = None
        now = self._seam.time()
        self._look(now, _SLICE)
        self._look_later(now)

    def _look(self, now: float, looks: int) -> None:
        for _ in range(min(looks, len(self._all))):
            id, resident = next(iter(self._all.items()))
            if len(self._all) <= self._most and resident.used + self._idle > now:
                return
            if resident.may_leave:
                del self._all[id]
                resident.leave()
            else:
                resident.used = now
                self._all.move_to_end(id)

    def _look_later(self, now: float) -> None:
        if not self._all:
            return
        due = next(iter(self._all.values())).used + self._idle
        if len(self._all) > self._most:
            due = min(due, now + _CROWDED_S)
        if self._next is not None:
            if due >= self._next[0]:
                return
            self._forget_look()
        if due < float("inf"):
            self._next = (due, self._deadlines.add(self, max(due - now, TICK)))

    def _forget_look(self) -> None:
        if self._next is not None:
            self._deadlines.remove(self, self._next[1])
            self._next = None
