"""A copy of the file as it is at one moment, while an owner works on it, by SQLite's backup interface."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

import apsw

from intendant.adapters.sqlite.database import Database
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


def _copy(source: object, part: Path, progress: Callable[[int, int], object]) -> None:
    assert isinstance(source, apsw.Connection)  # noqa: S101  the driver's own
    try:
        copy = apsw.Connection(str(part))
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
            raise InternalError(f"the copy is damaged, and so is {source.filename}: {found[:200]}")
    finally:
        copy.close()


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
