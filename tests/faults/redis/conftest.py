"""Real redis-servers, and real processes over them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.faults.reader import reader
from tests.faults.redis.trial import Trial
from tests.faults.stable import Stable, stable
from tests.infrastructure.redis_server import RedisServer

__all__ = ["reader", "stable"]


@pytest.fixture
def servers() -> Iterator[Callable[..., RedisServer]]:
    """Start a server of the test's own: `servers(appendfsync="always")`."""
    started: list[RedisServer] = []

    def start(**options: object) -> RedisServer:
        started.append(RedisServer(**options))
        return started[-1]

    yield start
    for server in started:
        server.close()


@pytest.fixture
def trial(stable: Stable, tmp_path: Path) -> Callable[..., Trial]:
    """Put processes of the stable on trial: `trial(url, durability="fsync")`."""

    def make(hot: str, **options: object) -> Trial:
        return Trial(stable, hot, tmp_path / "book", options)

    return make
