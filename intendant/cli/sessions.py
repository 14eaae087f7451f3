"""`intendant sessions list|show|close`."""

from __future__ import annotations

from typing import Annotated

import msgspec
import typer

from intendant.cli.exits import OK
from intendant.cli.paging import print_page
from intendant.cli.printing import Column, ago, clock, compact, print_fields, print_json, styled
from intendant.cli.source import Where
from intendant.cli.verbs import Cursor, Json, Limit, Tenant, verb
from intendant.runtime.requests import CloseSession, ListSessions, ShowSession
from intendant.runtime.views import SessionView

app = typer.Typer(name="sessions", help="What concerns sessions.", no_args_is_help=True)

_Session = Annotated[str, typer.Argument(metavar="SESSION", help="The session.")]
_COLUMNS = (
    Column("session"),
    Column("status"),
    Column("user", least=8),
    Column("solution", least=8),
    Column("age", right=True),
)


@verb(
    app,
    "list",
    help="List a tenant's sessions, by id.",
    examples="intendant sessions list acme\nintendant sessions list acme --solution shop --limit 500 --json",
)
def list_sessions(
    where: Where,
    tenant: Tenant,
    solution: Annotated[str | None, typer.Option(metavar="NAME", help="Those of one solution.")] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
    as_json: Json = False,
) -> int:
    """`intendant sessions list`."""
    request = ListSessions(tenant, solution, limit, cursor)
    return print_page(where, request, SessionView, _COLUMNS, _row, as_json=as_json)


@verb(
    app,
    "show",
    help="Show a session, with its metadata and your own document of it.",
    examples="intendant sessions show acme desk-1",
)
def show(where: Where, tenant: Tenant, session: _Session, as_json: Json = False) -> int:
    """`intendant sessions show`."""
    return _print(where.source().ask(ShowSession(tenant, session)), as_json=as_json)


@verb(
    app,
    "close",
    help="Let a session take [bold]no more intents[/]; what was accepted goes on. Closing twice is no error.\n\n"
    "A runtime must run.",
    examples="intendant sessions close acme desk-1",
)
def close(where: Where, tenant: Tenant, session: _Session, as_json: Json = False) -> int:
    """`intendant sessions close`."""
    return _print(where.source().order(CloseSession(tenant, session)), as_json=as_json)


def _print(answer: bytes, *, as_json: bool) -> int:
    if as_json:
        print_json(answer)
        return OK
    view = msgspec.json.decode(answer, type=SessionView)
    print_fields(
        [
            ("session", view.id),
            ("tenant", view.tenant),
            ("status", styled(_status(view))),
            ("user", view.user_id),
            ("solution", view.solution),
            ("created", clock(view.created_at)),
            ("closed", clock(view.closed_at) + (", because it was idle" if view.expired else "")),
            ("idle time-out", "" if view.idle_timeout is None else str(view.idle_timeout)),
            ("metadata", compact(view.metadata)),
            ("document", compact(view.data)),
        ]
    )
    return OK


def _row(view: SessionView) -> list[object]:
    return [view.id, styled(_status(view)), view.user_id, view.solution, ago(view.created_at)]


def _status(view: SessionView) -> str:
    return "open" if view.closed_at is None else "closed"
