"""What executions that are to run have recorded, read for many of them in one go, before their handlers begin."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import msgspec

from intendant.actors.history import Accepted
from intendant.actors.open_execution import OpenExecution
from intendant.actors.services import Services
from intendant.domain import state as states
from intendant.domain.journal import Journal
from intendant.domain.ports import Document, LogReader
from intendant.domain.state import decode_execution

AT_ONCE: Final = 64  # journals, which may be long; while they are read the store does nothing else


class Readings:
    """Executions come in the order of their turns, and go on in that order; while some are read, others gather.

    One whose document or journal can't be read goes on without: its actor reads them again, and says what is wrong.
    """

    def __init__(
        self,
        services: Services,
        perform: Callable[[Callable[[], Awaitable[None]]], None],
        proceed: Callable[[OpenExecution], None],
    ) -> None:
        self._services = services
        self._perform = perform
        self._proceed = proceed
        self._wanted: deque[OpenExecution] = deque()
        self._reading = False

    def add(self, entry: OpenExecution) -> None:
        """Let it go on when it has been read."""
        self._wanted.append(entry)
        if not self._reading:
            self._reading = True
            self._perform(self._run)

    async def _run(self) -> None:
        try:
            while self._wanted:
                some = [self._wanted.popleft() for _ in range(min(AT_ONCE, len(self._wanted)))]
                for entry, recorded in zip(some, await self._read(some), strict=True):
                    entry.accepted = recorded
                    self._proceed(entry)
        finally:
            self._reading = False

    async def _read(self, some: Sequence[OpenExecution]) -> Sequence[Accepted | None]:
        try:
            return await read(self._services.log, some)
        except Exception:  # whatever it is: it is met again, where an outage is waited out and a crash is one's own
            return [None] * len(some)


async def read(log: LogReader, some: Sequence[OpenExecution]) -> list[Accepted | None]:
    """What these have recorded, in their order; None of one that is not there, or that this code can't read."""
    documents = await log.fetch([(each.tenant, states.EXECUTIONS, each.id) for each in some])
    journals = await log.journals([(each.tenant, each.id) for each in some])
    return [_recorded(*each) for each in zip(documents, journals, strict=True)]


def _recorded(document: Document | None, rows: Sequence[bytes]) -> Accepted | None:
    try:
        return None if document is None else Accepted(decode_execution(document.body), document.since, Journal.of(rows))
    except msgspec.MsgspecError:
        return None
