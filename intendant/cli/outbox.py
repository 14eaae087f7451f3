"""`intendant outbox list|retry`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Final, Literal

import msgspec
import typer

from intendant.actors.outbox_relay import DeadLetter
from intendant.actors.revival import EVENTS_MAX
from intendant.cli.exits import OK, USAGE, Refusal
from intendant.cli.paging import print_page
from intendant.cli.printing import Column, ago, compact, print_json
from intendant.cli.source import Source, Where
from intendant.cli.verbs import Cursor, Json, Limit, Tenant, verb
from intendant.domain.state import Event
from intendant.runtime.reports import Waits
from intendant.runtime.requests import ListOutbox, RetryEvents
from intendant.runtime.views import Page, moment

app = typer.Typer(name="outbox", help="Events, on their way to the outside.", no_args_is_help=True)

_COLUMNS: Final = (
    Column("event"),
    Column("name", least=6),
    Column("session", least=6),
    Column("age", right=True),
    Column("payload", least=10),
)
_DEAD: Final = (
    Column("event"),
    Column("name", least=6),
    Column("session", least=6),
    Column("tries", right=True),
    Column("error", least=10),
)


@verb(
    app,
    "list",
    help="List a tenant's events: those that [bold]wait[/], the oldest first; or went out, or were given up.",
    examples="intendant outbox list acme\n"
    "intendant outbox list acme --dead\n"
    "intendant outbox list acme --published --limit 10 --json",
)
def list_events(
    where: Where,
    tenant: Tenant,
    published: Annotated[bool, typer.Option("--published", help="Those that went out, the newest first.")] = False,
    dead: Annotated[bool, typer.Option("--dead", help="Dead letters: those that were given up.")] = False,
    limit: Limit = 50,
    cursor: Cursor = None,
    as_json: Json = False,
) -> int:
    """`intendant outbox list`."""
    if published and dead:
        raise Refusal("--published and --dead are different events: say one of them", USAGE)
    if dead:
        request = ListOutbox(tenant, "dead", limit, cursor)
        return print_page(where, request, DeadLetter, _DEAD, _dead_row, as_json=as_json)
    which: Literal["published", "pending"] = "published" if published else "pending"
    return print_page(where, ListOutbox(tenant, which, limit, cursor), Event, _COLUMNS, _row, as_json=as_json)


def _row(event: Event) -> list[object]:
    return [event.id, event.name, event.session, ago(moment(event.time)), compact(event.payload)]


def _dead_row(letter: DeadLetter) -> list[object]:
    error = f"{letter.error.code}: {letter.error.message}"
    return [letter.event.id, letter.event.name, letter.event.session, str(letter.attempts), error]


@verb(
    app,
    "retry",
    help="Let dead letters [bold]be published again[/], under the ids that they had.\n\n"
    "They wait behind what waits already. Of a store at rest, until the next runtime publishes them.",
    examples="intendant outbox retry acme 019a3f0c2b7d5e8890fe3b1c6a4d2e11-0\n"
    "intendant outbox retry acme --all --dry-run\n"
    "intendant outbox retry acme --all",
)
def retry(
    where: Where,
    tenant: Tenant,
    events: Annotated[
        list[str] | None, typer.Argument(metavar="EVENT", help="Dead letters, by their event ids.")
    ] = None,
    all: Annotated[bool, typer.Option("--all", help="All dead letters of the tenant.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only list which. Changes nothing.")] = False,
    as_json: Json = False,
) -> int:
    """`intendant outbox retry`."""
    if bool(events) is all:
        raise Refusal("say which events, or --all", USAGE)
    source = where.source()
    chosen = list(_dead_letters(source, tenant)) if all else list(dict.fromkeys(events or []))
    done: list[str] = []
    for place in range(0, len(chosen), EVENTS_MAX):
        some = chosen[place : place + EVENTS_MAX]
        if not dry_run:
            some = msgspec.json.decode(source.order(RetryEvents(tenant, some)), type=Waits).events
        done += some
    if as_json:
        print_json(msgspec.json.encode({"dry_run": dry_run, "events": done}))
    else:
        typer.echo(f"{'would be' if dry_run else 'to be'} published again: {len(done):,}")
    return OK


def _dead_letters(source: Source, tenant: str) -> Iterator[str]:
    cursor: str | None = None
    while True:
        request = ListOutbox(tenant, "dead", 500, cursor)
        page = msgspec.json.decode(source.ask(request), type=Page[DeadLetter])
        yield from (each.event.id for each in page.items)
        cursor = page.cursor
        if cursor is None:
            return
