"""What tenants that commit side by side owe each other: who is crowded, and how much a batch may hold meanwhile.

A tenant of whom many commits wait is made no faster by more handlers of its own, and everybody is made slower: all
that is in memory grows, and so does what stands before a neighbour's commit. Pure: counts and times come in.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from intendant.domain.commit import RECORDS_MAX
from intendant.domain.records import SYSTEM_TENANT

BESIDE_OTHERS: Final = 32  # commits in a batch while several tenants commit: each waits for two or so
BESIDE_CROWDED: Final = 4  # the same while one that is not crowded commits beside one that is,
LIGHT_SECONDS: Final = 0.02  # and for so long after
CROWDED: Final = 16  # commits of a tenant that wait, beside others': it begins only as many as keep it so


class Crowding:
    """Which tenants are crowded. `waiting(tenant)` says how many of its commits have come and are not told of yet.

    `on_crowded(tenant, more)` is told whenever so many more of a tenant may begin; None: as many as of others.
    """

    def __init__(self, waiting: Callable[[str], int]) -> None:
        self.on_crowded: Callable[[str, int | None], None] = _ignore
        self._waiting = waiting
        self._crowded: set[str] = set()
        self._light_until = 0.0

    def committing(self, tenant: str, now: float) -> None:
        """One more commit of this tenant's accepted work has come, beside other tenants'."""
        if tenant in self._crowded:
            return
        if self._waiting(tenant) >= CROWDED:
            self._crowded.add(tenant)
            self.on_crowded(tenant, 0)
        elif self._crowded and tenant != SYSTEM_TENANT:
            self._light_until = now + LIGHT_SECONDS

    def told(self) -> None:
        """Some commits have been told of: there is room for others."""
        for tenant in list(self._crowded):
            waiting = self._waiting(tenant)
            if waiting:
                self.on_crowded(tenant, max(CROWDED - waiting, 0))
            else:
                self._crowded.remove(tenant)
                self.on_crowded(tenant, None)

    def batch(self, now: float, *, several: bool) -> int:
        """How many commits the next batch may hold: large ones cost the least, and each waits for all beside it."""
        if not several:
            return RECORDS_MAX
        return BESIDE_CROWDED if self._crowded and now < self._light_until else BESIDE_OTHERS


def _ignore(_tenant: str, _more: int | None) -> None:
    """Nobody begins anything by it."""
