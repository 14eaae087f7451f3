"""Forks: whatever an execution has recorded, what a fork takes over stands by itself and lies before the step."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw
from msgspec.structs import replace

from intendant.domain.errors import InvalidIntent
from intendant.domain.forks import fork
from intendant.domain.journal import HANDLER, Journal, Row, events_of
from intendant.domain.payloads import (
    CancelRequested,
    Emitted,
    Failure,
    SagaCompensated,
    SagaCompensating,
    SagaStarted,
    SignalReceived,
    StepCompleted,
    StepFailed,
    TimerFired,
    TimerSet,
)

ERROR = Failure("ValueError", "no")
EVENTS = st.lists(st.just(Emitted(0, "told", Raw(b"\xc0"))), max_size=2)
STEPS = st.sampled_from(["a", "b", "c"])
OF_SAGA = st.sampled_from(["s/x", "s/y"])
WAITS = st.sampled_from(["p", "q"])
ROWS: st.SearchStrategy[Row] = st.one_of(
    st.builds(StepCompleted, STEPS, st.just(Raw(b"\x01")), st.just(1), events=EVENTS),
    st.builds(StepFailed, STEPS, st.just(ERROR), st.just(1), final=st.booleans(), events=EVENTS),
    st.builds(StepFailed, st.just(HANDLER), st.just(ERROR), st.just(1), final=st.just(False), events=EVENTS),
    st.builds(SagaStarted, st.just("s"), OF_SAGA, st.just(1), events=EVENTS),
    st.builds(StepCompleted, OF_SAGA, st.just(Raw(b"\x02")), st.just(1), events=EVENTS, saga=st.just(True)),
    st.builds(SagaCompensating, st.just("s"), st.just(ERROR), st.just(1), events=EVENTS),
    st.builds(SagaCompensated, st.just("s"), st.just(1), events=EVENTS),
    st.builds(TimerSet, WAITS, st.just(1), st.integers(0, 2), st.sampled_from(["", "go"]), events=EVENTS),
    st.builds(TimerFired, WAITS, st.just(2)),
    st.builds(SignalReceived, st.just("go"), st.integers(0, 9).map(str), st.just(Raw(b"\xc0")), st.just(3)),
    st.builds(CancelRequested, st.just(4)),
)
PATHS = ["a", "b", "c", "s/x", "s/y", "p", "q"]


def follows(rows: Sequence[Row]) -> bool:
    journal = Journal()
    return all(journal.add(row) for row in rows)


@st.composite
def journals(draw: st.DrawFn) -> list[Row]:
    """Rows as a log can hold them; events have their numbers."""
    rows: list[Row] = []
    number = 0
    for row in draw(st.lists(ROWS, max_size=14)):
        if follows([*rows, row]):
            events = [replace(each, number=number + place) for place, each in enumerate(events_of(row))]
            number += len(events)
            rows.append(replace(row, events=events) if events else row)
    return rows


def path_of(row: Row) -> str:
    return row.step if isinstance(row, SagaStarted) else getattr(row, "path", "")


def bare(row: Row) -> Row:
    """Without the numbers of its events, which a fork counts anew."""
    return replace(row, events=[replace(each, number=0) for each in events_of(row)]) if events_of(row) else row


@given(journals(), st.sampled_from(PATHS))
def test_what_a_fork_takes_stands_by_itself(rows: list[Row], step: str) -> None:
    begun = (StepCompleted, StepFailed, SagaStarted, TimerSet)
    place = next((n for n, row in enumerate(rows) if isinstance(row, begun) and path_of(row) == step), None)
    try:
        taken = fork("origin", rows, step).rows
    except InvalidIntent as error:
        taken, refused = [], str(error)
    else:
        refused = ""
    if place is None or refused:
        assert (place is None) is (f"has recorded no {step!r}" in refused)
        assert place is None or any(isinstance(row, SagaCompensating) for row in rows)
        return
    before = [bare(row) for row in rows[:place]]
    left = iter(before)
    assert all(bare(row) in left for row in taken), "what lies before the step, in its order"
    copy = Journal()
    assert all(copy.add(row) for row in taken)
    assert copy.failed is None
    assert copy.waits.cancelled is None
    assert copy.waits.ready_count == 0
    assert all(wait.end is not None for wait in copy.waits.by_path.values())
    assert [each.number for each in copy.events] == list(range(len(copy.events)))
    whole = Journal()
    for row in rows[:place]:
        whole.add(row)
    results = {path: bare(row) for path, row in whole.steps.items() if isinstance(row, StepCompleted) or row.final}
    assert {path: bare(row) for path, row in copy.steps.items()} == results
    assert copy.waits.by_path.keys() == {path for path, wait in whole.waits.by_path.items() if wait.end is not None}
    assert fork("fork", [*taken, rows[place]], step).rows == taken, "a fork of the fork takes the same"


def test_a_step_that_is_not_there_is_told_with_those_that_are() -> None:
    with pytest.raises(InvalidIntent, match="has recorded no 'z'; it has 'a'"):
        fork("origin", [StepCompleted("a", Raw(b"\xc0"), 1)], "z")
