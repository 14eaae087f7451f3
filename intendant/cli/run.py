"""`intendant run`: its options."""

from __future__ import annotations

from typing import Annotated

import typer

from intendant.cli.backend import Backend
from intendant.cli.logs import logging_to_stderr
from intendant.cli.panels import RUN


def run(
    target: Annotated[
        str,
        typer.Argument(metavar="MODULE:NAME", help="A Runtime, or a function that returns one, in a module."),
    ],
    backend: Annotated[Backend, typer.Option(help="Event loop.")] = Backend.ASYNCIO,
    no_control: Annotated[
        bool, typer.Option("--no-control", help="Without a control socket, unless the runtime asks for one.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object when it serves, and one when it has stopped.")
    ] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log more than warnings to stderr.")] = False,
) -> int:
    """`intendant run`."""
    from intendant.cli.serving import serve  # noqa: PLC0415  a command imports what it needs when it is called

    logging_to_stderr(verbose=verbose)
    return serve(target, backend=backend.value, control=not no_control, as_json=as_json)


def mount(app: typer.Typer) -> None:
    """Make it a command of `app`."""
    app.command(
        rich_help_panel=RUN,
        help="Serve a runtime of yours [bold]until told to stop[/].\n\n"
        "The module is looked for in the current directory first. SIGTERM or Ctrl-C drains: handlers may finish, the "
        "others are suspended and go on at the next start; a second one ends at once, which loses nothing that was "
        "acknowledged. It offers a control socket, through which the other commands reach it.",
        epilog="[bold]Examples[/]\n"
        "  intendant run shop.main:runtime\n"
        "  intendant run shop.main:make_runtime --backend uvloop\n"
        "  INTENDANT_HOT=redis://localhost intendant run shop.main:runtime --json\n\n"
        "Exit codes: 0 stopped as it was told, 1 it could not start or gave up, 2 wrong usage, 130 ended at once by a "
        "second signal.",
    )(run)
