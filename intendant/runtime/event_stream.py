"""What happens to one execution, as it happens: read from the log, from any point on, to the end.

Nothing is kept for whoever reads slowly: a batch that touches the execution only wakes the reader, who then reads on in
the log from where he was. So it is the same before and after a restart, and after the end.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal

import msgspec
from msgspec import Struct

from intendant.actors.tiers import Records
from intendant.domain.codec import decode_plain
from intendant.domain.errors import InvalidIntent, UnknownExecution
from intendant.domain.journal import CARRIERS, HANDLER
from intendant.domain.payloads import Emitted, Failure
from intendant.domain.records import LogRecord
from intendant.domain.state import ENDS, Status
from intendant.parking import Parking, current_seam
from intendant.runtime.partition import Partition
from intendant.runtime.surface import StateSurface

_CURSOR: Final = re.compile(r"([0-9]{1,18})\.([0-9]{1,6})\Z")
_STATUS: Final = {
    "intent_received": Status.ACCEPTED,
    "execution_started": Status.RUNNING,
    **dict(ENDS.values()),
}

_STEPS: Final = ("step_completed", "step_failed")
_TOLD: Final = CARRIERS.union(_STATUS)  # of a carrier that is no step its events are told, and nothing else
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

Place = tuple[int, int]  # the sequence of a record, and what is before this in it


class ExecutionEvent(Struct, frozen=True):
    """Something that happened to an execution, durably.

    `kind` says what `name` is: a `status`, the path of a `step` that was recorded, or the name of an `event` that the
    handler emitted, which `payload` is of. `error` says why an execution, or an attempt, failed. With `attempt`, from
    1, an attempt at a step has failed, or, where it comes with a status, one of the handler that another one follows.
    `cursor` is where to go on behind this. The undo of a saga's step is a step, at `undo(saga/step)`; what else sagas
    record is not told here: see `Execution.sagas`.
    """

    cursor: str
    time: datetime
    kind: Literal["status", "step", "event"]
    name: str
    payload: Any = None
    error: Failure | None = None
    attempt: int = 0


class _Said(Struct, frozen=True):
    """What the payloads of all records of executions have that is looked at here."""

    path: str = ""
    error: Failure | None = None
    attempt: int = 1
    events: list[Emitted] = []


class EventStreams:
    """Where handles get their streams."""

    def __init__(self, partition_of: Callable[[str], Partition], state: StateSurface) -> None:
        self._partition_of = partition_of
        self._state = state

    def of(self, tenant: str, execution: str, after: str | None) -> AsyncIterator[ExecutionEvent]:
        """See `Execution.events`."""
        return EventStream(self._partition_of(tenant), self._state, tenant, execution, _place_of(after))


class EventStream(AsyncIterator[ExecutionEvent]):
    """An object and not a generator, so that a loop may be left early without closing anything."""

    def __init__(self, partition: Partition, state: StateSurface, tenant: str, execution: str, after: Place) -> None:
        self._partition = partition
        self._state = state
        self._tenant = tenant
        self._execution = execution
        self._after = after
        self._found: deque[ExecutionEvent] = deque()  # of one page of the log
        self._rest: Records | None = None  # what is to be read now
        self._ends = False  # nothing is behind that
        self._over = False
        self._news = _News(current_seam().parking())
        self._watch = self._news.add
        partition.touched.watch(tenant, execution, self._watch)

    async def __anext__(self) -> ExecutionEvent:
        while not self._found:
            if self._over:
                raise StopAsyncIteration
            self._partition.check()
            if self._rest is not None:
                await self._read(self._rest)
            elif (span := self._news.take()) is not None:
                await self._look_at(span)
            else:
                await self._news.parking.wait()
        return self._found.popleft()

    async def _look_at(self, span: tuple[int, int | None]) -> None:
        try:
            await self._look(*span)
        except BaseException:
            self._news.add(*span)  # whoever asks again finds it
            raise

    async def _look(self, first: int, last: int | None) -> None:
        if first == 0:
            state = await self._state.tracked_execution(self._tenant, self._execution)
            if state is None:
                raise UnknownExecution(self._execution)
            self._ends = state.status.ended
            first = await self._partition.tiers.began(self._tenant, self._execution)
        self._rest = self._partition.tiers.records(self._tenant, first=max(first, self._after[0]), last=last)

    async def _read(self, rest: Records) -> None:
        records = await rest.read()
        if not records:
            self._rest = None
            self._over = self._ends
        for record in records:
            if record.execution == self._execution and record.sequence >= self._after[0]:
                self._take(record)

    def _take(self, record: LogRecord) -> None:
        for place, each in enumerate(_events_of(record), 1):
            if (record.sequence, place) > self._after:
                self._after = (record.sequence, place)
                self._found.append(each)
        status = _STATUS.get(record.type)
        if status is not None and status.ended:
            self._over = True

    def __del__(self) -> None:
        self._partition.touched.forget(self._tenant, self._execution, self._watch)


class _News:
    """Where in the log something new is. Apart from the stream, so that whoever tells it does not keep that alive."""

    def __init__(self, parking: Parking) -> None:
        self.parking = parking
        self._span: tuple[int, int | None] | None = (0, None)

    def add(self, first: int, last: int | None) -> None:
        """Between these sequences; (0, None): anywhere."""
        known = self._span
        self._span = (first, last) if known is None else (min(known[0], first), None if known[1] is None else last)
        self.parking.wake()

    def take(self) -> tuple[int, int | None] | None:
        """Where to look; None when all is known."""
        span, self._span = self._span, None
        return span


def _events_of(record: LogRecord) -> Iterator[ExecutionEvent]:
    """What a record tells, in the order in which it happened: what was emitted rides with what was recorded next."""
    kind, name, said = _subject(record)
    if said is None:
        return
    time = _EPOCH + timedelta(microseconds=record.time)
    place = 0
    for place, each in enumerate(said.events, 1):
        yield ExecutionEvent(f"{record.sequence}.{place}", time, "event", each.name, decode_plain(each.payload))
    if kind is not None:
        attempt = said.attempt if record.type == "step_failed" else 0
        yield ExecutionEvent(f"{record.sequence}.{place + 1}", time, kind, name, None, said.error, attempt)


def _subject(record: LogRecord) -> tuple[Literal["status", "step"] | None, str, _Said | None]:
    """What a record is about beside what was emitted, if it is of a kind that is told."""
    if record.type not in _TOLD:
        return None, "", None
    said = msgspec.msgpack.decode(record.raw, type=_Said)
    if record.type == "step_failed" and said.path == HANDLER:
        return "status", Status.RUNNING.value, said
    status = _STATUS.get(record.type)
    if status is not None:
        return "status", status.value, said
    return ("step", said.path, said) if record.type in _STEPS else (None, "", said)


def _place_of(cursor: str | None) -> Place:
    if cursor is None:
        return (0, 0)
    given: Any = cursor  # not every caller checks types
    match = _CURSOR.match(given) if isinstance(given, str) else None
    if match is None:
        raise InvalidIntent("after", f"must be the cursor of an event of this execution, not {cursor!r:.40}")
    return (int(match[1]), int(match[2]))
