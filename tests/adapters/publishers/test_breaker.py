"""The circuit breaker: a decision, tried at random against what it promises."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from intendant.adapters.publishers import breaker as module
from intendant.adapters.publishers.breaker import BESIDE_TRIAL, Breaker, Circuit, State, admit
from intendant.domain.errors import InvalidValue
from intendant.supervisor import Backoff

BREAKER = Breaker(failures=3, pause=Backoff(initial=1.0, maximum=8.0, jitter=0.0), trial=10.0)
# What happens: time passes; somebody comes; the oldest that is under way succeeds or fails, or is told to come later.
Happening = tuple[str, float]
quarters = st.integers(1, 80).map(lambda number: number / 4)  # whose sums are exact
happenings = st.lists(
    st.one_of(
        st.tuples(st.just("passes"), quarters),
        st.tuples(st.sampled_from(["comes", "succeeds", "fails"]), st.just(0.0)),
        st.tuples(st.just("fails"), quarters),
    ),
    max_size=60,
)


class Watch:
    """A circuit, and what may be said of it by what has happened."""

    def __init__(self) -> None:
        self.circuit = Circuit()
        self.now = 0.0
        self.under_way = self.in_a_row = 0
        self.quiet_until = 0.0  # nobody may try before
        self.trial_until = 0.0  # nobody else may

    def passes(self, seconds: float) -> None:
        self.now += seconds

    def comes(self, _: float) -> None:
        was = self.circuit
        self.circuit, wait = admit(was, BREAKER, self.now)
        if wait:
            assert was.state is not State.CLOSED
            assert was.state is State.OPEN or wait <= BESIDE_TRIAL
            return
        self.under_way += 1
        assert self.now >= self.quiet_until, "an open circuit lets somebody try"
        if was.state is not State.CLOSED:
            assert self.now >= self.trial_until, "two trials at once"
            self.trial_until = self.now + BREAKER.trial

    def succeeds(self, _: float) -> None:
        if self.under_way:
            self.under_way -= 1
            self.circuit = module.succeeded()
            self.in_a_row, self.quiet_until, self.trial_until = 0, 0.0, 0.0

    def fails(self, after: float) -> None:
        if not self.under_way:
            return
        self.under_way -= 1
        self.in_a_row += 1
        was, self.circuit = self.circuit, module.failed(self.circuit, BREAKER, self.now, after)
        opens = was.state is not State.CLOSED or self.in_a_row >= BREAKER.failures or after > 0
        assert (self.circuit.state is State.OPEN) is opens
        if opens:
            self._opened(was, after)

    def _opened(self, was: Circuit, after: float) -> None:
        self.trial_until = 0.0
        if was.state is State.OPEN:
            assert self.circuit.until <= max(was.until, self.now + after), "a late failure makes a pause longer"
        else:
            self.quiet_until = self.now + 1.0
            assert self.circuit.until - self.now <= max(8.0, after), "a pause is longer than the longest"
        self.quiet_until = max(self.quiet_until, self.now + after)
        assert self.circuit.until >= self.quiet_until, "it does not wait as long as it was asked to"

    def look(self) -> None:
        left = max(self.circuit.until - self.now, 0.0) + 1e-6
        assert not admit(self.circuit, BREAKER, self.now + left)[1], "it is never tried again"


def follow(story: list[Happening]) -> None:
    watch = Watch()
    for what, seconds in story:
        getattr(watch, what)(seconds)
        watch.look()


@settings(max_examples=100)
@given(happenings)
def test_it_keeps_its_promises(story: list[Happening]) -> None:
    follow(story)


def test_pauses_grow_and_a_success_forgets_them() -> None:
    circuit, now, pauses = Circuit(failures=2), 0.0, list[float]()
    for _ in range(5):
        circuit, wait = admit(circuit, BREAKER, now)
        assert not wait
        circuit = module.failed(circuit, BREAKER, now)
        pauses.append(circuit.until - now)
        assert admit(circuit, BREAKER, now)[1] == pauses[-1]
        now = circuit.until
    assert pauses == [1.0, 2.0, 4.0, 8.0, 8.0]
    assert module.succeeded() == Circuit()


@pytest.mark.parametrize("given_settings", [{"failures": 0}, {"trial": 0.0}, {"trial": 1e9}])
def test_settings_that_can_not_be(given_settings: dict[str, Any]) -> None:
    with pytest.raises(InvalidValue, match=next(iter(given_settings))):
        Breaker(**given_settings)


# --- planted

_failed, _admit = module.failed, module.admit
C, P, F = ("comes", 0.0), ("passes", 1.5), ("fails", 0.0)


def never_opens(circuit: Circuit, breaker: Breaker, now: float, after: float = 0.0) -> Circuit:
    return replace(circuit, failures=circuit.failures + 1)


def opens_late(circuit: Circuit, breaker: Breaker, now: float, after: float = 0.0) -> Circuit:
    return _failed(circuit, replace(breaker, failures=breaker.failures + 1), now, after)


def heeds_nobody(circuit: Circuit, breaker: Breaker, now: float, after: float = 0.0) -> Circuit:
    return _failed(circuit, breaker, now)


def grows_by_late_failures(circuit: Circuit, breaker: Breaker, now: float, after: float = 0.0) -> Circuit:
    made = _failed(circuit, breaker, now, after)
    return replace(made, until=made.until + 1.0) if circuit.state is State.OPEN else made


def many_trials(circuit: Circuit, breaker: Breaker, now: float) -> tuple[Circuit, float]:
    if circuit.state is State.OPEN and now >= circuit.until:
        return circuit, 0.0
    return _admit(circuit, breaker, now)


@pytest.mark.parametrize(
    ("name", "bug", "story"),
    [
        ("failed", never_opens, [C, C, C, F, F, F]),
        ("failed", opens_late, [C, C, C, F, F, F]),
        ("failed", heeds_nobody, [C, C, F, ("fails", 9.0)]),
        ("failed", grows_by_late_failures, [C, C, C, C, F, F, F, F]),
        ("admit", many_trials, [C, C, C, F, F, F, P, C, C]),
    ],
)
def test_planted(monkeypatch: pytest.MonkeyPatch, name: str, bug: Any, story: list[Happening]) -> None:
    follow(story)
    monkeypatch.setattr(module, name, bug)
    if name == "admit":
        monkeypatch.setitem(globals(), "admit", bug)
    with pytest.raises(AssertionError):
        follow(story)
