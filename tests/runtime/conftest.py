"""How a runtime ends."""

from __future__ import annotations

import anyio.lowlevel
import pytest

from intendant.actors.wal_writer import WalWriter


@pytest.fixture
def dying(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever leaves a runtime is found to have died: nothing else tells a death from a leave."""

    async def say_nothing(writer: WalWriter) -> None:
        await anyio.lowlevel.checkpoint()

    monkeypatch.setattr(WalWriter, "_note_leaving", say_nothing)
