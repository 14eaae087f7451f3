"""Crash at every commit: whatever the moment, what callers were told stays true, and the end is the same.

A process dies around a commit in two ways that differ in the store: before it was applied, and after. What it had told
callers by then is part of the moment. Besides, the store may fail while the process lives on: the commit was not
applied, or it was and the reply got lost, or it meets a fault of ours that crashes the writer.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import pytest

from tests.faults.ends import End
from tests.faults.lives import Cut, Cutting, Lives
from tests.faults.planned_faults import FAULTS, Fault, ReadFault
from tests.faults.scenarios import SCENARIOS, Scenario
from tests.faults.stage import Stage
from tests.faults.virtual_time import Backend

EXTENT = pytest.mark.parametrize(
    "thorough", [pytest.param(False, id="some"), pytest.param(True, id="all", marks=pytest.mark.stress)]
)
"""What `make test` looks at, and what `make stress` does."""
SOME = 4  # moments of a scenario, for each kind of fault
MANY = 200  # reads
FIRST_DEATHS = 20  # of those who die twice: pairs grow with the square


def every(count: int, *, thorough: bool) -> range:
    """From 1 to `count`: `make stress` looks at all, `make test` at some, as far apart."""
    return range(1, count + 1, 1 if thorough else max(count // SOME, 1))


def fault_free(stage: Stage, scenario: Scenario) -> tuple[Lives, End, list[Cut]]:
    """The run that all others must end like, and the moments at which it may die; made once."""
    return _fault_free(stage.backend, scenario.name)


@lru_cache(2)  # on both loops: tests come scenario by scenario, and the moments of all would take a GB
def _fault_free(backend: Backend, name: str) -> tuple[Lives, End, list[Cut]]:
    lives = Lives(next(each for each in SCENARIOS if each.name == name), backend)
    cutting = Cutting(lives)
    assert lives.live(cutting)
    assert lives.violations() == []
    return lives, lives.end(), cutting.cuts


def check_end(lives: Lives, wanted: End, when: str) -> None:
    assert lives.violations() + lives.differences(wanted) == [], when


def check_recovery(stage: Stage, scenario: Scenario, cut: Cut, wanted: End) -> list[Cut]:
    """Go on from a cut; returns the cuts of the recovery."""
    lives = stage.lives(scenario, cut=cut)
    assert lives.violations() == [], f"died {cut.when}"
    assert lives.ended_differently(wanted) == [], f"died {cut.when}"
    cutting = Cutting(lives)
    assert lives.live(cutting), f"died {cut.when}"
    check_end(lives, wanted, f"died {cut.when}")
    return cutting.cuts


@EXTENT
def test_dies_around_every_commit(stage: Stage, scenario: Scenario, *, thorough: bool) -> None:
    _, wanted, cuts = fault_free(stage, scenario)
    assert len(cuts) >= 8
    for number in every(len(cuts), thorough=thorough):
        check_recovery(stage, scenario, cuts[number - 1], wanted)


@pytest.mark.in_turn
@pytest.mark.parametrize(
    "fault", ["not applied", "applied, reply lost", "writer crashes before", "writer crashes after"]
)
@EXTENT
def test_lives_on_with_a_fault_at_every_commit(stage: Stage, scenario: Scenario, fault: str, *, thorough: bool) -> None:
    reference, wanted, _ = fault_free(stage, scenario)
    when, error = FAULTS[fault]
    for number in every(reference.commits, thorough=thorough):
        lives = stage.lives(scenario)
        plan = Fault(number, when, error)
        if number == 1 and error().__class__ is RuntimeError:
            continue  # the writer's first commit: it never came to serve, and entering raises
        assert lives.live(plan), f"{fault} at commit {number}"
        assert plan.done
        check_end(lives, wanted, f"{fault} at commit {number}")


@pytest.mark.in_turn
@EXTENT
@pytest.mark.parametrize("error", ["unavailable", "crash"])
def test_lives_on_with_a_fault_at_every_read(stage: Stage, scenario: Scenario, error: str, *, thorough: bool) -> None:
    """A fault while something is read may reach the caller who asked for it; the rest goes on. Of many every third."""
    reference, wanted, cuts = fault_free(stage, scenario)
    assert reference.reads
    raised = FAULTS["not applied" if error == "unavailable" else "writer crashes before"][1]
    for number in every(reference.reads, thorough=thorough)[:: 3 if thorough and reference.reads > MANY else 1]:
        for cut in (None, cuts[len(cuts) // 2]):  # from the start, and in the middle of things: at a resume
            lives = stage.lives(scenario, cut=cut)
            try:
                lives.live(ReadFault(number, raised))
            except BaseException as told:  # a caller asked for it
                if "planted" not in repr(told):
                    raise
            assert lives.violations() == [], f"{error} at read {number}"
            assert lives.ended_differently(wanted) == [], f"{error} at read {number}"
            assert lives.live(), f"{error} at read {number}"
            check_end(lives, wanted, f"{error} at read {number}")


@pytest.mark.in_turn
@EXTENT
def test_the_host_is_cancelled_about_every_commit(stage: Stage, scenario: Scenario, *, thorough: bool) -> None:
    """Cancelled hard: the runtime flushes and goes; the next one opens the same store."""
    reference, wanted, _ = fault_free(stage, scenario)
    step = max(reference.turns // (max(reference.commits, 1) if thorough else SOME), 1)
    for turn in range(1, reference.turns, step):
        lives = stage.lives(scenario)
        lives.live(leave_at=turn, cancel=True)
        assert lives.violations() == [], f"cancelled at turn {turn}"
        assert lives.ended_differently(wanted) == [], f"cancelled at turn {turn}"
        assert lives.live()
        check_end(lives, wanted, f"cancelled at turn {turn}")


@pytest.mark.stress
def test_dies_twice(stage: Stage, scenario: Scenario) -> None:
    """Every crash (where they are many, some as far apart), and in every recovery from it every crash again."""
    _, wanted, cuts = fault_free(stage, scenario)
    for cut in cuts[:: -(-len(cuts) // FIRST_DEATHS)]:
        for again in check_recovery(stage, scenario, cut, wanted):
            check_recovery(stage, scenario, replace(again, when=f"{cut.when}, then {again.when}"), wanted)
