"""Clients that read nothing, send slowly, send nonsense, or leave without a word: the rest goes on.

Each is closed by the server in bounded time, holds bounded memory, and another client is answered meanwhile.
"""

from __future__ import annotations

import json
import socket
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from intendant.http import HttpLimits
from intendant.http.tokens import METRICS, SCOPES
from tests.http.served import Served
from tests.infrastructure.tier import scaled

LIMITS = HttpLimits(head_seconds=0.4, body_seconds=0.4, send_seconds=0.4, keep_alive_seconds=0.05, requests=32)
BOUND = 5.0  # seconds, on a machine that does other things: within them a hostile client is closed
ANSWERED = 2.0  # seconds: within them another client is answered
MEMORY = 96 * 1024 * 1024  # bytes that hostile clients may cost in all
JSON = "Content-Type: application/json\r\n"
CHUNKED = f"{JSON}Transfer-Encoding: chunked\r\n"
CLIENTS = scaled(100, few=24)


class Town:
    """A server, a client that behaves, and others that do not."""

    def __init__(self, served: Served) -> None:
        self.served = served
        self.token = served.token("acme", (*SCOPES, METRICS))
        self.client = served.client(self.token)
        self.client.headers["Connection"] = "close"  # one that is kept may be left at the moment in which it is used
        self.memory = served.memory

    def sent(self, request: str, headers: str = "", body: bytes = b"") -> socket.socket:
        """A connection on which this was sent, as far as it was taken."""
        connection = self.served.connect()
        connection.settimeout(BOUND)
        head = f"{request} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {self.token}\r\n{headers}\r\n"
        with _left_by_the_server():
            connection.sendall(head.encode("latin-1") + body)
        return connection

    def goes_on(self) -> None:
        """Another client is answered in time, each time, and nothing is held."""
        begun = time.monotonic()
        for path in ("/health", "/v1/sessions?limit=1"):
            assert self.client.get(path).status_code == 200
        assert time.monotonic() - begun < ANSWERED
        assert self.served.memory - self.memory < MEMORY


class _left_by_the_server:  # noqa: N801  it reads as a statement
    """A server that closes before it has read everything is no failure of the client's."""

    def __enter__(self) -> None: ...

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> bool:
        return kind is not None and issubclass(kind, BrokenPipeError | ConnectionResetError)


def answer(connection: socket.socket) -> bytes:
    """Everything until the server closes; fails when it does not."""
    got = bytearray()
    with connection, _left_by_the_server():
        while part := connection.recv(65536):
            got += part
    return bytes(got)


def one_answer(connection: socket.socket) -> bytes:
    """A JSON object; the connection goes on."""
    got = b""
    while not got.endswith(b"}"):
        part = connection.recv(4096)
        assert part, f"closed after {got!r}"
        got += part
    return got


def status(connection: socket.socket) -> int:
    """Of the only answer, after which the server has closed; 0 when there was none."""
    got = answer(connection)
    return int(got.split(b" ", 2)[1]) if got else 0


@pytest.fixture(scope="module", params=["asyncio", "trio"])
def town(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    with Served(tmp_path_factory.mktemp("town"), "memory:", request.param, LIMITS) as served:
        town = Town(served)
        town.goes_on()  # so that what is measured later was loaded
        with closing(town.client):
            yield town
            town.goes_on()
            assert served.stop() == (0, "drained\n")


def deep(depth: int) -> bytes:
    return b'{"metadata":{"a":' + b"[" * depth + b"]" * depth + b"}}"


MALFORMED: dict[str, tuple[str, bytes, int]] = {
    "of another type": ("Content-Type: text/plain\r\nContent-Length: 2\r\n", b"{}", 415),
    "encoded": (f"{JSON}Content-Encoding: gzip\r\nContent-Length: 2\r\n", b"{}", 415),
    "oversized": (f"{JSON}Content-Length: 50000000\r\n", b" " * 3_000_000, 413),
    "oversized without a length": (CHUNKED, b"80000\r\n" + b" " * 0x80000 + b"\r\n", 413),
    "no chunk": (CHUNKED, b"zz\r\n", 400),
    "truncated chunk": (CHUNKED, b"ff\r\nab", 408),
    "truncated": (f"{JSON}Content-Length: 10\r\n", b"{", 408),
    "two lengths": (f"{JSON}Content-Length: 4\r\nContent-Length: 5\r\n", b"{}  ", 400),
    "negative length": (f"{JSON}Content-Length: -1\r\n", b"", 400),
    "invalid UTF-8": (f"{JSON}Content-Length: 3\r\nConnection: close\r\n", b'{"\xff', 400),
    "NaN": (f"{JSON}Content-Length: 19\r\nConnection: close\r\n", b'{"concurrency":NaN}', 400),
    "deep": (f"{JSON}Content-Length: 200019\r\nConnection: close\r\n", deep(100_000), 400),
    "huge header": ("X: " + "y" * 100_000 + "\r\n", b"", 431),
    "many headers": ("".join(f"X{n}: y\r\n" for n in range(10_000)), b"", 431),
    "nul in a header": ("X\x00: y\r\n", b"", 400),
    "unknown framing": ("Transfer-Encoding: gzip\r\n", b"", 501),
}


@pytest.mark.parametrize("kind", MALFORMED)
def test_what_is_malformed_is_refused_and_the_connection_closed(town: Town, kind: str) -> None:
    headers, body, expected = MALFORMED[kind]
    assert status(town.sent("POST /v1/sessions", headers, body)) == expected
    town.goes_on()


def test_a_body_that_nobody_asked_for_holds_nothing(town: Town) -> None:
    """More than `requests` of them: none is left among those that go on."""
    body = b"x" * 1_000_000
    for request in ("GET /v1/sessions", "POST /v1/executions/none/cancel", "DELETE /v1/wal", "POST /nowhere"):
        for _ in range(CLIENTS // 2):
            assert status(town.sent(request, f"Content-Length: {len(body) * 9}\r\n", body)) in (200, 404, 405)
    town.goes_on()


def test_a_small_body_that_nobody_asked_for_costs_no_connection(town: Town) -> None:
    with town.sent("GET /health", "Content-Length: 2\r\n", b"{}") as connection:
        for _ in range(3):
            assert b"connection: close" not in one_answer(connection)
            connection.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}")
        assert one_answer(connection).startswith(b"HTTP/1.1 200")


def test_a_refusal_costs_no_connection(town: Town) -> None:
    with town.sent("POST /v1/executions/none/signals/go", f"{JSON}Content-Length: 2\r\n", b"[]") as connection:
        for _ in range(3):
            told = one_answer(connection)
            assert told.startswith(b"HTTP/1.1 400")
            assert b"connection: close" not in told
            connection.sendall(
                b"POST /v1/executions/none/signals/go HTTP/1.1\r\nHost: x\r\n"
                + f"Authorization: Bearer {town.token}\r\n{JSON}Content-Length: 2\r\n\r\n[]".encode()
            )


def test_who_sends_slowly_is_left(town: Town) -> None:
    """Slowloris: a head that grows byte by byte, and one that never begins. Bytes do not prolong it."""
    slow = [town.served.connect() for _ in range(CLIENTS)]
    begun = time.monotonic()
    while slow and time.monotonic() - begun < BOUND:
        slow = [each for each in slow if _still_takes(each, b"X")]
        town.goes_on()
        time.sleep(0.05)
    assert not slow
    assert answer(town.served.connect()) == b""


def _still_takes(connection: socket.socket, data: bytes) -> bool:
    connection.setblocking(False)
    try:
        connection.send(data)
        left = connection.recv(1) == b""
    except BlockingIOError:
        return True
    except OSError:
        left = True
    if left:
        connection.close()
    return not left


def test_who_reads_nothing_is_left(town: Town) -> None:
    """An answer of megabytes, and a stream: what waits in the server is given up after `send_seconds`."""
    town.client.put("/v1/sessions/large", json={})
    parameters = {"text": "x" * 60_000}
    for _ in range(50):
        intent = {"type": "work.count", "parameters": parameters}
        assert town.client.post("/v1/sessions/large/intents", json=intent).status_code == 202
    stalled = [_with_small_window(town, "GET /v1/wal?session=large&limit=100") for _ in range(4)]
    town.goes_on()
    for each in stalled:
        _wait_until_closed(town, each)
    town.goes_on()


def _with_small_window(town: Town, request: str) -> socket.socket:
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    address = httpx.URL(town.served.address)
    connection.connect((address.host, address.port or 80))
    connection.sendall(f"{request} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {town.token}\r\n\r\n".encode())
    return connection


def _wait_until_closed(town: Town, connection: socket.socket) -> None:
    """Without reading a byte of what lies there: only the server's own connections tell."""
    name = connection.getsockname()
    give_up = time.monotonic() + BOUND
    while any(each.raddr == name for each in town.served.connections()):
        assert time.monotonic() < give_up
        time.sleep(0.02)
    connection.close()


def test_who_leaves_without_a_word_is_noticed(town: Town) -> None:
    """A stream whose reader has closed one direction, or everything, at once."""
    town.client.put("/v1/sessions/s", json={})
    hold = {"type": "work.hold", "parameters": {"text": "x"}}
    held = town.client.post("/v1/sessions/s/intents", json=hold).json()["execution"]
    readers = [town.sent(f"GET /v1/executions/{held}/events") for _ in range(CLIENTS // 2)]
    for each in readers:
        assert each.recv(4).startswith(b"HTTP")
        each.shutdown(socket.SHUT_WR)
    for each in readers:
        answer(each)
    for _ in range(CLIENTS // 2):
        town.sent(f"GET /v1/executions/{held}/events").close()
    town.goes_on()
    assert town.client.post(f"/v1/executions/{held}/cancel").status_code == 200


def test_requests_ahead_of_their_turn_are_answered_in_turn(town: Town) -> None:
    connection = town.served.connect()
    connection.settimeout(BOUND)
    line = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"
    connection.sendall(line * 500 + b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert answer(connection).count(json.dumps({"status": "alive"}, separators=(",", ":")).encode()) == 501
    town.goes_on()


def _sends_half(town: Town) -> None:
    test_what_is_malformed_is_refused_and_the_connection_closed(town, "truncated")


@pytest.mark.stress
@pytest.mark.parametrize(
    ("fault", "check"),
    [
        ({"head_seconds": 1e6}, test_who_sends_slowly_is_left),
        ({"send_seconds": 1e6}, test_who_reads_nothing_is_left),
        ({"body_seconds": 1e6}, _sends_half),
    ],
)
def test_planted_a_limit_is_not_kept(tmp_path: Path, fault: dict[str, Any], check: Callable[[Town], None]) -> None:
    with Served(tmp_path, "memory:", limits=msgspec.structs.replace(LIMITS, **fault)) as served:
        town = Town(served)
        with (
            closing(town.client),
            warnings.catch_warnings(action="ignore"),
            pytest.raises((AssertionError, TimeoutError)),
        ):
            check(town)
