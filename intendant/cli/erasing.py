"""`intendant tenants erase`, `intendant sessions erase`: looks, asks, erases, tells."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final
from urllib.parse import unquote

import anyio
import msgspec
import typer
from msgspec import Struct

from intendant.adapters.urls import without_secrets
from intendant.cli.erase import Manner
from intendant.cli.exits import OK, USAGE, Refusal
from intendant.cli.places import Places
from intendant.domain.erasure import Erased, Scope
from intendant.domain.errors import InvalidIntent, InvalidValue, PartitionOwned, StillOpen
from intendant.domain.ids import check_id
from intendant.runtime.at_rest import StoreAtRest

_COUNTS: Final = ("executions", "records", "documents", "keys", "events", "journals", "files")


class Told(Struct, frozen=True):
    """What --json prints."""

    hot: str
    dry_run: bool
    erased: Erased


def erase(places: Places, tenant: str, session: str, manner: Manner) -> int:
    """Erase, or tell what would be erased. Returns the exit code; raises Refusal, or an error of ours."""
    drop_open, dry_run, yes, as_json = manner.drop_open, manner.dry_run, manner.yes, manner.as_json
    scope = _scope(tenant, session)
    if not (dry_run or yes or sys.stdin.isatty()):
        raise Refusal(f"nobody can be asked whether {scope} is to be erased: say --yes, or --dry-run to look", USAGE)
    store = _store(places)
    name = without_secrets(places.hot_url)
    if dry_run or not yes:
        found = _run(lambda: store.survey(scope), scope, name)
        if dry_run or found.nothing:
            _tell(found, name, "would be erased", as_json=as_json, dry_run=dry_run)
            return OK
        _ask(found, name)
    done = _run(lambda: store.erase(scope, drop_open=drop_open), scope, name)
    _tell(done, name, "was erased", as_json=as_json, dry_run=False)
    return OK


def _scope(tenant: str, session: str) -> Scope:
    try:
        return Scope(check_id(tenant, "tenant"), check_id(session, "session") if session else "")
    except InvalidIntent as error:
        raise Refusal(str(error), USAGE) from None


def _store(places: Places) -> StoreAtRest:
    scheme, _, path = places.hot_url.partition(":")
    if scheme == "memory":
        raise Refusal("a store in memory is in the process that made it; name the one that is to be worked on", USAGE)
    if scheme == "sqlite" and not Path(unquote(path.partition("?")[0])).is_file():
        raise Refusal(f"there is no store {without_secrets(places.hot_url)}; name one with --hot", USAGE)
    return StoreAtRest(hot=places.hot_url, cold=places.cold, files=places.files)


def _run(work: Callable[[], Awaitable[Erased]], scope: Scope, name: str) -> Erased:
    async def main() -> Erased:
        return await work()

    try:
        return anyio.run(main)
    except PartitionOwned as owned:
        call = "runtime.erase_session" if scope.session else "runtime.erase_tenant"
        raise Refusal(
            f"{name} is in use by process {owned.pid} on {owned.host}, for {owned.age:.0f} s: stop it, or erase from "
            f"within it with {call}; nothing was erased"
        ) from None
    except StillOpen as error:
        raise Refusal(
            f"{scope} has {error.open:,} not ended; nothing was erased. Let a runtime end them, or say --drop-open: "
            "they stop where they are and never go on"
        ) from None
    except InvalidValue as error:
        option = {"hot": "--hot", "cold": "--cold", "files": "--files"}.get(error.what, error.what)
        raise Refusal(f"{option}: {str(error).partition(': ')[2]}", USAGE) from None
    except ValueError as error:
        raise Refusal(str(error), USAGE) from None


def _ask(found: Erased, name: str) -> None:
    typer.echo(_sentence(found, name, "would be erased"), err=True)
    if not typer.confirm("Erase it for good?", err=True):
        raise Refusal("nothing was erased")


def _tell(erased: Erased, name: str, what: str, *, as_json: bool, dry_run: bool) -> None:
    if as_json:
        typer.echo(msgspec.json.encode(Told(name, dry_run, erased)).decode())
    else:
        typer.echo(_sentence(erased, name, what))


def _sentence(erased: Erased, name: str, what: str) -> str:
    scope = Scope(erased.tenant, erased.session)
    if erased.nothing:
        return f"{name}: of {scope} there is nothing to erase"
    counts = ", ".join(f"{getattr(erased, each):,} {each}" for each in _COUNTS)
    notes = [
        f"{erased.open:,} of the executions have not ended" if erased.open else "",
        f"{erased.shared:,} files stay: something else of the tenant names them" if erased.shared else "",
    ]
    return "\n".join([f"{name}: of {scope} {what}: {counts}", *(f"  {note}" for note in notes if note)])
