"""Stores by URL.

memory:                         dies with the process
sqlite:work.db                  a file beside the program's working directory
sqlite:/var/lib/app/work.db     a file by its absolute path
sqlite:work.db?synchronous=normal   faster, level `written`: a power loss may take the last commits
"""

from __future__ import annotations

from typing import Final
from urllib.parse import parse_qsl, unquote

from intendant.adapters.files import DirectoryFileStore
from intendant.adapters.memory import MemoryColdStore, MemoryFileStore, MemoryStore
from intendant.domain.errors import InvalidValue
from intendant.domain.ports import ColdStore, FileStore, Store

HOT_KNOWN: Final = "memory:, sqlite:path/to/file.db, sqlite:path/to/file.db?synchronous=normal"
COLD_KNOWN: Final = "memory:"


def open_store(url: str) -> Store:
    """The hot store that a URL names; nothing is touched until its `open`. Raises InvalidValue for any other URL."""
    scheme, path, options = _split(url)
    if scheme == "memory" and not path and not options:
        return MemoryStore()
    if scheme == "sqlite":
        return _sqlite(path, options)
    raise _unknown("hot", url, HOT_KNOWN)


def open_cold(url: str) -> ColdStore:
    """The cold store that a URL names; nothing is touched until its `open`. Raises InvalidValue for any other URL."""
    scheme, path, options = _split(url)
    if scheme == "memory" and not path and not options:
        return MemoryColdStore()
    raise _unknown("cold", url, COLD_KNOWN)


def open_files(store_url: str) -> FileStore:
    """The file store that goes with a hot store of this URL: `X.db.files` beside the file `X.db`, else memory."""
    scheme, path, _ = _split(store_url)
    if scheme == "sqlite":
        return DirectoryFileStore(unquote(path) + ".files")
    return MemoryFileStore()


def without_secrets(url: str) -> str:
    """The URL as it may be shown: user and password taken out."""
    before, at, after = url.rpartition("@")
    return url if not at else f"{before.partition('//')[0]}//***@{after}"


def _split(url: str) -> tuple[str, str, dict[str, str]]:
    scheme, _, rest = url.partition(":")
    path, _, query = rest.partition("?")
    return scheme.lower(), path, dict(parse_qsl(query, keep_blank_values=True))


def _sqlite(path: str, options: dict[str, str]) -> Store:
    from intendant.adapters.sqlite import SqliteStore  # noqa: PLC0415  a program that never opens one need not load it

    synchronous = options.pop("synchronous", "full").lower()
    if path.startswith("//"):  # people write sqlite:///x.db, and mean different files by it
        raise InvalidValue(
            "hot", f"write sqlite:{path.lstrip('/')} for a relative path, sqlite:/{path.lstrip('/')} for /"
        )
    if options:
        raise InvalidValue("hot", f"sqlite: has no option {', '.join(sorted(options))}; it has synchronous=full|normal")
    if not path:
        raise InvalidValue("hot", "sqlite: names no file; write sqlite:intendant.db")
    if synchronous == "full":
        return SqliteStore(unquote(path))
    if synchronous == "normal":
        return SqliteStore(unquote(path), synchronous="normal")
    raise InvalidValue("hot", f"synchronous={synchronous}: it is full (level fsync) or normal (level written)")


def _unknown(what: str, url: str, known: str) -> InvalidValue:
    return InvalidValue(what, f"{without_secrets(url)!r} is not a store this version knows; known are {known}")
