"""Where scenarios are played."""

from __future__ import annotations

from dataclasses import dataclass

from tests.faults.lives import Cut, Lives
from tests.faults.scenarios import SCENARIOS, Scenario
from tests.faults.virtual_time import Backend


@dataclass(frozen=True)
class Stage:
    """An event loop in virtual time, on which nothing runs in worker threads, and what may be played there."""

    backend: Backend
    scenarios: tuple[Scenario, ...] = SCENARIOS

    def lives(self, scenario: Scenario, cut: Cut | None = None) -> Lives:
        """Lives of a scenario, from the beginning or from a cut."""
        return Lives(scenario, self.backend, cut)
