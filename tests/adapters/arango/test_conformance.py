"""Cold state over HTTP: on ArangoDB where one is named, else on its stand-in; on both versions that differ."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest

from intendant.adapters.arango import ArangoColdStore
from intendant.domain.ports import ColdStore
from intendant.testing.conformance import COLD_CHECKS, OpenCold
from intendant.testing.conformance.cold import ColdCheck

pytestmark = pytest.mark.anyio


def opener(url: str) -> OpenCold:
    @asynccontextmanager
    async def open_cold() -> AsyncGenerator[ColdStore]:
        store = ArangoColdStore(url)
        await store.open()
        try:
            yield store
        finally:
            await store.close()

    return open_cold


@pytest.mark.parametrize("check", COLD_CHECKS, ids=lambda check: check.__name__)
async def test_cold_arango(check: ColdCheck, any_arango_url: str) -> None:
    await check(opener(any_arango_url))
