"""When the processes that owned a partition died: told by who did not leave before the next one came.

A checkpoint says where the newest `writer_opened` stands, another one which of them was left in good order. When they
differ at the next opening, the owner between is dead, or was taken for it: that is noted in its successor's record.
While an execution of another partition runs alone in this process, a third checkpoint says so: a death then is nobody's
doing here, and is not noted.
"""

from __future__ import annotations

from typing import Final

import msgspec

from intendant.domain.commit import MoveCheckpoint
from intendant.domain.payloads import WriterOpened
from intendant.domain.ports import LogReader
from intendant.domain.records import SYSTEM_TENANT, iterate_entry

DEATHS_MAX: Final = 64  # that are remembered

_OPENED: Final = "opened"
_LEFT: Final = "left"
_ASIDE: Final = "aside"


class Lives:
    """The deaths of a partition's owners as the log tells them, µs since 1970 UTC, rising."""

    def __init__(self, log: LogReader) -> None:
        self.deaths: list[int] = []
        self._log = log
        self._opened = 0  # where our own record stands
        self._aside = False  # the owner before stood aside when it died

    async def begin(self, now: int) -> None:
        """Find out how the life before ended. Of this process's own lives only the first one follows another's."""
        if self._opened:
            return
        opened = await self._log.checkpoint(_OPENED)
        if opened:
            self.deaths = await self._deaths_at(opened)
            self._aside = await self._log.checkpoint(_ASIDE) > 0
            if not self._aside and await self._log.checkpoint(_LEFT) != opened:
                self.deaths = [*self.deaths, max(now, *self.deaths[-1:], 0)][-DEATHS_MAX:]

    def opened(self, sequence: int) -> list[MoveCheckpoint]:
        """What goes with the record of a new life."""
        self._opened = sequence
        return [MoveCheckpoint(_OPENED, sequence), *([self.stand(aside=False)] if self._aside else ())]

    def stand(self, *, aside: bool) -> MoveCheckpoint:
        """What says that an execution of another partition runs alone, or does not any more."""
        return MoveCheckpoint(_ASIDE, int(aside))

    def left(self) -> MoveCheckpoint:
        """What ends a life in good order."""
        return MoveCheckpoint(_LEFT, self._opened)

    async def _deaths_at(self, sequence: int) -> list[int]:
        """What the record there says; nothing when it was trimmed away."""
        for entry in await self._log.entries(SYSTEM_TENANT, first=sequence, last=sequence, limit=1):
            for record in iterate_entry(entry):
                if record.sequence == sequence and record.type == "writer_opened":
                    return msgspec.msgpack.decode(record.raw, type=WriterOpened).deaths
        return []
