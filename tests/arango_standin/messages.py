"""Requests and answers of ArangoDB's HTTP API, taken apart; no socket."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Final, NoReturn
from urllib.parse import parse_qsl, unquote

import msgspec
from msgspec import Struct

Json = dict[str, Any]
NO_HEADERS: Final[dict[str, str]] = {}

# HTTP API > HTTP request handling, and the reference of error codes: which status each errorNum has.
STATUS: Final = {
    9: 501,
    10: 400,
    11: 401,
    600: 400,
    1004: 403,
    1200: 412,
    1202: 404,
    1203: 404,
    1205: 400,
    1207: 409,
    1208: 400,
    1210: 409,
    1221: 400,
    1227: 400,
    1228: 404,
    1229: 400,
    1230: 403,
    1502: 400,
    1551: 400,
    1552: 400,
    1600: 404,
}
TEXTS: Final = {
    10: "bad parameter",
    11: "not authorized to execute this request",
    600: "JSON parse error",
    1200: "conflict, _rev values do not match",
    1202: "document not found",
    1203: "collection or view not found",
    1205: "illegal document identifier",
    1207: "duplicate name",
    1208: "illegal name",
    1210: "unique constraint violated",
    1221: "illegal document key",
    1227: "invalid document type",
    1228: "database not found",
    1229: "database name invalid",
    1230: "operation only allowed in system database",
    1502: "query is empty",
    1551: "no value specified for declared bind parameter",
    1552: "bind parameter was not declared in the query",
    1600: "cursor not found",
}


@dataclass
class Request:
    """One request: the database of its path, and what stands behind it."""

    method: str
    database: str
    place: tuple[str, ...]  # such as ("document", "wal")
    options: dict[str, str]
    content: bytes
    headers: dict[str, str]

    @property
    def call(self) -> str:
        """What is asked, for logs and for rules of tests."""
        return f"{self.method} {'/'.join(self.place)}"

    @cached_property
    def body(self) -> Any:
        """The body, which is JSON. Raises Failure."""
        try:
            return msgspec.json.decode(self.content)
        except (msgspec.DecodeError, RecursionError):
            fail(600)

    def with_body(self, body: Any) -> Request:
        """The same with another body."""
        return replace(self, content=msgspec.json.encode(body))


class Reply(Struct, frozen=True):
    """An answer: what its body is as JSON."""

    status: int
    body: Any
    headers: dict[str, str] = NO_HEADERS

    @property
    def content(self) -> bytes:
        """The body as it is sent."""
        return msgspec.json.encode(self.body)


class Failure(Exception):
    """A request, or one document of many, that fails with this errorNum."""

    def __init__(self, number: int, text: str = "", **more: str) -> None:
        super().__init__(number, text)
        self.number = number
        self.text = text or TEXTS[number]
        self.more = more

    @property
    def reply(self) -> Reply:
        """It as the answer to a request. HTTP API > HTTP request handling > Error handling."""
        return failed(STATUS[self.number], self.number, self.text, **self.more)

    @property
    def element(self) -> Json:
        """It as the answer for one document of many. HTTP API > Documents > Multiple document operations."""
        return {"error": True, "errorNum": self.number, "errorMessage": self.text}


class OutOfScope(Exception):
    """The stand-in does not know what the server would do. Answered with 501, and kept, so that a test fails."""


def fail(number: int, text: str = "") -> NoReturn:
    """Raise the failure with this errorNum."""
    raise Failure(number, text)


def failed(status: int, number: int, text: str, **more: str) -> Reply:
    """The answer to a request that failed."""
    body = {"error": True, "code": status, "errorNum": number, "errorMessage": text, **more}
    return Reply(status, body)


def request_of(method: str, target: str, content: bytes = b"", headers: dict[str, str] | None = None) -> Request:
    """A request by its target as it stands in its first line; no `_db` means `_system`. Raises OutOfScope."""
    path, _, query = target.partition("?")
    parts = [unquote(part) for part in path.split("/")[1:]]
    database, rest = (parts[1], parts[2:]) if parts[0] == "_db" and len(parts) > 1 else ("_system", parts)
    if not rest or rest[0] != "_api":
        raise OutOfScope(f"{method} {path}")
    options = dict(parse_qsl(query, keep_blank_values=True))
    return Request(method, database, tuple(rest[1:]), options, content, headers or NO_HEADERS)
