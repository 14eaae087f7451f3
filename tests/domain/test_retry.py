"""The retry policy: pure, so every promise of it is tried with whatever times and errors there may be."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from intendant.domain.retry import ONCE, Policy, Retry, RetryAfter

SECOND = timedelta(seconds=1)

delays = st.timedeltas(timedelta(0), timedelta(days=10))
retries = st.builds(
    Retry,
    attempts=st.integers(1, 50),
    initial=delays,
    factor=st.floats(1, 10),
    maximum=delays,
    jitter=st.floats(0, 1),
)
chance = st.floats(0, 1, exclude_max=True)


@given(retries, st.integers(1, 100), chance)
def test_waits_are_bounded_and_end_with_the_attempts(retry: Retry, attempt: int, drawn: float) -> None:
    wait = retry.after(attempt, ValueError(), lambda: drawn)
    if attempt >= retry.attempts:
        assert wait is None
    else:
        assert wait is not None
        assert timedelta(0) <= wait <= retry.maximum


@given(retries, st.integers(1, 49))
def test_without_jitter_waits_never_shrink(retry: Retry, attempt: int) -> None:
    steady = Retry(attempts=1000, initial=retry.initial, factor=retry.factor, maximum=retry.maximum, jitter=0)
    first, second = (steady.after(each, ValueError(), lambda: 0.5) for each in (attempt, attempt + 1))
    assert first is not None
    assert second is not None
    assert first <= second


def test_what_is_not_tried_again() -> None:
    retry = Retry(attempts=5, jitter=0, only=(OSError, ValueError), never=(FileNotFoundError,))
    assert retry.after(1, ValueError(), lambda: 0) == SECOND
    assert retry.after(3, PermissionError(), lambda: 0) == 4 * SECOND
    assert retry.after(1, FileNotFoundError(), lambda: 0) is None
    assert retry.after(1, KeyError(), lambda: 0) is None
    assert ONCE.after(1, ValueError(), lambda: 0) is None


def test_retry_after_says_when_and_counts_as_an_attempt() -> None:
    retry = Retry(attempts=2, only=(OSError,))
    assert retry.after(1, RetryAfter(7 * SECOND), lambda: 0.9) == 7 * SECOND
    assert retry.after(2, RetryAfter(7 * SECOND), lambda: 0.9) is None
    assert Retry(never=(RetryAfter,)).after(1, RetryAfter(SECOND), lambda: 0) is None
    with pytest.raises(ValueError, match="must not be negative"):
        RetryAfter(-SECOND)


times = st.integers(0, 10**15)


@given(st.none() | delays, st.none() | delays, times, times, times)
def test_time_that_is_left(
    timeout: timedelta | None, deadline: timedelta | None, first: int, waited: int, passed: int
) -> None:
    policy = Policy(timeout=timeout or None, deadline=deadline or None)
    began, now = first + waited, first + waited + passed
    left = policy.seconds_left(first, began, now)
    ends = [
        start + limit / timedelta(microseconds=1)
        for start, limit in ((began, policy.timeout), (first, policy.deadline))
        if limit
    ]
    if not ends:
        assert left is None
    else:
        assert left == pytest.approx(max(min(ends) - now, 0) / 1e6)


@given(retries, delays, st.integers(1, 49), times, times, chance)
def test_no_attempt_begins_behind_the_deadline(
    retry: Retry, deadline: timedelta, attempt: int, first: int, passed: int, drawn: float
) -> None:
    policy = Policy(retry, deadline=deadline or SECOND)
    now = first + passed
    begins = policy.next_attempt(attempt, ValueError(), first, now, lambda: drawn)
    if begins is not None:
        assert now <= begins < first + (deadline or SECOND) // timedelta(microseconds=1)


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"attempts": 0}, "attempts"),
        ({"initial": -SECOND}, "initial"),
        ({"maximum": -SECOND}, "maximum"),
        ({"factor": 0.5}, "factor"),
        ({"factor": float("nan")}, "factor"),
        ({"jitter": 2}, "jitter"),
    ],
)
def test_a_wrong_retry_is_named(wrong: dict[str, object], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        Retry(**wrong)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]  # that is the test


@pytest.mark.parametrize("name", ["timeout", "deadline", "heartbeat"])
def test_a_limit_is_longer_than_nothing(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} must be longer than nothing"):
        Policy(**{name: timedelta(0)})  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]  # that is the test
