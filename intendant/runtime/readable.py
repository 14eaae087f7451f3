"""A partition as far as it can be read: one that is served here, or one of a store at rest."""

from __future__ import annotations

from typing import Protocol

from msgspec import Struct

from intendant.actors.tiers import Tiers
from intendant.domain.ports import ColdStore, LogReader


class Standing(Protocol):
    """What only the process knows that executions run in."""

    def why_blocked(self, tenant: str, execution: str) -> str:
        """Why it can't go on with the code that is there; "" when it can."""
        ...

    def is_waiting(self, tenant: str, execution: str) -> bool:
        """Whether its handler does nothing but wait."""
        ...


class Readable(Protocol):
    """What reading a partition needs."""

    @property
    def number(self) -> int:
        """Which partition it is."""
        ...

    @property
    def log(self) -> LogReader:
        """Its hot store."""
        ...

    @property
    def tiers(self) -> Tiers:
        """Hot and cold as one."""
        ...

    @property
    def executions(self) -> Standing:
        """How those fare that have not ended."""
        ...


class Nobody(Struct, frozen=True):
    """Where nothing runs, nothing is known but what is stored."""

    def why_blocked(self, tenant: str, execution: str) -> str:  # noqa: ARG002
        """See `Standing`."""
        return ""

    def is_waiting(self, tenant: str, execution: str) -> bool:  # noqa: ARG002
        """See `Standing`."""
        return False


class Resting:
    """A partition of a store at rest."""

    def __init__(self, number: int, log: LogReader, cold: ColdStore | None) -> None:
        self.number = number
        self.log = log
        self.tiers = Tiers(log, cold, number)
        self.executions = Nobody()
