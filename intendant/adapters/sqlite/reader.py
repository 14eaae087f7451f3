"""A reader of the file for people's tools: it may be used while an owner lives, and never writes."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from intendant.adapters.sqlite.database import Database
from intendant.adapters.sqlite.reads import SqliteReads
from intendant.domain.errors import InternalError, StoreUnavailable


class SqliteReader(SqliteReads):
    """Fulfils `LogReader` over a read-only connection. Each read is short and sees each batch whole or not at all."""

    def __init__(self, path: str | Path) -> None:
        super().__init__(f"sqlite:{path}")
        self._path = Path(path)

    async def open(self) -> None:
        """Open the file for reading. Raises StoreUnavailable if there is none, UnknownFormat if it is not ours."""
        if self._thread is not None:
            raise InternalError(f"{self._name} is open already")
        path = self._path.absolute()
        if not path.exists():
            raise StoreUnavailable(f"{path} does not exist; nothing has been stored there yet")
        await self._open(partial(Database, path, read_only=True))

    async def close(self) -> None:
        """Let go of the file. May be called twice."""
        await self._close()
