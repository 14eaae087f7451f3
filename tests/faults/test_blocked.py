"""A deploy forgets the code of what is open: what is blocked takes signals and cancels, and goes on with its code.

One life with the code, one without, one with it again; each may die at every commit.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from intendant.actors.execution import ExecutionActor
from tests.faults.lives import Cut, Cutting, Lives
from tests.faults.scenarios import Scenario
from tests.faults.stage import Stage

NAMES = ("signalled", "cancelled-in-wait", "saga-cancelled-in-wait")
FEW = 4  # moments of each life, in `make test`
TURNS = 400  # of the loop, of a life without the code: time enough for all that can be done then

EXTENT = pytest.mark.parametrize(
    "thorough", [pytest.param(False, id="some"), pytest.param(True, id="all", marks=pytest.mark.stress)]
)


def some(cuts: list[Cut], *, thorough: bool) -> list[Cut]:
    return cuts if thorough else cuts[:: max(len(cuts) // FEW, 1)]


def blocked_in_the_middle(stage: Stage, scenario: Scenario, *, thorough: bool) -> list[str]:
    """What is wrong after any of the lives."""
    lives = stage.lives(scenario)
    cutting = Cutting(lives)
    assert lives.live(cutting)
    wanted = lives.end()
    accepted = [cut for cut in cutting.cuts if cut.told.executions.keys() == lives.told.executions.keys()]
    for cut in some(accepted, thorough=thorough):
        without = stage.lives(scenario, cut=cut)
        without.realms.clear()
        cutting = Cutting(without)
        try:
            without.live(cutting, leave_at=TURNS)
        except Exception as error:  # that a caller was told
            return [f"without its code after it had died {cut.when}: {error!r}"]
        for again in some([*cutting.cuts, without.cut("left")], thorough=thorough):
            found = after(stage.lives(scenario, cut=again), wanted)
            if found:
                return [f"blocked when it had died {cut.when}, and died {again.when}", *found]
    return []


def after(lives: Lives, wanted: Any) -> list[str]:
    found = lives.violations() + lives.ended_differently(wanted)
    return found or ([] if lives.live() else ["it did not end"]) + lives.violations() + lives.differences(wanted)


@pytest.mark.in_turn
@pytest.mark.parametrize("name", NAMES)
@EXTENT
def test_it_dies_with_its_code_and_without(stage: Stage, name: str, *, thorough: bool) -> None:
    scenario = next(each for each in stage.scenarios if each.name == name)
    assert blocked_in_the_middle(stage, scenario, thorough=thorough) == []


_block: Callable[[Any, Any], Any] = getattr(ExecutionActor, "_block")  # noqa: B009  private to all but those who break it


def end_blocked(self: Any, why: Any) -> None:
    """What can't go on is ended, failed."""
    self._conclude().end_failed(why, None)


def end_cancelled_at_once(self: Any, why: Any) -> None:
    """A cancel ends what is blocked, and nothing is cleaned up or undone."""
    if self.history.fold.cancelled is not None:
        self._conclude().cancel(None, None)
    else:
        _block(self, why)


BUGS: dict[str, tuple[str, str, Any]] = {
    "what is blocked fails": ("signalled", "_block", end_blocked),
    "a cancel ends what is blocked without its clean-up": ("cancelled-in-wait", "_block", end_cancelled_at_once),
}


@pytest.mark.in_turn
@pytest.mark.parametrize("bug", BUGS)
def test_a_planted_fault_is_found(stage: Stage, bug: str, monkeypatch: pytest.MonkeyPatch) -> None:
    name, method, planted = BUGS[bug]
    scenario = next(each for each in stage.scenarios if each.name == name)
    monkeypatch.setattr(ExecutionActor, method, planted)
    assert blocked_in_the_middle(stage, scenario, thorough=False)
