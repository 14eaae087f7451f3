"""Real `kill -9` of a loaded process, over one SQLite file kept through many kills."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.faults.reader import Reader
from tests.faults.stable import Stable
from tests.infrastructure.tier import full

ACKNOWLEDGED_MIN = 50  # since the last kill, and
OPEN_MIN = 20  # at the moment of a kill: a run with less proves nothing
BACKENDS = ("asyncio", "uvloop", "trio")


def kill_loop(
    kills: int, stable: Stable, reader: Reader, hot: str, examining: Callable[..., Any], *, every: int, seed: int = 0
) -> None:
    began = time.monotonic()
    chance = random.Random(f"{kills} {seed}")
    fewest_open = fewest_acknowledged = 1_000_000
    for life in range(1, kills + 1):
        reader.look()
        before = len(reader.accepted)
        pid = stable.start(
            "load",
            hot,
            reader.path,
            life,
            open=reader.open,
            doubt=reader.doubt,
            drain=False,
            backend=BACKENDS[life % 3],
        )
        wanted = before + ACKNOWLEDGED_MIN

        def loaded(wanted: int = wanted) -> bool:
            return len(reader.accepted) >= wanted and len(reader.open) >= OPEN_MIN

        reader.wait_for(loaded, f"{ACKNOWLEDGED_MIN} acknowledged and {OPEN_MIN} open")
        time.sleep(chance.random() * 0.03)  # a random point
        stable.kill(pid)
        reader.look()
        fewest_open = min(fewest_open, len(reader.open))
        fewest_acknowledged = min(fewest_acknowledged, len(reader.accepted) - before)
        if life % every == 0:
            examining()
    last = stable.start(
        "load", hot, reader.path, kills + 1, open=reader.open, doubt=reader.doubt, drain=True, backend="asyncio"
    )
    assert stable.wait(last) == 0
    verdict = examining(all_ended=True)
    assert reader.open == []
    assert reader.doubt == []
    assert set(verdict.audit.executions) == {"completed"}
    assert verdict.audit.executions["completed"] == len(reader.accepted) == len(reader.prepared)
    assert verdict.audit.steps == reader.steps
    assert len(verdict.epochs) == kills + 1
    print(
        f"\n{kills} kills in {time.monotonic() - began:.0f} s: {len(reader.accepted)} acknowledged "
        f"(at least {fewest_acknowledged} a life), at least {fewest_open} open at a kill, {verdict.audit.records} "
        f"records, {len(reader.bodies)} step bodies for {verdict.audit.steps} recorded steps; lost "
        f"{verdict.audit.lost}, duplicated {verdict.audit.duplicated}, recorded steps run again {len(verdict.rerun)}"
    )


def test_four_kills(stable: Stable, reader: Reader, hot: str, examining: Callable[..., Any]) -> None:
    kill_loop(4, stable, reader, hot, examining, every=2)


@pytest.mark.stress
@pytest.mark.parametrize("store", range(5))
def test_a_thousand_kills(stable: Stable, reader: Reader, hot: str, examining: Callable[..., Any], store: int) -> None:
    """200 over each of five stores: an audit reads all that its store holds, and there is one every 20 kills."""
    kill_loop(full(200), stable, reader, hot, examining, every=20, seed=store)
