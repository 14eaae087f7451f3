"""The restart budget against a count by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from intendant.supervisor import Intensity
from intendant.supervisor.intensity import Window
from intendant.supervisor.pace import Pace

STEPS = st.lists(st.floats(0, 20, allow_nan=False), max_size=40)


def times(steps: list[float]) -> list[float]:
    now, result = 0.0, list[float]()
    for step in steps:
        now += step
        result.append(now)
    return result


@given(STEPS, st.integers(0, 6), st.floats(0.5, 30))
def test_within_the_budget_means_not_more_in_the_period_than_allowed(
    steps: list[float], restarts: int, period: float
) -> None:
    window, past = Window(Intensity(restarts, period)), list[float]()
    for now in times(steps):
        past.append(now)
        recent = sum(now - each <= period for each in past)
        assert window.spend(now) is (recent <= restarts)
        assert window.count(now) == min(recent, restarts + 1)


@given(STEPS)
def test_unlimited_is_never_spent_and_holds_little(steps: list[float]) -> None:
    window = Window(Intensity.unlimited())
    assert all(window.spend(now) for now in times(steps))
    assert all(window.spend(1e9) for _ in range(2_000))
    assert window.count(1e9) == 1_000


def test_an_empty_window_says_since_when() -> None:
    window = Window(Intensity(1, 10.0))
    assert window.empty_at() < 0
    window.spend(5.0)
    assert window.empty_at() == 15.0
    assert window.count(15.1) == 0


@pytest.mark.parametrize(("restarts", "period"), [(-1, 1.0), (1, 0.0), (1, float("nan"))])
def test_nonsense_is_refused(restarts: int, period: float) -> None:
    with pytest.raises(ValueError, match="must be"):
        Intensity(restarts, period)


@given(STEPS, st.floats(1, 1000), st.integers(1, 20))
def test_a_pace_never_lets_more_through_than_its_rate_and_burst(steps: list[float], rate: float, burst: int) -> None:
    pace = Pace(rate, burst)
    slots = [pace.slot(now) for now in times(steps)]
    assert all(slot >= now for slot, now in zip(slots, times(steps), strict=True))
    assert slots == sorted(slots)
    for i, first in enumerate(slots):
        for j in range(i + burst, len(slots)):
            assert slots[j] - first >= (j - i - burst + 1) / rate - 1e-6


def test_a_pace_holds_up_nobody_who_comes_alone() -> None:
    pace = Pace(10.0, 1)
    assert [pace.slot(now) for now in (0.0, 1.0, 1.0, 1.05, 9.0)] == pytest.approx([0.0, 1.0, 1.1, 1.2, 9.0])
    assert [Pace(float("inf"), 1).slot(3.0) for _ in range(3)] == [3.0] * 3
    with pytest.raises(ValueError, match="rate"):
        Pace(0.0, 1)
