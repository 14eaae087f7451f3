"""Retention's decisions: never what is open, never what cold state does not have, never what is too young."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from intendant import Retention
from intendant.domain.ids import first_id, make_id
from intendant.domain.retention import RetentionPolicy, Stage, before, stage, trim_below

US = timedelta(microseconds=1)
TIMES = st.integers(0, 2**52)
SEQUENCES = st.integers(0, 2**53)
SPANS = st.timedeltas(timedelta(0), timedelta(days=4000))


@st.composite
def retentions(draw: st.DrawFn) -> Retention:
    hot, more = draw(SPANS), draw(SPANS)
    return Retention(hot, hot + more)


@given(TIMES, SEQUENCES, TIMES, retentions(), st.none() | SEQUENCES, st.none() | SEQUENCES)
def test_nothing_goes_too_early(
    ended_at: int, version: int, now: int, retention: Retention, archived: int | None, waiting: int | None
) -> None:
    found = stage(ended_at=ended_at, version=version, now=now, retention=retention, archived=archived, waiting=waiting)
    age = (now - ended_at) * US
    if found is not Stage.KEPT:
        assert ended_at > 0, "it is open"
        assert archived is None or version <= archived, "cold state does not have it"
    if found is Stage.COLD:
        assert archived is not None, "there is no cold state to leave it to"
        assert age >= retention.hot
    if found is Stage.GONE:
        assert age >= retention.total
        assert waiting is None or version < waiting, "an event of it may wait"


@given(SEQUENCES, retentions(), st.booleans())
def test_everything_that_has_ended_goes_in_the_end(version: int, retention: Retention, cold: bool) -> None:
    now = 1_000_000 + retention.total // US
    found = stage(ended_at=1, version=version, now=now, retention=retention, archived=version if cold else None)
    assert found is Stage.GONE


@given(TIMES, retentions(), TIMES)
def test_it_never_comes_back(ended_at: int, retention: Retention, now: int) -> None:
    order = [Stage.KEPT, Stage.COLD, Stage.GONE]
    stages = [
        order.index(stage(ended_at=ended_at, version=1, now=at, retention=retention, archived=1))
        for at in (now, now + 1, now + 3_600_000_000, now + 2**52)
    ]
    assert stages == sorted(stages)


@given(SEQUENCES, st.lists(SEQUENCES), st.none() | SEQUENCES, st.none() | SEQUENCES)
def test_the_log_is_trimmed_below_everything_that_is_needed(
    recent: int, kept: list[int], waiting: int | None, archived: int | None
) -> None:
    below = trim_below(recent=recent, kept=kept, waiting=waiting, archived=archived)
    assert below <= min([recent, *kept])
    assert waiting is None or below <= waiting
    assert archived is None or below <= archived + 1
    assert below >= 0


@given(TIMES, SPANS)
def test_ids_sort_on_the_right_side_of_a_time(now: int, limit: timedelta) -> None:
    horizon = first_id(before(now, limit))
    assert make_id(now) >= horizon
    old = now - limit // US - 1000
    if old >= 0:
        assert make_id(old) < horizon


def test_the_tenant_goes_before_the_realm_before_the_runtime() -> None:
    default, realm, nested, tenant = (Retention(total=timedelta(days=days)) for days in (30, 20, 15, 10))
    policy = RetentionPolicy(default, {"shop": realm, "shop.inner": nested}, {"acme": tenant})
    assert policy.of("acme", "shop.sell") == tenant
    assert policy.of("beta", "shop.sell") == realm
    assert policy.of("beta", "shop.inner.sell") == nested
    assert policy.of("beta", "shopping.sell") == default
    assert policy.of("beta", "") == default
    assert policy.shortest("acme") == tenant
    assert policy.shortest("beta") == Retention(nested.hot, nested.total)


@pytest.mark.parametrize(
    ("hot", "total"), [(timedelta(days=2), timedelta(days=1)), (timedelta(days=-1), timedelta(days=1))]
)
def test_limits_that_can_not_be(hot: timedelta, total: timedelta) -> None:
    with pytest.raises(ValueError, match="hot"):
        Retention(hot, total)


def test_a_tenant_that_can_not_be() -> None:
    with pytest.raises(ValueError, match="retention_of"):
        RetentionPolicy(Retention(), tenants={"a b": Retention()})


def test_for_ever() -> None:
    for_ever = Retention(timedelta.max, timedelta.max)
    assert stage(ended_at=1, version=1, now=2**60, retention=for_ever, archived=5) is Stage.KEPT
    assert before(2**60, timedelta.max) == 0


def test_what_nobody_has_set() -> None:
    assert RetentionPolicy(Retention()).of("acme", "shop.sell") == Retention(timedelta(days=7), timedelta(days=30))
