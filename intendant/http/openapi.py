"""The OpenAPI 3.1 document, from the endpoints' types and the registered handlers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any, Final

import msgspec

from intendant.http.endpoint import Endpoint
from intendant.http.problems import Problem
from intendant.realm import Repertoire

_REF: Final = "#/components/schemas/{name}"
_ALWAYS: Final = (400, 405, 406, 408, 413, 415, 429, 431, 500, 503, 504)
_HEADERS: Final = {
    "Idempotency-Key": {"type": "string"},
    "Prefer": {"type": "string"},
    "Last-Event-ID": {"type": "string"},
}


def document(endpoints: Sequence[Endpoint], repertoire: Repertoire) -> dict[str, Any]:
    """The whole document."""
    handlers = repertoire.types()
    types: list[Any] = [Problem]
    for each in endpoints:
        types += [kind for kind in (each.query, each.body, *each.answers.values()) if kind is not None]
    for handler in handlers:
        types += [handler.parameters, handler.result]
    schemas, components = msgspec.json.schema_components(types, ref_template=_REF, schema_hook=lambda _: {})
    of = {id(kind): schema for kind, schema in zip(types, schemas, strict=True)}
    paths: dict[str, dict[str, Any]] = {}
    for each in endpoints:
        paths.setdefault(each.path, {})[each.method.lower()] = _operation(each, of, components)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Intendant", "version": version("intendant")},
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
        },
        "x-intendant-handlers": {
            handler.type: {"parameters": of[id(handler.parameters)], "result": of[id(handler.result)]}
            for handler in handlers
        },
    }


def _operation(each: Endpoint, of: dict[int, Any], components: dict[str, Any]) -> dict[str, Any]:
    problem = {"application/problem+json": {"schema": of[id(Problem)]}}
    answers: dict[str, Any] = {}
    for status, kind in each.answers.items():
        content = {} if kind is None else {"content": {each.media: {"schema": of[id(kind)]}}}
        answers[str(status)] = {"description": each.summary, **content}
    names = re.findall(r"{(\w+)}", each.path)
    auth = () if each.public else (401, 403)
    for status in sorted({*_ALWAYS, *each.problems, *auth, *((404,) if names else ())}):
        answers[str(status)] = {"description": "A problem", "content": problem}
    parameters: list[dict[str, Any]] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}} for name in names
    ]
    parameters += [{"name": name, "in": "header", "schema": _HEADERS[name]} for name in each.headers]
    if each.query is not None:
        known = components[of[id(each.query)]["$ref"].rpartition("/")[2]]["properties"]
        parameters += [{"name": name, "in": "query", "schema": schema} for name, schema in known.items()]
    told: dict[str, Any] = {"summary": each.summary, "parameters": parameters, "responses": answers}
    if each.body is not None:
        told["requestBody"] = {"required": True, "content": {"application/json": {"schema": of[id(each.body)]}}}
    told["security"] = [] if each.public else [{"bearer": []}]
    return told
