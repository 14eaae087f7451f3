"""The hot gauge: looks how full the hot store is, and shuts the door to new work before nothing fits any more.

What was accepted still ends, and frees room by that; so does what the state writer trims. Looking costs the commits
nothing: the writers have a flag.
"""

from __future__ import annotations

import enum
import logging
from collections.abc import Callable, Sequence
from typing import Final

import anyio

from intendant.actors.wal_writer import WalWriter
from intendant.domain.errors import Overloaded, StoreUnavailable
from intendant.domain.logs import about
from intendant.domain.ports import Store, Usage
from intendant.supervisor import Started

logger = logging.getLogger("intendant.hot")

PERIOD: Final = 1.0  # seconds between two looks
WARN_AT: Final = 0.80  # of the store's room
REFUSE_AT: Final = 0.90
_BACK: Final = 0.02  # a level is left this far below where it begins, so that it does not flap


class Level(enum.IntEnum):
    """How urgent it is."""

    ROOMY = 0
    WARNED = 1
    REFUSING = 2


def level_of(share: float, before: Level) -> Level:
    """The level for the part of the room that is used, given the level before."""
    if share >= REFUSE_AT - (_BACK if before is Level.REFUSING else 0):
        return Level.REFUSING
    if share >= WARN_AT - (_BACK if before >= Level.WARNED else 0):
        return Level.WARNED
    return Level.ROOMY


class HotGauge:
    """Watches one hot store for the writers of its partitions. `lag` tells how far cold state is behind, if any.

    It looks once in each `period`, in seconds; without one, in each PERIOD.
    """

    def __init__(
        self, store: Store, writers: Sequence[WalWriter], lag: Callable[[], int] | None, period: float | None = None
    ) -> None:
        self.usage = Usage(0, 0)  # at the last look
        self._store = store
        self._writers = writers
        self._lag = lag
        self._period = period
        self._level = Level.ROOMY

    async def run(self, task_status: Started) -> None:
        """Look once each period, until cancelled. An outage of the store changes nothing."""
        task_status.started()
        while True:
            try:
                self.usage = await self._store.usage()
            except StoreUnavailable as error:
                logger.debug("the store does not tell how full it is: %s", error, extra=about())
            else:
                self._move_to(level_of(self.usage.share, self._level))
            await anyio.sleep(self._period or PERIOD)

    def _move_to(self, level: Level) -> None:
        before, self._level = self._level, level
        if level is before:
            return
        for writer in self._writers:
            writer.refusal = self._overloaded if level is Level.REFUSING else None
        if level is Level.REFUSING:
            refused = "new intents, sessions and signals are refused until it is below"
            logger.error("%s; %s", self._describe(), refused, extra=about())
        elif level is Level.WARNED:
            logger.warning("%s; at %.0f %% new work will be refused", self._describe(), REFUSE_AT * 100, extra=about())
        else:
            logger.info("%s: there is room again", self._describe(), extra=about())

    def _overloaded(self) -> Overloaded:
        return Overloaded(
            "the hot store",
            self.usage.limit,
            f"{self._describe()}; nothing was accepted, send again later. "
            "Give the store more room, or let retention keep less",
            kind="hot_store",
        )

    def _describe(self) -> str:
        usage = self.usage
        full = f"{self._store.name} is {usage.share:.0%} full ({usage.used:,} of {usage.limit:,} bytes)"
        return full if self._lag is None else f"{full}, and cold state is {self._lag():,} records behind"
