"""Stores by URL.

memory:                         dies with the process
sqlite:work.db                  a file beside the program's working directory
sqlite:/var/lib/app/work.db     a file by its absolute path
sqlite:work.db?synchronous=normal   faster, level `written`: a power loss may take the last commits
redis://localhost:6379/0?prefix=shop   a Redis server; its options are told in adapters/redis/address.py
rediss://, unix:///path/to/redis.sock  the same over TLS, or a Unix socket
arangodb://user:password@host:8529/database   a cold store; its options are told in adapters/arango/address.py

And files: file:/shared/directory, memory:, or without a URL beside the hot store where it is a file.
"""

from __future__ import annotations

from typing import Final
from urllib.parse import parse_qsl, unquote

from intendant.domain.errors import InvalidValue
from intendant.domain.ports import ColdStore, Durability, FileStore, Store

HOT_KNOWN: Final = (
    "memory:, sqlite:path/to/file.db, sqlite:path/to/file.db?synchronous=normal, "
    "redis://user:password@host:6379/0, rediss://host, unix:///path/to/redis.sock"
)
COLD_KNOWN: Final = "memory:, arangodb://user:password@host:8529/database, arangodb+tls://..."
FILES_KNOWN: Final = "file:/path/to/directory, memory:"


def open_store(url: str, durability: Durability = Durability.WRITTEN) -> Store:
    """The hot store that a URL names; nothing is touched until its `open`. Raises InvalidValue for any other URL.

    `durability` is what will be asked of it, for a store that can give more than one level.
    """
    scheme, path, options = _split(url)
    if scheme == "memory" and not path and not options:
        from intendant.adapters.memory import MemoryStore  # noqa: PLC0415  as below: a program loads what it uses

        return MemoryStore()
    if scheme == "sqlite":
        return _sqlite(path, options)
    if scheme in ("redis", "rediss", "unix"):
        return _redis(url, durability)
    raise _unknown("hot", url, HOT_KNOWN)


def open_cold(url: str) -> ColdStore:
    """The cold store that a URL names; nothing is touched until its `open`. Raises InvalidValue for any other URL."""
    scheme, path, options = _split(url)
    if scheme == "memory" and not path and not options:
        from intendant.adapters.memory import MemoryColdStore  # noqa: PLC0415

        return MemoryColdStore()
    if scheme in ("arangodb", "arangodb+tls", "arangodbs"):
        return _arango(url)
    raise _unknown("cold", url, COLD_KNOWN)


def open_files(hot: str, url: str | None = None) -> FileStore:
    """The file store that a URL names; without one, what goes with the hot store of the URL `hot`.

    That is `X.db.files` beside the file `X.db`, memory for memory, and none for a server. Raises InvalidValue.
    """
    if url is None:
        return _files_of(hot)
    scheme, path, options = _split(url)
    if scheme == "memory" and not path and not options:
        return _memory_files()
    if scheme == "file" and path and not options and not path.startswith("//"):
        return _directory(path)
    raise _unknown("files", url, FILES_KNOWN)


def _files_of(hot: str) -> FileStore:
    scheme, path, _ = _split(hot)
    if scheme == "sqlite":
        return _directory(f"{path}.files")
    return _memory_files() if scheme == "memory" else _no_files(hot)


def _directory(path: str) -> FileStore:
    from intendant.adapters.files import DirectoryFileStore  # noqa: PLC0415

    return DirectoryFileStore(unquote(path))


def _memory_files() -> FileStore:
    from intendant.adapters.memory import MemoryFileStore  # noqa: PLC0415

    return MemoryFileStore()


def _no_files(hot: str) -> FileStore:
    from intendant.adapters.files import NoFileStore  # noqa: PLC0415

    return NoFileStore(hot)


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


def _redis(url: str, durability: Durability) -> Store:
    try:
        from intendant.adapters.redis import RedisStore  # noqa: PLC0415  hiredis is there only where it was asked for
    except ModuleNotFoundError as error:
        raise InvalidValue("hot", f"Redis needs {error.name}; install intendant[redis]") from error
    return RedisStore(url, durability=durability)


def _arango(url: str) -> ColdStore:
    try:
        from intendant.adapters.arango import ArangoColdStore  # noqa: PLC0415  its driver is optional, and slow to load
    except ModuleNotFoundError as error:
        raise InvalidValue("cold", f"ArangoDB needs {error.name}; install intendant[arango]") from error
    return ArangoColdStore(url)


def _unknown(what: str, url: str, known: str) -> InvalidValue:
    return InvalidValue(what, f"{without_secrets(url)!r} is not a store this version knows; known are {known}")
