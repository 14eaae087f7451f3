"""The stores of one life of a runtime: found by its settings and its environment, opened and closed together."""

from __future__ import annotations

import logging
from typing import Final

from intendant.adapters.urls import open_cold, open_files, open_store
from intendant.domain.errors import UnfinishedMigration
from intendant.domain.logs import about
from intendant.domain.ports import ColdStore, Durability, FileStore, Store
from intendant.domain.state import MIGRATION
from intendant.runtime.config import Stores, resolve, resolve_files
from intendant.runtime.settings import Settings

logger = logging.getLogger("intendant")

_KEEPS_ITSELF: Final = ("memory:", "sqlite:")  # with these the hot documents are the cold ones


class OpenStores:
    """Hot, cold and files. Nothing is touched before `open`."""

    def __init__(self, settings: Settings) -> None:
        urls = _urls(settings)
        hot = settings.hot
        self._wanted = urls.durability
        self.hot: Store = open_store(urls.hot, urls.durability) if hot is None or isinstance(hot, str) else hot
        self.cold: ColdStore | None = _cold(settings, urls)
        self.files: FileStore = _files(settings, self.hot)

    async def open(self) -> None:
        """Open them; what was opened is closed again when that fails. Raises ValueError for too low a durability."""
        await self.hot.open()
        try:
            self._check_durability()
            await self._check_migration()
            if self.cold is not None:
                await self.cold.open()
            elif not self.hot.name.startswith(_KEEPS_ITSELF):
                logger.info(
                    "%s has no cold store: everything stays in it until retention ends it", self.hot.name, extra=about()
                )
        except BaseException:
            await self.hot.close()
            raise

    async def close(self) -> None:
        """Let go of them."""
        await self.hot.close()
        if self.cold is not None:
            await self.cold.close()

    async def _check_migration(self) -> None:
        if await self.hot.log(0).checkpoint(MIGRATION):
            raise UnfinishedMigration(
                f"{self.hot.name} is half a copy of another store; run the same `intendant migrate` again, which "
                "goes on where it ended"
            )

    def _check_durability(self) -> None:
        given: Durability = self.hot.durability
        if given < self._wanted:
            wanted, level = self._wanted.name.lower(), given.name.lower()
            raise ValueError(
                f"{self.hot.name} gives durability {level!r}, and {wanted!r} is asked for; "
                f"choose another store, or say durability={level!r}"
            )


def _urls(settings: Settings) -> Stores:
    """Where the stores are and what they must give; of stores that were given as objects, by their names."""
    cold = settings.cold if isinstance(settings.cold, str) else None
    if settings.hot is None or isinstance(settings.hot, str):
        return resolve(settings.name, settings.hot, cold, settings.durability)
    name = settings.hot.name
    durability = settings.durability or ("memory" if name.startswith("memory:") else None)
    return resolve(settings.name, name, cold, durability)


def _cold(settings: Settings, urls: Stores) -> ColdStore | None:
    if settings.cold is not None and not isinstance(settings.cold, str):
        return settings.cold
    return open_cold(urls.cold) if urls.cold else None


def _files(settings: Settings, hot: Store) -> FileStore:
    if settings.files is not None and not isinstance(settings.files, str):
        return settings.files
    return open_files(hot.name, resolve_files(settings.name, settings.files))
