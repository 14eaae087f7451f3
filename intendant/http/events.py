"""What happens to an execution, as server-sent events; `Last-Event-ID` goes on where a reader was."""

from __future__ import annotations

from collections.abc import AsyncIterator

import anyio
import msgspec
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from intendant.domain.errors import IntendantError
from intendant.http.cursors import seal, unseal
from intendant.http.endpoint import Call
from intendant.runtime.event_stream import ExecutionEvent


async def stream(call: Call) -> Response:
    """Its events to its end; 204 when it has ended and nothing is behind the given one, so that readers stop."""
    id = call.path["execution"]
    view = await call.runtime.view_execution(call.tenant, id)
    after = unseal(call.tenant, f"events:{id}", call.request.headers.get("last-event-id"))
    events = call.runtime.execution(call.tenant, id).events(after=after)
    first: ExecutionEvent | None = None
    if view.status is not None and view.status.ended:
        first = await anext(events, None)
        if first is None:
            return Response(status_code=204)
    return _Stream(call, f"events:{id}", events, first)


class _Stream(Response):
    """Written event by event: a slow reader costs no memory, and one that reads nothing is left."""

    media_type = "text/event-stream"

    def __init__(
        self, call: Call, name: str, events: AsyncIterator[ExecutionEvent], first: ExecutionEvent | None
    ) -> None:
        super().__init__(None, 200, {"Cache-Control": "no-store"})
        del self.headers["content-length"]
        self._call = call
        self._name = name
        self._events = events
        self._first = first
        self._begun = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        async def listen() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass
            group.cancel_scope.cancel()

        async with anyio.create_task_group() as group:
            group.start_soon(listen)
            over = False
            with self._call.application.until_drain():
                over = await self._write(send)
            if not over and self._begun:  # a drain: the answer is ended as it should be
                await self._send(send, b"", more=False)
            group.cancel_scope.cancel()

    async def _write(self, send: Send) -> bool:
        """Write until nothing follows, or nobody reads; always True."""
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        self._begun = True
        more = True
        while more:
            part, more = await self._next(self._call.application.limits.keep_alive_seconds)
            if not await self._send(send, part, more=more):
                break  # the server closes the connection
        return True

    async def _send(self, send: Send, part: bytes, *, more: bool) -> bool:
        """Write a part; False when the reader has not taken it in time."""
        with anyio.move_on_after(self._call.application.limits.send_seconds) as waited:
            await send({"type": "http.response.body", "body": part, "more_body": more})
        return not waited.cancelled_caught

    async def _next(self, seconds: float) -> tuple[bytes, bool]:
        """What to write next, and whether more may follow."""
        if self._first is not None:
            event, self._first = self._first, None
            return self._encode(event), True
        try:
            with anyio.move_on_after(seconds):
                return self._encode(await anext(self._events)), True
        except (StopAsyncIteration, IntendantError):
            return b"", False
        if not await self._call.application.still_valid(self._call):
            return b"", False  # the token was revoked meanwhile
        return b": still here\n\n", True

    def _encode(self, event: ExecutionEvent) -> bytes:
        id = seal(self._call.tenant, self._name, event.cursor) or ""
        data = msgspec.json.encode(msgspec.structs.replace(event, cursor=id), enc_hook=str)
        return f"id: {id}\nevent: {event.kind}\ndata: ".encode() + data + b"\n\n"
