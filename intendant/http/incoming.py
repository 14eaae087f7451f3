"""A request's body as it comes, and what is left of it when the request is refused."""

from __future__ import annotations

from typing import Final

import anyio
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

_SMALL: Final = 64 * 1024  # bytes: what is left of a body of this size is read, so that the connection can go on
_DIGITS: Final = 18  # of a length: more are no length
_SECONDS: Final = 1.0


class Incoming:
    """What ASGI calls `receive`."""

    def __init__(self, scope: Scope, receive: Receive) -> None:
        self._scope = scope
        self._receive = receive
        self._whole = False

    async def __call__(self) -> Message:
        """The next part of it."""
        message = await self._receive()
        if not message.get("more_body", False):
            self._whole = True
        return message

    async def finish(self, refusal: Response) -> None:
        """Read what is left if it is little; else nothing can follow on this connection, and the refusal says so."""
        if not (self._whole or await self._took_the_rest()) and self._scope.get("http_version", "")[:1] == "1":
            refusal.headers["Connection"] = "close"

    async def _took_the_rest(self) -> bool:
        headers = Headers(scope=self._scope)
        length = headers.get("content-length", "0")
        chunked = "transfer-encoding" in headers
        if length == "0" and not chunked:
            return True
        if not chunked and length.isdecimal() and len(length) <= _DIGITS and int(length) <= _SMALL:
            with anyio.move_on_after(_SECONDS):
                while not self._whole:
                    await self()
        return self._whole

    async def refuse(self, refusal: Response, send: Send) -> None:
        """Answer without a look at what is left of it."""
        await self.finish(refusal)
        await refusal(self._scope, self, send)
