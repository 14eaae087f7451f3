"""Replay after every record: each handler is called anew with its journal, and must come to where it was.

A handler that does not (it took another branch, by chance or by the clock) would do so after a crash, too: found here
while it is being written. No step's function runs, and nothing is recorded; what lies between the steps does run.
While a handler is called anew, `time.time` and `time.time_ns` show another day, so that what depends on them differs.

Not found: the order of a set of texts, which is the same in one process; a branch on `datetime.now()` that takes the
same way moments later; what a cancel's clean-up does.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final

import anyio
import msgspec
from msgspec import Struct, field

from intendant.domain import state as states
from intendant.domain.children import end_path
from intendant.domain.codec import decode_plain, encode_value
from intendant.domain.commit import Batch
from intendant.domain.errors import DuplicateStep, JournalMismatch
from intendant.domain.journal import HANDLER, Journal, Row, decode_journal_row
from intendant.domain.payloads import (
    CancelRequested,
    Emitted,
    ExecutionCompleted,
    ExecutionFailed,
    Failure,
    StepCompleted,
    StepFailed,
    TimerSet,
)
from intendant.domain.ports import FileStore, Log
from intendant.domain.records import LogRecord
from intendant.domain.state import ExecutionState
from intendant.realm import Handler, Repertoire
from intendant.runtime.dry_run import DryRecording, DryRun, run_dry
from intendant.steps.steps import failure_of
from intendant.testing.crashes import Witness

SECONDS: Final = 20.0  # that a handler has to come to where it was; less than calls wait for an answer
PATIENCE: Final = 10.0  # that its other tasks have, when some of them have not
OTHER_DAY: Final = 90_061  # seconds between the times of two replays: a day, an hour, a minute and a second

_NOT_THE_HANDLERS: Final = ("crashed", "invalid_value", "unknown_intent_type", "TimeoutError", "suspended")
_decode_state = msgspec.msgpack.Decoder(ExecutionState).decode


class NonDeterminism(AssertionError):
    """A handler did something else when it was called again with what it had recorded."""


class _Known(Struct):
    """What is known of an open execution."""

    state: ExecutionState
    rows: list[bytes] = field(default_factory=list[bytes])
    called: list[str] = field(default_factory=list[str])  # what replays of this attempt came to
    recorded: list[str] = field(default_factory=list[str])  # in this attempt
    ends: set[str] = field(default_factory=set[str])  # of children: no call has their paths
    excused: bool = False  # a cancel is recorded


class Replays(Witness):
    """Replays every execution of a runtime. `found` is told what differs, once for each."""

    def __init__(
        self, repertoire: Repertoire, files: FileStore | None, found: Callable[[NonDeterminism], None]
    ) -> None:
        self.count = 0  # how often a handler was called anew
        self._repertoire = repertoire
        self._files = files
        self._found = found
        self._known: dict[tuple[str, str], _Known] = {}

    async def before(self, batch: Batch, records: Sequence[LogRecord], log: Log) -> None:  # noqa: ARG002
        """Replay what is about to end: it must come to the same end."""
        for record in records:
            known = self._known.get((record.tenant, record.execution))
            if known is None or known.excused:
                continue
            if record.type == "execution_completed":
                await self._replay(known, log, msgspec.msgpack.decode(record.raw, type=ExecutionCompleted))
            elif record.type == "execution_failed":
                await self._replay(known, log, msgspec.msgpack.decode(record.raw, type=ExecutionFailed))

    async def after(self, batch: Batch, records: Sequence[LogRecord], log: Log) -> None:  # noqa: ARG002
        """Replay what has recorded something."""
        touched = self._follow(batch)
        for key in touched:
            known = self._known.get(key)
            if known is not None and not known.excused:
                await self._replay(known, log, None)

    def _follow(self, batch: Batch) -> list[tuple[str, str]]:
        touched: dict[tuple[str, str], None] = {}
        for tenant, collection, name, _, _, body in batch.puts:
            if collection != states.EXECUTIONS:
                continue
            key, state = (tenant, name), _decode_state(body)
            if state.status.ended:
                self._known.pop(key, None)
            elif key in self._known:
                self._known[key].state = state
            else:
                self._known[key] = _Known(state)
                touched[key] = None
        for tenant, execution, _, body in batch.journal:
            if (tenant, execution) in self._known:
                _add(self._known[tenant, execution], body)
                touched[tenant, execution] = None
        return list(touched)

    async def _replay(self, known: _Known, log: Log, end: ExecutionCompleted | ExecutionFailed | None) -> None:
        state = known.state
        handler = self._repertoire.of_version(state.type, state.version)
        if handler is None:
            return
        shared = await log.document(state.tenant, states.SESSION_STATE, state.session)
        wanted = [*dict.fromkeys([*known.recorded, *known.called])]
        journal = Journal.of(known.rows)
        recording = _Patient(journal, state, self._repertoire, None if shared is None else shared.body, wanted)
        try:
            ran = await self._run(handler, state, recording)
        except msgspec.MsgspecError:
            return  # its parameters do not decode: it ends by that
        if ran.stuck or recording.unreadable:
            return  # it waits for something else than its context
        self._judge(known, recording, ran, end)

    async def _run(self, handler: Handler, state: ExecutionState, recording: DryRecording) -> DryRun:
        self.count += 1
        shift = _shift.set(self.count * OTHER_DAY)
        try:
            return await run_dry(handler, handler.decode(state.parameters), state, recording, self._files, SECONDS)
        finally:
            _shift.reset(shift)

    def _judge(
        self, known: _Known, recording: DryRecording, ran: DryRun, end: ExecutionCompleted | ExecutionFailed | None
    ) -> None:
        called = ran.context.called
        differs = _calls_differ(known, called, ran.raised)
        if not differs and end is not None:
            differs = _ends_differ(end, ran, recording)
        if differs:
            known.excused = True
            self._found(NonDeterminism(_told(known, called, differs)))
        elif end is None:
            known.called = called


class _Patient(DryRecording):
    """Lets a handler's tasks come to all that is wanted before it stops them."""

    def __init__(
        self,
        journal: Journal,
        state: ExecutionState,
        repertoire: Repertoire,
        shared: bytes | None,
        wanted: Sequence[str],
    ) -> None:
        super().__init__(journal, state, repertoire, shared)
        self._wanted = wanted

    async def wait_for_others(self) -> None:
        await super().wait_for_others()
        until = anyio.current_time() + PATIENCE
        while self._misses_some() and anyio.current_time() < until:  # noqa: ASYNC110  nobody announces it
            await anyio.sleep(0.1)  # its tasks may sleep without recording it

    def _misses_some(self) -> bool:
        called = set[str]() if self.context is None else set(self.context.called)
        return not called.issuperset(self._wanted)


def _add(known: _Known, body: bytes) -> None:
    row: Row = decode_journal_row(body)
    known.rows.append(body)
    match row:
        case CancelRequested():
            known.excused = True
        case StepFailed(path=path) if path == HANDLER:
            known.called, known.recorded = [], []
        case StepCompleted(path=path, child=child) if child is not None:
            known.recorded.append(path)
            known.ends.add(end_path(path))
        case StepCompleted(path=path) | StepFailed(path=path) | TimerSet(path=path) if path not in known.ends:
            known.recorded.append(path)
        case _:
            pass


def _calls_differ(known: _Known, called: Sequence[str], raised: Exception | None) -> list[str]:
    if isinstance(raised, JournalMismatch):
        return [f"step {raised.path} was recorded with other arguments: build them from parameters and results"]
    if isinstance(raised, DuplicateStep) and raised.path in known.recorded:
        return [str(raised)]
    come_to = set(called)
    lost = [path for path in dict.fromkeys(known.recorded) if path not in come_to]
    if lost:
        return [f"recorded, and not called again: {', '.join(lost)}"]
    other = [path for path in known.called if path not in come_to]
    if other:
        return [f"come to by an earlier run, and not called again: {', '.join(other)}"]
    return []


def _ends_differ(end: ExecutionCompleted | ExecutionFailed, ran: DryRun, recording: DryRecording) -> list[str]:
    if isinstance(end, ExecutionFailed):
        return _failures_differ(end.error, ran, recording)
    if recording.suspended:
        return [f"it has returned, and run again it goes on at {recording.reached}"]
    if ran.raised is not None:
        return [f"it has returned, and run again it raises {ran.raised!r:.200}"]
    first, again = decode_plain(end.result), decode_plain(encode_value(ran.returned, "result"))
    found = [] if first == again else [f"it returned {first!r:.200}, and run again {again!r:.200}"]
    artifacts = {name: decode_plain(value) for name, value in end.artifacts.items()}
    others = {name: decode_plain(value) for name, value in ran.context.artifacts.items()}
    if artifacts != others:
        found.append(f"its artifacts were {artifacts!r:.200}, and run again {others!r:.200}")
    events, anew = _plain(end.events), _plain(ran.context.take_events())
    if events != anew:
        found.append(f"behind its last record it emitted {events!r:.200}, and run again {anew!r:.200}")
    return found


def _failures_differ(first: Failure, ran: DryRun, recording: DryRecording) -> list[str]:
    if first.code in _NOT_THE_HANDLERS:
        return []
    if recording.suspended:
        return [f"it has failed with {first.code}, and run again it goes on at {recording.reached}"]
    again = "nothing" if ran.raised is None else failure_of(ran.raised).code
    return [] if again == first.code else [f"it has failed with {first.code}, and run again with {again}"]


def _plain(events: Iterable[Emitted]) -> list[tuple[str, Any]]:
    return [(each.name, decode_plain(each.payload)) for each in events]


def _told(known: _Known, called: Sequence[str], differs: Sequence[str]) -> str:
    recorded, again = ", ".join(known.recorded) or "nothing", ", ".join(called) or "nothing"
    earlier = ", ".join(known.called) or "nothing"
    return "\n".join(
        [
            f"{known.state.type} {known.state.id} does not do the same when it is run again from its journal:",
            *(f"  {each}" for each in differs),
            f"  it had recorded:        {recorded}",
            f"  an earlier run called:  {earlier}",
            f"  run again it called:    {again}",
            "  Take times from ctx.now(), chance from ctx.random, and do all else that may differ in steps.",
        ]
    )


# --- another day


_shift: Final[ContextVar[int]] = ContextVar("intendant.testing.shift", default=0)


@contextmanager
def other_days() -> Generator[None, None, None]:
    """In it `time.time` and `time.time_ns` show another day to what is replayed, and to nobody else."""
    seconds, nanoseconds = time.time, time.time_ns

    def shifted() -> float:
        return seconds() + _shift.get()

    def shifted_ns() -> int:
        return nanoseconds() + _shift.get() * 1_000_000_000

    time.time, time.time_ns = shifted, shifted_ns
    try:
        yield
    finally:
        time.time, time.time_ns = seconds, nanoseconds
