"""All endpoints."""

from __future__ import annotations

from typing import Any, Final

from starlette.responses import Response

from intendant.actors.outbox_relay import DeadLetter
from intendant.domain.state import Event, Outcome
from intendant.http import events, executions, health, log, parameters, sessions
from intendant.http.endpoint import Call, Endpoint, json
from intendant.http.openapi import document
from intendant.http.parameters import HttpPage
from intendant.http.tokens import METRICS
from intendant.runtime.views import ExecutionView, SessionView

_SESSION: Final = "/v1/sessions/{session}"
_EXECUTION: Final = "/v1/executions/{execution}"
_KEY: Final = "Idempotency-Key"
_OUTCOME: Final[dict[int, Any]] = {200: Outcome[Any], 202: parameters.Accepted}


async def _openapi(call: Call) -> Response:
    return json(document(ENDPOINTS, call.runtime.repertoire))


ENDPOINTS: Final = (
    Endpoint("GET", "/v1/sessions", sessions.list, "List sessions", {200: HttpPage[SessionView]}, "read",
             query=parameters.SessionsQuery),
    Endpoint("POST", "/v1/sessions", sessions.create, "Create a session", {201: SessionView}, "submit",
             body=parameters.NewSessionBody, problems=(409,)),
    Endpoint("GET", _SESSION, sessions.show, "Show a session", {200: SessionView}, "read"),
    Endpoint("PUT", _SESSION, sessions.open, "Get a session, or create it", {200: SessionView}, "submit",
             body=parameters.SessionBody),
    Endpoint("POST", f"{_SESSION}/close", sessions.close, "Close a session", {200: SessionView}, "operate"),
    Endpoint("POST", f"{_SESSION}/intents", sessions.submit, "Submit an intent", _OUTCOME, "submit",
             body=parameters.IntentBody, headers=(_KEY, "Prefer"), problems=(409,)),
    Endpoint("GET", "/v1/executions", executions.list, "List executions",
             {200: HttpPage[parameters.ExecutionSummary]}, "read", query=parameters.ExecutionsQuery),
    Endpoint("GET", _EXECUTION, executions.show, "Show an execution", {200: ExecutionView}, "read"),
    Endpoint("GET", f"{_EXECUTION}/outcome", executions.outcome, "Its outcome", _OUTCOME, "read",
             headers=("Prefer",)),
    Endpoint("POST", f"{_EXECUTION}/signals/{{name}}", executions.signal, "Send a signal", {204: None}, "submit",
             body=parameters.SignalBody, headers=(_KEY,), problems=(409,)),
    Endpoint("GET", f"{_EXECUTION}/queries/{{name}}", executions.query, "Ask its handler",
             {200: parameters.Answer}, "read", problems=(409,)),
    Endpoint("POST", f"{_EXECUTION}/cancel", executions.cancel, "Cancel an execution",
             {200: parameters.Cancelled}, "operate"),
    Endpoint("GET", f"{_EXECUTION}/events", events.stream, "Its events, as they happen", {200: str, 204: None}, "read",
             headers=("Last-Event-ID",), media="text/event-stream", stream=True),
    Endpoint("GET", "/v1/wal", log.query, "Query the log", {200: HttpPage[parameters.Record]}, "read",
             query=parameters.WalQuery),
    Endpoint("GET", "/v1/outbox/pending", log.pending, "Events that wait", {200: HttpPage[Event]}, "read",
             query=parameters.PageQuery),
    Endpoint("GET", "/v1/outbox/published", log.published, "Events that went out", {200: HttpPage[Event]}, "read",
             query=parameters.PageQuery),
    Endpoint("GET", "/v1/outbox/dead-letters", log.dead_letters, "Events that were given up",
             {200: HttpPage[DeadLetter]}, "read", query=parameters.PageQuery),
    Endpoint("GET", "/health", health.health, "Whether the process lives", {200: parameters.Standing}, public=True),
    Endpoint("GET", "/ready", health.ready, "Whether it takes work", {200: parameters.Standing}, public=True),
    Endpoint("GET", "/metrics", health.metrics, "Metrics of the process, for Prometheus", {200: str}, METRICS,
             media="text/plain"),
    Endpoint("GET", "/openapi.json", _openapi, "This document", {200: dict[str, Any]}),
)  # fmt: skip
