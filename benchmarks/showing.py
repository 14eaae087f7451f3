"""Rows as tables for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich import box
from rich.table import Table

from benchmarks.summary import Row, Spread


def tables(rows: Sequence[Row], cases: Sequence[str]) -> Iterator[Table]:
    """One for each case that was measured, the contestants by durability, fastest first."""
    for case in cases:
        found = [row for row in rows if row.case == case]
        if found:
            yield _table(case, sorted(found, key=lambda row: (row.durability, -row.per_second.median)))


def _table(case: str, rows: Sequence[Row]) -> Table:
    shown = Table(title=case, box=box.SIMPLE, title_justify="left")
    for name in ("", "durability"):
        shown.add_column(name)
    for name in ("per second", "lowest to highest", "p50 ms", "p99 ms", "ours ÷ this", "rounds"):
        shown.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        speeds = row.per_second
        shown.add_row(
            row.name,
            row.durability,
            _number(speeds.median),
            f"{_number(speeds.lowest)} to {_number(speeds.highest)}",
            _perhaps(row.p50_ms),
            _perhaps(row.p99_ms),
            _ratio(row.ratio),
            f"{row.clean} of {row.clean + sum(row.discarded.values())}",
            style="bold" if row.ours else None,
        )
    return shown


def _ratio(ratio: Spread | None) -> str:
    if ratio is None:
        return ""
    return f"{_factor(ratio.median)}x ({_factor(ratio.lowest)} to {_factor(ratio.highest)})"


def _factor(number: float) -> str:
    return f"{number:.0f}" if number >= 10 else f"{number:.2g}"


def _number(number: float) -> str:
    return f"{number:,.0f}" if number >= 100 else f"{number:.1f}"


def _perhaps(milliseconds: float | None) -> str:
    return "" if milliseconds is None else f"{milliseconds:,.2f}"
