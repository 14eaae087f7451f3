"""The ASGI application: routing, authentication, limits. It needs no lifespan, and may be mounted in another one."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Generator
from contextlib import aclosing, contextmanager
from typing import Any, Final

import anyio
import msgspec
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from intendant.domain.errors import Overloaded
from intendant.domain.ids import check_id
from intendant.domain.logs import about, trace_of
from intendant.http.admission import Admission
from intendant.http.endpoint import Call, Endpoint
from intendant.http.incoming import Incoming
from intendant.http.limits import HttpLimits
from intendant.http.problems import Refused, problem, problem_of
from intendant.http.routes import ENDPOINTS
from intendant.http.token_file import TokenFile
from intendant.http.tokens import SCOPES, Caller, TokenStore, identify
from intendant.runtime.runtime import Runtime

logger = logging.getLogger("intendant.http")
_WAIT: Final = re.compile(r"\s*wait\s*=\s*\"?([0-9]{1,6})\"?\s*\Z", re.IGNORECASE)
_NOBODY: Final = Caller("", ())
_PUBLIC: Final = frozenset(each.path for each in ENDPOINTS if each.public)  # they are answered whatever goes on


def app(
    runtime: Runtime,
    *,
    tokens: TokenStore | str | os.PathLike[str] | None = None,
    anonymous: str | None = None,
    limits: HttpLimits | None = None,
) -> Application:
    """The HTTP API of a runtime, which must be entered when requests come; until then they are answered 503.

    `tokens` is a file of tokens, or another store of them; without it `INTENDANT_TOKENS`, or `intendant-tokens.json`.
    With `anonymous="acme"` nobody is asked for a token, and everybody may do everything as this tenant.
    """
    store = TokenFile(tokens) if tokens is None or isinstance(tokens, str | os.PathLike) else tokens
    return Application(runtime, store, anonymous, limits or HttpLimits())


class Application(Starlette):
    """See `app`."""

    def __init__(self, runtime: Runtime, tokens: TokenStore, anonymous: str | None, limits: HttpLimits) -> None:
        self.runtime = runtime
        self.limits = limits
        self.authenticated = anonymous is None
        self._tokens = tokens
        self._anyone = None if anonymous is None else Caller(check_id(anonymous, "anonymous"), SCOPES)
        self._waits: set[anyio.CancelScope] = set()
        self.admission = Admission(limits)
        by_path: dict[str, dict[str, Endpoint]] = {}
        for each in ENDPOINTS:
            by_path.setdefault(each.path, {})[each.method] = each
        super().__init__(
            routes=[Route(path, _Path(self, methods)) for path, methods in by_path.items()],
            exception_handlers={404: _not_found},
        )
        self.router.redirect_slashes = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request; where the process takes none, before anything else is looked at."""
        if scope["type"] == "http" and scope["path"].removeprefix(scope.get("root_path", "")) not in _PUBLIC:
            try:
                self.admission.check()
            except Refused as error:
                await Incoming(scope, receive).refuse(problem_of(error), send)
                return
        await super().__call__(scope, receive, send)

    def drain(self) -> None:
        """Take no new requests, and let none wait any longer: waits are answered 202, streams end."""
        self.admission.draining = True
        for scope in list(self._waits):
            scope.cancel()

    @contextmanager
    def until_drain(self) -> Generator[None]:
        """What is inside ends when `drain` is called."""
        with anyio.CancelScope() as scope:
            self._waits.add(scope)
            if self.admission.draining:
                scope.cancel()
            try:
                yield
            finally:
                self._waits.discard(scope)

    async def caller(self, request: Request) -> Caller:
        """Who asks. Raises Refused, the same for whatever is wrong with a token."""
        if self._anyone is not None:
            return self._anyone
        try:
            found = await identify(request.headers.get("authorization", ""), self._tokens)
        except (OSError, ValueError) as error:
            logger.error("tokens can't be read: %s", error, extra=about())
            raise Refused(503, "tokens_unavailable", "tokens can't be checked now") from error
        if found is None:
            raise Refused(401, "unauthenticated", "a valid token is needed", {"WWW-Authenticate": "Bearer"})
        return found

    async def still_valid(self, call: Call) -> bool:
        """Whether a caller's token is still what it was."""
        try:
            return await self.caller(call.request) == call.caller
        except Refused:
            return False


class _Path:
    """The methods of a path, as an ASGI application."""

    def __init__(self, application: Application, methods: dict[str, Endpoint]) -> None:
        self._application = application
        self._methods = methods

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        receive = incoming = Incoming(scope, receive)
        request = Request(scope, receive, send)
        endpoint = self._methods.get("GET" if request.method == "HEAD" else request.method)
        if endpoint is None or (endpoint.stream and request.method == "HEAD"):
            refusal = problem(405, "method_not_allowed", "", {"Allow": ", ".join(sorted(self._methods))})
            await incoming.refuse(refusal, send)
            return
        try:
            caller = _NOBODY if endpoint.public else await self._application.caller(request)
            if endpoint.scope is not None and endpoint.scope not in caller.scopes:
                raise Refused(403, "not_authorized", f"the token lacks the scope {endpoint.scope}")
            if endpoint.public:
                response = await self._answer(endpoint, request, incoming, caller)
                await response(scope, receive, send)
                return
            with self._application.admission.admitted(caller.tenant, stream=endpoint.stream):
                response = await self._answer(endpoint, request, incoming, caller)
                await response(scope, receive, send)
        except Refused as error:
            await incoming.refuse(problem_of(error), send)

    async def _answer(self, endpoint: Endpoint, request: Request, incoming: Incoming, caller: Caller) -> Response:
        limits = self._application.limits
        try:
            _check_accept(request, endpoint.media)
            wait = min(_wait(request), limits.wait_seconds) if "Prefer" in endpoint.headers else 0.0
            query = _query(request, endpoint.query)
            body = None if endpoint.body is None else await _body(request, endpoint.body, limits)
            call = Call(self._application, request, caller, request.path_params, query, body, wait)
            with anyio.fail_after(limits.seconds + wait + 1):  # the runtime's own deadline comes first
                response = await endpoint.run(call)
        except ClientDisconnect:
            return Response(status_code=499)  # nobody reads it
        except Exception as error:
            later = self._application.admission.later() if isinstance(error, Overloaded) else None
            response = problem_of(error, later)
            await incoming.finish(response)
            if response.status_code == 500:
                told = trace_of(error)
                extra = about(caller.tenant)
                logger.error("%s %s failed\n%s", request.method, endpoint.path, told, extra=extra)
        if request.method == "HEAD":
            response.body = b""
        return response


async def _not_found(_request: Request, _error: Exception) -> Response:
    return problem(404, "not_found", "there is no such path")


def _check_accept(request: Request, media: str) -> None:
    accept = request.headers.get("accept", "*/*")
    wanted = {part.partition(";")[0].strip().lower() for part in accept.split(",")}
    if not wanted & {"*/*", "", media, f"{media.partition('/')[0]}/*"}:
        raise Refused(406, "not_acceptable", f"this answers {media}")


def _wait(request: Request) -> float:
    for part in re.split("[,;]", ",".join(request.headers.getlist("prefer"))):
        if (match := _WAIT.match(part)) is not None:
            return float(match[1])
    return 0.0


def _query(request: Request, type: Any) -> Any:
    given = request.query_params.multi_items()
    if len(dict(given)) != len(given):
        raise Refused(400, "invalid_request", "a parameter is given twice")
    if type is None:
        if given:
            raise Refused(400, "invalid_request", "this takes no parameters")
        return None
    try:
        return msgspec.convert(dict(given), type, strict=False)
    except msgspec.ValidationError as error:
        raise Refused(400, "invalid_request", str(error)) from error


async def _body(request: Request, type: Any, limits: HttpLimits) -> Any:
    media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media != "application/json" or request.headers.get("content-encoding", "identity") != "identity":
        raise Refused(415, "unsupported_media_type", "the body must be application/json, not encoded")
    most = limits.body_bytes
    too_large = Refused(413, "too_large", f"a body may have {most:,} bytes")
    told = request.headers.get("content-length", "0")
    if not (told.isascii() and told.isdecimal()) or len(told) > 18 or int(told) > most:
        raise too_large
    data = bytearray()
    try:
        with anyio.fail_after(limits.body_seconds):
            async with aclosing(request.stream()) as chunks:
                async for chunk in chunks:
                    data += chunk
                    if len(data) > most:
                        raise too_large
    except TimeoutError:
        raise Refused(408, "timeout", f"the body did not come within {limits.body_seconds:g} s") from None
    try:
        return msgspec.json.decode(bytes(data), type=type)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        fields = ", ".join(each.name for each in msgspec.structs.fields(type))
        told = f"{str(error)[:500]}; the body is an object, which may have: {fields}"
        raise Refused(400, "invalid_request", told) from error
