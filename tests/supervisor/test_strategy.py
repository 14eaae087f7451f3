"""Who goes down and comes up together: properties of the pure decision."""

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from intendant.supervisor import Restart, Strategy
from intendant.supervisor.strategy import Exit, Situation, StartChild, StopChild, decide, wants_restart


@dataclass(frozen=True)
class Member:
    restart: Restart
    situation: Situation


MEMBERS = st.lists(st.builds(Member, st.sampled_from(Restart), st.sampled_from(Situation)), min_size=1, max_size=6)
CASES = MEMBERS.flatmap(
    lambda members: st.tuples(
        st.sampled_from(Strategy), st.just(members), st.integers(0, len(members) - 1), st.sampled_from(Exit)
    )
)

P, TR, TE = Restart.PERMANENT, Restart.TRANSIENT, Restart.TEMPORARY
ALIVE, DUE, DOWN = Situation.ALIVE, Situation.DUE, Situation.DOWN


def test_when_which_kind_wants_a_restart() -> None:
    assert [(kind, how) for kind in Restart for how in Exit if wants_restart(kind, how)] == [
        (P, Exit.NORMAL),
        (P, Exit.CRASHED),
        (TR, Exit.CRASHED),
    ]


def test_the_three_strategies_on_one_group() -> None:
    group = [Member(P, ALIVE), Member(TR, DOWN), Member(P, ALIVE), Member(TE, ALIVE), Member(TE, DUE)]

    def plan(strategy: Strategy) -> list[StopChild | StartChild]:
        return decide(strategy, group, 2, Exit.CRASHED)

    assert plan(Strategy.ONE_FOR_ONE) == [StartChild(2)]
    assert plan(Strategy.REST_FOR_ONE) == [StopChild(3), StartChild(2), StartChild(4)]
    assert plan(Strategy.ONE_FOR_ALL) == [StopChild(3), StopChild(0), *map(StartChild, (0, 1, 2, 4))]


@given(CASES)
def test_stops_go_right_to_left_before_starts_left_to_right(case: tuple[Strategy, list[Member], int, Exit]) -> None:
    actions = decide(*case)
    stops = [action.index for action in actions if isinstance(action, StopChild)]
    starts = [action.index for action in actions if isinstance(action, StartChild)]
    assert [type(action) for action in actions] == [StopChild] * len(stops) + [StartChild] * len(starts)
    assert stops == sorted(set(stops), reverse=True)
    assert starts == sorted(set(starts))


@given(CASES)
def test_only_the_concerned_are_touched(case: tuple[Strategy, list[Member], int, Exit]) -> None:
    strategy, members, exited, how = case
    touched = {action.index for action in decide(*case)}
    if not wants_restart(members[exited].restart, how):
        assert touched == set()
        return
    assert exited in touched
    if strategy is Strategy.ONE_FOR_ONE:
        assert touched == {exited}
    if strategy is Strategy.REST_FOR_ONE:
        assert min(touched) == exited


@given(CASES)
def test_who_is_stopped_was_alive_and_who_is_temporary_stays_down(
    case: tuple[Strategy, list[Member], int, Exit],
) -> None:
    _, members, exited, _ = case
    for action in decide(*case):
        member = members[action.index]
        if isinstance(action, StopChild):
            assert member.situation is ALIVE
            assert action.index != exited
        elif member.restart is TE:
            assert member.situation is DUE
