"""`intendant archive verify`: its options, and what it prints."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from intendant.runtime.verification import Verification

app = typer.Typer(help="What lies in cold state.", no_args_is_help=True)


@app.command(
    help="Compare hot store, cold store and log, and [bold]say what is wrong, and what to do[/].\n\n"
    "Cold documents against hot ones, archived records against the hot log, both together for gaps, and documents "
    "against what the log leads to. It only reads, and may run beside a working runtime: what changes meanwhile is "
    "no fault. How far cold state is behind is told, and is none either.",
    epilog="[bold]Examples[/]\n"
    "  intendant archive verify --hot redis://localhost --cold arangodb://root:pw@localhost/work\n"
    "  intendant archive verify --hot sqlite:work.db --cold arangodb://localhost/work --json | jq .lag\n\n"
    "Exit codes: 0 sound, 1 something was found or the command failed, 2 wrong usage, 130 interrupted.",
)
def verify(
    hot: Annotated[str, typer.Option(metavar="URL", help="The hot store.")],
    cold: Annotated[str, typer.Option(metavar="URL", help="The cold store.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> int:
    """`intendant archive verify`."""
    import anyio  # noqa: PLC0415  a command imports what it needs when it is called

    from intendant.adapters.urls import open_cold  # noqa: PLC0415
    from intendant.cli.exits import FAILED, OK  # noqa: PLC0415
    from intendant.cli.urls import hot_of, named  # noqa: PLC0415
    from intendant.runtime.migration import Side, opened  # noqa: PLC0415
    from intendant.runtime.verification import Verification  # noqa: PLC0415

    store, archive, found = hot_of("--hot", hot, there=True), named(open_cold, "--cold", cold), Verification()

    async def run() -> None:
        async with opened(Side(store, archive)):
            await found.run([store.log(number) for number in range(store.partitions)], archive)

    anyio.run(run)
    (print_json if as_json else print_table)(found)
    return OK if found.sound else FAILED


def as_object(found: Verification) -> dict[str, Any]:
    """What `--json` prints."""
    return {
        "sound": found.sound,
        "lag": found.lag,
        "records": found.records,
        "chunks": found.chunks,
        "documents": found.documents,
        "counts": [
            {"tenant": tenant, "kind": kind, "count": count} for (tenant, kind), count in sorted(found.counts.items())
        ],
        "findings": [
            {"tenant": each.tenant, "kind": each.kind, "text": each.text, "remedy": each.remedy}
            for each in found.faults
        ],
    }


def print_json(found: Verification) -> None:
    """One object on one line."""
    import msgspec  # noqa: PLC0415

    print(msgspec.json.encode(as_object(found)).decode())  # noqa: T201  this is the command line


def print_table(found: Verification) -> None:
    """For people: the findings by tenant, and the sum."""
    from rich.console import Console  # noqa: PLC0415
    from rich.markup import escape  # noqa: PLC0415

    console = Console()
    for tenant in sorted({tenant for tenant, _ in found.counts}):
        counts = ", ".join(f"{count:,} {kind}" for (of, kind), count in sorted(found.counts.items()) if of == tenant)
        console.print(f"[bold]{escape(tenant or '(the partition)')}[/]: {counts}", highlight=False)
        for each in (each for each in found.faults if each.tenant == tenant):
            console.print(f"  {each.kind}: {escape(each.text)}", highlight=False, soft_wrap=True)
            console.print(f"    {each.remedy}", style="dim", highlight=False, soft_wrap=True)
    verdict = "[bold green]sound[/]" if found.sound else "[bold red]NOT SOUND[/]"
    read = f"{found.records:,} records, {found.chunks:,} chunks, {found.documents:,} documents"
    console.print(f"{verdict}: {read}; cold state was {found.lag:,} records behind", highlight=False)
