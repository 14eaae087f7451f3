"""How a runtime ends, and what the collector sees while one is measured."""

from __future__ import annotations

import gc
from collections.abc import Generator

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
def frozen() -> Generator[None]:
    """What the program has loaded is out of the collector's sight, as `intendant run` does it: see performance.md.

    Of thousands of tests a full collection takes 0.3 s, which fall into whatever is measured then.
    """
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()
