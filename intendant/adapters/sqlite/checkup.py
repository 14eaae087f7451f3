"""What can be wrong with a SQLite store, and with where it lies."""

from __future__ import annotations

import os
from pathlib import Path

import apsw

from intendant.adapters.checkup import Check, check_directory, check_private
from intendant.adapters.sqlite.database import SQLITE_VERSION_MIN, Database
from intendant.adapters.sqlite.driver import Connection
from intendant.domain.errors import IntendantError


def check_up(path: Path, *, synchronous: str) -> list[Check]:
    """Look at the library, the directory, and the file if it is there. It changes nothing."""
    checks = [_library(), _synchronous(synchronous), *check_directory(path.absolute().parent)]
    if not path.exists():
        return [*checks, Check("file", "ok", f"{path} is not there yet; it is made by the first runtime")]
    checks += [check_private("permissions", path)]
    if not os.access(path, os.W_OK):
        checks.append(Check("file", "wrong", f"{path} can't be written", f"let user {os.getuid()} write to it"))
    try:
        database = Database(path.absolute(), read_only=True)
    except IntendantError as error:
        return [*checks, Check("file", "wrong", str(error), "name another file, or restore it from a copy")]
    try:
        checks.append(database.run(_content))
    except IntendantError as error:
        checks.append(Check("content", "wrong", str(error), "restore it from a copy"))
    finally:
        database.close()
    return checks


def _library() -> Check:
    version = apsw.sqlite_lib_version()
    if tuple(int(part) for part in version.split(".")) < SQLITE_VERSION_MIN:
        wanted = ".".join(map(str, SQLITE_VERSION_MIN))
        return Check("SQLite", "wrong", f"{version}, which can damage files", f"install apsw >= {wanted}.0")
    return Check("SQLite", "ok", f"{version}, of apsw {apsw.apsw_version()}")


def _synchronous(synchronous: str) -> Check:
    if synchronous == "full":
        return Check("synchronous", "ok", "full: what is acknowledged survives a power loss")
    change = "leave ?synchronous=normal out for level fsync"
    return Check("synchronous", "warning", "normal: a power loss may take the last commits", change)


def _content(connection: Connection) -> Check:
    found = str(connection.pragma("quick_check"))
    if found != "ok":
        return Check("content", "wrong", f"damaged: {found[:200]}", "restore it from a copy")
    pages, size = connection.pragma("page_count"), connection.pragma("page_size")
    return Check("content", "ok", f"SQLite's quick check finds nothing, in {pages * size / 1e6:,.1f} MB")
