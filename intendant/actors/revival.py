"""What makes dead letters wait in the outbox again. Pure: letters in, a commit out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from msgspec import Raw

from intendant.actors.outbox_event import OutboxEvent
from intendant.actors.outbox_relay import DeadLetter
from intendant.domain import state as states
from intendant.domain.codec import encode
from intendant.domain.commit import AddToOutbox, Commit, DeleteDocument, Operation
from intendant.domain.payloads import Emitted, EventPublished
from intendant.domain.records import Record

EVENTS_MAX: Final = 100  # that one commit revives


def revival(tenant: str, letters: Sequence[DeadLetter], now: int) -> Commit:
    """A tenant's letters as events that wait, with their ids; each in a record of its own, which holds the event."""
    records: list[Record] = []
    operations: list[Operation] = []
    for place, letter in enumerate(letters):
        event = letter.event
        emitted = Emitted(int(event.id.rpartition("-")[2]), event.name, Raw(encode(event.payload)))
        records.append(
            Record("event_published", event.session, event.execution_id, EventPublished([], now, revived=[emitted]))
        )
        operations.append(DeleteDocument(states.DEAD_LETTERS, event.id))
        body = encode(OutboxEvent.of(event.execution_id, emitted))
        operations.append(AddToOutbox(event.session, body, record=place))
    return Commit(tenant, records, operations)
