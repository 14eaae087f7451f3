"""`intendant config show`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Annotated, Any, Final

import msgspec
import typer
from msgspec import Struct

from intendant.adapters.urls import without_secrets
from intendant.cli.exits import OK, USAGE, Refusal
from intendant.cli.printing import compact, print_fields, print_json, print_note
from intendant.cli.source import Live, Where
from intendant.cli.verbs import Json, verb
from intendant.runtime import config
from intendant.runtime.configuration import Configuration, files_beside
from intendant.runtime.requests import ShowConfiguration

app = typer.Typer(name="config", help="Settings.", no_args_is_help=True)

VARIABLES: Final = ("HOT", "COLD", "FILES", "DURABILITY", "OWN", "CONTROL", "WATCHDOG", "TELEMETRY")


class Setting(Struct, frozen=True):
    """What a runtime gets that does not say, and by what: a variable, or "" for the default."""

    name: str
    value: str
    variable: str


@verb(
    app,
    "show",
    help="Show the settings of a running runtime; or, where none runs, [bold]those that one would get[/] here from its "
    "environment.\n\n"
    "What the program says in Runtime(...) goes before both. Passwords are never shown.",
    examples="intendant config show\n"
    "intendant config show --runtime 4711 --json | jq .limits\n"
    "intendant config show --name shop",
)
def show(
    where: Where,
    name: Annotated[
        str, typer.Option(metavar="NAME", help="Without a runtime: the name of the one that is meant.")
    ] = "default",
    as_json: Json = False,
) -> int:
    """`intendant config show`."""
    live = _live(where)
    if live is None:
        settings = of_environment(name, where)
        if as_json:
            print_json(msgspec.json.encode({"name": name, "settings": settings}))
            return OK
        print_fields([(each.name, _told(each)) for each in settings])
        print_note(f"what a runtime {name!r} gets here that does not say; none that runs was asked")
        return OK
    answer = live.order(ShowConfiguration())
    if as_json:
        print_json(answer)
        return OK
    _print(msgspec.json.decode(answer, type=Configuration))
    print_note(f"from {live.name}")
    return OK


def _live(where: Where) -> Live | None:
    if where.hot is not None and where.runtime is None:
        return None
    try:
        source = where.source()
    except Refusal:
        if where.runtime is not None or where.at is not None:
            raise
        return None
    return source if isinstance(source, Live) else None


def of_environment(name: str, where: Where, environment: Mapping[str, str] = os.environ) -> list[Setting]:
    """The settings that can come from outside. Raises Refusal for a value that can't be."""
    prefix = _prefix(name)

    def setting(what: str, value: object, option: object = None) -> Setting:
        variable = f"{prefix}{what.upper()}"
        given = "the command line" if option else variable if environment.get(variable, "").strip() else ""
        return Setting(what, str(value), given)

    try:
        stores = config.resolve(name, where.hot, where.cold, None, environment)
        files = config.resolve_files(name, None, environment)
        control = config.resolve_control(name, None, environment)
        watchdog = config.resolve_watchdog(name, None, environment)
    except ValueError as error:
        raise Refusal(str(error), USAGE) from None
    return [
        setting("hot", without_secrets(stores.hot), where.hot),
        setting("cold", without_secrets(stores.cold) if stores.cold else "none", where.cold),
        setting("files", files_beside(stores.hot, files) or "none: no place for them"),
        setting("durability", stores.durability.name.lower()),
        setting("own", environment.get(f"{prefix}OWN", "").strip() or "all partitions"),
        setting("control", control or "none"),
        setting("watchdog", f"{watchdog:g} s" if watchdog else "none"),
    ]


def _prefix(name: str) -> str:
    try:
        return config.variable_prefix(name)
    except ValueError as error:
        raise Refusal(f"--name: {error}", USAGE) from None


def _told(setting: Setting) -> str:
    return f"{setting.value}  ({setting.variable or 'default'})"


def _print(found: Configuration) -> None:
    fields: list[tuple[str, Any]] = []
    for name in found.__struct_fields__:
        value = getattr(found, name)
        if isinstance(value, dict):
            values: dict[str, Any] = value  # pyright: ignore[reportUnknownVariableType]
            fields += [(f"{name} {key}".replace("_", " "), _plain(each)) for key, each in values.items()]
        else:
            fields.append((name.replace("_", " "), _plain(value)))
    print_fields(fields)


def _plain(value: Any) -> str:
    if isinstance(value, list):
        listed: list[Any] = value  # pyright: ignore[reportUnknownVariableType]
        return ", ".join(map(str, listed)) or "none"
    return "none" if value is None or value == "" else value if isinstance(value, str) else compact(value)
