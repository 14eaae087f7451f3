"""Where a Redis store is, and what its URL says of it.

redis://[user[:password]@]host[:port][/database]      rediss:// the same with TLS
unix://[user[:password]@]/path/to/redis.sock

    prefix=intendant    what keys begin with: runtimes with different ones share a server
    partitions=4        how many, when the store is made (default 1); fixed from then on
    timeout=5           seconds until an unanswered call fails
    memory=2gb          the store's own limit for `usage`, where the server has none
    assume=written      what the server gives (written or fsync), where it hides its settings
    db=0                the database, for unix:// URLs
    ssl_ca_certs=, ssl_certfile=, ssl_keyfile=     files, for rediss://
    ssl_check_hostname=yes|no, ssl_cert_reqs=required|none
"""

from __future__ import annotations

import re
import ssl
from typing import Final
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from msgspec import Struct
from msgspec.structs import replace

from intendant.adapters.redis.keys import PREFIX
from intendant.domain.errors import InvalidValue, StoreUnavailable
from intendant.domain.ports import Durability

PARTITIONS_MAX: Final = 4096
TIMEOUT_S: Final = 5.0
PORT: Final = 6379
_OPTIONS: Final = ("prefix", "partitions", "timeout", "memory", "assume")
_TLS_OPTIONS: Final = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_check_hostname", "ssl_cert_reqs")
_KNOWN: Final = {"redis": _OPTIONS, "rediss": (*_OPTIONS, *_TLS_OPTIONS), "unix": (*_OPTIONS, "db")}
_UNITS: Final = {"": 1, "b": 1, "kb": 1 << 10, "mb": 1 << 20, "gb": 1 << 30, "tb": 1 << 40}
_SIZE: Final = re.compile(r"(\d{1,15})\s*([kmgt]?b?)\Z")


class Tls(Struct, frozen=True):
    """How a rediss:// server is checked, and how we show who we are."""

    ca_certs: str | None = None
    certfile: str | None = None
    keyfile: str | None = None
    check_hostname: bool = True
    verify: bool = True

    def context(self) -> ssl.SSLContext:
        """A TLS context. Raises StoreUnavailable when a file can't be read."""
        try:
            context = ssl.create_default_context(cafile=self.ca_certs)
            if self.certfile:
                context.load_cert_chain(self.certfile, self.keyfile)
        except (OSError, ValueError) as error:
            raise StoreUnavailable(f"ssl_ca_certs, ssl_certfile or ssl_keyfile can't be used: {error}") from error
        if not (self.verify and self.check_hostname):
            context.check_hostname = False
        if not self.verify:
            context.verify_mode = ssl.CERT_NONE
        return context


class Address(Struct, frozen=True):
    """A parsed URL. Only `credentials` is secret, and it is never shown."""

    name: str  # the URL as it may be shown
    host: str
    port: int
    path: str  # of a Unix socket, or empty
    database: int
    tls: Tls | None
    credentials: tuple[str, ...]  # user and password, a password, or nothing
    prefix: str
    partitions: int | None  # None: as the store was made, or 1
    timeout: float
    memory: int  # bytes, 0: as the server says
    assume: Durability | None

    def __repr__(self) -> str:
        return f"Address({self.name!r})"

    def at(self, host: str, port: int) -> Address:
        """The same store at another node of its cluster; without a host it is the one that told the port."""
        if not host and self.path:
            return self
        host = host or self.host
        scheme = "redis" if self.tls is None else "rediss"
        name = f"{scheme}://{_bracketed(host)}:{port}/{self.database}?prefix={self.prefix}"
        return replace(self, name=name, host=host, port=port, path="")


def parse(url: str) -> Address:
    """The address that a URL names. Raises InvalidValue, which never shows the URL's secrets."""
    parts, credentials, port = _split(url)
    options = _options(parts)
    unix = parts.scheme == "unix"
    database = options.get("db", "0") if unix else parts.path.lstrip("/") or "0"
    host = "" if unix else parts.hostname or "localhost"
    number = _number("db", database, 0, 1 << 20)
    prefix = _prefix(options.get("prefix", "intendant"))
    where = f"unix://{parts.path}" if unix else f"{parts.scheme}://{_bracketed(host)}:{port or PORT}/{number}"
    return Address(
        name=f"{where}?prefix={prefix}" + (f"&db={number}" if unix and number else ""),
        host=host,
        port=port or PORT,
        path=unquote(parts.path) if unix else "",
        database=number,
        tls=_tls(options) if parts.scheme == "rediss" else None,
        credentials=credentials,
        prefix=prefix,
        partitions=_number("partitions", options["partitions"], 1, PARTITIONS_MAX) if "partitions" in options else None,
        timeout=_seconds(options["timeout"]) if "timeout" in options else TIMEOUT_S,
        memory=_size(options["memory"]) if "memory" in options else 0,
        assume=_assume(options["assume"]) if "assume" in options else None,
    )


def _split(url: str) -> tuple[SplitResult, tuple[str, ...], int | None]:
    # What urllib says of a URL that it can't read may hold a part of the password: it is not passed on.
    try:
        parts = urlsplit(url)
        port = None if parts.scheme == "unix" else parts.port
    except ValueError:
        raise _unreadable() from None
    if parts.scheme not in _KNOWN:
        raise InvalidValue("hot", "a Redis URL begins with redis://, rediss:// or unix://")
    if "@" in parts.path + parts.query + parts.fragment or parts.fragment:
        raise _unreadable()
    if parts.scheme == "unix" and (not parts.path or parts.hostname):
        raise InvalidValue("hot", "write unix:///path/to/redis.sock, with three slashes")
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    if not password:
        return parts, (), port
    return parts, ((user, password) if user else (password,)), port


def _unreadable() -> InvalidValue:
    return InvalidValue(
        "hot",
        "the Redis URL can't be read; write redis://user:password@host:port/database?prefix=name, "
        "with / ? # @ : and % of user and password percent-encoded",
    )


def _options(parts: SplitResult) -> dict[str, str]:
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    known = _KNOWN[parts.scheme]
    unknown = sorted(set(options) - set(known))
    if unknown:
        raise InvalidValue(
            "hot", f"{parts.scheme}:// has no option {', '.join(unknown)}; it has {', '.join(sorted(known))}"
        )
    return options


def _tls(options: dict[str, str]) -> Tls:
    requirement = options.get("ssl_cert_reqs", "required")
    if requirement not in ("required", "none"):
        raise InvalidValue("hot", f"ssl_cert_reqs={requirement}: it is required or none")
    return Tls(
        ca_certs=options.get("ssl_ca_certs"),
        certfile=options.get("ssl_certfile"),
        keyfile=options.get("ssl_keyfile"),
        check_hostname=_truth("ssl_check_hostname", options.get("ssl_check_hostname", "yes")),
        verify=requirement == "required",
    )


def _prefix(prefix: str) -> str:
    if not PREFIX.match(prefix):
        raise InvalidValue("hot", f"prefix={prefix}: it is 1 to 64 letters, digits, - or _")
    return prefix


def _number(option: str, text: str, least: int, most: int) -> int:
    if not text.isascii() or not text.isdigit() or not least <= int(text) <= most:
        raise InvalidValue("hot", f"{option}={text}: it is a whole number from {least} to {most}")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= 3600:
        raise InvalidValue("hot", f"timeout={text}: it is a number of seconds, more than 0 and at most 3600")
    return seconds


def _size(text: str) -> int:
    match = _SIZE.match(text.lower())
    if match is None or not int(match[1]):
        raise InvalidValue("hot", f"memory={text}: write it as memory=500mb or memory=2gb")
    unit = match[2]
    return int(match[1]) * _UNITS[unit if not unit or unit.endswith("b") else unit + "b"]


def _assume(text: str) -> Durability:
    known = {"written": Durability.WRITTEN, "fsync": Durability.FSYNC}
    if text not in known:
        raise InvalidValue("hot", f"assume={text}: it is written or fsync, whichever the server surely gives")
    return known[text]


def _truth(option: str, text: str) -> bool:
    known = {"yes": True, "true": True, "1": True, "no": False, "false": False, "0": False}
    if text.lower() not in known:
        raise InvalidValue("hot", f"{option}={text}: it is yes or no")
    return known[text.lower()]


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
