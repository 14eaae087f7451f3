"""Commands that share their options: what a function takes as `where` becomes the options that tell where to look."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Final, get_type_hints

import typer

from intendant.cli.source import Where

CODES: Final = "Exit codes: 0 done, 1 it could not be done or there is no such thing, 2 wrong usage, 130 interrupted."
_PANEL: Final = "Where: a runtime that runs here, or else a store at rest"

Json = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
Limit = Annotated[int, typer.Option(min=1, max=500, metavar="N", help="At most so many.")]
Cursor = Annotated[str | None, typer.Option(metavar="CURSOR", help="Go on where an earlier page ended.")]
Timeout = Annotated[float, typer.Option(min=0.1, max=3600, metavar="SECONDS", help="How long to wait for an answer.")]
Tenant = Annotated[str, typer.Argument(metavar="TENANT", help="Whose it is.")]

_WHERE: Final[dict[str, tuple[Any, str]]] = {
    "runtime": (
        str | None,
        "A runtime by its name or process id, asked through its control socket. Without it: the only one that runs.",
    ),
    "at": (Path | None, "Where control sockets lie, if not at the default place."),
    "hot": (
        str | None,
        "A store instead: sqlite:FILE, redis://HOST. Without it, if no runtime runs: INTENDANT_HOT, or intendant.db.",
    ),
    "cold": (str | None, "The store's cold store. Without it: INTENDANT_COLD."),
}
_METAVARS: Final = {"runtime": "NAME", "at": "DIR", "hot": "URL", "cold": "URL"}


def verb(
    app: typer.Typer, name: str, *, help: str, examples: str, codes: str = CODES, panel: str | None = None
) -> Callable[[Callable[..., int]], Callable[..., int]]:
    """Make a function a command of `app`. Its parameter `where`, if it has one, is a `Where`."""
    lines = "\n".join(f"  {line}" for line in examples.strip().splitlines())

    def mount(function: Callable[..., int]) -> Callable[..., int]:
        epilog = f"[bold]Examples[/]\n{lines}\n\n{codes}"
        app.command(name, help=help, epilog=epilog, rich_help_panel=panel)(_with_where(function))
        return function

    return mount


def _with_where(function: Callable[..., int]) -> Callable[..., int]:
    hints = get_type_hints(function, include_extras=True)
    parameters = list(inspect.signature(function).parameters.values())
    if all(each.name != "where" for each in parameters):
        return function

    @functools.wraps(function)
    def call(**given: Any) -> int:
        where = Where(**{name: given.pop(name) for name in _WHERE})
        return function(where=where, **given)

    own = [
        each.replace(annotation=hints[each.name], kind=inspect.Parameter.KEYWORD_ONLY)
        for each in parameters
        if each.name != "where"
    ]
    shared = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=_option(name))
        for name in _WHERE
    ]
    signature = inspect.Signature([*own, *shared], return_annotation=int)
    call.__signature__ = signature  # type: ignore[attr-defined]
    call.__annotations__ = {each.name: each.annotation for each in signature.parameters.values()} | {"return": int}
    return call


def _option(name: str) -> Any:
    type, help = _WHERE[name]
    return Annotated[type, typer.Option(f"--{name}", metavar=_METAVARS[name], help=help, rich_help_panel=_PANEL)]
