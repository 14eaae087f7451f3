"""Who stays in memory: compared with a model that looks at everybody all the time."""

from __future__ import annotations

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from intendant.actors.residents import Residents

MOST = 3
IDLE = 10.0


class Clock:
    """Time and deadlines, moved by hand."""

    def __init__(self) -> None:
        self.now = 0.0
        self.set: dict[int, tuple[float, Any]] = {}

    def time(self) -> float:
        return self.now

    def add(self, item: Any, timeout: float) -> int:
        number = len(self.set)
        while number in self.set:
            number += 1
        self.set[number] = (self.now + timeout, item)
        return number

    def remove(self, item: Any, tick: int) -> None:
        self.set.pop(tick, None)

    def pass_by(self, seconds: float) -> None:
        end = self.now + seconds
        while due := sorted((at, number) for number, (at, _) in self.set.items() if at <= end):
            self.now, number = due[0]
            self.set.pop(number)[1].expire()
        self.now = end


class Guest:
    def __init__(self) -> None:
        self.used = 0.0
        self.may_leave = True
        self.left = False

    def leave(self) -> None:
        assert self.may_leave
        self.left = True


class AgainstAModel(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        seam: Any = self.clock
        self.residents: Residents[Guest] = Residents(MOST, IDLE, seam, seam)
        self.guests: dict[str, Guest] = {}
        self.asked: dict[str, float] = {}

    @rule(id=st.sampled_from("abcdefgh"))
    def ask(self, id: str) -> None:
        guest = self.residents.use(id)
        if guest is None:
            assert self.guests.get(id) is None or self.guests[id].left
            guest = self.guests[id] = Guest()
            self.residents.add(id, guest)
        assert guest is self.guests[id]
        assert not guest.left
        self.asked[id] = self.clock.now

    @precondition(lambda self: self.guests)
    @rule(data=st.data(), busy=st.booleans())
    def work(self, data: st.DataObject, busy: bool) -> None:
        self.guests[data.draw(st.sampled_from(sorted(self.guests)))].may_leave = not busy

    @rule(seconds=st.sampled_from([0.1, 1.5, 4.0, 11.0]))
    def wait(self, seconds: float) -> None:
        self.clock.pass_by(seconds)

    @rule()
    def evict(self) -> None:
        for id in [each for each in self.residents if each < "c"]:
            assert self.residents.pop(id) is self.guests.pop(id)

    @invariant()
    def they_stay_as_long_as_they_should(self) -> None:
        there = {id: guest for id, guest in self.guests.items() if not guest.left}
        assert set(self.residents) == set(there)
        for id, guest in there.items():
            assert not guest.may_leave or guest.used + IDLE + 0.1 >= self.clock.now
            assert guest.used >= self.asked[id]
        if there and any(guest.may_leave for guest in there.values()):
            assert self.clock.set

    @invariant()
    def nobody_looks_for_nothing(self) -> None:
        assert len(self.clock.set) <= 1

    def teardown(self) -> None:
        for guest in self.guests.values():
            guest.may_leave = True
        self.clock.pass_by(3 * IDLE)
        assert len(self.residents) == 0
        assert not self.clock.set


TestAgainstAModel = AgainstAModel.TestCase
TestAgainstAModel.settings = settings(max_examples=50, stateful_step_count=30)


def test_beyond_the_limit_those_unused_longest_leave() -> None:
    clock: Any = Clock()
    residents: Residents[Guest] = Residents(MOST, IDLE, clock, clock)
    guests = [Guest() for _ in range(6)]
    guests[1].may_leave = False
    for number, guest in enumerate(guests):
        residents.add(str(number), guest)
        clock.pass_by(0.01)
    assert list(residents) == ["4", "1", "5"]
    assert residents.use("4") is guests[4]
    residents.add("6", Guest())
    assert list(residents) == ["4", "6", "1"]
