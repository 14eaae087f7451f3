"""Errors as HTTP says them: problem+json (RFC 9457), with the stable code of the error."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, Final

import msgspec
from msgspec import Struct
from starlette.responses import Response

from intendant.domain import errors


class Problem(Struct, omit_defaults=True):
    """What is wrong. `code` is stable; `idempotency_key` is what to send again with when the outcome is not known."""

    title: str
    status: int
    code: str
    detail: str = ""
    field: str = ""
    idempotency_key: str = ""


class Refused(Exception):
    """A request that is answered with a problem."""

    def __init__(self, status: int, code: str, detail: str = "", headers: dict[str, str] | None = None) -> None:
        super().__init__(detail)
        self.problem = Problem(HTTPStatus(status).phrase, status, code, detail)
        self.headers = dict(headers or {})


_STATUS: Final[dict[type, int]] = {  # of an error of this kind, or of one below it
    errors.UnknownSession: 404,
    errors.UnknownExecution: 404,
    errors.UnknownQuery: 404,
    errors.SessionExists: 409,
    errors.SessionClosed: 409,
    errors.ExecutionEnded: 409,
    errors.IdempotencyConflict: 409,
    errors.WrongThread: 500,
    errors.Rejected: 400,
    errors.Retryable: 503,
    errors.OutcomeUnknown: 504,
    errors.Stopped: 503,
    errors.IntendantError: 500,
}


def problem_of(error: Exception, headers: dict[str, str] | None = None) -> Response:
    """The answer to an error; of one that is not ours, nothing is told but that it happened.

    `headers` go with it, unless it has its own.
    """
    if isinstance(error, Refused):
        return answer(error.problem, error.headers)
    if isinstance(error, TimeoutError):
        return problem(504, "timeout", "no answer in time; what was asked for may be done or not")
    if not isinstance(error, errors.IntendantError):
        return problem(500, "internal_error", "this request failed; the server's log has more")
    status = next(_STATUS[kind] for kind in type(error).__mro__ if kind in _STATUS)
    if isinstance(error, errors.Overloaded) and error.own:
        status = 429
    told = Problem(HTTPStatus(status).phrase, status, error.code, str(error))
    if isinstance(error, errors.InvalidIntent):
        told.field = error.field
    if isinstance(error, errors.OutcomeUnknown):
        told.idempotency_key = error.key
    return answer(told, headers)


def problem(status: int, code: str, detail: str = "", headers: dict[str, str] | None = None) -> Response:
    """A problem as an answer."""
    return answer(Problem(HTTPStatus(status).phrase, status, code, detail), headers)


def answer(told: Problem, headers: dict[str, str] | None = None) -> Response:
    """The same, of what is to be told."""
    given: dict[str, Any] = dict(headers or {})
    if told.status in (429, 503):
        given.setdefault("Retry-After", "1")
    return Response(msgspec.json.encode(told), told.status, given, "application/problem+json")
