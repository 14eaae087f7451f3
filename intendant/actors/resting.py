"""Who does nothing but wait, and who of them leaves memory when they are too many. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Generic, TypeVar

E = TypeVar("E")

FEW: Final = 128  # so many leave together


class Resting(Generic[E]):
    """At most `limit` stay, and an eighth more, but for those that can't leave; who has waited longest leaves first."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._staying: dict[E, None] = {}  # the longest first
        self._leaving: set[E] = set()  # who have been told to leave, and have not done so yet
        self._many = limit + 1  # as many of them are looked at
        self._few = FEW  # as many, while only a few may stay

    def __len__(self) -> int:
        """How many stay in memory."""
        return len(self._staying)

    def __contains__(self, entry: E) -> bool:
        return entry in self._staying or entry in self._leaving

    def is_leaving(self, entry: E) -> bool:
        """Whether it was told to leave, and has neither left nor gone on."""
        return entry in self._leaving

    def add(self, entry: E) -> None:
        """It rests."""
        self._staying[entry] = None

    def remove(self, entry: E) -> bool:
        """It rests no more; False when it did not."""
        if entry in self._leaving:
            self._leaving.remove(entry)
            return True
        if entry not in self._staying:
            return False
        del self._staying[entry]
        stay = len(self._staying)
        if stay <= self._limit:
            self._many = self._limit + 1
        else:
            self._many = min(self._many, stay + stay // 8 + 1)
        return True

    def take_excess(self, look: Callable[[], Callable[[E], bool]], *, few: bool = False) -> list[E]:
        """Who is to leave now, if they are too many. `look` is called then, for what tells whether one can leave.

        Looking costs as much as there are, so that it is not done again before there are an eighth more. With `few`,
        all leave as soon as a few have gathered: so many come that none of these would stay.
        """
        if len(self._staying) < (min(self._few, self._many) if few else self._many):
            return []
        excess, may_leave, told = len(self._staying) - (0 if few else self._limit), look(), list[E]()
        for entry in self._staying:
            if len(told) == excess:
                break
            if may_leave(entry):
                told.append(entry)
        for entry in told:
            del self._staying[entry]
        self._leaving.update(told)
        stay, more = len(self._staying), len(self._staying) // 8
        self._many, self._few = max(self._limit, stay + more) + 1, stay + max(FEW, more)
        return told
