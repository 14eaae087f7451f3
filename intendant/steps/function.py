"""What is found out about a step's function: how it is to be called, and what it gives."""

from __future__ import annotations

import functools
import inspect
import typing
from collections.abc import Callable
from types import FunctionType
from typing import Any, Final

import msgspec
import msgspec.inspect
from msgspec import Raw, Struct

from intendant.domain.codec import decode_plain
from intendant.steps.step import Step

_KNOWN_MAX: Final = 4096


class StepFunction(Struct, frozen=True):
    """What a step's function is like."""

    is_async: bool
    takes_step: bool
    returns: Any = Any  # the type it says it returns; Any when it doesn't say, or says what can't be looked up
    decode: Callable[[bytes | Raw], Any] = decode_plain  # a result in that type, at the first run and at every resume


def inspect_function(function: Callable[..., Any]) -> StepFunction:
    """Find out about a function.

    Remembered by code and annotations, never by function: a closure would be kept alive with all that it holds.
    """
    bare, taken = (function, 0) if type(function) is FunctionType else _unwrapped(function)  # most are plain ones
    annotations: dict[str, Any] = {} if isinstance(bare, type) else getattr(bare, "__annotations__", {})
    try:
        place = (getattr(bare, "__code__", bare if isinstance(bare, type) else None), taken, *annotations.items())
        known = _known.get(place)
    except (TypeError, NameError):  # an annotation that can't be hashed, or not be evaluated
        return _look_up(function, bare, taken)
    if known is None:
        if len(_known) >= _KNOWN_MAX:
            _known.clear()
        known = _known[place] = _look_up(function, bare, taken)
    return known


_known: dict[tuple[Any, ...], StepFunction] = {}


def _unwrapped(function: Callable[..., Any]) -> tuple[Any, int]:
    """The plain function behind partials, methods and callable objects, and how many of its parameters are filled."""
    taken = 0
    while isinstance(function, functools.partial):
        taken += len(function.args)
        function = function.func
    if not inspect.isroutine(function) and not isinstance(function, type):
        return type(function).__call__, taken + 1
    bare = getattr(function, "__func__", function)
    return bare, taken + (bare is not function)


def _look_up(function: Callable[..., Any], bare: Any, taken: int) -> StepFunction:
    hints = _hints(bare)
    returns = _decodable(bare if isinstance(bare, type) else hints.get("return", Any))
    decode = msgspec.msgpack.Decoder(returns).decode
    return StepFunction(_is_async(function), _first(bare, taken, hints) is Step, returns, decode)


def _hints(bare: Any) -> dict[str, Any]:
    try:
        return {} if isinstance(bare, type) else typing.get_type_hints(bare, localns={"Step": Step})
    except (NameError, TypeError, AttributeError):
        return {}


def _first(bare: Any, taken: int, hints: dict[str, Any]) -> Any:
    """The type of the first parameter that is not filled yet."""
    code = getattr(bare, "__code__", None)
    if code is None or code.co_argcount <= taken:
        return None
    return hints.get(code.co_varnames[taken])


def _decodable(annotation: Any) -> Any:
    try:
        custom = isinstance(msgspec.inspect.type_info(annotation), msgspec.inspect.CustomType)
        msgspec.msgpack.Decoder(annotation)
    except (NameError, TypeError, AttributeError):
        return Any
    return Any if custom else annotation


def _is_async(function: Callable[..., Any]) -> bool:
    while isinstance(function, functools.partial):
        function = function.func
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__)
