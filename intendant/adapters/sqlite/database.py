"""The SQLite file: its schema, how it is opened, and what its errors mean.

    X.db        everything, in the tables below
    X.db-wal    SQLite's own write-ahead log, which makes a commit one append and one fsync
    X.db-shm    SQLite's index of it
    X.db.lock   held with flock by the owner; names it, for people

`application_id` tells our files from others', `user_version` is the schema's version.

What a commit costs is the pages it changes, so rows lie in the order of time wherever they may: bodies in tables that
only grow at their end, with slim indexes beside them (a third of the pages, measured, of tables ordered by tenant), and
claimed keys by key before tenant, because a key that we make sorts by time.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
import weakref
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final, Literal, TypeVar, cast

import apsw

from intendant.adapters.mounts import NETWORK, VOLATILE, file_system_of
from intendant.adapters.sqlite.driver import Connection
from intendant.domain.errors import IntendantError, InternalError, StoreUnavailable
from intendant.domain.ports import Durability, Usage
from intendant.domain.records import UnknownFormat

Synchronous = Literal["full", "normal"]
T = TypeVar("T")

APPLICATION_ID: Final = 0x496E7464  # "Intd"
SCHEMA_VERSION: Final = 1
SQLITE_VERSION_MIN: Final = (3, 51, 3)  # older ones can corrupt a WAL file that two connections use
BUSY_WAIT_MS: Final = 5000
CACHE_KIB: Final = 4096  # the system caches the file as well: 64 MiB here were no faster, and memory grew for longer
WAL_BYTES_KEPT: Final = 64 * 1024 * 1024
OPEN_WAIT_S: Final = 10.0

SCHEMA: Final = f"""
CREATE TABLE entries(sequence INTEGER PRIMARY KEY, tenant TEXT NOT NULL, count INTEGER NOT NULL,
    time INTEGER NOT NULL, body BLOB NOT NULL);
CREATE INDEX entries_of_tenant ON entries(tenant);
CREATE TABLE documents(id INTEGER PRIMARY KEY, tenant TEXT NOT NULL, collection TEXT NOT NULL, key TEXT NOT NULL,
    since INTEGER NOT NULL, version INTEGER NOT NULL, body BLOB NOT NULL, UNIQUE(tenant, collection, key));
CREATE TABLE journal(id INTEGER PRIMARY KEY, tenant TEXT NOT NULL, execution TEXT NOT NULL, position INTEGER NOT NULL,
    body BLOB NOT NULL, UNIQUE(tenant, execution, position));
CREATE TABLE indexes(name TEXT NOT NULL, score INTEGER NOT NULL, tenant TEXT NOT NULL, member TEXT NOT NULL,
    PRIMARY KEY(name, score, tenant, member)) WITHOUT ROWID;
CREATE TABLE keys(tenant TEXT NOT NULL, key TEXT NOT NULL, value BLOB NOT NULL,
    PRIMARY KEY(key, tenant)) WITHOUT ROWID;
CREATE TABLE outbox(position INTEGER PRIMARY KEY, tenant TEXT NOT NULL, session TEXT NOT NULL, time INTEGER NOT NULL,
    body BLOB NOT NULL);
CREATE TABLE checkpoints(name TEXT PRIMARY KEY, position INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE ownership(id INTEGER PRIMARY KEY CHECK(id = 0), epoch INTEGER NOT NULL, token BLOB NOT NULL,
    next_sequence INTEGER NOT NULL, last_time INTEGER NOT NULL, last_first INTEGER NOT NULL,
    last_count INTEGER NOT NULL, last_digest BLOB NOT NULL, host TEXT NOT NULL, boot_id TEXT NOT NULL,
    pid INTEGER NOT NULL, started TEXT NOT NULL, locked INTEGER NOT NULL, owned_since INTEGER NOT NULL,
    lease INTEGER NOT NULL, lease_until INTEGER NOT NULL, released INTEGER NOT NULL);
INSERT INTO ownership VALUES(0, 0, x'', 1, 0, 0, 0, x'', '', '', 0, '', 0, 0, 0, 0, 1);
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {SCHEMA_VERSION};
"""


class Database:
    """One connection, for the thread that opened it. Translates the driver's errors, leaves no transaction open.

    One that is opened `beside` another one to the same file takes what is there as it is, and waits for nobody.
    """

    def __init__(
        self, path: Path, *, synchronous: Synchronous = "full", read_only: bool = False, beside: bool = False
    ) -> None:
        _check_library()
        _check_path(path)
        self.path = path
        self.log_pages = 0
        """Of SQLite's log, at this connection's newest commit."""
        self._broken = ""
        try:
            self.connection = _connect(path, synchronous, read_only, beside)
        except apsw.Error as error:
            raise self._translated(error) from error
        self.connection.set_wal_hook(self._committed)
        self.durability = _durability_of(self.connection, path)
        _databases.add(self)

    def run(self, work: Callable[[Connection], T]) -> T:
        """Do `work`; if it raises, roll back.

        Raises StoreUnavailable when the file can't be read or written now, InternalError when it is damaged or we are.
        After a failed fsync the file must be opened anew, because what the kernel then holds is not what the disk does.
        """
        if self._broken:
            raise StoreUnavailable(self._broken)
        try:
            return work(self.connection)
        except apsw.Error as error:
            translated = self._translated(error)
            self._roll_back()
            raise translated from error
        except BaseException:
            self._roll_back()
            raise

    def close(self) -> None:
        """Close the connection."""
        self.connection.close()

    def _committed(self, _connection: object, _name: str, log_pages: int) -> int:
        self.log_pages = log_pages
        return apsw.SQLITE_OK

    def _roll_back(self) -> None:
        try:
            if self.connection.in_transaction:
                self.connection.execute("ROLLBACK")
        except apsw.Error as error:
            self._broken = f"{self.path}: a transaction could not be rolled back ({error}); open the store anew"

    def _translated(self, error: apsw.Error) -> IntendantError:
        code = getattr(error, "extendedresult", 0)
        if code in (apsw.SQLITE_IOERR_FSYNC, apsw.SQLITE_IOERR_DIR_FSYNC):
            self._broken = f"{self.path}: an fsync failed, the disk may not hold what was written; open the store anew"
            return StoreUnavailable(self._broken)
        if isinstance(error, _UNAVAILABLE):
            return StoreUnavailable(f"{self.path}: {_name_of(code)}: {error}; nothing was told about the outcome")
        if isinstance(error, apsw.NotADBError):
            return UnknownFormat(f"{self.path} is not a SQLite database")
        if isinstance(error, apsw.CorruptError):
            return InternalError(f"{self.path} is damaged ({error}); restore it from a copy")
        return InternalError(f"{self.path}: {type(error).__name__}: {error}")


_databases: weakref.WeakSet[Database] = weakref.WeakSet()
_abandoned: list[Connection] = []


def _abandon_all() -> None:
    _abandoned.extend(database.connection for database in list(_databases))


if hasattr(os, "register_at_fork"):
    # In a forked child a connection must not even be closed: it would take its parent's locks for its own.
    os.register_at_fork(after_in_child=_abandon_all)

_UNAVAILABLE = (
    apsw.BusyError,
    apsw.LockedError,
    apsw.IOError,
    apsw.FullError,
    apsw.CantOpenError,
    apsw.ReadOnlyError,
    apsw.NoMemError,
    apsw.InterruptError,
    apsw.PermissionsError,
    apsw.ProtocolError,
    apsw.NoLFSError,
)


def _name_of(code: int) -> str:
    names = apsw.mapping_extended_result_codes if code > 0xFF else apsw.mapping_result_codes
    return str(names.get(code, f"SQLite error {code}"))


def _check_library() -> None:
    version = tuple(int(part) for part in apsw.sqlite_lib_version().split("."))
    if version < SQLITE_VERSION_MIN:
        wanted = ".".join(str(part) for part in SQLITE_VERSION_MIN)
        raise StoreUnavailable(
            f"apsw uses SQLite {apsw.sqlite_lib_version()}, which can damage files; install apsw >= {wanted}.0 "
            "with the SQLite that it carries"
        )


def _check_path(path: Path) -> None:
    if path.is_dir():
        raise StoreUnavailable(f"{path} is a directory; name a file, such as sqlite:{path / 'intendant.db'}")
    if not path.parent.is_dir():
        raise StoreUnavailable(f"the directory {path.parent} does not exist; create it, or name another file")
    kind = file_system_of(path)
    if kind in NETWORK:
        raise StoreUnavailable(
            f"{path} is on a network file system ({kind}), where SQLite is not safe; use a local one"
        )


def _connect(path: Path, synchronous: Synchronous, read_only: bool, beside: bool) -> Connection:
    flags = apsw.SQLITE_OPEN_READONLY if read_only else apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE
    opened = apsw.Connection(str(path), flags=flags)
    opened.set_busy_timeout(BUSY_WAIT_MS)
    connection = cast("Connection", opened)
    try:
        connection.pragma("mmap_size", 0)
        connection.pragma("cache_size", -CACHE_KIB)
        if read_only:
            _check_format(connection, path)
        else:
            _set_syncs(connection, synchronous)
            if not beside:
                _make_ours(connection, path)
    except BaseException:
        connection.close()
        raise
    return connection


def _durability_of(connection: Connection, path: Path) -> Durability:
    """What commits through this connection give, by its own settings and by what the file lies on."""
    full = connection.pragma("synchronous") >= 2 and connection.pragma("journal_mode") == "wal"
    return Durability.FSYNC if full and file_system_of(path) not in VOLATILE else Durability.WRITTEN


def usage(path: Path, connection: Connection) -> Usage:
    """How full the file is; its limit is what the file system still has. Pages that are free in it count as free."""
    size, pages, unused = (connection.pragma(name) for name in ("page_size", "page_count", "freelist_count"))
    used = (pages - unused) * size
    with suppress(FileNotFoundError):
        used += path.with_name(path.name + "-wal").stat().st_size
    return Usage(used, used + unused * size + shutil.disk_usage(path).free)


def _make_ours(connection: Connection, path: Path) -> None:
    if connection.readonly("main"):
        raise StoreUnavailable(f"{path} can't be written; check its permissions and those of its directory")
    _set_journal_mode(connection, path)
    connection.execute("BEGIN IMMEDIATE")
    if not _check_format(connection, path):
        connection.execute(SCHEMA)
    connection.execute("COMMIT")


def _set_syncs(connection: Connection, synchronous: Synchronous) -> None:
    connection.pragma("synchronous", synchronous)
    connection.pragma("journal_size_limit", WAL_BYTES_KEPT)
    connection.pragma("wal_autocheckpoint", 0)  # see `Checkpointer`
    if sys.platform == "darwin":  # where a plain fsync stops at the drive's cache
        connection.pragma("fullfsync", True)
        connection.pragma("checkpoint_fullfsync", True)


def _set_journal_mode(connection: Connection, path: Path) -> None:
    deadline = time.monotonic() + OPEN_WAIT_S
    mode = ""
    while not mode:
        try:
            mode = connection.pragma("journal_mode", "wal")
        except apsw.BusyError:  # SQLite does not wait here while another process makes the same change
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)
    if mode != "wal":
        raise StoreUnavailable(f"{path}: its file system can't hold a SQLite file in WAL mode (got {mode!r})")


def _check_format(connection: Connection, path: Path) -> bool:
    """Whether the schema is there; False for a new file. Raises UnknownFormat for what we can't read."""
    application, version = connection.pragma("application_id"), connection.pragma("user_version")
    if application == APPLICATION_ID and version == SCHEMA_VERSION:
        return True
    if application == APPLICATION_ID:
        raise UnknownFormat(
            f"{path} has schema {version}, this version reads {SCHEMA_VERSION}: "
            "open it with the version that wrote it, or a newer one"
        )
    if application or version or connection.pragma("schema_version"):
        raise UnknownFormat(f"{path} is the database of another program; name another file")
    return False
