"""`intendant tenants list`."""

from __future__ import annotations

from typing import Final

import typer

from intendant.cli.paging import print_page
from intendant.cli.printing import Column
from intendant.cli.source import Where
from intendant.cli.verbs import Cursor, Json, Limit, verb
from intendant.runtime.requests import ListTenants
from intendant.runtime.tenants import TenantView

app = typer.Typer(name="tenants", help="What concerns whole tenants.", no_args_is_help=True)

_COLUMNS: Final = (Column("tenant"), Column("partition", right=True))


@verb(
    app,
    "list",
    help="List the tenants that something is stored of, by id.\n\nOf a runtime, those whose partitions it serves.",
    examples="intendant tenants list\nintendant tenants list --hot redis://localhost --json | jq -r '.items[].id'",
)
def list_tenants(where: Where, limit: Limit = 50, cursor: Cursor = None, as_json: Json = False) -> int:
    """`intendant tenants list`."""
    return print_page(where, ListTenants(limit, cursor), TenantView, _COLUMNS, _row, as_json=as_json)


def _row(view: TenantView) -> list[object]:
    return [view.id, str(view.partition)]
