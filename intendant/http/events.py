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

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        async def listen() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass
            group.cancel_scope.cancel()

        async with anyio.create_task_group() as group:
            group.start_soon(listen)
            with self._call.application.until_drain():
                await self._write(send)
            group.cancel_scope.cancel()

    async def _write(self, send: Send) -> None:
        limits = self._call.application.limits
        with anyio.move_on_after(limits.send_seconds):
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        more = True
        while more:
            part, more = await self._next(limits.keep_alive_seconds)
            with anyio.move_on_after(limits.send_seconds) as waited:
                await send({"type": "http.response.body", "body": part, "more_body": more})
            if waited.cancelled_caught:
                return  # nobody reads: the connection is closed by the server

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
