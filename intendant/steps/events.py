"""The events that a handler emits: which are new, and which were recorded before a resume."""

from __future__ import annotations

from typing import Final

from msgspec import Raw

from intendant.domain.codec import encode_value
from intendant.domain.commit import PLACES
from intendant.domain.errors import InvalidValue
from intendant.domain.ids import check_id
from intendant.domain.payloads import Emitted
from intendant.steps.recording import Recording

EVENTS_MAX: Final = PLACES  # of one record


class Events:
    """What waits to ride with the next record.

    An event that was recorded is known by its name and payload, not by its number: tasks that run side by side may
    come to theirs in another order at a resume.
    """

    def __init__(self, recording: Recording) -> None:
        self._recording = recording
        self._recorded: dict[tuple[str, bytes], int] | None = None  # how often; looked up when the first is emitted
        self._next = 0
        self._waiting: list[Emitted] = []

    def emit(self, name: str, payload: object) -> None:
        """Add an event, unless it was recorded before. Raises InvalidValue, as `Context.emit` says."""
        check_id(name, "event name")
        body = encode_value(payload, f"event {name!r}")
        recorded = self._look_up() if self._recorded is None else self._recorded
        if (left := recorded.get((name, body), 0)) > 0:
            recorded[name, body] = left - 1
            return
        if len(self._waiting) == EVENTS_MAX:
            most = f"the {EVENTS_MAX:,} that ride with one record"
            raise InvalidValue(f"event {name!r}", f"is one more than {most}; record a step in between")
        self._waiting.append(Emitted(self._next, name, Raw(body)))
        self._next += 1

    def _look_up(self) -> dict[tuple[str, bytes], int]:
        recorded: dict[tuple[str, bytes], int] = {}
        for each in self._recording.recorded_events:
            key = (each.name, bytes(each.payload))
            recorded[key] = recorded.get(key, 0) + 1
            self._next += 1
        self._recorded = recorded
        return recorded

    def take(self) -> list[Emitted]:
        """What waits, for the next record."""
        events, self._waiting = self._waiting, []
        return events

    def drop(self) -> None:
        """What waits will ride with no record; its numbers are free again."""
        self._next -= len(self._waiting)
        self._waiting = []

    def put_back(self, events: list[Emitted]) -> None:
        """The record they rode with was not written."""
        self._waiting[:0] = events
