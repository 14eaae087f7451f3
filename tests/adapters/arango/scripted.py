"""A server on loopback that answers each request with what a test wrote down, byte for byte, and keeps the requests."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

Answer = Callable[[socket.socket], None]


@dataclass
class Scripted:
    """Its address, what it was asked, and what it will answer; the last answer is given again and again."""

    url: str
    answers: list[Answer] = field(default_factory=list[Answer])
    requests: list[bytes] = field(default_factory=list[bytes])
    connections: int = 0

    def next_answer(self) -> Answer:
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]

    @property
    def lines(self) -> list[str]:
        return [request.split(b"\r\n")[0].decode() for request in self.requests]


def said(status: int, body: Any, headers: str = "") -> Answer:
    """A complete answer."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    head = f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {len(content)}\r\n{headers}\r\n"
    return lambda connection: connection.sendall(head.encode() + content)


def failed(status: int, number: int, message: str = "because", **more: Any) -> Answer:
    """An answer as ArangoDB tells a failure."""
    return said(status, {"error": True, "code": status, "errorNum": number, "errorMessage": message, **more})


def cut(head: bytes) -> Answer:
    """These bytes, and the connection is gone."""

    def answer(connection: socket.socket) -> None:
        connection.sendall(head)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # a reset, not an end
        connection.close()

    return answer


def ended(head: bytes) -> Answer:
    """These bytes, and nothing follows."""

    def answer(connection: socket.socket) -> None:
        connection.sendall(head)
        connection.shutdown(socket.SHUT_RDWR)

    return answer


@contextmanager
def scripted(*answers: Answer) -> Generator[Scripted]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = Scripted(f"arangodb://root:test@127.0.0.1:{listener.getsockname()[1]}/d", list(answers))
        threading.Thread(target=_accept, args=(listener, server), daemon=True).start()
        yield server
        listener.shutdown(socket.SHUT_RDWR)


def _accept(listener: socket.socket, server: Scripted) -> None:
    with suppress(OSError):
        while True:
            connection, _ = listener.accept()
            server.connections += 1
            threading.Thread(target=_serve, args=(connection, server), daemon=True).start()


def _serve(connection: socket.socket, server: Scripted) -> None:
    with suppress(OSError), connection:
        while request := _read(connection):
            server.requests.append(request)
            server.next_answer()(connection)


def _read(connection: socket.socket) -> bytes:
    """One request, head and body."""
    data = b""
    while b"\r\n\r\n" not in data:
        piece = connection.recv(65536)
        if not piece:
            return b""
        data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    length = next((int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), 0)
    while len(body) < length:
        body += connection.recv(65536)
    return head + b"\r\n\r\n" + body
