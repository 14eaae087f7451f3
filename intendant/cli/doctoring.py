"""`intendant doctor`: looks at everything that a runtime would use here, and tells."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from difflib import get_close_matches
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs, unquote

import anyio
import msgspec
import typer
from rich.text import Text

from intendant.adapters.checkup import Check, check_directory, check_private
from intendant.adapters.sqlite.checkup import check_up as check_up_sqlite
from intendant.adapters.urls import open_store, without_secrets
from intendant.cli.config import VARIABLES
from intendant.cli.exits import FAILED, OK, USAGE, Refusal
from intendant.cli.kills import Killed, kill_at_every_commit
from intendant.cli.places import Places
from intendant.cli.printing import console, print_json, styled
from intendant.cli.urls import cold_of, named
from intendant.domain.ports import Durability
from intendant.runtime.config import Stores, resolve, resolve_control, resolve_files
from intendant.runtime.configuration import files_beside

_READ: Final = (*VARIABLES, "TOKENS")  # the last by the HTTP API, not by a runtime
_MARKS: Final = {"ok": "ok", "warning": "!", "wrong": "✗"}


def examine(places: Places, durability: str | None, *, kills: int, as_json: bool) -> int:
    """Look, kill if that is wanted, and print. Returns the exit code; raises Refusal for URLs that are none."""
    try:
        stores = resolve("default", places.hot, places.cold, durability)
    except ValueError as error:
        raise Refusal(str(error), USAGE) from None
    store = named(lambda url: open_store(url, stores.durability), "--hot", stores.hot)
    cold_of("--cold", stores.cold)
    if stores.hot.startswith("memory:") and kills:
        raise Refusal("--kill needs a store that outlives a process: name one with --hot", USAGE)
    found = _checks(stores, places.files)
    if not as_json:
        for title, checks in found.items():
            _print(title, checks)
    killed = None
    if kills and not _wrong(found):
        killed = kill_at_every_commit(stores.hot, kills)
    if as_json:
        told: dict[str, Any] = {"hot": store.name, "sound": not _wrong(found), "checks": found}
        if killed is not None:
            told |= {"sound": killed.sound, "kill": killed}
        print_json(msgspec.json.encode(told))
    elif killed is not None:
        _print_killed(killed)
    elif kills:
        typer.echo("nothing was killed: first change what is wrong")
    return FAILED if _wrong(found) or (killed is not None and not killed.sound) else OK


def _wrong(found: Mapping[str, list[Check]]) -> bool:
    return any(each.verdict == "wrong" for checks in found.values() for each in checks)


def _checks(stores: Stores, files: str | None) -> dict[str, list[Check]]:
    found = {"environment": [*_packages(), *variables(os.environ), *_control()]}
    shown = without_secrets(stores.hot)
    if stores.hot.startswith("sqlite:"):
        path, options = Path(unquote(stores.hot.partition(":")[2].partition("?")[0])), stores.hot.partition("?")[2]
        synchronous = parse_qs(options).get("synchronous", ["full"])[0].lower()
        found[f"hot: {shown}"] = [*check_up_sqlite(path, synchronous=synchronous), *_level(stores, synchronous)]
    elif stores.hot.startswith("memory:"):
        change = "name a store: sqlite:work.db, redis://host"
        found["hot: memory:"] = [Check("durability", "warning", "everything dies with the process", change)]
    else:
        found[f"hot: {shown}"] = _redis(stores)
    if stores.cold is not None and not stores.cold.startswith("memory:"):
        from intendant.adapters.arango.checkup import check_up  # noqa: PLC0415  its driver is optional

        found[f"cold: {without_secrets(stores.cold)}"] = check_up(stores.cold)
    if place := files_beside(stores.hot, resolve_files("default", files)):
        found[f"files: {place}"] = _files(place)
    return found


def _redis(stores: Stores) -> list[Check]:
    from intendant.adapters.redis.checkup import check_up  # noqa: PLC0415  hiredis is optional

    return anyio.run(check_up, stores.hot, stores.durability)


def _level(stores: Stores, synchronous: str) -> list[Check]:
    given = Durability.FSYNC if synchronous == "full" else Durability.WRITTEN
    if stores.durability <= given:
        return []
    asked = stores.durability.name.lower()
    change = "ask for less, or take another store"
    return [Check("durability", "wrong", f"{given.name.lower()} is given, and {asked} is asked for", change)]


def _files(place: str) -> list[Check]:
    scheme, _, path = place.partition(":")
    if scheme != "file":
        return []
    directory = Path(unquote(path))
    if not directory.exists():
        return [Check("directory", "ok", f"{directory} is not there yet; it is made with the first file")]
    return [*check_directory(directory), check_private("permissions", directory)]


def _packages() -> list[Check]:
    python = ".".join(map(str, sys.version_info[:3]))
    return [Check("versions", "ok", f"intendant {version('intendant')}, Python {python}, anyio {version('anyio')}")]


def variables(environment: Mapping[str, str]) -> list[Check]:
    """Variables that look like ours and that nobody reads."""
    checks: list[Check] = []
    for name in sorted(each for each in environment if each.startswith("INTENDANT_")):
        last = name.rpartition("_")[2]
        if last in _READ or name.startswith("INTENDANT_TEST_"):
            continue
        near = get_close_matches(last, _READ, n=1)
        meant = f"did you mean {name.removesuffix(last)}{near[0]}?" if near else f"known are {', '.join(_READ)}"
        checks.append(Check("variable", "warning", f"nobody reads {name}", meant))
    return checks


def _control() -> list[Check]:
    place = resolve_control("default", None, default=True)
    if place is None or not place.exists():
        return []
    return [check_private("control sockets", place)]


# --- what is printed


def _print(title: str, checks: list[Check]) -> None:
    to = console()
    to.print(Text(title, "bold"), soft_wrap=True)
    width = max((len(each.name) for each in checks), default=0)
    for each in checks:
        mark = styled(each.verdict)
        line = Text(f"  {_MARKS[each.verdict]:<2} ", mark.style) + Text(f"{each.name:<{width}}  {each.found}")
        to.print(line, soft_wrap=True)
        if each.change:
            to.print(Text(f"     {'':<{width}}  → {each.change}", "yellow"), soft_wrap=True)


def _print_killed(killed: Killed) -> None:
    to = console()
    verdict = Text("nothing was lost", "green") if killed.sound else Text("HARM WAS DONE", "bold red")
    to.print(Text("kills", "bold"))
    told = f"  {killed.kills} kills at {killed.places} places, before or after a commit; {killed.records:,} records"
    to.print(Text(f"{told} were read: ") + verdict, soft_wrap=True)
    for each in killed.findings:
        to.print(Text(f"  {each}"), soft_wrap=True)
    if killed.left:
        to.print(Text(f"  what was found in is left in {killed.left}"), soft_wrap=True)
