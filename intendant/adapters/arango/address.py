"""Where an ArangoDB is, and how it is to be used: from a URL.

arangodb://user:password@host:8529/database          plain
arangodb+tls://user:password@host:8529/database      TLS; the server's certificate is checked

timeout=10         seconds that a request may take
threads=4          requests at once
replication=3      copies of a collection that is made here (a cluster; the server's default without it)
write_concern=2    copies that must be in step for a write
ca=/path/ca.pem    who may sign the server's certificate, instead of the system's list
"""

from __future__ import annotations

import math
import re
from typing import Final
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from msgspec import Struct

from intendant.domain.errors import InvalidValue

PORT: Final = 8529
SHAPE: Final = "arangodb://user:password@host:8529/database"
OPTIONS: Final = ("timeout", "threads", "replication", "write_concern", "ca")

_TLS: Final = {"arangodb": False, "arangodb+tls": True, "arangodbs": True}
_DATABASE: Final = re.compile(r"[a-z][a-z0-9_-]{0,62}\Z")
_HOST: Final = re.compile(r"[A-Za-z0-9.:_-]+\Z")  # a name, or an IPv6 address without its brackets


class Address(Struct, frozen=True):
    """A server, a database on it, and how to speak to it. Shows itself without user and password."""

    tls: bool
    host: str
    port: int
    database: str
    user: str
    password: str
    timeout: float = 10.0
    threads: int = 4
    replication: int | None = None
    write_concern: int | None = None
    ca: str | None = None

    @property
    def name(self) -> str:
        """The URL as it may be shown."""
        return f"arangodb{'+tls' if self.tls else ''}://{self._place}/{self.database}"

    @property
    def server(self) -> str:
        """The URL that requests begin with."""
        return f"http{'s' if self.tls else ''}://{self._place}"

    @property
    def _place(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def __repr__(self) -> str:
        return f"<Address {self.name}>"


def parse(url: str) -> Address:
    """The address that a URL names. Raises InvalidValue, which never shows the URL: it may hold a password."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or PORT
    except ValueError:
        raise _invalid(f"is no URL; write {SHAPE}") from None
    if parts.scheme not in _TLS or parts.fragment or not _HOST.match(host):
        raise _invalid(f"is no URL of this kind; write {SHAPE}, with # / ? @ : in a password as %23 %2F %3F %40 %3A")
    options = _options(parts.query)
    if "ca" in options and not _TLS[parts.scheme]:
        raise _invalid("ca= is of use with TLS only; write arangodb+tls://")
    return Address(
        tls=_TLS[parts.scheme],
        host=host,
        port=port,
        database=_database(parts.path.removeprefix("/")),
        user=unquote(parts.username or ""),
        password=_password(parts),
        timeout=_number(options, "timeout", 10.0, 0.1, 600.0),
        threads=_whole(options, "threads", 64) or 4,
        replication=_whole(options, "replication", 10),
        write_concern=_whole(options, "write_concern", 10),
        ca=options.get("ca"),
    )


def _options(query: str) -> dict[str, str]:
    options = dict(parse_qsl(query, keep_blank_values=True))
    unknown = sorted(set(options) - set(OPTIONS))
    if unknown:
        raise _invalid(f"has no option {', '.join(unknown)}; it has {', '.join(OPTIONS)}")
    return options


def _database(name: str) -> str:
    if not _DATABASE.match(name):
        raise _invalid("names no database; use small letters, digits, _ and -, a letter first, at most 63")
    return name


def _password(parts: SplitResult) -> str:
    if not parts.username or not parts.password:
        raise _invalid(f"needs a user and a password, an empty one is refused; write {SHAPE}")
    return unquote(parts.password)


def _whole(options: dict[str, str], name: str, most: int) -> int | None:
    if name not in options:
        return None
    value = _number(options, name, 0, 1, most)
    if value != int(value):
        raise _invalid(f"{name}= is a whole number")
    return int(value)


def _number(options: dict[str, str], name: str, default: float, least: float, most: float) -> float:
    try:
        value = float(options.get(name, default))
    except ValueError:
        value = math.nan
    if not least <= value <= most:
        raise _invalid(f"{name}= is a number from {least:g} to {most:g}")
    return value


def _invalid(problem: str) -> InvalidValue:
    return InvalidValue("cold", f"the arangodb: URL {problem}")
