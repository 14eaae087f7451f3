"""What the driver shows while the worker works: a bar on a terminal, plain lines everywhere else."""

from __future__ import annotations

import time
from pathlib import Path
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from .messages import Progress as Told
from .pages.run import Run

LINES = 10
"""Plain lines for a whole run."""


class Show:
    """Entered for as long as workers work. `say` prints a line above the bar."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._bar = Progress(
            TextColumn("[bold]{task.description:<9}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn("{task.fields[pace]:>7}"),
            TimeElapsedColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._task: TaskID | None = None
        self._tenth = 0
        self._most = 0
        self._started = time.monotonic()

    def __enter__(self) -> Show:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def say(self, line: str) -> None:
        """Print one line."""
        self.console.print(line, highlight=False, soft_wrap=True)

    def move(self, told: Told) -> None:
        """Show how far the work has come. A worker that starts again counts up from zero, which is not shown."""
        if not told.expected:
            return
        self._most = max(self._most, told.done)
        pace = f"{self._most / max(0.1, time.monotonic() - self._started):,.0f}/s"
        if self._task is None:
            self._task = self._bar.add_task(told.phase, total=told.expected, pace=pace)
        self._bar.update(self._task, completed=self._most, total=told.expected, description=told.phase, pace=pace)
        tenth = self._most * LINES // told.expected
        if not self.console.is_terminal and tenth > self._tenth:
            self._tenth = tenth
            self.say(f"{self._most:>6,} of {told.expected:,} executions ended ({told.phase}, {pace})")


def summary(run: Run, findings: int, actions: int, page: Path) -> list[tuple[str, str]]:
    """The run in a few lines: what was done, what was kept, and whether the books are right."""
    figures = run.figures
    lines = [
        (
            "executions",
            f"{figures.executions:,} ended{f', {figures.failed:,} of them failed' if figures.failed else ''}",
        ),
        ("records", f"{figures.records:,} in the log"),
        ("events", f"{figures.events:,} left through the outbox"),
        ("steps", f"{figures.steps:,} recorded and kept; {figures.again:,} were cut off before that and ran again"),
        ("pace", f"{run.rate:,.0f} executions/s over {run.seconds:.1f} s{', the kill included' if run.kill else ''}"),
        ("audit", _verdict(figures.flaws)),
        ("findings", f"{findings:,}, and {actions:,} actions in the order of their worth"),
        ("page", str(page)),
    ]
    if figures.known:
        lines.insert(0, ("known", _known(figures.known, figures.changed)))
    return lines


def _verdict(flaws: list[str]) -> str:
    if flaws:
        return f"[bold red]{len(flaws)} flaws[/]: {flaws[0]}"
    return "[bold green]the books are right[/]: each accepted intent has exactly one end, no step was recorded twice"


def _known(known: int, changed: list[str]) -> str:
    kept = f"{known:,} executions were found by the keys of earlier runs and not started again"
    if not changed:
        return f"nothing changed: {kept}"
    named = ", ".join(changed[:3]) + (f" and {len(changed) - 3} more" if len(changed) > 3 else "")
    return f"{kept}; new or changed: {named}"
