"""How much a test does: little in `make test`, the full counts times STRESS in `make stress`."""

from __future__ import annotations

import os
from typing import Final

STRESS: Final = float(os.environ.get("STRESS", "0"))
"""What full counts are multiplied by; a fraction is fine. 0 in `make test`."""


def full(count: int, scale: float = STRESS or 1.0) -> int:
    """The count of a test that `make stress` alone runs: never none."""
    return max(1, round(count * scale))


def scaled(count: int, few: int, scale: float = STRESS) -> int:
    """The count of a test of both tiers: `few` of the full count in `make test`."""
    return full(count, scale) if scale else few
