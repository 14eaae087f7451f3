"""Promise 11: shutdown and restart suspend a handler, wherever it stands; the next resume brings it to the same end.

A scenario is cut off at every turn of the event loop, that is wherever any of its tasks may wait: by leaving the
runtime, by cancelling its host, by a crash of the writer that takes sessions and executions with it.
"""

from __future__ import annotations

import pytest

from tests.faults.ends import End
from tests.faults.lives import Cut, Cutting, Lives
from tests.faults.planned_faults import CrashSoon, Outage
from tests.faults.scenarios import Scenario
from tests.faults.stage import Stage

pytestmark = pytest.mark.in_turn
TURNS = 4  # of a scenario that `make test` looks at; `make stress` looks at all
MANY = 250  # turns


_references: dict[tuple[str, str], tuple[Lives, End, Cut]] = {}


def reference_of(stage: Stage, scenario: Scenario) -> tuple[Lives, End, Cut]:
    """The run that all others must end like, and a cut in its middle; made once."""
    key = stage.backend, scenario.name
    if key not in _references:
        reference = stage.lives(scenario)
        cutting = Cutting(reference)
        assert reference.live(cutting)
        _references[key] = reference, reference.end(), cutting.cuts[len(cutting.cuts) // 2]
    return _references[key]


def turns_of(reference: Lives, *, all: bool) -> range:
    """Where a scenario is cut off. It is lived through again for each, so of a long one `all` are every third."""
    long = reference.scenario.large or reference.turns > MANY
    return range(1, reference.turns + 1, (3 if long else 1) if all else max(reference.turns // TURNS, 1))


def suspend_and_resume(stage: Stage, scenario: Scenario, wanted: End, turn: int, *, cancel: bool, drain: float) -> int:
    lives = stage.lives(scenario)
    lives.live(leave_at=turn, cancel=cancel, drain=drain)
    assert lives.violations() == [], f"suspended at turn {turn}"
    assert lives.ended_differently(wanted) == [], f"suspended at turn {turn}"
    assert lives.live(), f"suspended at turn {turn}"
    assert lives.violations() + lives.differences(wanted) == [], f"suspended at turn {turn}"
    return lives.ledger.refused


def suspend_everywhere(stage: Stage, scenario: Scenario, *, all: bool) -> None:
    reference, wanted, _ = reference_of(stage, scenario)
    refused = 0
    for turn in turns_of(reference, all=all):
        refused += suspend_and_resume(stage, scenario, wanted, turn, cancel=False, drain=0.0)
        if all:  # the other two ways in turn
            suspend_and_resume(stage, scenario, wanted, turn, cancel=turn % 2 == 0, drain=turn % 2)
    if all and scenario.name in {"resting", "stubborn"}:
        assert refused > 0, "handlers that go on while they are suspended must have been refused"


def restart_everywhere(stage: Stage, scenario: Scenario, *, all: bool) -> None:
    reference, wanted, _ = reference_of(stage, scenario)
    for turn in turns_of(reference, all=all):
        for when in ("before", "after"):
            lives = stage.lives(scenario)
            plan = CrashSoon(when)
            try:
                assert lives.live(plan, leave_at=turn, call_at=plan.arm)
            except BaseException as error:  # at the writer's first commit: entering raises
                if "planted" not in repr(error.__cause__ or error) or lives.told.sessions:
                    raise
                assert lives.live()
            assert lives.violations() + lives.differences(wanted) == [], f"writer crashed {when}, turn {turn}"


def test_suspended_by_shutdown(stage: Stage, scenario: Scenario) -> None:
    suspend_everywhere(stage, scenario, all=False)


def test_suspended_by_restart(stage: Stage, scenario: Scenario) -> None:
    restart_everywhere(stage, scenario, all=False)


@pytest.mark.stress
def test_suspended_by_shutdown_at_every_turn(stage: Stage, scenario: Scenario) -> None:
    suspend_everywhere(stage, scenario, all=True)


@pytest.mark.stress
def test_suspended_by_restart_at_every_turn(stage: Stage, scenario: Scenario) -> None:
    restart_everywhere(stage, scenario, all=True)


EXTENT = pytest.mark.parametrize(
    "thorough", [pytest.param(False, id="some"), pytest.param(True, id="all", marks=pytest.mark.stress)]
)


def live_through(lives: Lives, outage: Outage, wanted: End, when: str, at: float = float("inf")) -> None:
    """An outage while a scenario runs; after it, everything goes on to the same end."""
    try:
        lives.live(outage, leave_at=at, call_at=outage.begin)
    except BaseException as error:  # the caller whom nothing answered in time
        if not any(word in repr(error) for word in ("Unavailable", "OutcomeUnknown", "StartFailed")):
            raise
    assert lives.ended_differently(wanted) == [], when
    assert lives.live(), when
    assert lives.violations() + lives.differences(wanted) == [], when


@EXTENT
def test_an_outage_from_any_read_of_a_resume_ends_nothing(stage: Stage, scenario: Scenario, *, thorough: bool) -> None:
    reference, wanted, cut = reference_of(stage, scenario)
    for number in range(1, reference.reads if thorough else min(reference.reads, 5)):
        seconds = 15.0 if thorough and number % 2 else 5.0
        when = f"outage of {seconds} s from read {number} on"
        live_through(stage.lives(scenario, cut=cut), Outage(seconds, number), wanted, when)


@EXTENT
def test_an_outage_of_the_store_ends_nothing(stage: Stage, scenario: Scenario, *, thorough: bool) -> None:
    """Callers may be told that it does not answer; what was accepted goes on when it does. Also during a resume."""
    reference, wanted, middle = reference_of(stage, scenario)
    for turn in list(turns_of(reference, all=thorough))[:: 1 if thorough else 3]:
        for cut in (None, middle):  # a long one at every second turn, and at the others of the resume
            seconds = 120.0 if thorough and (turn + (cut is None)) % 2 else 1.0
            when = f"outage of {seconds} s at turn {turn}{' of a resume' if cut else ''}"
            live_through(stage.lives(scenario, cut=cut), Outage(seconds), wanted, when, turn)
