"""Back-off: grows, is capped, and jitter only takes away."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from intendant.supervisor import Backoff

BACKOFFS = st.builds(
    Backoff,
    initial=st.floats(0, 10),
    factor=st.floats(1, 10),
    maximum=st.floats(0, 100),
    jitter=st.floats(0, 1),
)
CHANCE = st.floats(0, 1, exclude_max=True)


@given(BACKOFFS, st.integers(0, 100_000), CHANCE)
def test_between_nothing_and_the_maximum(backoff: Backoff, attempt: int, chance: float) -> None:
    full = backoff.delay(attempt, lambda: 0.0)
    delay = backoff.delay(attempt, lambda: chance)
    assert 0 <= full <= backoff.maximum
    assert full * (1 - backoff.jitter) - 1e-9 <= delay <= full


@given(BACKOFFS, st.integers(0, 2_000))
def test_never_shorter_for_a_later_attempt(backoff: Backoff, attempt: int) -> None:
    assert backoff.delay(attempt + 1, lambda: 0.0) >= backoff.delay(attempt, lambda: 0.0)


def test_the_figures_of_the_default() -> None:
    delays = [Backoff(jitter=0).delay(attempt, lambda: 0.9) for attempt in range(9)]
    assert delays == pytest.approx([0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0])
    assert Backoff().delay(0, lambda: 0.5) == pytest.approx(0.045)


def test_none_waits_for_nothing_and_asks_for_no_chance() -> None:
    def unused() -> float:
        raise AssertionError

    assert Backoff.none().delay(7, unused) == 0.0


@pytest.mark.parametrize(
    "options",
    [{"initial": -1.0}, {"factor": 0.5}, {"maximum": float("inf")}, {"jitter": 1.5}, {"initial": float("nan")}],
)
def test_nonsense_is_refused(options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must be"):
        Backoff(**options)
