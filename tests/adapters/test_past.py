"""Stores that go back in time: what their owners learn of it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from intendant.adapters.memory import MemorySnapshot, MemoryStore
from intendant.testing.conformance import PAST_CHECKS, PastCheck
from tests.adapters.conftest import opener, sqlite_place

pytestmark = pytest.mark.anyio


class MemoryPast:
    """A store in memory, and a snapshot of it."""

    def __init__(self) -> None:
        self._store = MemoryStore()
        self._kept: MemorySnapshot = self._store.snapshot()
        self.open_store = opener(self._store.twin)

    async def keep(self) -> None:
        self._kept = self._store.snapshot()

    async def go_back(self) -> None:
        self._store.restore(self._kept)


class SqlitePast:
    """A SQLite file, and a copy of it."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "x.db"
        self._kept = folder / "kept.db"
        self.open_store = sqlite_place(folder)

    async def keep(self) -> None:
        if self._file.exists():  # closed, it is one file: SQLite has folded its log back
            shutil.copy(self._file, self._kept)

    async def go_back(self) -> None:
        self._file.unlink()
        if self._kept.exists():
            shutil.copy(self._kept, self._file)


@pytest.mark.parametrize("check", PAST_CHECKS, ids=lambda check: check.__name__)
class TestMemory:
    @pytest.fixture
    def anyio_backend(self, virtual_time: Any) -> Any:
        return virtual_time

    async def test(self, check: PastCheck) -> None:
        await check(MemoryPast())


@pytest.mark.parametrize("check", PAST_CHECKS, ids=lambda check: check.__name__)
class TestSqlite:
    async def test(self, check: PastCheck, tmp_path: Path) -> None:
        await check(SqlitePast(tmp_path))
