"""A caller over HTTP/1.1 that does no more than it must, because an HTTP library would take more than who is asked."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any


class Connection:
    """One request at a time over a connection that is kept."""

    def __init__(self, host: str, port: int) -> None:
        self._host, self._port = host, port

    async def open(self) -> "Connection":
        self._reader, self._writer = await asyncio.open_connection(self._host, self._port)
        return self

    async def send(self, method: str, path: str, body: bytes, fields: str = "") -> dict[str, Any]:
        """The answer's body. `fields` are more lines of the head, each with its end. Fails where it is not a 200."""
        head = f"{method} {path} HTTP/1.1\r\nhost: {self._host}\r\ncontent-type: application/json\r\n{fields}"
        self._writer.write(head.encode() + b"content-length: %d\r\n\r\n" % len(body) + body)
        answer = await self._reader.readuntil(b"\r\n\r\n")
        status, _, told = answer.decode().lower().partition("\r\n")
        length = next(int(field[15:]) for field in told.split("\r\n") if field.startswith("content-length:"))
        answered = await self._reader.readexactly(length)
        assert status.split()[1] == "200", (status, answered)
        if "connection: close" in told:  # servers do that after so many requests
            self.close()
            await self.open()
        return json.loads(answered)

    def close(self) -> None:
        self._writer.close()


@asynccontextmanager
async def connected(host: str, port: int, callers: int) -> AsyncIterator[Callable[..., Awaitable[dict[str, Any]]]]:
    """Connections for so many callers at a time; yields what sends over a free one as `Connection.send` does."""
    free = [await Connection(host, port).open() for _ in range(callers)]

    async def send(*words: Any) -> dict[str, Any]:
        connection = free.pop()
        answer = await connection.send(*words)
        free.append(connection)
        return answer

    yield send
    for connection in free:
        connection.close()
