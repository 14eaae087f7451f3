"""The service for tests of its process. Files of the current directory say when its second step may end, and when its
store fails: `release`, `spoil`. See test_service_process.py.
"""

from __future__ import annotations

import os
from pathlib import Path

import anyio

from examples.service import app as service
from intendant import Runtime, Shutdown
from tests.examples.spoilt import Spoilt

FOLDER = Path.cwd()
fingerprint = service.fingerprint


async def held(text: str) -> str:
    """Once the file is there."""
    while not (FOLDER / "release").exists():  # noqa: ASYNC110  another process makes it
        await anyio.sleep(0.01)
    return fingerprint(text)


class SpoiltByFile(Spoilt):
    """One that a file spoils."""

    @property
    def spoilt(self) -> bool:
        """Whether the file is there."""
        return (FOLDER / "spoil").exists()

    @spoilt.setter
    def spoilt(self, _: bool) -> None:
        """The file says it."""


service.fingerprint = held  # type: ignore[assignment]  # pyright: ignore[reportAttributeAccessIssue]
store = SpoiltByFile() if "HELD_IN_MEMORY" in os.environ else "sqlite:work.db?synchronous=normal"
app = service.build(Runtime([service.documents], hot=store, shutdown=Shutdown(drain=0.05)))
