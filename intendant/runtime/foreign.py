"""The partitions of the store that this runtime does not serve, and who was last seen to own them."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Final

import anyio

from intendant.domain.errors import NotOwner, StoreUnavailable
from intendant.domain.logs import about
from intendant.domain.ports import Holding, Store
from intendant.supervisor import Started

logger = logging.getLogger("intendant")

PERIOD: Final = 5.0  # seconds between two looks


class Foreign:
    """Names who else owns what, so that a call for a tenant that lives elsewhere is answered at once."""

    def __init__(self, store: Store, partitions: Sequence[int]) -> None:
        self._store = store
        self._holders: dict[int, Holding | None] = dict.fromkeys(partitions)

    def __len__(self) -> int:
        return len(self._holders)

    def not_owner(self, partition: int) -> NotOwner:
        """What a call for a tenant of that partition gets."""
        holder = self._holders.get(partition)
        return NotOwner(partition, holder.owner.host, holder.owner.pid) if holder else NotOwner(partition)

    async def run(self, task_status: Started) -> None:
        """Look who owns them once each period, until cancelled."""
        await self._look()
        task_status.started()
        while True:
            await anyio.sleep(PERIOD)
            await self._look()

    async def _look(self) -> None:
        try:
            for partition in self._holders:
                self._holders[partition] = await self._store.log(partition).holder()
        except StoreUnavailable as error:
            logger.debug("it can't be told who owns other partitions: %s", error, extra=about())
