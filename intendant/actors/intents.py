"""What is to be submitted, checked and encoded: at the edge by callers, and in handlers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from intendant.domain.children import ChildIntent
from intendant.domain.codec import encode_value
from intendant.domain.errors import InvalidIntent, InvalidValue
from intendant.domain.ids import check_type
from intendant.realm import PARAMETERS_BYTES_MAX, Handler, Repertoire


def encode_intent(repertoire: Repertoire, given: Any, parameters: Any) -> tuple[str, bytes, Handler | None]:
    """The type of a handler, or a type as text, and parameters for it, encoded; with the handler, if there is one.

    Raises InvalidIntent naming the field; touches nothing.
    """
    if callable(given):
        handler: Handler | None = repertoire.of(given)
    else:
        handler = repertoire.find(given) if isinstance(given, str) else None
    if handler is not None:
        return handler.type, handler.encode(parameters), handler
    return check_type(given), encode_mapping(parameters, "parameters", PARAMETERS_BYTES_MAX), None


def prepare_child(repertoire: Repertoire, given: Any, parameters: Any) -> ChildIntent:
    """What a handler wants to submit. Raises as `encode_intent`."""
    type, encoded, handler = encode_intent(repertoire, given, parameters)
    if handler is None:
        return ChildIntent(type, encoded, Any)
    return ChildIntent(type, encoded, handler.result, handler.exclusive, handler.version)


def encode_mapping(value: object, field: str, limit: int) -> bytes:
    """Encode a mapping with text keys. Raises InvalidIntent naming the field."""
    if not isinstance(value, Mapping):
        raise InvalidIntent(field, f"must be a mapping, not {type(value).__name__}")
    copy: dict[Any, Any] = dict(value)  # pyright: ignore[reportUnknownArgumentType]  # anything: that is checked here
    for key in copy:
        if not isinstance(key, str):
            raise InvalidIntent(field, f"must have text keys; {key!r:.40} is {type(key).__name__}")
    try:
        return encode_value(copy, field, limit)
    except InvalidValue as error:
        raise InvalidIntent(field, str(error).removeprefix(f"{field}: ")) from error
