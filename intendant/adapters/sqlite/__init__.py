"""The embedded store: one SQLite file. Only this folder knows the driver, apsw."""

from intendant.adapters.sqlite.reader import SqliteReader
from intendant.adapters.sqlite.store import SqliteLog, SqliteStore

__all__ = ["SqliteLog", "SqliteReader", "SqliteStore"]
