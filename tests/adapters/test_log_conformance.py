from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from intendant.testing.conformance import LOG_CHECKS, LogCheck
from tests.adapters.conftest import memory_place, sqlite_place

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("check", LOG_CHECKS, ids=lambda check: check.__name__)
class TestMemory:
    @pytest.fixture
    def anyio_backend(self, virtual_time: Any) -> Any:
        return virtual_time

    async def test(self, check: LogCheck) -> None:
        await check(memory_place())


@pytest.mark.parametrize("check", LOG_CHECKS, ids=lambda check: check.__name__)
class TestSqlite:
    async def test(self, check: LogCheck, tmp_path: Path) -> None:
        await check(sqlite_place(tmp_path))
