"""Whoever receives webhooks: a real server on a free port that answers as a test says, and remembers what came.

It shares no code with what sends: the requests are read here, byte by byte, and so are the signatures.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import anyio
import anyio.abc
import msgspec
from anyio.streams.buffered import BufferedByteReceiveStream
from anyio.streams.tls import TLSListener

SECRET = "whsec_" + base64.b64encode(b"the first secret, 32 bytes long.").decode()
NEXT_SECRET = "whsec_" + base64.b64encode(b"the next secret, 32 bytes long..").decode()


@dataclass
class Request:
    """What came."""

    line: str
    headers: dict[str, str]
    body: bytes

    @property
    def event(self) -> Any:
        return msgspec.json.decode(self.body)

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]


Answer = Callable[[Request, anyio.abc.ByteStream], Awaitable[None]]


def says(status: int, *headers: str, body: bytes = b"") -> Answer:
    """Answer so."""
    lines = [f"HTTP/1.1 {status} Whatever", f"Content-Length: {len(body)}", *headers, "", ""]

    async def answer(_: Request, stream: anyio.abc.ByteStream) -> None:
        await stream.send("\r\n".join(lines).encode() + body)

    return answer


@dataclass
class Receiver:
    """Answers each request by `answer`; `connections` counts those that were made."""

    answer: Answer = field(default_factory=lambda: says(204))
    requests: list[Request] = field(default_factory=list[Request])
    connections: int = 0
    port: int = 0

    @asynccontextmanager
    async def listen(self, tls: ssl.SSLContext | None = None) -> AsyncGenerator[Receiver]:
        plain = await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=self.port)
        self.port = plain.extra(anyio.abc.SocketAttribute.local_port)
        listener = plain if tls is None else TLSListener(plain, tls, standard_compatible=False)
        async with plain, anyio.create_task_group() as group:
            group.start_soon(listener.serve, self._connected)
            yield self
            group.cancel_scope.cancel()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook?token=hidden"

    @property
    def ids(self) -> list[str]:
        return [each.id for each in self.requests]

    async def _connected(self, stream: anyio.abc.ByteStream) -> None:
        self.connections += 1
        async with stream:
            reader = BufferedByteReceiveStream(stream)
            try:
                while True:
                    request = await _read(reader)
                    self.requests.append(request)
                    await self.answer(request, stream)
            except (anyio.EndOfStream, anyio.IncompleteRead, anyio.BrokenResourceError, anyio.ClosedResourceError):
                return


async def _read(reader: BufferedByteReceiveStream) -> Request:
    head = (await reader.receive_until(b"\r\n\r\n", 65_536)).decode()
    line, *rest = head.split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (each.partition(":") for each in rest)}
    return Request(line, headers, await reader.receive_exactly(int(headers["content-length"])))


def verified(request: Request, secret: str, now: int | None = None) -> bool:
    """Whether a request is signed with a secret, as the specification of Standard Webhooks says."""
    key = base64.b64decode(secret.split("_", 1)[1])
    if now is not None and abs(now - int(request.headers["webhook-timestamp"])) > 300:
        return False
    signed = b".".join((request.id.encode(), request.headers["webhook-timestamp"].encode(), request.body))
    wanted = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    return any(hmac.compare_digest(each, f"v1,{wanted}") for each in request.headers["webhook-signature"].split(" "))
