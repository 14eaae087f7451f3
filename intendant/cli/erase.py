"""`intendant tenants erase` and `intendant sessions erase`: the options. What they do is in `erasing`."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from intendant.cli.options import Options
from intendant.cli.places import Places
from intendant.cli.verbs import verb

_CODES: Final = (
    "Exit codes: 0 erased, or nothing to erase; 1 refused or failed (run it again: it goes on where it stopped); "
    "2 wrong usage; 130 interrupted."
)


class Manner(Options, frozen=True):
    """How it is done."""

    drop_open: Annotated[
        bool, typer.Option("--drop-open", help="Also what has not ended: it stops where it is and never goes on.")
    ] = False
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only tell what would be erased. Changes nothing.")] = False
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask. Needed where there is no terminal.")] = False
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False


def erase_tenant(
    tenant: Annotated[str, typer.Argument(metavar="ID", help="The tenant.")], places: Places, manner: Manner
) -> int:
    """`intendant tenants erase`."""
    from intendant.cli.erasing import erase  # noqa: PLC0415  a command imports what it needs when it is called

    return erase(places, tenant, "", manner)


def erase_session(
    tenant: Annotated[str, typer.Argument(metavar="TENANT", help="The tenant.")],
    session: Annotated[str, typer.Argument(metavar="SESSION", help="The session.")],
    places: Places,
    manner: Manner,
) -> int:
    """`intendant sessions erase`."""
    from intendant.cli.erasing import erase  # noqa: PLC0415  a command imports what it needs when it is called

    return erase(places, tenant, session, manner)


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
