"""A request's body as it comes, and what is left of it when the request is refused."""

from __future__ import annotations

from typing import Final

import anyio
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import Message, Receive, Scope

_SMALL: Final = 64 * 1024  # bytes: what is left of a body of this size is read, so that the connection can go on
_SECONDS: Final = 1.0


class Incoming:
    """What ASGI calls `receive`."""

    def __init__(self, scope: Scope, receive: Receive) -> None:
        headers = Headers(scope=scope)
        self._receive = receive
        self._keeps = scope.get("http_version", "")[:1] == "1"
        length = headers.get("content-length", "0")
        self._small = length.isdecimal() and int(length) <= _SMALL and "transfer-encoding" not in headers
        self._left = length != "0" or "transfer-encoding" in headers

    async def __call__(self) -> Message:
        """The next part of it."""
        message = await self._receive()
        if not message.get("more_body", False):
            self._left = False
        return message

    async def finish(self, refusal: Response) -> None:
        """Read what is left if it is little; else nothing can follow on this connection, and the refusal says so."""
        if self._left and self._small:
            with anyio.move_on_after(_SECONDS):
                while self._left:
                    await self()
        if self._left and self._keeps:
            refusal.headers["Connection"] = "close"
