from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from intendant.adapters.memory import MemoryLog, MemoryStore
from intendant.adapters.sqlite import SqliteStore
from intendant.domain.ports import Store
from intendant.testing.clock import virtual_backend
from intendant.testing.conformance import OpenStore

NewPlace = Callable[[], OpenStore]


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture(params=["asyncio", "trio"])
def virtual_time(request: pytest.FixtureRequest) -> Any:
    return virtual_backend(request.param)


def opener(store_of: Callable[[], Store]) -> OpenStore:
    @asynccontextmanager
    async def open_store() -> AsyncGenerator[Store]:
        store = store_of()
        await store.open()
        try:
            yield store
        finally:
            await store.close()

    return open_store


def memory_place(kind: type[MemoryLog] = MemoryLog) -> OpenStore:
    return opener(MemoryStore(kind()).twin)


def sqlite_place(folder: Path) -> OpenStore:
    return opener(lambda: SqliteStore(folder / "x.db"))
