"""Who leaves memory: never fewer stay than may, those that can leave do, and looking is rare."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import example, given
from hypothesis import strategies as st

from intendant.actors.resting import FEW, Resting

MOVES = st.lists(st.tuples(st.sampled_from(["add", "remove", "left"]), st.integers(0, 60)), max_size=200)


@example(0, [("add", 0), ("add", 21), ("remove", 0), ("add", 1)])
@given(st.integers(0, 20), MOVES)
def test_the_longest_leave_and_no_more_than_need_be(limit: int, moves: list[tuple[str, int]]) -> None:
    resting = Resting[int](limit)
    there, leaving = list[int](), set[int]()

    def may_leave(entry: int) -> bool:
        return entry % 3 > 0

    for move, entry in moves:
        if move == "add" and entry not in resting:
            resting.add(entry)
            there.append(entry)
            told = resting.take_excess(lambda: may_leave)
            leaving.update(told)
            there = [each for each in there if each not in told]
            assert len(there) >= limit or not told
            assert told == sorted(told, key=[*told, *there].index)
            stay = [each for each in there if may_leave(each)]
            assert len(there) <= limit + len(there) // 8 + 1 or not stay
        elif move == "remove":
            assert resting.remove(entry) == (entry in there or entry in leaving)
            there = [each for each in there if each != entry]
            leaving.discard(entry)
        assert len(resting) == len(there)


def test_while_only_few_may_stay_all_leave_who_can_whenever_a_few_have_gathered() -> None:
    resting, told = Resting[int](5 * FEW), list[int]()
    for entry in range(4 * FEW):
        resting.add(entry)
        told += resting.take_excess(lambda: lambda each: each % 2 > 0, few=True)
        assert len(resting) < FEW + entry // 2 + 1
    assert told == list(range(1, 4 * FEW, 2))[: len(told)]
    assert len(told) > FEW
    assert not resting.take_excess(lambda: lambda _entry: True), "and not any more when as many may stay as there are"


def looks(limit: int, count: int, *, can_leave: bool, few: bool = False) -> int:
    """How often it is looked who can leave, while so many begin to rest and nobody has left yet."""
    resting, looked = Resting[int](limit), list[int]()

    def look() -> Callable[[int], bool]:
        looked.append(len(resting))
        return lambda _entry: can_leave

    for entry in range(count):
        resting.add(entry)
        resting.take_excess(look, few=few)
    return len(looked)


def test_looking_is_rare() -> None:
    assert looks(80, 10_000, can_leave=True) <= 10_000 // 10, "also while those who were told have not left"
    assert looks(80, 10_000, can_leave=False) <= 50
    assert looks(1_000, 10_000, can_leave=True, few=True) <= 10_000 // FEW
    assert looks(1_000, 10_000, can_leave=False, few=True) <= 50
