"""Disks that fail, as SQLite sees them: virtual file systems that every database opened meanwhile uses."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import apsw

from intendant.adapters.sqlite.driver import Connection

SYNCED = ".synced"


class Disk:
    """Fails writes or syncs of SQLite's own log when it is told to, and keeps a copy of each file as last synced."""

    def __init__(self) -> None:
        self.fail_write: type[apsw.Error] | None = None
        self.fail_sync = False
        self.keep_synced = False
        self.syncs = 0
        self.copying = threading.Lock()  # several threads sync

    def power_loss(self, path: Path, into: Path) -> Path:
        """What would be there after a power loss: of each file only what was synced."""
        with self.copying:
            for end in ("", "-wal"):
                synced = path.with_name(f"{path.name}{end}{SYNCED}")
                if synced.exists():
                    shutil.copyfile(synced, into / f"{path.name}{end}")
        return into / path.name


def raw(path: Path) -> Connection:
    """A connection of another program."""
    return cast("Connection", apsw.Connection(str(path)))


@contextmanager
def failing_disk() -> Generator[Disk]:
    """A disk under everything that is opened within."""
    disk = Disk()
    vfs = _Vfs(disk)
    try:
        yield disk
    finally:
        vfs.unregister()


class _Vfs(apsw.VFS):
    def __init__(self, disk: Disk) -> None:
        self.real = apsw.vfs_names()[0]
        self.disk = disk
        super().__init__("failing", self.real, makedefault=True)

    def xOpen(self, name: Any, flags: list[int]) -> _File:  # noqa: N802
        return _File(self.real, name, flags, self.disk)


class _File(apsw.VFSFile):
    def __init__(self, real: str, name: Any, flags: list[int], disk: Disk) -> None:
        super().__init__(real, name, flags)
        self.disk = disk
        self.path = Path(name.filename() if isinstance(name, apsw.URIFilename) else name or "/temporary")
        self.is_wal = self.path.name.endswith("-wal")

    def xWrite(self, data: Any, offset: int) -> None:  # noqa: N802
        if self.is_wal and self.disk.fail_write is not None:
            raise self.disk.fail_write
        super().xWrite(data, offset)  # pyright: ignore[reportUnknownMemberType]  apsw's Buffer has no type

    def xSync(self, flags: int) -> None:  # noqa: N802
        if self.is_wal:
            self.disk.syncs += 1
            if self.disk.fail_sync:
                error: Any = apsw.IOError("the disk fails")
                error.extendedresult = apsw.SQLITE_IOERR_FSYNC
                raise error
        super().xSync(flags)
        if self.disk.keep_synced:
            with self.disk.copying:
                shutil.copyfile(self.path, self.path.with_name(self.path.name + SYNCED))
