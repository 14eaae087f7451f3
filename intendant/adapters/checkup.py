"""What a check of settings and places finds, and the checks that are the same for all stores: directories and disks."""

from __future__ import annotations

import os
import shutil
import stat
import statistics
import tempfile
import time
from pathlib import Path
from typing import Final, Literal

from msgspec import Struct

from intendant.adapters.mounts import NETWORK, VOLATILE, file_system_of

SYNCS: Final = 30  # that are timed
SLOW_SYNC_MS: Final = 20.0  # beyond it a caller waits noticeably for each commit
FREE_SHARE_MIN: Final = 0.1

Verdict = Literal["ok", "warning", "wrong"]


class Check(Struct, frozen=True):
    """One thing that was looked at: what was found, and what to change unless it is ok."""

    name: str
    verdict: Verdict
    found: str
    change: str = ""


def check_directory(directory: Path) -> list[Check]:
    """Of a directory that holds a store or its files: whether it is there, what it lies on, room, speed of fsync."""
    if not directory.is_dir():
        return [Check("directory", "wrong", f"{directory} does not exist", "create it, or name another one")]
    if not os.access(directory, os.W_OK | os.X_OK):
        change = f"let user {os.getuid()} write to it"
        return [Check("directory", "wrong", f"{directory} can't be written", change)]
    return [_file_system(directory), _room(directory), check_sync(directory)]


def _file_system(directory: Path) -> Check:
    kind = file_system_of(directory) or "not known"
    if kind in NETWORK:
        return Check("file system", "wrong", f"{kind}, of a network", "use a local one: SQLite's locks need it")
    if kind in VOLATILE:
        return Check("file system", "warning", f"{kind}, in memory", "use a disk: a power loss takes all of it")
    return Check("file system", "ok", kind)


def _room(directory: Path) -> Check:
    usage = shutil.disk_usage(directory)
    found = f"{usage.free / 1e9:,.1f} of {usage.total / 1e9:,.1f} GB are free"
    if usage.free < FREE_SHARE_MIN * usage.total:
        return Check("room", "warning", found, "make room: new work is refused when the store is nearly full")
    return Check("room", "ok", found)


def check_sync(directory: Path) -> Check:
    """How long an fsync takes there: each commit at level `fsync` waits for one."""
    try:
        handle, name = tempfile.mkstemp(prefix=".intendant-doctor-", dir=directory)
    except OSError as error:
        return Check("fsync", "wrong", f"no file can be made in {directory}: {error}", "look at permissions and quotas")
    took: list[float] = []
    sync = getattr(os, "fdatasync", os.fsync)
    try:
        for _ in range(SYNCS):
            os.write(handle, b"\0" * 4_096)
            began = time.perf_counter()
            sync(handle)
            took.append((time.perf_counter() - began) * 1_000)
    finally:
        os.close(handle)
        Path(name).unlink(missing_ok=True)
    median, longest = statistics.median(took), max(took)
    found = f"{median:.2f} ms, the longest of {SYNCS} {longest:.2f} ms"
    if median > SLOW_SYNC_MS:
        return Check("fsync", "warning", found, "use a faster disk: a caller waits for it at each commit")
    return Check("fsync", "ok", found)


def check_private(name: str, path: Path) -> Check:
    """Whether others than the owner may read or write a file or directory."""
    found = path.stat()
    mode = stat.S_IMODE(found.st_mode)
    told = f"{path} has mode {mode:04o}"
    if mode & 0o022:
        return Check(name, "wrong", f"{told}: others may write to it", f"chmod go-rwx {path}")
    if mode & 0o004:
        return Check(name, "warning", f"{told}: everybody may read it", f"chmod o-rwx {path}, and set a umask of 077")
    return Check(name, "ok", told)
