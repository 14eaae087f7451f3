"""Stand-ins that a test may stop, kill, and rob of their power."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from intendant.adapters.redis import RedisStore
from intendant.adapters.sqlite import SqliteStore
from intendant.domain.ports import Store
from tests.arango_standin.process import StandIn


@pytest.fixture
def server() -> Iterator[StandIn]:
    """A stand-in of this test's own."""
    with StandIn() as server:
        yield server
        server.resume()  # a test that failed may have left it paused
        assert server.look().strays == []


@pytest.fixture
def hot_on(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[str], Store]:
    """A hot store that outlives its process: on "sqlite" or on "redis"."""

    def make(kind: str) -> Store:
        if kind == "redis":
            return RedisStore(request.getfixturevalue("redis_url"))
        return SqliteStore(tmp_path / "work.db")

    return make
