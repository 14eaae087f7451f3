"""What was published, and in which order it must have been."""

from __future__ import annotations

from collections.abc import Sequence

import anyio.lowlevel

from intendant import Event
from intendant.adapters.memory import MemoryStore
from intendant.domain.commit import PLACES


class Published:
    """A publisher that notes what came, and whether it was durable then."""

    def __init__(self, store: MemoryStore, events: Sequence[Event] = ()) -> None:
        self.store = store
        self.events: list[Event] = list(events)
        self.violations: list[str] = []

    async def publish(self, event: Event) -> None:
        await anyio.lowlevel.checkpoint()
        if event.position // PLACES >= self.store.log(0).shared.partition.ownership.next_sequence:
            self.violations.append(f"event {event.id} was published before its record was durable")
        self.events.append(event)


def check_order(events: Sequence[Event]) -> list[str]:
    """First deliveries must come in the order of the log, session by session."""
    last: dict[tuple[str, str], int] = {}
    seen: set[str] = set()
    found: list[str] = []
    for event in events:
        if event.id in seen:
            continue
        seen.add(event.id)
        if event.position <= last.get((event.tenant, event.session), -1):
            found.append(f"event {event.id} came after one that follows it")
        last[event.tenant, event.session] = event.position
    return found
