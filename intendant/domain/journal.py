"""The journal of one execution, folded: what each step came to, and what its handler may go on from. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import msgspec
from msgspec import Raw, Struct, field

from intendant.domain.children import end_path
from intendant.domain.payloads import (
    CancelRequested,
    Emitted,
    ExecutionResumed,
    SagaCompensated,
    SagaCompensating,
    SagaStarted,
    SignalReceived,
    StepCompleted,
    StepFailed,
    Submitted,
    TimerFired,
    TimerSet,
)
from intendant.domain.sagas import SagaRow, Sagas, is_of_saga
from intendant.domain.waits import WaitRow, Waits

HANDLER = ""
"""The path of a handler's own failed attempts; no step's path is empty."""

Row = StepCompleted | StepFailed | WaitRow | SagaRow | ExecutionResumed

_KINDS: Final[dict[bytes, tuple[Any, str]]] = {  # and the type of the record that a row comes with
    b"c": (StepCompleted, "step_completed"),
    b"f": (StepFailed, "step_failed"),
    b"t": (TimerSet, "timer_set"),
    b"e": (TimerFired, "timer_fired"),
    b"s": (SignalReceived, "signal_received"),
    b"r": (ExecutionResumed, "execution_resumed"),
    b"x": (CancelRequested, "cancel_requested"),
    b"a": (SagaStarted, "saga_started"),
    b"u": (SagaCompensating, "saga_compensating"),
    b"d": (SagaCompensated, "saga_compensated"),
}
_STORED: Final[dict[Any, tuple[str, bytes]]] = {kind: (type, letter) for letter, (kind, type) in _KINDS.items()}
_KIND_OF: Final[dict[str, Any]] = {type: kind for kind, type in _KINDS.values()}
CARRIERS: Final = frozenset(type for kind, type in _KINDS.values() if "events" in kind.__struct_fields__)
"""The types of records that events ride with, besides the ends of executions."""


class Journal(Struct, gc=False):
    """Rows in the order they were recorded, the newest of each step, what was waited for, and its sagas.

    When an attempt of the handler has failed, steps that failed for good and waits that timed out are forgotten: the
    next attempt runs them again, and submits anew those children that it saw fail. What has completed is never run
    again, and neither is what belongs to a saga that is being undone.
    """

    rows: list[Row] = []
    steps: dict[str, StepCompleted | StepFailed] = {}
    failed: StepFailed | None = None  # the newest failed attempt of the handler
    waits: Waits = field(default_factory=Waits)
    sagas: Sagas = field(default_factory=Sagas)
    resumed: ExecutionResumed | None = None  # the newest
    children: dict[str, tuple[str, Submitted]] = {}  # by execution, with the path of the call that submitted it

    @classmethod
    def of(cls, stored: Iterable[bytes]) -> Journal:
        """Fold rows as they are stored, the oldest first. Raises as `decode_journal_row` does."""
        journal = cls()
        for row in stored:
            journal.add(decode_journal_row(row))
        return journal

    def add(self, row: Row) -> bool:
        """Fold one more row; False for one that no correct log can hold: its step or wait had ended before."""
        self.rows.append(row)
        match row:
            case SagaStarted() | SagaCompensating() | SagaCompensated():
                return self.sagas.add(row)
            case StepFailed(path=path) if path == HANDLER:
                self._attempt_failed(row)
                return True
            case StepCompleted() | StepFailed():
                return self._add_step(row)
            case ExecutionResumed():
                self.resumed = row
                return True
            case _:
                return self.waits.add(row) is not None

    def _attempt_failed(self, row: StepFailed) -> None:
        self.failed = row
        settled, steps = self.sagas.is_settled, self.steps
        failed = {path for path, step in steps.items() if has_failed(step) and not settled(path)}
        failed |= {path for path, _ in self.children.values() if end_path(path) in failed}
        self.steps = {path: step for path, step in steps.items() if path not in failed}
        self.waits.forget_time_outs()
        self.sagas.forget_failures()

    def _add_step(self, row: StepCompleted | StepFailed) -> bool:
        before = self.steps.get(row.path)
        self.steps[row.path] = row
        if isinstance(row, StepCompleted) and row.child is not None:
            self.children[row.child.execution] = (row.path, row.child)
        follows = before is None or (isinstance(before, StepFailed) and not before.final)
        return follows and (not is_of_saga(row) or self.sagas.add(row))

    @property
    def events(self) -> list[Emitted]:
        """The events that rode with its rows."""
        return [event for row in self.rows for event in events_of(row)] if self.rows else []


def events_of(row: Row) -> list[Emitted]:
    """The events that rode with a row."""
    return [] if isinstance(row, TimerFired | SignalReceived | ExecutionResumed | CancelRequested) else row.events


def has_failed(step: StepCompleted | StepFailed) -> bool:
    """Whether the step's last attempt failed."""
    return isinstance(step, StepFailed) and step.final


def as_recorded(row: Row, body: bytes) -> tuple[str, bytes]:
    """The type of the record that a row comes with, and the row as it is stored, both with this payload.

    In the journal one byte before that tells the kind.
    """
    type_of_record, letter = _STORED[type(row)]
    return type_of_record, letter + body


def row_of_record(type: str, payload: Raw) -> Row | None:
    """The row that came with a record of this type; None when none did."""
    kind = _KIND_OF.get(type)
    return None if kind is None else msgspec.msgpack.decode(payload, type=kind)


def cancel_among(rows: Iterable[bytes]) -> CancelRequested | None:
    """The cancel that stands in a journal, whether or not its other rows can be read."""
    _, letter = _STORED[CancelRequested]
    stored = next((row for row in rows if row[:1] == letter), None)
    return None if stored is None else msgspec.msgpack.decode(memoryview(stored)[1:], type=CancelRequested)


def decode_journal_row(row: bytes) -> Row:
    """The row that was stored. Raises msgspec.DecodeError for what is none."""
    kind, _ = _KINDS.get(row[:1], (None, ""))
    if kind is None:
        raise msgspec.DecodeError(f"a row of the journal begins with {row[:1]!r}, which no kind of row does")
    decoded: Row = msgspec.msgpack.decode(memoryview(row)[1:], type=kind)
    return decoded
