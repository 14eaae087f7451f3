"""Handlers that kill their process, each time they run: they are found and ended, and nothing else is."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.faults.reader import Reader, examine
from tests.faults.stable import Stable
from tests.infrastructure.redis_server import RedisServer

LIVES_MAX = 30
DEATHS = {-signal.SIGKILL, 9}
WORKS = [f"w{number}" for number in range(20)]


@pytest.fixture(params=["sqlite", "redis"])
def hot(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:{tmp_path / 'work.db'}"
        return
    server = RedisServer()
    yield server.url
    server.close()


@pytest.mark.in_turn
@pytest.mark.parametrize(("kills", "lives"), [(["exit"], 5), (["signal"], 5), (["exit", "signal"], LIVES_MAX)])
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_who_kills_is_ended_and_its_neighbours_complete(
    stable: Stable, reader: Reader, hot: str, kills: list[str], lives: int, backend: str
) -> None:
    codes: list[int] = []
    while not codes or codes[-1] in DEATHS:
        order: dict[str, Any] = {"kills": kills, "works": WORKS, "backend": backend}
        codes.append(stable.wait(stable.start("poison", hot, reader.path, len(codes) + 1, **order), patience=60))
        assert len(codes) <= lives, codes
    assert codes[-1] == 0
    reader.look()
    last = [words for kind, life, words in reader.notes if (kind, life) == ("ended", len(codes))]
    ends = sorted((type, status, code) for type, _, status, code in last)
    assert ends == [("load.kill", "failed", "crashed")] * len(kills) + [("load.work", "completed", "-")] * len(WORKS)
    assert reader.count("kills") == len(codes) - 1
    verdict = examine(hot, reader)
    assert verdict.audit.sound, verdict.audit.findings
