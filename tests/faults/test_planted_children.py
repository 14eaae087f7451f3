"""Faults planted in what executions do about their children: each must be found by the scenarios."""

from __future__ import annotations

import os
from functools import partial
from typing import Any

import pytest

from intendant.actors import offspring
from intendant.actors.offspring import Offspring
from intendant.actors.open_execution import OpenExecution
from intendant.domain.payloads import StepCompleted
from intendant.steps.children import Children
from intendant.steps.steps import Steps
from tests.faults.stage import Stage
from tests.faults.test_planted_bugs import Hunt

_record = Steps.record


async def submit_again(self: Any, request: Any) -> StepCompleted:
    """That a child was submitted is not looked for."""
    row: StepCompleted = await self._recording.submit(request, partial(self._record, request))
    return row


def another_key(parent: str, path: str, attempt: int) -> str:
    return os.urandom(8).hex()


async def cancel_nobody(self: Offspring) -> None:
    """A cancel, or the end, of an execution does not reach its children."""


async def only_wait(self: Any, child: Any, ending: Any, stand: Any) -> Any:
    """That a child has ended before is not looked for."""
    with stand():
        return await ending.wait().wait(self._services.seam)


def sleep_on(self: OpenExecution, ending: object) -> None:
    """A handler that was suspended alone is not resumed by the end of its child."""


async def keep_in_memory(self: Steps, step: Any) -> Any:
    """How a child has ended is not recorded."""
    return step if step.path.startswith("end(") else await _record(self, step)


BUGS: dict[str, tuple[str, list[tuple[Any, str, Any]]]] = {
    "a child is submitted again": ("child-awaited", [(Children, "_submit", submit_again)]),
    "a child is submitted again, with another key": (
        "child-awaited",
        [(Children, "_submit", submit_again), (offspring, "key_of", another_key)],
    ),
    "a cancel does not reach children": ("child-cancelled", [(Offspring, "cancel_all", cancel_nobody)]),
    "children are left behind": ("child-left", [(Offspring, "cancel_all", cancel_nobody)]),
    "an end is missed": ("child-awaited", [(Offspring, "end_of", only_wait)]),
    "an end resumes nobody": ("child-abroad-passive", [(OpenExecution, "await_end", sleep_on)]),
    "an end is not recorded": ("child-awaited", [(Steps, "record", keep_in_memory)]),
}


@pytest.mark.parametrize("bug", BUGS)
def test_a_planted_fault_is_found(stage: Stage, bug: str, monkeypatch: pytest.MonkeyPatch) -> None:
    name, patches = BUGS[bug]
    scenario = next(each for each in stage.scenarios if each.name == name)
    hunt = Hunt(stage, scenario, None)  # what is wanted is found out before anything is planted
    with monkeypatch.context() as patch:
        for place, what, planted in patches:
            patch.setattr(place, what, planted)
        found = hunt.run()
    print(f"\n{bug}: {found:.300}")
    assert found
