"""A FastAPI service that accepts documents, answers at once, and works on them durably.

    uvicorn examples.service.app:app

    POST /documents                     submit {"tenant", "title", "text"}: 202 with the execution's id and place;
                                        with ?wait=SECONDS: 200 with the outcome, if it ends in time
         Idempotency-Key: KEY           the same key and document: the same execution, however often it is sent
    GET  /executions/{tenant}/{id}      where it stands
    GET  /executions/{tenant}/{id}/events   what happens to it, as server-sent events
         Last-Event-ID: ID              goes on behind this one; 204 when it has ended and nothing follows
    GET  /health                        200 while the runtime serves; 503 with the cause once it has given up

What a client was told with 202 is in the log. A client that leaves, at whatever moment, takes nothing with it: what was
accepted goes on, and what it is unsure of it may send again with the same key. A runtime that has given up ends the
process, for whatever watches it to start it again.
"""

from __future__ import annotations

import hashlib
import logging
import signal
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager, suppress
from typing import Any, Final, cast

import anyio
import msgspec
from fastapi import FastAPI, Request, Response
from msgspec import Struct
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from intendant import (
    Context,
    Execution,
    ExecutionEvent,
    IdempotencyConflict,
    IntendantError,
    Outcome,
    OutcomeUnknown,
    Overloaded,
    Realm,
    Rejected,
    Retryable,
    Runtime,
    Stopped,
    UnknownExecution,
)

BODY_BYTES_MAX: Final = 128 * 1024
WAIT_SECONDS_MAX: Final = 60.0
STREAM_SECONDS: Final = 15.0  # a server that stops waits for its connections; a reader comes back, and goes on
LOOK_SECONDS: Final = 0.5

log = logging.getLogger("uvicorn.error")

documents = Realm("documents")


# --- the work


class Document(Struct):
    """What the handler gets."""

    title: str
    text: str


class Summary(Struct):
    """What it returns."""

    words: int
    frequent: list[str]
    digest: str


def count(text: str) -> dict[str, int]:
    """How often each word occurs. A plain function: as a step it runs in a thread."""
    return dict(Counter(word.strip(".,;:!?()\"'").lower() for word in text.split()))


def fingerprint(text: str) -> str:
    """A digest of the text."""
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


@documents.handler
async def summarize(ctx: Context, document: Document) -> Summary:
    """Two recorded steps and an event: after a crash it goes on behind the last one."""
    words = await ctx.step("count", count, document.text)
    digest = await ctx.step("fingerprint", fingerprint, document.text)
    ctx.emit("summarized", {"title": document.title, "digest": digest})
    frequent = sorted(words, key=lambda word: (-words[word], word))[:5]
    return Summary(sum(words.values()), frequent, digest)


# --- the doors


class Submission(Struct, forbid_unknown_fields=True):
    """The body of POST /documents. A real service takes the tenant from whoever is logged in."""

    tenant: str
    title: str
    text: str


async def submit(request: Request) -> Response:
    """Accept a document; wait for its end only if that was asked for."""
    runtime = runtime_of(request)
    seconds = _seconds(request.query_params.get("wait", "0"))
    submission = msgspec.json.decode(await _body(request), type=Submission)
    session = await runtime.open_session(submission.tenant, "documents", solution="service")
    execution = await session.submit(
        summarize,
        Document(submission.title, submission.text),
        idempotency_key=request.headers.get("idempotency-key"),
    )
    outcome = await _outcome(request, execution, seconds) if seconds else None
    place = f"/executions/{execution.tenant}/{execution.id}"
    told = {"execution": execution.id, "tenant": execution.tenant, "place": place}
    if outcome is None:
        return _json(202, {**told, "status": "accepted"}, {"Location": place})
    return _json(200, {**told, "status": outcome.status, "result": outcome.result, "error": outcome.error})


async def execution(request: Request) -> Response:
    """What is known of an execution. Another tenant's is as unknown as one that does not exist."""
    runtime, path = runtime_of(request), request.path_params
    return _json(200, await runtime.view_execution(path["tenant"], path["id"]))


async def events(request: Request) -> Response:
    """What happens to an execution. A browser's EventSource does the rest: it comes back, and stops at a 204."""
    runtime, path = runtime_of(request), request.path_params
    view = await runtime.view_execution(path["tenant"], path["id"])
    events = runtime.execution(path["tenant"], path["id"]).events(after=request.headers.get("last-event-id"))
    first = None
    if view.status is not None and view.status.ended:
        first = await anext(events, None)
        if first is None:
            return Response(status_code=204)
    return EventStream(events, first)


async def health(request: Request) -> Response:
    """Ready or not, and why."""
    runtime = runtime_of(request)
    if runtime.failed is not None:
        return _json(503, {"status": "failed", "cause": f"{type(runtime.failed).__name__}: {runtime.failed}"})
    return _json(200, {"status": "serving", "durability": runtime.durability, "stats": runtime.stats()})


def end_process() -> None:
    """End the server as its user would: it drains, leaves the lifespan, and says why that failed."""
    signal.raise_signal(signal.SIGTERM)


def build(runtime: Runtime, *, give_up: Callable[[], None] = end_process) -> FastAPI:
    """The service around a runtime, which it enters when it starts and leaves when it stops.

    `give_up` is called when the runtime has given up: it does not come back by itself.
    """

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncGenerator[dict[str, Any]]:
        async with runtime, anyio.create_task_group() as group:
            group.start_soon(_watch, runtime, give_up)
            yield {"runtime": runtime}
            group.cancel_scope.cancel()

    api = FastAPI(
        title="Documents",
        lifespan=lifespan,
        exception_handlers={IntendantError: _refused, msgspec.MsgspecError: _malformed, ClientDisconnect: _gone},
    )
    api.add_api_route("/documents", submit, methods=["POST"])
    api.add_api_route("/executions/{tenant}/{id}", execution)
    api.add_api_route("/executions/{tenant}/{id}/events", events)
    api.add_api_route("/health", health)
    return api


async def _watch(runtime: Runtime, give_up: Callable[[], None]) -> None:
    while runtime.failed is None:  # noqa: ASYNC110  to look costs nothing
        await anyio.sleep(LOOK_SECONDS)
    log.critical("the runtime has given up, and so does this process: %s", runtime.failed)
    give_up()


def runtime_of(request: Request) -> Runtime:
    """The runtime that the lifespan entered."""
    return cast("Runtime", request.state.runtime)


# --- waiting, as long as somebody listens


async def _outcome(request: Request, execution: Execution[Summary], seconds: float) -> Outcome[Summary] | None:
    """The outcome, or None if it does not come in time. Stops waiting when the client leaves; the work goes on."""
    outcome: Outcome[Summary] | None = None
    async with anyio.create_task_group() as group:
        group.start_soon(_until_gone, request.receive, group.cancel_scope.cancel)
        with anyio.move_on_after(seconds):
            outcome = await execution.outcome()
        group.cancel_scope.cancel()
    return outcome


class EventStream(Response):
    """Events as they happen, for a while; to the end of the execution, or until the reader leaves."""

    media_type = "text/event-stream"

    def __init__(self, events: AsyncIterator[ExecutionEvent], first: ExecutionEvent | None) -> None:
        super().__init__(headers={"Cache-Control": "no-store"})
        del self.headers["content-length"]
        self._events = events
        self._first = first

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        """Write them, each when it is durable."""
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        async with anyio.create_task_group() as group:
            group.start_soon(_until_gone, receive, group.cancel_scope.cancel)
            with anyio.move_on_after(STREAM_SECONDS), suppress(Retryable, Stopped):  # whoever comes back is told more
                if self._first is not None:
                    await self._write(self._first, send)
                async for event in self._events:
                    await self._write(event, send)
            group.cancel_scope.cancel()
        await send({"type": "http.response.body", "body": b""})

    async def _write(self, event: ExecutionEvent, send: Send) -> None:
        data = msgspec.json.encode({"name": event.name, "payload": event.payload, "error": event.error})
        body = f"id: {event.cursor}\nevent: {event.kind}\ndata: ".encode() + data + b"\n\n"
        await send({"type": "http.response.body", "body": body, "more_body": True})


async def _until_gone(receive: Receive, call: Callable[[], None]) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    call()


async def _body(request: Request) -> bytes:
    body = bytearray()
    async with aclosing(request.stream()) as chunks:
        async for chunk in chunks:
            body += chunk
            if len(body) > BODY_BYTES_MAX:
                raise msgspec.ValidationError(f"the body is larger than {BODY_BYTES_MAX:,} bytes")
    return bytes(body)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if 0 <= seconds <= WAIT_SECONDS_MAX:
        return seconds
    raise msgspec.ValidationError(f"wait is a number of seconds from 0 to {WAIT_SECONDS_MAX:g}, not {text[:40]!r}")


# --- answers


def _json(status: int, value: object, headers: dict[str, str] | None = None) -> Response:
    return Response(msgspec.json.encode(value), status, headers, "application/json")


_STATUS: Final[dict[type, int]] = {  # of an error of this kind, or of one below it
    UnknownExecution: 404,
    IdempotencyConflict: 409,
    Rejected: 400,
    Overloaded: 429,
    Retryable: 503,
    OutcomeUnknown: 504,
    Stopped: 503,
    IntendantError: 500,
}


async def _refused(_: Request, error: Exception) -> Response:
    """What the runtime raised, as HTTP says it."""
    assert isinstance(error, IntendantError)
    status = next(_STATUS[kind] for kind in type(error).__mro__ if kind in _STATUS)
    told = {"error": error.code, "message": str(error)}
    if isinstance(error, OutcomeUnknown):
        told["idempotency_key"] = error.key  # send it again with this key: it is the same execution, if there is one
    return _json(status, told, {"Retry-After": "1"} if status in (429, 503) else None)


async def _malformed(_: Request, error: Exception) -> Response:
    return _json(400, {"error": "malformed", "message": str(error)})


async def _gone(_request: Request, _error: Exception) -> Response:
    return Response(status_code=499)  # nobody reads it


app = build(Runtime([documents]))
"""On `INTENDANT_HOT`, or `sqlite:intendant.db`. Nothing is opened before the server starts."""
