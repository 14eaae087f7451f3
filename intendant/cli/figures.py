"""What a load prints: its figures as one JSON object or as a table, and a bar while it runs."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import anyio
import msgspec
from msgspec import Struct
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from intendant.cli.load import Load, Plan

REFRESH_SECONDS: Final = 0.2


class Figures(Struct, frozen=True):
    """Everything that was measured and found. Latencies run from submit to result, as a caller sees them.

    `accepted` is what callers were told; `completed`, `failed` and `unfinished` is where the log has these; `commits`
    and `records` are those of the run itself; `lag` is how many records cold state was behind when the callers had
    ended, and `lag_s` how long it took to follow (None: no cold store, or not within the timeout). The servers'
    processor time is None where it is not known; `stored` counts all executions of the store, also of earlier runs.
    """

    accepted: int
    completed: int
    failed: int
    unfinished: int
    lost: int
    duplicated: int
    broken: int
    diverged: int
    sound: bool
    per_second: float
    seconds: float
    p50_ms: float
    p99_ms: float
    max_ms: float
    submit_p50_ms: float
    submit_p99_ms: float
    durability: str
    rss_mb: float
    cpu_s_per_1000: float
    hot_server_cpu_s_per_1000: float | None
    cold_server_cpu_s_per_1000: float | None
    restarts: int
    commits: int
    records: int
    lag: int
    lag_s: float | None
    resumed: int
    overloaded: int
    unanswered: int
    unexpected: int
    interrupted: bool
    audit_s: float
    stored: int
    findings: list[str]
    error: str | None
    plan: Plan
    hot: str
    cold: str | None
    backend: str
    python: str
    version: str


def milliseconds(seconds: Sequence[float], fraction: float) -> float:
    """The value that this fraction does not exceed, in ms; 0 for none."""
    if not seconds:
        return 0.0
    place = min(int(fraction * len(seconds)), len(seconds) - 1)
    return round(sorted(seconds)[place] * 1000, 3)


def rss_bytes() -> int:
    """This process's resident memory: now where the system tells, else at its highest."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    import resource  # noqa: PLC0415  not on every system

    highest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return highest if sys.platform == "darwin" else highest * 1024


def print_json(figures: Figures) -> None:
    """One object on one line."""
    print(msgspec.json.encode(figures).decode())  # noqa: T201  this is the command line


def print_table(figures: Figures) -> None:
    """A table for people."""
    console = Console()
    table = Table(show_header=False, box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(style="bold")
    table.add_column()
    for name, text in _rows(figures):
        table.add_row(name, text)
    console.print(table, highlight=False)
    for finding in figures.findings:
        console.print(f"  {escape(finding)}", highlight=False, soft_wrap=True)


def _rows(figures: Figures) -> list[tuple[str, str]]:
    f, plan = figures, figures.plan
    cold = f", cold {escape(f.cold)}" if f.cold else ""
    callers, sessions = _many(plan.callers, "caller"), _many(plan.sessions, "session")
    tenants, steps = _many(plan.tenants, "tenant"), _many(plan.steps, "step")
    rows = [
        ("load", f"{callers}, {sessions}, {tenants}, {steps} each"),
        ("store", f"{escape(f.hot)}, acknowledged means [bold]{f.durability}[/]{cold}"),
        ("loop", f"{f.backend}, Python {f.python}"),
        ("accepted", f"{f.accepted:,} of {plan.intents:,}"),
        ("ended", f"{f.completed:,} completed, {f.failed:,} failed" + _not_asked_for(f)),
        ("throughput", f"[bold]{f.per_second:,.0f}[/] executions/s for {f.seconds:,.2f} s"),
        ("latency", f"p50 {f.p50_ms:,.2f} ms, p99 {f.p99_ms:,.2f} ms, max {f.max_ms:,.2f} ms, from submit to result"),
        ("acceptance", f"p50 {f.submit_p50_ms:,.2f} ms, p99 {f.submit_p99_ms:,.2f} ms, from submit to durable"),
        ("log", f"{f.records:,} records in {f.commits:,} commits"),
        (
            "process",
            f"{f.rss_mb:,.0f} MB, {f.cpu_s_per_1000:.3f} s of CPU per 1,000 executions, {_many(f.restarts, 'restart')}",
        ),
        ("audit", _verdict(f)),
    ]
    notes = [
        ("hot server", _server(f.hot_server_cpu_s_per_1000), f.hot_server_cpu_s_per_1000 is not None),
        ("cold server", _server(f.cold_server_cpu_s_per_1000), f.cold is not None and not f.cold.startswith("memory:")),
        ("cold state", _lag(f), f.cold is not None),
        ("resumed", f"{f.resumed:,} executions that an earlier load had left open", f.resumed > 0),
        ("refused", f"{f.overloaded:,} times for lack of room, and sent again", f.overloaded > 0),
        ("unanswered", f"[bold red]{f.unanswered:,}[/] within {plan.timeout:g} s", f.unanswered > 0),
        ("interrupted", _rest(f), f.interrupted),
        ("error", f"[bold red]{escape(f.error or '')}[/]", f.error is not None),
    ]
    return rows + [(name, text) for name, text, there in notes if there]


def _many(count: int, noun: str) -> str:
    return f"{count:,} {noun}" + ("" if count == 1 else "s")


def _not_asked_for(figures: Figures) -> str:
    return f", [bold red]{figures.unexpected:,} not as asked for[/]" if figures.unexpected else ""


def _rest(figures: Figures) -> str:
    if not figures.unfinished:
        return "all that was accepted has ended"
    return f"{figures.unfinished:,} accepted and not ended: another load on the same store resumes them"


def _server(seconds: float | None) -> str:
    if seconds is None:
        return "its processor time is not known: it is no process of this machine that can be seen"
    return f"{seconds:.3f} s of CPU per 1,000 executions"


def _lag(figures: Figures) -> str:
    behind = f"{figures.lag:,} records behind when the callers had ended"
    if figures.lag_s is None:
        return f"{behind}, and [bold red]still behind[/] when this stopped to look"
    return f"{behind}, up to date {figures.lag_s:,.2f} s later"


def _verdict(figures: Figures) -> str:
    f = figures
    if f.sound:
        return f"[bold green]sound[/]: 0 lost, 0 duplicated ({f.stored:,} executions read in {f.audit_s:,.2f} s)"
    counts = f"{f.lost:,} lost, {f.duplicated:,} duplicated, {f.broken:,} broken, {f.diverged:,} diverged"
    return f"[bold red]NOT SOUND[/]: {counts}"


async def show(load: Load) -> None:
    """A bar on stderr, until cancelled. It is drawn between the callers' turns, and rarely."""
    columns = (TextColumn("running"), BarColumn(), TaskProgressColumn(), TextColumn("{task.fields[rate]}"))
    with Progress(
        *columns, TimeElapsedColumn(), console=Console(stderr=True), auto_refresh=False, transient=True
    ) as bar:
        task = bar.add_task("", total=load.plan.intents, rate="")
        done = 0
        while True:
            await anyio.sleep(REFRESH_SECONDS)
            rate, done = (load.done - done) / REFRESH_SECONDS, load.done
            bar.update(task, completed=done, rate=f"{rate:,.0f}/s", refresh=True)
