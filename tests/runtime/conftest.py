"""How a runtime ends, and what the collector sees while one is measured."""

from __future__ import annotations

import gc

import anyio.lowlevel
import pytest

from intendant.actors.wal_writer import WalWriter


@pytest.fixture
def dying(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever leaves a runtime is found to have died: nothing else tells a death from a leave."""

    async def say_nothing(writer: WalWriter) -> None:
        await anyio.lowlevel.checkpoint()

    monkeypatch.setattr(WalWriter, "_note_leaving", say_nothing)


@pytest.fixture
def frozen() -> None:
    """What the program has loaded is out of the collector's sight, as `intendant run` does it: see performance.md.

    It stays so, as the collected tests do, of which a full collection takes 0.3 s.
    """
    gc.collect()
    gc.freeze()
