"""The founding behaviours hold on every hot store, and with a cold one behind it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from intendant import Realm, Runtime
from intendant.adapters.arango import ArangoColdStore
from intendant.adapters.memory import MemoryStore
from intendant.adapters.redis import RedisStore
from intendant.adapters.sqlite import SqliteStore
from intendant.domain.ports import ColdStore, Store


@pytest.fixture(params=["memory", "sqlite", "redis", "redis+arango"])
def place(request: pytest.FixtureRequest) -> str:
    chosen: str = request.param
    return chosen


@pytest.fixture
def hot(place: str, request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if place.startswith("redis"):
        return RedisStore(request.getfixturevalue("redis_url"))
    return MemoryStore() if place == "memory" else SqliteStore(tmp_path / "work.db")


@pytest.fixture
def cold(place: str, request: pytest.FixtureRequest) -> ColdStore | None:
    return ArangoColdStore(request.getfixturevalue("arango_url")) if place.endswith("+arango") else None


@pytest.fixture
def runtime(hot: Store, cold: ColdStore | None) -> Callable[..., Runtime]:
    def make(*realms: Realm, **options: Any) -> Runtime:
        settings: dict[str, Any] = {"hot": hot, "cold": cold}
        return Runtime(realms, **settings | options)

    return make
