"""What a tenant may ask for."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from intendant.domain.errors import InvalidIntent, Overloaded
from intendant.domain.quotas import Quotas, TenantLimits, limits_of

SECOND = 1_000_000


def test_so_many_at_once_and_so_many_in_each_second() -> None:
    quotas = Quotas(limits_of({"acme": TenantLimits(intents_per_second=10)}))
    for _ in range(10):
        quotas.check("acme", 1, 0, 0)
    with pytest.raises(Overloaded, match=r"tenant 'acme' may submit 10 intents a second; .* wait 0\.100 s"):
        quotas.check("acme", 1, 0, 0)
    quotas.check("beta", 1_000, 0, 0)
    quotas.check("acme", 1, 0, SECOND // 10)
    with pytest.raises(Overloaded):
        quotas.check("acme", 1, 0, 0)  # a clock that goes back gives nothing
    quotas.check("acme", 10, 0, 2 * SECOND)


def test_more_at_once_than_a_second_gives_goes_on_credit() -> None:
    quotas = Quotas(lambda _tenant: TenantLimits(intents_per_second=2))
    quotas.check("acme", 6, 0, 0)
    with pytest.raises(Overloaded, match=r"wait 2\.500 s"):
        quotas.check("acme", 1, 0, 0)
    quotas.check("acme", 1, 0, 5 * SECOND // 2)


@given(
    rate=st.floats(0.5, 1_000),
    asked=st.lists(st.tuples(st.integers(0, SECOND), st.integers(1, 5)), max_size=200),
)
def test_never_more_than_the_rate_and_one_burst(rate: float, asked: list[tuple[int, int]]) -> None:
    quotas, now, accepted, largest = Quotas(lambda _tenant: TenantLimits(intents_per_second=rate)), 0, 0, 0
    for wait, count in asked:
        now += wait
        try:
            quotas.check("acme", count, 0, now)
        except Overloaded:
            continue
        accepted, largest = accepted + count, max(largest, count)
    assert accepted <= rate * now / SECOND + max(rate, 1.0) + largest + 1e-6


def test_open_executions_and_sizes() -> None:
    quotas = Quotas(limits_of({"acme": TenantLimits(open=3, parameters_bytes=10), "*": TenantLimits(open=1)}))
    quotas.check("acme", 1, 2, 0)
    with pytest.raises(Overloaded, match=r"tenant .acme.*limit of 3"):
        quotas.check("acme", 2, 2, 0)
    with pytest.raises(Overloaded, match="limit of 1"):
        quotas.check("beta", 1, 1, 0)
    quotas.check_size("acme", 10)
    with pytest.raises(InvalidIntent, match="are 11 bytes, and those of tenant 'acme' may be 10"):
        quotas.check_size("acme", 11)
    quotas.check_size("beta", 10**9)


def test_tenants_that_ask_for_nothing_are_forgotten() -> None:
    quotas = Quotas(lambda _tenant: TenantLimits(intents_per_second=1))
    for number in range(10_000):
        quotas.check(f"t{number}", 1, 0, number * SECOND)
    assert len(quotas._buckets) < 2_000  # pyright: ignore[reportPrivateUsage]


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"weight": 0.0}, "weight"),
        ({"weight": float("nan")}, "weight"),
        ({"running": 0}, "running"),
        ({"open": 1.5}, "open"),
        ({"open": True}, "open"),
        ({"intents_per_second": 0.0}, "intents_per_second"),
        ({"parameters_bytes": -1}, "parameters_bytes"),
    ],
)
def test_what_is_no_limit(wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        TenantLimits(**wrong)
