"""`intendant replay`: its options, and what it prints."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

import typer

from intendant.cli.panels import KEEP

if TYPE_CHECKING:
    from intendant.realm import Repertoire
    from intendant.runtime.rehearsal import Rehearsed


def replay(
    app: Annotated[
        str,
        typer.Option(metavar="MODULE:NAME", help="The new code: a Realm, a list of them, or a Runtime in a module."),
    ],
    hot: Annotated[str, typer.Option(metavar="URL", help="The hot store.")],
    all_open: Annotated[bool, typer.Option("--all-open", help="Every execution that has not ended.")] = False,
    files: Annotated[
        str | None, typer.Option(metavar="URL", help="file:/directory. Without it: beside a SQLite file.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> int:
    """`intendant replay`."""
    import anyio  # noqa: PLC0415  a command imports what it needs when it is called

    from intendant.cli.exits import FAILED, OK, USAGE, Refusal  # noqa: PLC0415
    from intendant.cli.urls import files_of, hot_of  # noqa: PLC0415
    from intendant.runtime.migration import Side, opened  # noqa: PLC0415
    from intendant.runtime.rehearsal import rehearse  # noqa: PLC0415

    if not all_open:
        raise Refusal("say what to replay: --all-open", USAGE)
    repertoire, store = repertoire_of(app), hot_of("--hot", hot, there=True)
    content = files_of("--files", store, files)

    async def run() -> list[Rehearsed]:
        async with opened(Side(store)):
            logs = [store.log(number) for number in range(store.partitions)]
            return [each for log in logs async for each in rehearse(log, repertoire, content)]

    found = anyio.run(run)
    (print_json if as_json else print_table)(found)
    return OK if all(each.continues for each in found) else FAILED


def repertoire_of(name: str) -> Repertoire:
    """The handlers of `module:name`, imported from here. Raises Refusal when there are none."""
    from intendant.cli.exits import USAGE, Refusal  # noqa: PLC0415
    from intendant.cli.imports import imported  # noqa: PLC0415
    from intendant.realm import Realm, Repertoire  # noqa: PLC0415
    from intendant.runtime.runtime import Runtime  # noqa: PLC0415

    given = imported("--app", name)
    if isinstance(given, Runtime):
        return given.repertoire
    try:
        return Repertoire([given] if isinstance(given, Realm) else given)
    except (TypeError, ValueError) as error:
        raise Refusal(f"--app: {name!r} is no Realm, list of realms or Runtime: {error}", USAGE) from error


def print_json(found: Iterable[Rehearsed]) -> None:
    """One object on one line."""
    import msgspec  # noqa: PLC0415

    executions = list(found)
    told = {"continue": all(each.continues for each in executions), "executions": executions}
    print(msgspec.json.encode(told).decode())  # noqa: T201  this is the command line


def print_table(found: Iterable[Rehearsed]) -> None:
    """For people: those that can't go on, and the sum."""
    executions = list(found)
    stopped = [each for each in executions if not each.continues]
    for each in stopped:
        name = f"{each.tenant}/{each.execution} {each.type} version {each.version}"
        print(f"{name}: {each.verdict}: {each.detail}")  # noqa: T201
        if each.recorded_steps or each.called_steps:
            print(f"  recorded:   {', '.join(each.recorded_steps)}")  # noqa: T201
            print(f"  called now: {', '.join(each.called_steps)}")  # noqa: T201
    going = len(executions) - len(stopped)
    print(f"{len(executions):,} open: {going:,} would continue, {len(stopped):,} would not")  # noqa: T201


def mount(app: typer.Typer) -> None:
    """Make it a command of `app`."""
    app.command(
        rich_help_panel=KEEP,
        help="Say before a deploy [bold]which open executions the new code can't continue[/].\n\n"
        "Each one's handler is called with what its journal holds, up to where it would do something new. No step "
        "runs, nothing is recorded, and a runtime may work on the store meanwhile. Code between steps does run.",
        epilog="[bold]Examples[/]\n"
        "  intendant replay --all-open --app shop.handlers:realms --hot sqlite:work.db\n"
        "  intendant replay --all-open --app shop.main:runtime --hot redis://localhost --json\n\n"
        "Exit codes: 0 all would continue, 1 some would not or the command failed, 2 wrong usage, 130 interrupted.",
    )(replay)
