"""`intendant tenants erase` and `intendant sessions erase`: the options. What they do is in `erasing`."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from intendant.cli.verbs import verb

_STORES: Final = "Where it is done"
_CODES: Final = (
    "Exit codes: 0 erased, or nothing to erase; 1 refused or failed (run it again: it goes on where it stopped); "
    "2 wrong usage; 130 interrupted."
)

_Hot = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        help="Hot store: sqlite:FILE, redis://... Without it INTENDANT_HOT, or sqlite:intendant.db.",
        rich_help_panel=_STORES,
    ),
]
_Cold = Annotated[
    str | None,
    typer.Option(
        metavar="URL", help="Cold store, if there is one. Without it INTENDANT_COLD.", rich_help_panel=_STORES
    ),
]
_Files = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        help="Where files lie: file:/DIRECTORY. Without it INTENDANT_FILES, or beside a SQLite file.",
        rich_help_panel=_STORES,
    ),
]
_DropOpen = Annotated[
    bool, typer.Option("--drop-open", help="Also what has not ended: it stops where it is and never goes on.")
]
_DryRun = Annotated[bool, typer.Option("--dry-run", help="Only tell what would be erased. Changes nothing.")]
_Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask. Needed where there is no terminal.")]
_Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


def erase_tenant(
    tenant: Annotated[str, typer.Argument(metavar="ID", help="The tenant.")],
    hot: _Hot = None,
    cold: _Cold = None,
    files: _Files = None,
    drop_open: _DropOpen = False,
    dry_run: _DryRun = False,
    yes: _Yes = False,
    as_json: _Json = False,
) -> int:
    """`intendant tenants erase`."""
    from intendant.cli.erasing import Places, erase  # noqa: PLC0415  a command imports what it needs when it is called

    return erase(Places(hot, cold, files), tenant, "", drop_open=drop_open, dry_run=dry_run, yes=yes, as_json=as_json)


def erase_session(
    tenant: Annotated[str, typer.Argument(metavar="TENANT", help="The tenant.")],
    session: Annotated[str, typer.Argument(metavar="SESSION", help="The session.")],
    hot: _Hot = None,
    cold: _Cold = None,
    files: _Files = None,
    drop_open: _DropOpen = False,
    dry_run: _DryRun = False,
    yes: _Yes = False,
    as_json: _Json = False,
) -> int:
    """`intendant sessions erase`."""
    from intendant.cli.erasing import Places, erase  # noqa: PLC0415  a command imports what it needs when it is called

    return erase(
        Places(hot, cold, files), tenant, session, drop_open=drop_open, dry_run=dry_run, yes=yes, as_json=as_json
    )


def mount(tenants: typer.Typer, sessions: typer.Typer) -> None:
    """Make it a command of both."""
    verb(
        tenants,
        "erase",
        help="Remove [bold]everything of a tenant[/] from every store: log, documents, keys, events, files, archive."
        "\n\nFor a store at rest: no runtime may run on it (inside of one, call runtime.erase_tenant). What stays are "
        "the records that say that the tenant was erased.",
        examples="intendant tenants erase acme --dry-run\n"
        "intendant tenants erase acme --hot sqlite:work.db\n"
        "intendant tenants erase acme --hot redis://db/0 --cold arangodb://user:pw@host:8529/db --files file:/srv/files"
        " --yes --json",
        codes=_CODES,
    )(erase_tenant)
    verb(
        sessions,
        "erase",
        help="Remove [bold]everything of a session[/] from every store: its records' content, documents, keys, "
        "events, files, archive.\n\n"
        "For a store at rest: no runtime may run on it (inside of one, call runtime.erase_session). Its records keep "
        "their places in the log, without content.",
        examples="intendant sessions erase acme desk-1 --dry-run\n"
        "intendant sessions erase acme desk-1 --hot sqlite:work.db --yes",
        codes=_CODES,
    )(erase_session)
