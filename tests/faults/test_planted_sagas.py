"""Faults planted in sagas: each must be found by the scenarios, cut off and faulted as in the other modules."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import anyio
import pytest

from intendant.actors.live_recording import LiveRecording
from intendant.domain.payloads import Failure, SagaCompensating, SagaStarted
from intendant.domain.sagas import Sagas, is_undo
from intendant.steps.steps import Steps
from intendant.steps.undoing import Undoing
from tests.faults.stage import Stage
from tests.faults.test_planted_bugs import Hunt

_record_saga = LiveRecording.record_saga
_to_undo = Sagas.to_undo
_ahead: Any = vars(Steps)["ahead"].fget
_journal: Any = vars(LiveRecording)["journal"].fget


async def note_nothing(self: Undoing, saga: str, step: str) -> None:
    """That a step has an undo is not recorded."""


async def note_without_waiting(self: Any, row: Any) -> None:
    """The step's function runs before it is durable that the step has an undo."""
    if not isinstance(row, SagaStarted):
        await _record_saga(self, row)
    else:
        self.history.append(row, row.events)
        self.history.follow(row)


async def fail_in_memory(self: Any, row: Any) -> None:
    """That a saga has failed is known, and not recorded."""
    if isinstance(row, SagaCompensating):
        self.history.follow(row)
    else:
        await _record_saga(self, row)


def forwards(self: Sagas, scope: str) -> list[str]:
    """The step that began first is undone first."""
    return list(reversed(_to_undo(self, scope)))


async def undo_unshielded(self: Any, saga: str, failure: Failure) -> None:
    """A cancellation by a scope around it reaches the undos."""
    await self._compensate(saga, failure)


def all_of_it(self: Sagas, scope: str) -> list[str]:
    return [*self.undone(scope), *_to_undo(self, scope)]


def without_undos(self: Any) -> Mapping[str, Any]:
    """An undo that is recorded is run again."""
    return {path: step for path, step in _journal(self).items() if not is_undo(path)}


async def go_forward(self: Undoing, saga: str, failure: Failure) -> None:
    """A saga that has failed is not undone, and what comes behind goes on."""


def forget_what_began(self: Steps) -> int:
    """A cancel is told before the handler has come to a step that had begun, and can say how that is undone."""
    recording: Any = getattr(self, "_recording")  # noqa: B009
    begun = sum(step not in recording.journal for step in recording.sagas.undoable)
    ahead: int = _ahead(self)
    return max(ahead - begun, 0)


async def keep_the_cancel(self: Undoing, failure: Failure) -> None:
    """Behind a saga that is undone, a cancel is a failure as others."""


BUGS: dict[str, tuple[str, list[tuple[type, str, Any]]]] = {
    "an undo is not recorded": ("saga-second-fails", [(Undoing, "note", note_nothing)]),
    "an undo is recorded too late": ("saga-second-fails", [(LiveRecording, "record_saga", note_without_waiting)]),
    "the failure is not recorded": ("saga-second-fails", [(LiveRecording, "record_saga", fail_in_memory)]),
    "the first one is undone first": ("saga-second-fails", [(Sagas, "to_undo", forwards)]),
    "nothing is undone": ("saga-timed-out", [(Undoing, "compensate", go_forward)]),
    "undos are not shielded": ("saga-scoped", [(Undoing, "compensate", undo_unshielded)]),
    "a cancel comes before what had begun": ("saga-cancelled-in-body", [(Steps, "ahead", property(forget_what_began))]),
    "a cancel ends with its saga": ("saga-cancelled-in-wait", [(Undoing, "pass_cancel_on", keep_the_cancel)]),
    "undos are run again": (
        "saga-block-fails",
        [(Sagas, "to_undo", all_of_it), (LiveRecording, "journal", property(without_undos))],
    ),
}


@pytest.mark.parametrize("bug", [None, *BUGS])
def test_a_planted_saga_is_found(stage: Stage, bug: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    name, patches = BUGS[bug] if bug else ("saga-block-fails", [])
    scenario = next(each for each in stage.scenarios if each.name == name)
    hunt = Hunt(stage, scenario, None)  # what is wanted is found out before anything is planted
    with monkeypatch.context() as patch:
        for place, what, planted in patches:
            patch.setattr(place, what, planted)
        found = hunt.run()
    print(f"\n{bug}: {found:.300}")
    assert bool(found) == (bug is not None), found


def undo_whatever_comes(self: Any, saga: str, error: BaseException | None) -> Failure | None:
    """A handler that is suspended is taken for one that was cancelled."""
    failed = self.sagas.failed(saga)
    return failed.error if failed is not None else None if error is None else Failure("cancelled", "")


def let_everything_pass(self: Steps) -> None:
    """Durable calls are not refused while a handler is suspended."""


def keep_everything_out(self: Any) -> anyio.CancelScope:
    """Suspension does not come through to undos."""
    return anyio.CancelScope(shield=True)


@pytest.mark.parametrize("planted", [False, True])
def test_a_saga_that_suspension_undoes_is_found(stage: Stage, planted: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    scenario = next(each for each in stage.scenarios if each.name == "saga-done")
    reference = stage.lives(scenario)
    assert reference.live()
    wanted, found = reference.end(), list[str]()
    with monkeypatch.context() as patch:
        if planted:
            patch.setattr(Undoing, "reason", undo_whatever_comes)
            patch.setattr(Steps, "check_live", let_everything_pass)
            patch.setattr(LiveRecording, "shield", keep_everything_out)
        for turn in range(1, reference.turns, 3):
            lives = stage.lives(scenario)
            lives.live(leave_at=turn)
            lives.live()
            found += lives.violations() + lives.differences(wanted)
    assert any("trip/flight" in each and "undone" in each for each in found) == planted, found
