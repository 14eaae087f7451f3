"""A check is worth what it finds: each of these supervisors has one fault, which a short history shows.

The history stands beside the fault, so that nobody has to search it among the tens of thousands that the check of the
model goes through.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import anyio
import pytest

from intendant.supervisor import Restart, SupervisorError, strategy, supervisor
from intendant.supervisor.child import Child
from intendant.supervisor.intensity import Window
from intendant.supervisor.node import Node
from intendant.supervisor.strategy import Exit, Member, Situation
from intendant.supervisor.supervisor import Supervisor
from tests.supervisor import otp as model
from tests.supervisor.otp import Add, Again, Disagreement, Exits, Otp, Step, Stop
from tests.supervisor.test_model import BUDGET, EXTRA, SHORT, histories, play, trees

pytestmark = pytest.mark.anyio

Patch = Callable[[object, str, object], None]


def transient_always_restarted(patch: Patch) -> None:
    def wants(restart: Restart, _how: Exit) -> bool:
        return restart is not Restart.TEMPORARY

    for module in (strategy, supervisor):
        patch(module, "wants_restart", wants)


def permanent_may_return(patch: Patch) -> None:
    def wants(restart: Restart, how: Exit) -> bool:
        return restart is not Restart.TEMPORARY and how is Exit.CRASHED

    for module in (strategy, supervisor):
        patch(module, "wants_restart", wants)


def temporary_comes_up_with_its_group(patch: Patch) -> None:
    def starts(_member: Member) -> bool:
        return True

    patch(strategy, "_starts_with_group", starts)


def finished_transient_stays_down_when_its_group_comes_up(patch: Patch) -> None:
    def starts(member: Member) -> bool:
        return member.restart is not Restart.TEMPORARY and member.situation is not Situation.DOWN

    patch(strategy, "_starts_with_group", starts)


def rest_for_one_takes_the_one_before(patch: Patch) -> None:
    right = strategy.concerned

    def concerned(which: strategy.Strategy, count: int, exited: int) -> range:
        found = right(which, count, exited)
        return range(max(0, exited - 1), count) if which is strategy.Strategy.REST_FOR_ONE else found

    patch(strategy, "concerned", concerned)


def one_restart_too_many(patch: Patch) -> None:
    right = Window.spend

    def spend(self: Window, now: float) -> bool:
        return right(self, now) or self.count(now) == 2

    patch(Window, "spend", spend)


def period_does_not_slide(patch: Patch) -> None:
    def forget(_self: Window, _now: float) -> None:
        pass

    patch(Window, "_forget", forget)


def stops_from_left_to_right(patch: Patch) -> None:
    def stop_next(self: Any) -> bool:
        doomed = [child.life for child in self._children if child.doomed and child.life is not None]
        for life in doomed[:1]:
            self._stop_life(life)
        return bool(doomed)

    patch(Supervisor, "_stop_next", stop_next)


def the_first_significant_end_is_enough_for_all(patch: Patch) -> None:
    def ended(self: Any, child: Child) -> None:
        if child.spec.significant:
            self._completed_by = child

    patch(Node, "_ended_for_good", ended)


def who_waits_for_a_restart_has_ended(patch: Patch) -> None:
    def active(self: Child) -> bool:
        return self.life is not None

    patch(Child, "active", property(active))


def what_is_stopped_on_request_ends_the_supervisor(patch: Patch) -> None:
    right = Supervisor.__dict__["_exited_doomed"]

    def exited(self: Any, child: Child, life: Any) -> None:
        right(self, child, life)
        self._ended_for_good(child)

    patch(Supervisor, "_exited_doomed", exited)


def a_start_on_request_that_fails_ends_the_supervisor(patch: Patch) -> None:
    patch(Supervisor, "_requested_start_failed", Supervisor.__dict__["_first_start_failed"])


def a_start_on_request_that_fails_is_kept(patch: Patch) -> None:
    def forget(_self: Supervisor, _child: Child) -> None:
        pass

    patch(Supervisor, "_forget", forget)


def a_stop_on_request_is_an_exit_like_any_other(patch: Patch) -> None:
    right = Supervisor.__dict__["_exited_doomed"]

    def exited(self: Any, child: Child, life: Any) -> None:
        right(self, child, life)
        if not self._stopping and not child.due:
            self._exited_by_itself(child, life.cause)

    patch(Supervisor, "_exited_doomed", exited)


def tree(strategy: str, *kinds: str, auto: str = "never") -> Otp:
    """A small tree; of the kinds those with a `!` are significant."""
    members = [model.Member(str(i), kind.rstrip("!"), kind.endswith("!")) for i, kind in enumerate(kinds)]
    return Otp(strategy, auto, BUDGET, tuple(members))


ONE = tree("one_for_one", "permanent")
CRASH, RETURN = Exits((("0", True),)), Exits((("0", False),))

FAULTS: dict[Callable[[Patch], None], tuple[Otp, tuple[Step, ...]]] = {
    transient_always_restarted: (tree("one_for_one", "transient"), (RETURN,)),
    permanent_may_return: (ONE, (RETURN,)),
    temporary_comes_up_with_its_group: (tree("one_for_all", "permanent", "temporary"), (CRASH,)),
    finished_transient_stays_down_when_its_group_comes_up: (
        tree("one_for_all", "transient", "permanent"),
        (Exits((("0", False), ("1", True))),),
    ),
    rest_for_one_takes_the_one_before: (tree("rest_for_one", "permanent", "permanent"), (Exits((("1", True),)),)),
    one_restart_too_many: (ONE, (Exits((("0", True),), (("0", 1),)),)),
    period_does_not_slide: (ONE, (CRASH, Again("0"), CRASH)),
    stops_from_left_to_right: (tree("one_for_all", "permanent", "permanent", "permanent"), (CRASH,)),
    the_first_significant_end_is_enough_for_all: (
        tree("one_for_one", "transient!", "transient!", auto="all_significant"),
        (RETURN,),
    ),
    who_waits_for_a_restart_has_ended: (
        tree("one_for_one", "transient!", "transient!", auto="all_significant"),
        (Exits((("0", True), ("1", False))),),
    ),
    what_is_stopped_on_request_ends_the_supervisor: (
        tree("one_for_one", "transient!", auto="any_significant"),
        (Stop("0"),),
    ),
    a_start_on_request_that_fails_ends_the_supervisor: (ONE, (Add(EXTRA, refuses=True),)),
    a_start_on_request_that_fails_is_kept: (ONE, (Add(EXTRA, refuses=True),)),
    a_stop_on_request_is_an_exit_like_any_other: (ONE, (Stop("0"),)),
}


@pytest.mark.parametrize("fault", FAULTS, ids=[fault.__name__ for fault in FAULTS])
async def test_each_fault_is_found(
    puppet: Callable[[str], Any], log: list[str], monkeypatch: pytest.MonkeyPatch, fault: Callable[[Patch], None]
) -> None:
    start, steps = FAULTS[fault]
    await play(start, steps, puppet, log)
    fault(monkeypatch.setattr)
    with pytest.raises((Disagreement, ExceptionGroup, SupervisorError, TimeoutError)):
        await play_often(start, steps, puppet, log)


async def play_often(start: Otp, steps: tuple[Step, ...], puppet: Callable[[str], Any], log: list[str]) -> None:
    """Of two who end at the same moment trio takes either first."""
    with anyio.fail_after(100_000):
        for _ in range(50):
            await play(start, steps, puppet, log)


def test_what_shows_each_fault_is_among_the_short_histories() -> None:
    for start, steps in FAULTS.values():
        size = len(start.members)
        assert start in trees(size)
        assert any(each[: len(steps)] == steps for each in histories(start, dict(SHORT)[size]))
