"""`intendant tokens`: tokens of the HTTP API."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from intendant.cli.exits import FAILED, OK, USAGE, Refusal
from intendant.cli.verbs import Json, verb

app = typer.Typer(name="tokens", help="Tokens of the HTTP API.", no_args_is_help=True)

_File = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="The file of tokens. Without it INTENDANT_TOKENS, or intendant-tokens.json."),
]


@verb(
    app,
    "create",
    help="Make a token, and print it: this once, and never again.",
    examples="intendant tokens create acme\nintendant tokens create acme --scope submit --scope read --label shop",
)
def create(
    tenant: Annotated[str, typer.Argument(metavar="TENANT", help="What it reaches.")],
    scope: Annotated[
        list[str] | None, typer.Option(help="submit, read, operate or metrics. Without it: all but metrics.")
    ] = None,
    label: Annotated[str, typer.Option(help="What it is for.")] = "",
    file: _File = None,
    as_json: Json = False,
) -> int:
    """Make a token in the file, and print it."""
    from intendant.domain.ids import check_id  # noqa: PLC0415  a command imports what it needs when it is called
    from intendant.http.token_file import TokenFile  # noqa: PLC0415
    from intendant.http.tokens import METRICS, SCOPES, Scope, make_token  # noqa: PLC0415

    known: tuple[Scope, ...] = (*SCOPES, METRICS)
    if unknown := ", ".join(sorted(set(scope or ()) - set(known))):
        raise Refusal(f"--scope is {', '.join(known)}, not {unknown}", USAGE)
    wanted: tuple[Scope, ...] = SCOPES if not scope else tuple(each for each in known if each in scope)
    text, stored = make_token(check_id(tenant, "tenant"), wanted, time.time_ns() // 1000, label)
    TokenFile(file).add(stored)
    typer.echo(msgspec.json.encode({"token": text, "id": stored.id}).decode() if as_json else text)
    return OK


@verb(app, "list", help="List tokens; their secrets are nowhere.", examples="intendant tokens list")
def list_tokens(file: _File = None, as_json: Json = False) -> int:
    """Print what is known of each."""
    from intendant.http.token_file import TokenFile  # noqa: PLC0415

    found = TokenFile(file).all()
    if as_json:
        rows = [{"id": each.id, "tenant": each.tenant, "scopes": each.scopes, "label": each.label} for each in found]
        typer.echo(msgspec.json.encode(rows).decode())
    else:
        for each in found:
            typer.echo(f"{each.id}  {each.tenant}  {','.join(each.scopes)}  {each.label}".rstrip())
    return OK


@verb(
    app,
    "revoke",
    help="Revoke a token: the next request with it is refused.",
    examples="intendant tokens revoke 3f9c1a0b",
)
def revoke(id: Annotated[str, typer.Argument(metavar="ID", help="Its id.")], file: _File = None) -> int:
    """Take it out of the file."""
    from intendant.http.token_file import TokenFile  # noqa: PLC0415

    if not TokenFile(file).revoke(id):
        raise Refusal(f"there is no token {id}", FAILED)
    return OK
