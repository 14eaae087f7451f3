"""The stand-in as an HTTP server: Arango's routes, faults as they were planned, and two routes to plan and to look."""

from __future__ import annotations

import asyncio
import socket
from typing import Any, Final

import msgspec
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request as Asked
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from tests.arango_standin.contract import Arango
from tests.arango_standin.faults import CONTROL, Ending, Faults, Plan, State
from tests.arango_standin.messages import OutOfScope, Reply, request_of

METHODS: Final = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
PIECES: Final = 5  # of a slow body, with
PAUSE: Final = 0.01  # seconds between them


class Connection(H11Protocol):
    """HTTP/1.1 whose handlers get at the connection, to end it as a fault does."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.app_state = {**self.app_state, "transport": transport}


class Ended(Response):
    """An answer that is not sent as it should be."""

    def __init__(self, reply: Reply, ending: Ending) -> None:
        super().__init__(reply.content, reply.status, reply.headers, "application/json")
        self._ending = ending

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        transport: asyncio.Transport = scope["state"]["transport"]
        if self._ending is Ending.SLOW:
            await self._send_slowly(send)
            return
        if self._ending is Ending.CLOSED:
            await super().__call__(scope, receive, send)
        elif self._ending is not Ending.NONE:
            transport.write(self._part())
        transport.close()
        while (await receive())["type"] != "http.disconnect":
            pass

    async def _send_slowly(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        size = len(self.body) // PIECES + 1
        for start in range(0, len(self.body), size):
            piece = bytes(self.body[start : start + size])
            await send({"type": "http.response.body", "body": piece, "more_body": True})
            await asyncio.sleep(PAUSE)
        await send({"type": "http.response.body", "body": b""})

    def _part(self) -> bytes:
        lines = [b"HTTP/1.1 %d X" % self.status_code, *(b"%s: %s" % header for header in self.raw_headers)]
        head = b"\r\n".join(lines) + b"\r\n\r\n"
        return head[:20] if self._ending is Ending.HEAD else head + bytes(self.body[: len(self.body) // 2])


def application(arango: Arango) -> Starlette:
    """The server's routes."""
    faults = Faults()

    async def control(asked: Asked) -> Response:
        nonlocal faults
        told = State(faults.met, arango.strays.copy())
        arango.strays.clear()
        if asked.method == "POST":
            faults = Faults(msgspec.json.decode(await asked.body(), type=Plan | None))
        return Response(msgspec.json.encode(told), media_type="application/json")

    async def answer(asked: Asked) -> Response:
        content = await asked.body()
        try:
            request = request_of(asked.method, _target(asked), content, dict(asked.headers))
        except OutOfScope as stray:
            reply, ending = arango.stray(str(stray)), Ending.WHOLE
        else:
            reply, ending = faults.meet(request, arango.answer)
        if ending is not Ending.WHOLE:
            return Ended(reply, ending)
        return Response(reply.content, reply.status, reply.headers, "application/json")

    return Starlette(
        routes=[Route(CONTROL, control, methods=["GET", "POST"]), Route("/{path:path}", answer, methods=METHODS)]
    )


def serve(arango: Arango, listener: socket.socket) -> None:
    """Until a signal ends it."""
    config = uvicorn.Config(
        application(arango), http=Connection, lifespan="off", log_config=None, access_log=False, timeout_keep_alive=300
    )
    uvicorn.Server(config).run(sockets=[listener])


def _target(asked: Asked) -> str:
    """As it stood in the request's first line: `%2F` is no `/`."""
    scope: Any = asked.scope
    query: bytes = scope["query_string"]
    path: bytes = scope["raw_path"]
    return f"{path.decode('ascii')}?{query.decode('ascii')}" if query else path.decode("ascii")
