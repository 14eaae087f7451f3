"""Runs a migration, shows how far it is, and prints what it proved."""

from __future__ import annotations

import signal
import sys
import threading
import time
from typing import Final

import anyio
import msgspec
from msgspec import Struct
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from intendant.cli.exits import FAILED, INTERRUPTED, OK, USAGE, Refusal
from intendant.cli.urls import cold_of, files_of, hot_of, problem_of
from intendant.domain.errors import InvalidValue, PartitionOwned, StoreUnavailable
from intendant.runtime.migration import Migration, Proof, Side

REFRESH_SECONDS: Final = 0.2
TENANTS_SHOWN: Final = 50
_AGAIN: Final = "the target is unfinished, and no runtime starts on it; the same command goes on where it ended"


class Ends(Struct, frozen=True):
    """URLs of one side."""

    hot: str
    cold: str | None
    files: str | None


class Report(Struct, frozen=True):
    """What came of it."""

    finished: bool
    source: str = msgspec.field(name="from")
    target: str = msgspec.field(name="to")
    copied: int
    total: int
    seconds: float
    tenants: list[Proof]


def migrate(source: Ends, target: Ends, *, as_json: bool) -> int:
    """Migrate and print. Returns the exit code; raises Refusal, or an error of ours."""
    migration = Migration(_side("from", source, there=True), _side("to", target, there=False))
    began = time.perf_counter()
    try:
        interrupted = anyio.run(_run, migration)
    except InvalidValue as error:
        raise Refusal(f"--{error.what.replace('_', '-')}: {problem_of(error)}", USAGE) from None
    except PartitionOwned as owned:
        raise Refusal(
            f"a store is in use by process {owned.pid} on {owned.host}, for {owned.age:.0f} s; stop it: nothing may "
            "run on either side meanwhile"
        ) from None
    except StoreUnavailable as error:
        raise Refusal(f"{error}; {_AGAIN}" if migration.begun else str(error)) from None
    if interrupted and not migration.finished:
        told = f"{migration.copied:,} of {migration.total:,} records are copied; {_AGAIN}"
        raise Refusal(f"interrupted: {told if migration.begun else 'nothing was written'}", INTERRUPTED)
    report = Report(
        migration.finished,
        *migration.names,
        migration.copied,
        migration.total,
        round(time.perf_counter() - began, 3),
        migration.proofs,
    )
    (_print_json if as_json else _print_table)(report)
    return OK if report.finished else FAILED


def _side(which: str, ends: Ends, *, there: bool) -> Side:
    hot = hot_of(f"--{which}", ends.hot, there=there)
    return Side(hot, cold_of(f"--{which}-cold", ends.cold), files_of(f"--{which}-files", hot, ends.files))


async def _run(migration: Migration) -> bool:
    """Returns whether it was interrupted."""
    interrupted = False

    async def watch() -> None:
        nonlocal interrupted
        with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            async for _ in signals:
                interrupted = True
                group.cancel_scope.cancel()

    try:
        async with anyio.create_task_group() as group:
            if threading.current_thread() is threading.main_thread() and sys.platform != "win32":
                group.start_soon(watch)
            if sys.stderr.isatty():
                group.start_soon(_show, migration)
            await migration.run()
            group.cancel_scope.cancel()
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return interrupted


async def _show(migration: Migration) -> None:
    """A bar on stderr, until cancelled."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), auto_refresh=False, transient=True) as bar:
        task = bar.add_task("looking", total=None)
        while True:
            await anyio.sleep(REFRESH_SECONDS)
            copying = migration.copied < migration.total or not migration.total
            words = ("copying" if migration.begun else "looking") if copying else "proving that it is equal"
            bar.update(task, description=words, completed=migration.copied, total=migration.total or None, refresh=True)


# --- what is printed


def _print_json(report: Report) -> None:
    print(msgspec.json.encode(report).decode())  # noqa: T201  this is the command line


def _print_table(report: Report) -> None:
    console = Console()
    kinds = [kind for kind in _kinds(report) if any(each.rows.get(kind) for each in report.tenants)]
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name in ("tenant", *kinds, "digest", ""):
        table.add_column(name, justify="right" if name in kinds else "left")
    shown = sorted(report.tenants, key=lambda each: each.equal)[:TENANTS_SHOWN]
    for each in shown:
        counts = [f"{each.rows.get(kind, 0):,}" for kind in kinds]
        table.add_row(escape(each.tenant or f"(partition {each.partition})"), *counts, each.digest[:16], _verdict(each))
    console.print(table, highlight=False)
    if len(report.tenants) > len(shown):
        console.print(f"and {len(report.tenants) - len(shown):,} more, all equal; --json shows them")
    console.print(_conclusion(report), highlight=False, soft_wrap=True)


def _kinds(report: Report) -> list[str]:
    return list(dict.fromkeys(kind for each in report.tenants for kind in each.rows))


def _verdict(proof: Proof) -> str:
    return "[green]equal[/]" if proof.equal else f"[bold red]differs[/]: {', '.join(proof.differs)}"


def _conclusion(report: Report) -> str:
    if report.finished:
        records = f"{report.total:,} records" if report.total else "it was complete before"
        return f"[bold green]equal[/]: {escape(report.target)} may be used ({records}, {report.seconds:,.1f} s)"
    return (
        f"[bold red]NOT EQUAL[/]: {escape(report.target)} stays unfinished; run the same command again, and if it "
        "still differs, empty the target and begin anew"
    )
