"""`intendant doctor`: its options."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Final

import typer

from intendant.cli.panels import KEEP
from intendant.cli.places import Places
from intendant.cli.verbs import Json, verb

_KILL: Final = "With --kill"


class Level(StrEnum):
    """What an acknowledgement is to mean."""

    MEMORY = "memory"
    WRITTEN = "written"
    FSYNC = "fsync"
    REPLICATED = "replicated"


def mount(app: typer.Typer) -> None:
    """Make it a command of `app`."""
    verb(
        app,
        "doctor",
        panel=KEEP,
        help="Check settings and stores, and [bold]name what to change[/]; with --kill, prove it on your own disk.\n\n"
        "It looks, and changes nothing. --kill runs a small workload in a scratch place beside your store (another "
        "file on the same disk, another prefix on the same Redis) in a process that is killed: before a commit and "
        "after one, in turn, through the whole workload. Each time the next process goes on, and what callers were "
        "told is held against the log, step by step. The scratch place is removed.",
        examples="intendant doctor\n"
        "intendant doctor --hot redis://localhost --cold arangodb://localhost/work --durability fsync\n"
        "intendant doctor --hot sqlite:work.db --kill\n"
        "intendant doctor --hot redis://localhost --kill --kills 100 --json",
        codes="Exit codes: 0 nothing is wrong (there may be warnings), 1 something is wrong, or a kill did harm, 2 "
        "wrong usage, 130 interrupted.",
    )(doctor)


def doctor(
    places: Places,
    durability: Annotated[
        Level | None,
        typer.Option(
            metavar="LEVEL",
            help="memory, written, fsync or replicated. Without it: INTENDANT_DURABILITY, or written.",
        ),
    ] = None,
    kill: Annotated[bool, typer.Option("--kill", help="Also kill a process, again and again.")] = False,
    kills: Annotated[
        int,
        typer.Option(
            min=1,
            max=10_000,
            metavar="N",
            help="How many times, spread evenly. About a second each.",
            rich_help_panel=_KILL,
        ),
    ] = 20,
    as_json: Json = False,
) -> int:
    """`intendant doctor`."""
    from intendant.cli.doctoring import examine  # noqa: PLC0415  a command imports what it needs when it is called

    level = None if durability is None else durability.value
    return examine(places, level, kills=kills if kill else 0, as_json=as_json)
