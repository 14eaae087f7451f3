"""`intendant migrate`: its options."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from intendant.cli.panels import KEEP

_FROM: Final = "From where"
_TO: Final = "To where"
_OUTPUT: Final = "What is shown"
_FILES: Final = "file:/directory. Without it: beside a SQLite file."


def migrate(
    from_: Annotated[
        str,
        typer.Option("--from", metavar="URL", help="The hot store: sqlite:FILE, redis://....", rich_help_panel=_FROM),
    ],
    to: Annotated[
        str,
        typer.Option("--to", metavar="URL", help="The hot store; it must be empty, or begun.", rich_help_panel=_TO),
    ],
    from_cold: Annotated[
        str | None,
        typer.Option(metavar="URL", help="The cold store, if it has one: arangodb://....", rich_help_panel=_FROM),
    ] = None,
    from_files: Annotated[str | None, typer.Option(metavar="URL", help=_FILES, rich_help_panel=_FROM)] = None,
    to_cold: Annotated[
        str | None,
        typer.Option(metavar="URL", help="The cold store, if it is to have one.", rich_help_panel=_TO),
    ] = None,
    to_files: Annotated[str | None, typer.Option(metavar="URL", help=_FILES, rich_help_panel=_TO)] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.", rich_help_panel=_OUTPUT)] = False,
) -> int:
    """`intendant migrate`."""
    from intendant.cli.migrating import Ends, migrate  # noqa: PLC0415  a command imports what it needs when called

    return migrate(Ends(from_, from_cold, from_files), Ends(to, to_cold, to_files), as_json=as_json)


def mount(app: typer.Typer) -> None:
    """Make it a command of `app`."""
    app.command(
        rich_help_panel=KEEP,
        help="Copy a whole runtime into other stores, and [bold]prove that the copy is equal[/].\n\n"
        "Log, documents, journals, keys, outbox, cold state and files come along; the source stays as it is. Nothing "
        "may run on either side. Interrupted or killed, the target says that it is unfinished, no runtime starts on "
        "it, and the same command goes on. In the end everything is read again on both sides, and a digest of each "
        "tenant is compared. Without --to-cold, what lies in --from-cold goes into the one store; with --to-cold "
        "alone everything goes into the hot store, and the runtime archives it.",
        epilog="[bold]Examples[/]\n"
        "  intendant migrate --from sqlite:work.db --to redis://localhost:6379/0 --to-files file:/srv/files\n"
        "  intendant migrate --from redis://localhost --from-cold arangodb://root:pw@localhost/work \\\n"
        "      --from-files file:/srv/files --to sqlite:work.db\n"
        "  intendant migrate --from sqlite:old.db --to sqlite:new.db --json | jq .finished\n\n"
        "Exit codes: 0 equal, 1 not equal or failed, 2 wrong usage, 130 interrupted.",
    )(migrate)
