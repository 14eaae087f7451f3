"""Who runs next: order, lanes, shares, and how long anybody waits."""

from __future__ import annotations

from collections import Counter, deque

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Struct

from intendant.domain.turns import COST_MIN, QUANTUM, Turns, bound


class One(Struct, frozen=True, eq=False):
    """Somebody who wants to run."""

    tenant: str
    lane: str = "s"
    priority: int = 0
    exclusive: bool = False


def turns_of(places: int) -> Turns[One]:
    return Turns(places, lambda _tenant: (1.0, places))


def drain(turns: Turns[One], now: int = 0) -> list[One]:
    found: list[One] = []
    while (one := turns.next(now)) is not None:
        found.append(one)
    return found


def finish(turns: Turns[One], one: One, now: int) -> None:
    turns.rest(one, now)
    turns.end(one, now)


def test_of_one_lane_who_came_first_begins_first_and_no_more_than_the_lane_lets() -> None:
    turns, ones = turns_of(10), [One("a", priority=n) for n in range(5)]
    for one in ones:
        turns.add(one, 0, concurrency=2)
    assert drain(turns) == ones[:2]
    finish(turns, ones[1], 10)
    assert drain(turns) == [ones[2]]
    turns.rest(ones[0], 10)  # it waits, and counts still
    assert drain(turns) == []
    turns.end(ones[0], 10)
    assert drain(turns) == [ones[3]]


def test_an_exclusive_one_runs_with_nothing_else_of_its_lane() -> None:
    turns = turns_of(10)
    ones = [One("a"), One("a", exclusive=True), One("a"), One("a")]
    for one in [*ones, other := One("a", "another")]:
        turns.add(one, 0, concurrency=16)
    assert drain(turns) == [ones[0], other]
    finish(turns, ones[0], 1)
    assert drain(turns) == [ones[1]]
    finish(turns, ones[1], 2)
    assert drain(turns) == ones[2:]


def test_the_highest_priority_of_a_tenant_goes_first() -> None:
    turns = turns_of(1)
    ones = {n: One("a", f"s{n}", priority=n) for n in (3, -1, 7, 0)}
    for one in ones.values():
        turns.add(one, 0, concurrency=16)
    order: list[int] = []
    while (taken := turns.next(0)) is not None:
        order.append(taken.priority)
        finish(turns, taken, 0)
    assert order == [7, 3, 0, -1]


def test_what_a_lane_holds_when_it_is_preferred_goes_before_all_else_of_its_tenant() -> None:
    turns = turns_of(1)
    ones = [One("a", f"s{n // 3}", priority=9 - n) for n in range(9)]
    for one in ones:
        turns.add(one, 0, concurrency=16)
    turns.prefer("a", "s2", 0)
    turns.prefer("a", "none", 0)
    turns.prefer("none", "s2", 0)
    turns.add(late := One("a", "s2", priority=-1), 0, concurrency=16)  # it is not
    order: list[One] = []
    while (taken := turns.next(0)) is not None:
        order.append(taken)
        finish(turns, taken, 0)
    assert order == [*ones[6:], *ones[:6], late]


def test_who_is_taken_back_does_not_run_and_holds_nobody_up() -> None:
    turns, ones = turns_of(10), [One("a") for _ in range(4)]
    for one in ones:
        turns.add(one, 0, concurrency=1)
    assert turns.remove(ones[0])  # it stands first
    assert turns.remove(ones[2])
    assert not turns.remove(ones[2])
    assert drain(turns) == [ones[1]]
    assert not turns.remove(ones[1])
    finish(turns, ones[1], 0)
    assert drain(turns) == [ones[3]]
    assert len(turns) == 0


def test_at_once_only_where_nobody_is_passed_over() -> None:
    turns, ones = turns_of(2), [One("a") for _ in range(4)]
    assert turns.take_at_once(ones[0], 0, concurrency=2)
    turns.add(ones[1], 0, concurrency=2)
    assert not turns.take_at_once(One("b"), 0, concurrency=2)  # one who may run waits
    assert drain(turns) == [ones[1]]
    assert not turns.take_at_once(One("b"), 0, concurrency=2)  # no place
    finish(turns, ones[0], 0)
    assert turns.take_at_once(ones[2], 0, concurrency=2)
    turns.rest(ones[2], 0)
    assert not turns.take_at_once(ones[3], 0, concurrency=2)  # its lane is full
    assert turns.take_at_once(One("b"), 0, concurrency=2)
    turns.resume(ones[2], 0)  # it takes a place, also where none is free
    assert turns.running == 3


def test_one_that_began_at_once_counts_for_those_who_may_run_already() -> None:
    turns, ones = turns_of(2), [One("a") for _ in range(2)]
    for one in ones:
        turns.add(one, 0, concurrency=1)
    turns.take_now(ones[1], 0, concurrency=1)
    assert drain(turns) == []
    finish(turns, ones[1], 0)
    assert drain(turns) == [ones[0]]


CALLS = st.lists(
    st.tuples(
        st.sampled_from(
            ["add", "at once", "now", "next", "rest", "resume", "again", "end", "remove", "prefer", "slow", "time"]
        ),
        st.integers(0, 1_000_000),
        st.sampled_from("abc"),
        st.sampled_from("xy"),
        st.integers(-1, 1),
        st.booleans(),
    ),
    max_size=120,
)


class Model:
    """What must be true whatever happens, beside the turns themselves."""

    def __init__(self, places: int, of_one: int, concurrency: int) -> None:
        self.turns = Turns[One](places, lambda _tenant: (1.0, of_one))
        self.of_one = of_one
        self.places = places
        self.concurrency = concurrency
        self.now = 0
        self.lanes: dict[tuple[str, str], deque[One]] = {}  # who has not begun
        self.begun: list[One] = []
        self.held: set[One] = set()
        self.wants: set[One] = set()  # who has begun and wants a place
        self.slack: dict[str, int] = {}  # how many more of a tenant may have their turn

    @property
    def waiting(self) -> list[One]:
        return [one for line in self.lanes.values() for one in line]

    def do(self, what: str, number: int, one: One) -> None:
        match what:
            case "add":
                self.line(one).append(one)
                self.turns.add(one, self.now, concurrency=self.concurrency)
            case "at once":
                if self.turns.take_at_once(one, self.now, concurrency=self.concurrency):
                    self.line(one).append(one)
                    assert len(self.held) < self.places
                    self.took(one)
            case "now" if waiting := self.waiting:  # whatever its lane lets
                out = waiting[number % len(waiting)]
                self.turns.take_now(out, self.now, concurrency=self.concurrency)
                self.line(out).remove(out)
                self.begun.append(out)
                self.held.add(out)
            case "next":
                before = len(self.held)
                if (taken := self.turns.next(self.now)) is not None:
                    assert before < self.places
                    self.took(taken)
            case "remove" if waiting := self.waiting:
                out = waiting[number % len(waiting)]
                assert self.turns.remove(out)
                self.line(out).remove(out)
            case "prefer":
                self.turns.prefer(one.tenant, one.lane, self.now)
            case "slow":
                self.slow_down(one.tenant, None if number % 4 == 3 else number % 4)
            case "time":
                self.now += number
            case _:
                self.do_with_begun(what, number)
        assert self.turns.running == len(self.held)
        assert len(self.turns) == len(self.wants) + len(self.waiting)

    def slow_down(self, tenant: str, more: int | None) -> None:
        self.turns.slow_down(tenant, more, self.now)
        self.slack.pop(tenant, None)
        if more is not None:
            self.slack[tenant] = more

    def do_with_begun(self, what: str, number: int) -> None:
        wants = what == "resume"  # also who wants a place already
        among = [
            one for one in self.begun if (wants or one not in self.wants) and (one in self.held) is (what == "rest")
        ]
        if not among:
            return
        one = among[number % len(among)]
        match what:
            case "rest":
                self.turns.rest(one, self.now)
                self.held.discard(one)
            case "resume":
                self.turns.resume(one, self.now)
                self.wants.discard(one)
                self.held.add(one)
            case "again":
                self.turns.again(one, self.now)
                self.wants.add(one)
            case _:
                self.turns.end(one, self.now)
                self.begun.remove(one)

    def line(self, one: One) -> deque[One]:
        return self.lanes.setdefault((one.tenant, one.lane), deque())

    def took(self, one: One) -> None:
        """It has got a place by its turn."""
        assert len([each for each in self.held if each.tenant == one.tenant]) < self.of_one
        if one.tenant in self.slack:
            self.slack[one.tenant] -= 1
            assert self.slack[one.tenant] >= 0
        if one in self.wants:
            self.wants.discard(one)
        else:
            assert self.line(one).popleft() is one  # in their order
            beside = [each for each in self.begun if (each.tenant, each.lane) == (one.tenant, one.lane)]
            assert len(beside) < self.concurrency
            assert not (beside and (one.exclusive or any(each.exclusive for each in beside)))
            self.begun.append(one)
        self.held.add(one)

    def end_all(self) -> None:
        """In the end everybody has run."""
        for tenant in list(self.slack):
            assert not self.turns.idle
            self.slow_down(tenant, None)
        while self.begun or self.waiting:
            for one in list(self.held):
                self.turns.rest(one, self.now)
                self.held.discard(one)
            for one in [one for one in self.begun if one not in self.wants]:
                self.turns.end(one, self.now)
                self.begun.remove(one)
            progress = drain(self.turns, self.now)
            for one in progress:
                self.took(one)
            assert progress or not (self.begun or self.waiting)


@settings(max_examples=400)
@given(places=st.integers(1, 4), of_one=st.integers(1, 4), concurrency=st.integers(1, 3), calls=CALLS)
def test_whatever_happens_lanes_keep_their_order_and_limits_and_nobody_is_forgotten(
    places: int, of_one: int, concurrency: int, calls: list[tuple[str, int, str, str, int, bool]]
) -> None:
    model = Model(places, of_one, concurrency)
    for what, number, tenant, lane, priority, exclusive in calls:
        model.do(what, number, One(tenant, lane, priority, exclusive))
    model.end_all()


@pytest.mark.parametrize("weight", [1.0, 3.0])
def test_tenants_with_much_to_do_share_what_it_costs_by_their_weights(weight: float) -> None:
    turns = Turns[One](4, lambda tenant: (weight if tenant == "short" else 1.0, 4))
    cost = {"long": 40_000, "short": 1_000}
    now, spent = 0, Counter[str]()
    for tenant in ("long", "short") * 8:
        turns.add(One(tenant, f"s{now}"), now, concurrency=10**9)
    running: list[tuple[int, One]] = []
    while now < 60_000_000:
        for one in drain(turns, now):
            running.append((now + cost[one.tenant], one))
            turns.add(One(one.tenant), now, concurrency=10**9)
        running.sort(key=lambda each: each[0])
        now, one = running.pop(0)
        spent[one.tenant] += cost[one.tenant]
        finish(turns, one, now)
    assert spent["short"] / spent["long"] == pytest.approx(weight, rel=0.1)


@settings(max_examples=200)
@given(
    queued=st.lists(st.integers(1, 2_000), min_size=1, max_size=5),
    costs=st.lists(st.integers(0, 10 * QUANTUM), min_size=1, max_size=10),
    own=st.integers(0, 100 * QUANTUM),
    places=st.integers(1, 5),
)
def test_others_get_no_more_places_than_the_bound_before_it_is_ones_turn(
    queued: list[int], costs: list[int], own: int, places: int
) -> None:
    turns, now = turns_of(places), 0
    debtor = One("mine")
    assert turns.take_at_once(debtor, now, concurrency=1)
    now = own
    finish(turns, debtor, now)  # it may have cost much
    for number, count in enumerate(queued):
        for _ in range(count):
            turns.add(One(f"t{number}"), now, concurrency=10**9)
    running = deque(drain(turns, now))
    turns.add(mine := One("mine"), now, concurrency=1)
    others, number = 0, 0
    while True:
        if running:
            now += costs[number % len(costs)]
            number += 1
            finish(turns, running.popleft(), now)
        taken = drain(turns, now)
        if mine in taken:
            break
        others += len(taken)
        running.extend(taken)
        assert others <= bound([1.0] * len(queued))


def test_a_light_tenant_waits_for_one_round_however_much_another_has_queued() -> None:
    waited: list[int] = []
    for many in (3_000, 30_000):
        turns, now = turns_of(1), 0
        for _ in range(many):
            turns.add(One("noisy"), now, concurrency=10**9)
        others = 0
        for _ in range(20):
            turns.add(mine := One("quiet"), now, concurrency=16)
            while (one := turns.next(now)) is not mine:
                assert one is not None
                now += 1_000
                finish(turns, one, now)
                others += 1
            now += 1_000
            finish(turns, mine, now)
            for _ in range(100):  # it comes now and then
                if (one := turns.next(now)) is not None:
                    now += 1_000
                    finish(turns, one, now)
        waited.append(others)
    assert waited[0] == waited[1]
    assert waited[0] <= 20 * (QUANTUM // 1_000 + 1)


def test_debts_are_forgiven_and_tenants_forgotten() -> None:
    turns = turns_of(1)
    for number in range(5_000):
        one = One(f"t{number}")
        assert turns.take_at_once(one, number * 1_000_000, concurrency=1)
        finish(turns, one, number * 1_000_000 + COST_MIN)
    assert len(turns._shares) < 2_000  # pyright: ignore[reportPrivateUsage]
