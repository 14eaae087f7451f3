"""How a command is mounted, and the options that most have."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Final

import typer

from intendant.cli.options import expanded

CODES: Final = "Exit codes: 0 done, 1 it could not be done or there is no such thing, 2 wrong usage, 130 interrupted."

Json = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
Limit = Annotated[int, typer.Option(min=1, max=500, metavar="N", help="At most so many.")]
Cursor = Annotated[str | None, typer.Option(metavar="CURSOR", help="Go on where an earlier page ended.")]
Timeout = Annotated[float, typer.Option(min=0.1, max=3600, metavar="SECONDS", help="How long to wait for an answer.")]
Tenant = Annotated[str, typer.Argument(metavar="TENANT", help="Whose it is.")]


def verb(
    app: typer.Typer, name: str, *, help: str, examples: str, codes: str = CODES, panel: str | None = None
) -> Callable[[Callable[..., int]], Callable[..., int]]:
    """Make a function a command of `app`. Parameters that are `Options` become their fields."""
    lines = "\n".join(f"  {line}" for line in examples.strip().splitlines())

    def mount(function: Callable[..., int]) -> Callable[..., int]:
        epilog = f"[bold]Examples[/]\n{lines}\n\n{codes}"
        app.command(name, help=help, epilog=epilog, rich_help_panel=panel)(expanded(function))
        return function

    return mount
