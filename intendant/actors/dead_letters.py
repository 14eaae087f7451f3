"""What could not be delivered, kept for whoever looks: bounded, newest last."""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Iterator
from typing import Any

from msgspec import Struct


class Reason(enum.Enum):
    """Why a message was not handled."""

    ENDED = "ended"
    """It was sent to an actor that had ended; the sender was told so, too."""
    LEFT = "left"
    """It waited in the mailbox when the actor ended."""
    DROPPED = "dropped"
    """It had waited longest when the mailbox was full."""
    CRASHED = "crashed"
    """Its actor crashed each time it was handled, as often as it may."""


class Undelivered(Struct, frozen=True):
    """A message that was not handled."""

    message: Any  # of any actor's type
    to: str
    """Path of the actor it was for."""
    reason: Reason
    origin: str
    """Path of the actor that sent it to one that had ended. "" when no actor did, and for what was in a mailbox
    already: to note the sender of every message would cost every message."""
    at: float
    """The event loop's clock, in seconds."""
    cause: BaseException | None
    """What the actor crashed with or ended by."""


class DeadLetters:
    """The newest `limit` messages that were not handled; how many there were in all is `total`."""

    def __init__(self, limit: int = 1_000) -> None:
        self._letters: deque[Undelivered] = deque(maxlen=limit)
        self.total = 0

    def add(self, letter: Undelivered) -> None:
        """Keep it; the oldest makes room."""
        self.total += 1
        self._letters.append(letter)

    def query(self, *, to: str | None = None, reason: Reason | None = None) -> list[Undelivered]:
        """Those for this actor and of this reason, or of all; the newest last."""
        return [
            letter
            for letter in self._letters
            if (to is None or letter.to == to) and (reason is None or letter.reason is reason)
        ]

    def clear(self) -> None:
        """Forget them; `total` stays."""
        self._letters.clear()

    def __iter__(self) -> Iterator[Undelivered]:
        return iter(self._letters)

    def __len__(self) -> int:
        return len(self._letters)
