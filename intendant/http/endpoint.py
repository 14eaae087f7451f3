"""What an endpoint is: the one description from which requests are checked and the OpenAPI document is made."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from intendant.http.tokens import Caller, Scope
from intendant.runtime.runtime import Runtime

if TYPE_CHECKING:
    from intendant.http.application import Application


@dataclass(frozen=True, slots=True)
class Call:
    """A request that was checked: what an endpoint gets."""

    application: Application
    request: Request
    caller: Caller
    path: dict[str, str]
    query: Any  # of the endpoint's type
    body: Any  # the same
    wait: float = 0.0  # seconds, as `Prefer: wait=` says

    @property
    def runtime(self) -> Runtime:
        """The runtime that answers."""
        return self.application.runtime

    @property
    def tenant(self) -> str:
        """The caller's: the only one that anything is asked for."""
        return self.caller.tenant

    @property
    def seconds(self) -> float:
        """How long the runtime may take."""
        return self.application.limits.seconds

    @property
    def key(self) -> str | None:
        """The `Idempotency-Key`."""
        return self.request.headers.get("idempotency-key")

    def place(self, path: str) -> dict[str, str]:
        """A `Location` header, also where the application is mounted below another one."""
        return {"Location": f"{self.request.scope.get('root_path', '')}{path}"}


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One method of one path. Without a `scope` any token will do; a `public` one needs none."""

    method: str
    path: str
    run: Callable[[Call], Awaitable[Response]]
    summary: str
    answers: dict[int, Any]
    scope: Scope | None = None
    public: bool = False
    query: Any = None
    body: Any = None
    headers: tuple[str, ...] = ()
    problems: tuple[int, ...] = ()
    media: str = "application/json"
    stream: bool = False


def json(value: object, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """A value as JSON."""
    try:
        body = msgspec.json.encode(value, enc_hook=_text)
    except TypeError:  # keys that JSON does not have
        body = msgspec.json.encode(_plain(msgspec.to_builtins(value, builtin_types=(bytes,), enc_hook=_text)))
    return Response(body, status, headers, "application/json")


def _text(value: object) -> str:
    return str(value)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}  # pyright: ignore[reportUnknownVariableType,reportUnknownArgumentType]
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value  # pyright: ignore[reportUnknownVariableType]
