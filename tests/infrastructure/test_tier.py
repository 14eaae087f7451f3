"""Counts by tier."""

from __future__ import annotations

import pytest

from tests.infrastructure.tier import full, scaled


@pytest.mark.parametrize(("scale", "count"), [(0.001, 1), (0.1, 10), (1.0, 100), (2.5, 250)])
def test_stress_scales_the_full_count_also_by_a_fraction(scale: float, count: int) -> None:
    assert full(100, scale) == scaled(100, 7, scale) == count


def test_without_stress_it_is_few() -> None:
    assert scaled(100, 7, 0.0) == 7
