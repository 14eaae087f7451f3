"""The lock file beside the database: held by the owner, and a note for people about who that is.

The lock is only a witness. The kernel lets go of it when its process is gone, whatever killed it, so that whoever gets
it knows that the owner which held it is no more. Safety never depends on it: the fence in the database decides.
"""

from __future__ import annotations

import json
import os
import sys
import time
import weakref
from contextlib import suppress
from pathlib import Path

from intendant.domain.errors import StoreUnavailable
from intendant.domain.ports import Owner

if sys.platform != "win32":
    import fcntl


class LockFile:
    """The lock of one database file. Two objects exclude each other, also within one process."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = -1
        _locks.add(self)

    @property
    def held(self) -> bool:
        """Whether this object holds the lock."""
        return self._file >= 0

    def take(self) -> bool:
        """Take the lock if nobody has it. False also where the file system has no such locks."""
        if self.held:
            return True
        if sys.platform == "win32":
            return False
        try:
            file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise StoreUnavailable(f"the lock file {self._path} can't be opened: {error.strerror}") from error
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(file)
            return False
        self._file = file
        return True

    def note(self, owner: Owner) -> None:
        """Write into the file who holds it."""
        since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        self._write(json.dumps({"host": owner.host, "pid": owner.pid, "since": since}) + "\n")

    def drop(self) -> None:
        """Let go of the lock. The file stays: removing it would let two processes lock two files of one name."""
        if self.held:
            self._write("")
            self.forget()

    def _write(self, text: str) -> None:
        with suppress(OSError):  # it is for people, and a full disk is no reason to fail
            os.ftruncate(self._file, 0)
            os.pwrite(self._file, text.encode(), 0)

    def forget(self) -> None:
        """Close the file. In a forked child this leaves the parent's lock alone."""
        if self.held:
            os.close(self._file)
            self._file = -1


_locks: weakref.WeakSet[LockFile] = weakref.WeakSet()


def _forget_all() -> None:
    for lock in list(_locks):
        lock.forget()


if hasattr(os, "register_at_fork"):
    # A lock belongs to the open file, which a child shares: an orphaned child would keep a dead owner's lock.
    os.register_at_fork(after_in_child=_forget_all)
