"""A copy of the file as it is at one moment, while an owner works on it, by SQLite's backup interface."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol, cast

import apsw

from intendant.adapters.sqlite.database import Database
from intendant.adapters.sqlite.driver import Connection
from intendant.domain.errors import InternalError, StoreUnavailable

PAGES: Final = 256  # that are copied at a time


def back_up(source: Path, target: Path, progress: Callable[[int, int], object] = max) -> int:
    """Copy the store's file to `target`, which must not be there; returns how many bytes it has.

    The copy is of the moment in which this began, belongs to nobody, is looked through by SQLite, and is durable when
    it has its name: before, it is `<target>.part`, which goes when this fails. Writers go on meanwhile; SQLite's own
    log of them is folded back afterwards. `progress` is told how many pages are copied, and of how many.

    Raises StoreUnavailable when a file can't be used, UnknownFormat when it is not ours, InternalError when it is
    damaged, FileExistsError.
    """
    if target.exists():
        raise FileExistsError(17, "it is there already", str(target))
    part = target.with_name(target.name + ".part")
    database = Database(source, read_only=True)
    try:
        part.unlink(missing_ok=True)
        os.close(os.open(part, os.O_CREAT | os.O_EXCL, source.stat().st_mode & 0o666))  # as private as the source
        database.run(lambda connection: _copy(connection, part, progress))
        _sync(part)
        part.rename(target)
        _sync(target.parent)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    finally:
        database.close()
    return target.stat().st_size


class _Steps(Protocol):
    """A copy under way, as apsw has it."""

    done: bool
    page_count: int
    remaining: int

    def step(self, npages: int) -> bool: ...
    def __enter__(self) -> _Steps: ...
    def __exit__(self, kind: object, error: object, trace: object) -> bool | None: ...


class _Copy(Connection, Protocol):
    """A connection that a database can be copied into."""

    def backup(self, database: str, source: object, source_database: str) -> _Steps: ...


def _copy(source: Connection, part: Path, progress: Callable[[int, int], object]) -> None:
    try:
        copy = cast("_Copy", apsw.Connection(str(part)))
    except apsw.Error as error:
        raise StoreUnavailable(f"{part} can't be made: {error}") from error
    try:
        source.execute("BEGIN")
        source.execute("SELECT 1 FROM ownership").fetchall()  # from here on it is of this moment
        with copy.backup("main", source, "main") as backup:
            while not backup.done:
                backup.step(PAGES)
                progress(backup.page_count - backup.remaining, backup.page_count)
        source.execute("COMMIT")
        copy.execute("UPDATE ownership SET token = x'', released = 1, locked = 0, lease_until = 0")
        copy.pragma("journal_mode", "delete")  # one file
        found = str(copy.pragma("quick_check"))
        if found != "ok":
            raise InternalError(f"the copy is damaged, and so is what it was made of: {found[:200]}")
    finally:
        copy.close()


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
