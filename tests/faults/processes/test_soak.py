"""Many intents over many sessions, five rounds alike: all complete, and nothing stays behind."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.faults.reader import Reader
from tests.faults.stable import Stable

ROUNDS = 5
RSS_MAX = 1.05  # of what it was after the first round
RUNNING = 1_000
WORKERS_MAX = RUNNING + 64 + 64  # that stay parked for the next executions and sessions


def soak(intents: int, sessions: int, stable: Stable, reader: Reader, hot: str, backend: str) -> list[dict[str, Any]]:
    pid = stable.start(
        "soak",
        hot,
        reader.path,
        1,
        backend=backend,
        intents=intents,
        sessions=sessions,
        rounds=ROUNDS,
        running=RUNNING,
    )
    assert stable.wait(pid) == 0
    reader.look()
    rounds = [json.loads(words[0]) for kind, _, words in reader.notes if kind == "round"]
    assert [each["completed"] for each in rounds] == [intents] * ROUNDS
    alive = [each["alive"] for each in rounds]
    assert all(each.pop("workers") <= WORKERS_MAX for each in alive)
    assert alive[1:] == [alive[1]] * (ROUNDS - 1), "counts return exactly"
    assert alive[1]["open"] == alive[1]["running"] == alive[1]["ExecutionActor"] == alive[1]["Question"] == 0
    assert alive[1]["DirectCell"] == alive[1]["sessions"] == sessions
    print(
        f"\n{ROUNDS} rounds of {intents} intents over {sessions} sessions on {backend}: "
        f"RSS {[each['rss'] // 2**20 for each in rounds]} MiB, {[round(each['seconds'], 1) for each in rounds]} s, "
        f"alive {alive[-1]}"
    )
    return rounds


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_two_hundred_intents_at_once(stable: Stable, reader: Reader, hot: str, backend: str) -> None:
    soak(200, 20, stable, reader, hot, backend)


@pytest.mark.stress
@pytest.mark.alone  # beside others more commits wait at a time, in some rounds more than in others
@pytest.mark.parametrize("backend", ["asyncio", "uvloop", "trio"])
def test_ten_thousand_intents_at_once(stable: Stable, reader: Reader, hot: str, backend: str) -> None:
    rounds = soak(10_000, 1_000, stable, reader, hot, backend)
    sizes = [each["rss"] for each in rounds]
    assert max(sizes[1:]) <= RSS_MAX * sizes[0], sizes
