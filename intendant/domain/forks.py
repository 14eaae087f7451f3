"""Forks: what a new execution may take over of another one's journal, up to a step. Pure.

It takes what the handler needs to come to that step again: results and failures of steps, sleeps that are over, waits
with the signals that ended them, and what sagas have to undo. It does not take what belongs to the other execution
alone: signals that no wait took before the step, waits that were open, attempts that failed and were to be followed by
another one, a cancel. Events that rode with what it takes are its own, numbered anew.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import msgspec
from msgspec import Struct

from intendant.domain.errors import InvalidIntent
from intendant.domain.journal import Journal, Row, events_of
from intendant.domain.payloads import (
    SagaCompensated,
    SagaCompensating,
    SagaStarted,
    SignalReceived,
    StepCompleted,
    StepFailed,
    TimerFired,
    TimerSet,
)

_SHOWN_MAX = 20


class Fork(Struct, frozen=True, gc=False):
    """Where a new execution comes from, and the rows that it takes over."""

    origin: str
    step: str
    rows: list[Row]


def fork(origin: str, rows: Sequence[Row], step: str) -> Fork:
    """What a fork of an execution takes over of its journal, to go on from that step.

    Raises InvalidIntent when the step, or the wait, is not in the journal, or when some of what would be taken over was
    being undone by a saga later on.
    """
    before = list(_before(rows, step))
    if len(before) == len(rows):
        paths = list(dict.fromkeys(path for row in rows if (path := _path(row))))
        there = ", ".join(map(repr, paths[-_SHOWN_MAX:])) or "nothing"
        raise InvalidIntent("from_step", f"execution {origin} has recorded no {step!r}; it has {there}")
    taken = list(_renumbered(_kept(before)))
    if parent := next((row.path for row in taken if isinstance(row, StepCompleted) and row.child), ""):
        raise InvalidIntent("from_step", f"must lie before {parent!r}: a fork can't take over another one's children")
    _check_sagas(rows, before, taken)
    copy = Journal()
    if not all(copy.add(row) for row in taken):
        raise InvalidIntent("from_step", f"what execution {origin} recorded before {step!r} does not stand by itself")
    return Fork(origin, step, taken)


def _before(rows: Iterable[Row], step: str) -> Iterator[Row]:
    for row in rows:
        if _path(row) == step:
            return
        yield row


def _path(row: Row) -> str:
    """The step or wait that a row is about."""
    match row:
        case SagaStarted(step=step):
            return step
        case StepCompleted(path=path) | StepFailed(path=path) | TimerSet(path=path):
            return path
        case _:
            return ""


def _kept(rows: Iterable[Row]) -> list[Row]:
    """What still holds in the end."""
    whole = Journal()
    for row in rows:
        whole.add(row)
    waits = whole.waits.by_path
    ends = {id(wait.end) for wait in waits.values() if wait.end is not None}
    begun = {id(wait.timer) for wait in waits.values() if wait.end is not None}
    steps = {id(step) for step in whole.steps.values() if isinstance(step, StepCompleted) or step.final}

    def holds(row: Row) -> bool:
        match row:
            case StepCompleted() | StepFailed():
                return id(row) in steps
            case TimerSet():
                return id(row) in begun
            case TimerFired() | SignalReceived():
                return id(row) in ends
            case SagaStarted() | SagaCompensating() | SagaCompensated():
                return True
            case _:
                return False

    return [row for row in whole.rows if holds(row) and not getattr(row, "cleanup", False)]


def _renumbered(rows: Iterable[Row]) -> Iterator[Row]:
    number = 0
    for row in rows:
        events = events_of(row)
        if events:
            numbered = [msgspec.structs.replace(event, number=number + place) for place, event in enumerate(events)]
            number += len(events)
            yield msgspec.structs.replace(row, events=numbered)
        else:
            yield row


def _check_sagas(rows: Sequence[Row], before: Sequence[Row], taken: Sequence[Row]) -> None:
    """What a saga undoes later is not there any more for a fork to go on from."""
    over = {row.path for row in before if isinstance(row, SagaCompensated)}
    for row in rows:
        if not isinstance(row, SagaCompensating) or row.path in over:
            continue
        inside = f"{row.path}/"
        for each in taken:
            path = each.path if isinstance(each, SagaCompensating) else _path(each)
            if path == row.path or path.startswith(inside):
                reason = f"the saga {row.path} has begun to undo {path!r}, which a fork would go on from"
                raise InvalidIntent("from_step", f"{reason}; fork from a step before that saga")
