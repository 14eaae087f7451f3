"""Where a session's actor is kept in memory, and how it is known there what is still on its way to the log."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from intendant.domain.commit import Receipt
from intendant.parking import Reply


class Residence(Protocol):
    """What a session's actor shares with whoever keeps it in memory, and with its successor after a crash."""

    @property
    def waiting(self) -> bool:
        """Whether messages wait."""
        ...

    def handed_over(self) -> None:
        """One commit more is on its way: until it has landed, the session stays in memory."""
        ...

    def landed(self) -> None:
        """What became of one of them is known."""
        ...

    async def all_landed(self) -> None:
        """Wait until nothing is on its way: then hot state has all that was decided here."""
        ...

    def unknown(self) -> None:
        """There is no such session."""
        ...

    def watch_work(self) -> None:
        """Send WorkEnded when none of its executions is open any more."""
        ...


class Handed(Reply[Receipt]):
    """The answer to a commit that was handed over: once it is given, and told, the commit has landed."""

    __slots__ = ("_residence",)

    def __init__(self, residence: Residence, settled: Callable[[Reply[Receipt]], None]) -> None:
        super().__init__()
        self._residence = residence
        self.on_settled(settled)
        residence.handed_over()

    def _settle(self) -> None:
        super()._settle()
        self._residence.landed()
