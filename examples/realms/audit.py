"""The audit: what the log says, held against the promises and against what was counted outside of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Iterable
from datetime import UTC, datetime

import msgspec
from msgspec import Struct

from intendant import LogRecord, Runtime

from .analysis.model import Document
from .pages.run import Figures, Sample
from .tally import Body

ENDS = ("execution_completed", "execution_failed", "execution_cancelled")
STEPS = ("step_completed", "step_failed")
PAGE = 5_000
FLAWS_MAX = 20


class Books:
    """What the log holds, added up. `since` (µs since 1970) is when this run began."""

    def __init__(self, since: int) -> None:
        self.since = since
        self.records = 0
        self.accepted: set[str] = set()
        self.new: set[str] = set()
        self.ends: Counter[str] = Counter()
        self.ended: Counter[str] = Counter()
        self.steps: Counter[tuple[str, str]] = Counter()
        self.steps_of_this_run = 0
        self.recorded_at: dict[tuple[str, str], int] = {}
        self.events = 0
        self.changed: list[str] = []
        self.end_times: list[int] = []

    def enter(self, record: LogRecord) -> None:
        """Add one record."""
        of_this_run = record.time >= self.since
        self.records += of_this_run
        if record.type == "intent_received":
            self.accepted.add(record.execution)
            if of_this_run:
                self._enter_new(record)
        elif record.type in ENDS:
            self.ends[record.execution] += 1
            self.ended[record.type] += of_this_run
            if of_this_run:
                self.end_times.append(record.time)
            self.events += of_this_run and len(record.payload.get("events", ()))
        elif record.type in STEPS:
            step = msgspec.msgpack.decode(record.raw, type=_Step)
            self.steps[record.execution, step.path] += 1
            self.steps_of_this_run += of_this_run
            self.recorded_at[record.execution, step.path] = record.time
            self.events += of_this_run and len(step.events)

    def _enter_new(self, record: LogRecord) -> None:
        self.new.add(record.execution)
        intent = msgspec.msgpack.decode(record.raw, type=_Intent)
        if intent.type == "content.parse":
            self.changed.append(msgspec.msgpack.decode(intent.parameters, type=Document).path)

    def curve(self) -> list[Sample]:
        """How many executions of this run had ended at which second, by the log's own times."""
        times = sorted(self.end_times)
        points = {round((time - self.since) / 1e6, 2): number for number, time in enumerate(times, 1)}
        return [Sample(seconds, number) for seconds, number in sorted(points.items())]


class _Step(Struct):
    path: str
    events: list[msgspec.Raw] = []


class _Intent(Struct):
    type: str
    parameters: msgspec.Raw


async def read_books(runtime: Runtime, tenants: Iterable[str], since: int) -> Books:
    """Read the whole log of the tenants."""
    books = Books(since)
    for tenant in tenants:
        async for record in _records(runtime, tenant):
            books.enter(record)
    return books


def audit(books: Books, bodies: Iterable[Body], delivered: set[str], submitted: int) -> Figures:
    """Hold the books against the promises.

    `bodies` are the step bodies that started in this run, `delivered` the ids of the events that arrived,
    `submitted` the executions that the worker asked for.
    """
    started = list(bodies)
    return Figures(
        executions=sum(books.ended.values()),
        completed=books.ended["execution_completed"],
        failed=books.ended["execution_failed"],
        records=books.records,
        events=books.events,
        steps=books.steps_of_this_run,
        again=len(started) - len({(body.execution, body.step) for body in started}),
        known=max(0, submitted - len(books.new)),
        changed=sorted(books.changed),
        curve=books.curve(),
        flaws=flaws(books, started, delivered)[:FLAWS_MAX],
    )


def flaws(books: Books, bodies: Iterable[Body], delivered: set[str]) -> list[str]:
    """Every promise that the books show broken; none when all is well."""
    found = [f"{execution} was accepted and has no end." for execution in sorted(books.accepted - books.ends.keys())]
    found += [f"{execution} has {count} ends." for execution, count in sorted(books.ends.items()) if count > 1]
    found += [f"{execution} ended and was never accepted." for execution in sorted(books.ends.keys() - books.accepted)]
    for (execution, step), count in sorted(books.steps.items()):
        if count > 1:
            found.append(f"Step {step} of {execution} was recorded {count} times.")
    for body in bodies:
        recorded = books.recorded_at.get((body.execution, body.step))
        if recorded is not None and body.time > recorded:
            found.append(f"Step {body.step} of {body.execution} ran again after it had been recorded.")
    if len(delivered) < books.events:
        found.append(f"{books.events} events were emitted and {len(delivered)} arrived.")
    return found


async def _records(runtime: Runtime, tenant: str) -> AsyncIterator[LogRecord]:
    cursor: str | None = None
    while True:
        page = await runtime.wal.query(tenant, newest_first=False, limit=PAGE, cursor=cursor)
        for record in page.items:
            yield record
        cursor = page.cursor
        if cursor is None:
            return


def now() -> int:
    """The wall clock, in µs since 1970 UTC, as records carry it."""
    return int(datetime.now(UTC).timestamp() * 1_000_000)
