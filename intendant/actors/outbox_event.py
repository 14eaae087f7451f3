"""An event as it lies in the outbox."""

from __future__ import annotations

from msgspec import Raw, Struct

from intendant.domain.payloads import Emitted


class OutboxEvent(Struct, frozen=True, array_like=True, gc=False):
    """An event as it lies in the outbox; what else is known of it stands beside it there."""

    id: str
    execution: str
    name: str
    payload: Raw

    @classmethod
    def of(cls, execution: str, event: Emitted) -> OutboxEvent:
        """The event with its stable id: the execution's, and its number in it."""
        return cls(f"{execution}-{event.number}", execution, event.name, event.payload)
