"""The outside world of this example: a file into which the outbox delivers its events."""

from __future__ import annotations

import os
from pathlib import Path

from intendant import Event


class EventFile:
    """A publisher. Returning from `publish` settles the event; dying before that brings it again, with the same id."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = -1

    async def publish(self, event: Event) -> None:
        """Append the event's id and name, in one write."""
        if self._file < 0:
            self._file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        os.write(self._file, f"{event.id} {event.name}\n".encode())


def delivered(path: Path) -> set[str]:
    """The ids of the events that arrived, each once however often it came."""
    lines = path.read_text("utf-8").splitlines() if path.exists() else []
    return {line.split(" ")[0] for line in lines}
