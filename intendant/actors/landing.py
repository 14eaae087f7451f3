"""Tells who waits for commits that have landed: tenants in turn, and only some in each turn of the event loop.

A batch may wake a thousand handlers of one tenant at once. All of them would stand before a neighbour's in the event
loop, at each of the commits that the neighbour's handler makes, however small its own share is.

Of one tenant alone, whoever waits for the same batch also comes back at the same time: a store that is another process
would rest while they work, and they while the store does. Told in two halves they keep both busy, and go on as two rows
by themselves.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

import anyio.lowlevel

from intendant.actors.intake import Append
from intendant.domain.commit import RECORDS_MAX, Receipt
from intendant.domain.records import SYSTEM_TENANT
from intendant.parking import Seam

MANY: Final = 32  # commits, from which on a batch may be told in two halves
FEW: Final = 1 / 4  # of a batch: as many that wait behind it are no second row yet
AT_ONCE: Final = 4  # that are told in one turn of the loop, while several tenants commit,
OF_EACH: Final = 8  # and of each tenant that has nobody waiting before all
SEVERAL_S: Final = 5.0  # seconds since another tenant's last commit for which there are several


def is_worth_halving(landed: int, waiting: int, flight: float, work: float) -> bool:
    """Whether half of many should come back while the other half's batch flies: where hardly any others wait to fly.

    `flight` is the time that their batch took, `work` the time before it, since many had landed. Where a flight is
    longer, all had best go together: two short flights then take longer than a long one and the work.
    """
    return waiting < landed * FEW and flight < work


class Landing:
    """Those of one partition; of one tenant they are told in the order of their commits."""

    def __init__(self, seam: Seam, on_told: Callable[[], None] = lambda: None) -> None:
        self._seam = seam
        self._on_told = on_told  # some, in a turn
        self._parking = seam.parking()
        self._waiting: dict[str, deque[tuple[Append, Receipt]]] = {}  # by tenant, whose turn it is first
        self._tenant = ""  # of the newest commit
        self._several_until = 0.0

    def note(self, tenant: str) -> None:
        """A tenant commits."""
        if tenant != self._tenant and tenant != SYSTEM_TENANT:
            self._several_until = self._seam.time() + SEVERAL_S if self._tenant else 0.0
            self._tenant = tenant

    @property
    def several(self) -> bool:
        """Whether more than one tenant commits, these days."""
        return self._several_until > 0 and self._seam.time() < self._several_until

    def waiting(self, tenant: str) -> int:
        """How many commits of this tenant have landed and wait to be told."""
        return len(self._waiting.get(tenant, ()))

    def tell(self, appends: Sequence[Append], receipts: Sequence[Receipt], *, halved: bool = False) -> None:
        """These have landed: tell them, at once, or in turn when they are many and of several tenants.

        With `halved`, the second half is told later also when they are of one: when the loop has had a turn for the
        first half, and another one in which what that commits, or what waited before, is sent.
        """
        if not self._waiting and (len(appends) <= AT_ONCE or not self.several):
            first = len(appends) // 2 if halved else len(appends)
            for append, receipt in zip(appends[:first], receipts[:first], strict=True):
                append.told.set(receipt)
            for append, receipt in zip(appends[first:], receipts[first:], strict=True):
                self._put_off(append, receipt)
            return
        at_once: dict[str, int] = {}  # of tenants that have nobody waiting: some of each go before all
        for append, receipt in zip(appends, receipts, strict=True):
            tenant = append.commit.tenant
            told = at_once.get(tenant, 0)
            if tenant not in self._waiting and told < OF_EACH:
                at_once[tenant] = told + 1
                append.told.set(receipt)
            else:
                self._put_off(append, receipt)

    def _put_off(self, append: Append, receipt: Receipt) -> None:
        self._waiting.setdefault(append.commit.tenant, deque()).append((append, receipt))
        self._parking.wake()

    async def run(self) -> None:
        """Tell those who wait, until cancelled; then all who are left at once: what they wait for is durable."""
        try:
            while True:
                await self._parking.wait()
                await anyio.lowlevel.checkpoint()
                while self._waiting:
                    self._tell_some()
                    self._on_told()
                    await anyio.lowlevel.checkpoint()
        finally:
            while self._waiting:
                self._tell_some()

    def _tell_some(self) -> None:
        for _ in range(AT_ONCE if self.several else RECORDS_MAX):
            if not self._waiting:
                return
            tenant, queue = next(iter(self._waiting.items()))
            append, receipt = queue.popleft()
            del self._waiting[tenant]
            if queue:
                self._waiting[tenant] = queue  # behind the others
            append.told.set(receipt)
