"""A Starlette service that accepts documents, answers at once, and works on them durably.

    uvicorn examples.service.app:app

    POST /documents                     submit {"tenant", "title", "text"}: 202 with the execution's id and place;
                                        with ?wait=SECONDS: 200 with the outcome, if it ends in time
         Idempotency-Key: KEY           the same key and document: the same execution, however often it is sent
    GET  /executions/{tenant}/{id}      where it stands
    GET  /health                        200 while the runtime serves; 503 with the cause once it has given up

What a client was told with 202 is in the log. A client that leaves, at whatever moment, takes nothing with it: what was
accepted goes on, and what it is unsure of it may send again with the same key.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, asynccontextmanager
from typing import Any, Final, cast

import anyio
import msgspec
from msgspec import Struct
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from intendant import (
    Context,
    Execution,
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


async def health(request: Request) -> Response:
    """Ready or not. A runtime that has given up does not come back by itself: let whoever watches this restart us."""
    runtime = runtime_of(request)
    if runtime.failed is not None:
        return _json(503, {"status": "failed", "cause": f"{type(runtime.failed).__name__}: {runtime.failed}"})
    return _json(200, {"status": "serving", "durability": runtime.durability, "stats": runtime.stats()})


def build(runtime: Runtime) -> Starlette:
    """The service around a runtime, which it enters when it starts and leaves when it stops."""

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncGenerator[dict[str, Any]]:
        async with runtime:
            yield {"runtime": runtime}

    return Starlette(
        routes=[
            Route("/documents", submit, methods=["POST"]),
            Route("/executions/{tenant}/{id}", execution),
            Route("/health", health),
        ],
        exception_handlers={
            IntendantError: _refused,
            msgspec.MsgspecError: _malformed,
            ClientDisconnect: _gone,
        },
        lifespan=lifespan,
    )


def runtime_of(request: Request) -> Runtime:
    """The runtime that the lifespan entered."""
    return cast("Runtime", request.state.runtime)


# --- waiting, as long as somebody listens


async def _outcome(request: Request, execution: Execution[Summary], seconds: float) -> Outcome[Summary] | None:
    """The outcome, or None if it does not come in time. Stops waiting when the client leaves; the work goes on."""
    outcome: Outcome[Summary] | None = None
    async with anyio.create_task_group() as group:
        group.start_soon(_until_gone, request, group.cancel_scope.cancel)
        with anyio.move_on_after(seconds):
            outcome = await execution.outcome()
        group.cancel_scope.cancel()
    return outcome


async def _until_gone(request: Request, call: Callable[[], None]) -> None:
    while (await request.receive())["type"] != "http.disconnect":
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
