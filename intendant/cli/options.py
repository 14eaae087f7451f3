"""Options that several commands have are said once: as the fields of a struct that each takes as one parameter."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, get_type_hints

import msgspec
from msgspec import Struct


class Options(Struct, frozen=True):
    """Fields are `Annotated[type, typer.Option(...)]`, and have defaults."""


def expanded(function: Callable[..., int]) -> Callable[..., int]:
    """The function with the fields of its `Options` as parameters of its own, behind the others, for typer to read."""
    hints = get_type_hints(function, include_extras=True)
    groups = {name: hint for name, hint in hints.items() if isinstance(hint, type) and issubclass(hint, Options)}
    if not groups:
        return function

    @functools.wraps(function)
    def call(**given: Any) -> int:
        made = {
            name: group(**{each.name: given.pop(each.name) for each in msgspec.structs.fields(group)})
            for name, group in groups.items()
        }
        return function(**made, **given)

    parameters = [
        each.replace(annotation=hints[each.name], kind=inspect.Parameter.KEYWORD_ONLY)
        for each in inspect.signature(function).parameters.values()
        if each.name not in groups
    ]
    for group in groups.values():
        fields = get_type_hints(group, include_extras=True)
        parameters += [
            inspect.Parameter(
                each.name, inspect.Parameter.KEYWORD_ONLY, default=each.default, annotation=fields[each.name]
            )
            for each in msgspec.structs.fields(group)
        ]
    call.__signature__ = inspect.Signature(parameters, return_annotation=int)  # type: ignore[attr-defined]
    call.__annotations__ = {each.name: each.annotation for each in parameters} | {"return": int}
    return call
