"""Turns of the event loop that code gives to others where it need not wait."""

from __future__ import annotations

import anyio.lowlevel
import pytest


class Turns:
    """Counts checkpoints, from here to the end of the test."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.given = 0
        checkpoint = anyio.lowlevel.checkpoint

        async def counting() -> None:
            self.given += 1
            await checkpoint()

        monkeypatch.setattr(anyio.lowlevel, "checkpoint", counting)
