"""`intendant ps`: its options."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final

import typer

from intendant.cli.panels import ACT

_WHICH: Final = "Which runtime"
_SHOWN: Final = "What is shown"


class Fold(StrEnum):
    """By what executions are summed up."""

    TENANT = "tenant"
    SESSION = "session"


def ps(
    runtime: Annotated[
        str | None, typer.Argument(help="A runtime's name or process id. Without it: the only one that runs.")
    ] = None,
    at: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Where control sockets lie. Without it: as INTENDANT_CONTROL says, $XDG_RUNTIME_DIR/intendant, or "
            "/tmp/intendant-UID.",
            rich_help_panel=_WHICH,
        ),
    ] = None,
    tenant: Annotated[
        str | None, typer.Option(metavar="ID", help="Sessions and executions of one tenant.", rich_help_panel=_SHOWN)
    ] = None,
    fold: Annotated[
        Fold | None, typer.Option(help="Sums of executions instead of each.", rich_help_panel=_SHOWN)
    ] = None,
    limit: Annotated[
        int,
        typer.Option(
            min=0,
            max=10_000,
            metavar="N",
            help="Executions, or sessions, of each partition: those at work first.",
            rich_help_panel=_SHOWN,
        ),
    ] = 50,
    depth: Annotated[
        int,
        typer.Option(min=0, max=16, metavar="N", help="Levels below the root; executions: 4.", rich_help_panel=_SHOWN),
    ] = 16,
    watch: Annotated[
        bool, typer.Option("--watch", "-w", help="Live, once a second; Ctrl-C ends it.", rich_help_panel=_SHOWN)
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.", rich_help_panel=_SHOWN)] = False,
) -> int:
    """`intendant ps`."""
    from intendant.cli.watching import ps  # noqa: PLC0415  a command imports what it needs when it is called
    from intendant.runtime.observer import View  # noqa: PLC0415

    view = View(depth, tenant or "", limit, fold.value if fold else "")
    return ps(runtime, view, at=at, as_json=as_json, watch=watch)


def mount(app: typer.Typer) -> None:
    """Make it a command of `app`."""
    app.command(
        rich_help_panel=ACT,
        help="Show what a running runtime is doing: its [bold]supervision tree[/], with sessions and executions.\n\n"
        "The program offers a control socket with Runtime(..., control=True) or INTENDANT_CONTROL=1; `intendant run` "
        "and `intendant load` do. Only the same user can ask. Idle sessions are only counted.",
        epilog="[bold]Examples[/]\n"
        "  intendant ps\n"
        "  intendant ps --watch --fold tenant\n"
        "  intendant ps 4711 --tenant acme\n"
        "  intendant ps --json | jq .stats.open\n\n"
        "Exit codes: 0 shown, 1 no runtime runs or it did not answer, 2 wrong usage, 130 interrupted.",
    )(ps)
