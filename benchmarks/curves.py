"""How cost grows: executions/s while one thing grows and all else stays, `make curves`.

    python -m benchmarks.curves [--only sqlite,callers] [--scale 1.0] [--rounds 1] [--force]

Each point is `intendant load` in a process of its own, on a new store, audited; what is not the thing that grows is 64
callers, 100 sessions, one tenant, no steps, small parameters, an empty store, uvloop. Rounds are interleaved. Writes
`benchmarks/results/curves.json` and a chart, or those in `.bench/quick` when it is not all of it.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from collections import defaultdict
from datetime import date
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec import Struct
from rich import box
from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks.curves_chart import Curve, Panel, draw
from benchmarks.figures import folder_for
from benchmarks.loads import load, place
from benchmarks.machine import idle_machine

STORES: Final = ("memory", "sqlite", "redis-everysec")
INTENTS: Final = 5_000


class Axis(Struct, frozen=True):
    """What grows, and through which values. `stored` is how many executions the store holds before."""

    name: str
    unit: str
    values: tuple[int, ...]

    def intents(self, value: int) -> int:
        """Enough for two seconds or so."""
        match self.name:
            case "callers":
                return max(750, min(value * 75, INTENTS), 2 * value)
            case "steps":
                return max(INTENTS // (1 + value // 2), 128)
            case "payload" | "result":
                return INTENTS // (1 + value // 10_000)
            case _:
                return max(INTENTS, value if self.name == "tenants" else 0)


AXES: Final = (
    Axis("callers", "callers at a time", (1, 4, 16, 64, 256, 1_024, 4_096)),
    Axis("sessions", "sessions", (1, 10, 100, 1_000, 10_000, 100_000, 1_000_000)),
    Axis("tenants", "tenants", (1, 10, 100, 1_000)),
    Axis("payload", "bytes of parameters", (100, 1_000, 10_000, 60_000)),
    Axis("result", "bytes that a step returns", (100, 1_000, 10_000, 60_000, 100_000, 1_000_000)),
    Axis("steps", "steps of an execution", (0, 1, 3, 10, 30, 100)),
    Axis("stored", "executions stored before", (0, 1_000, 10_000, 100_000)),
)


class Point(Struct, frozen=True):
    """One store at one value of what grows: medians of the rounds."""

    store: str
    axis: str
    value: int
    per_second: float
    p50_ms: float
    p99_ms: float
    cpu_ms: float
    """Of the runtime's process, for one execution."""
    rss_mb: float


def measure(store: str, axis: Axis, value: int, scale: float) -> dict[str, Any]:
    """One point once."""
    options: dict[str, Any] = {"--callers": 64, "--sessions": 100, "--backend": "uvloop"}
    if axis.name != "stored":
        options[f"--{axis.name}"] = value
    if axis.name == "tenants":
        options["--sessions"] = max(100, value)
    intents = max(int(axis.intents(value) * scale), 2 * int(options["--callers"]))
    with place(store) as stores, tempfile.TemporaryDirectory(prefix="intendant-bench-") as files:
        options["--files"] = f"file:{files}"
        if axis.name == "stored" and value:
            load({**stores, **options, "--intents": value})
        return load({**stores, **options, "--intents": intents})


def point(store: str, axis: Axis, value: int, rounds: list[dict[str, Any]]) -> Point:
    """What the rounds come to."""

    def median(name: str) -> float:
        return statistics.median(float(each[name]) for each in rounds)

    return Point(
        *(store, axis.name, value, median("per_second"), median("p50_ms"), median("p99_ms")),
        cpu_ms=median("cpu_s_per_1000"),  # seconds for a thousand are milliseconds for one
        rss_mb=median("rss_mb"),
    )


def tables(points: list[Point]) -> list[Table]:
    """One for each axis."""
    made: list[Table] = []
    for axis in AXES:
        found = {(each.store, each.value): each for each in points if each.axis == axis.name}
        stores = [store for store in STORES if any(of == store for of, _ in found)]
        if not stores:
            continue
        shown = Table(title=f"{axis.unit}: executions/s, µs of CPU", box=box.SIMPLE, title_justify="left")
        shown.add_column(axis.name, justify="right")
        for store in stores:
            shown.add_column(store, justify="right")
        for value in axis.values:
            shown.add_row(f"{value:,}", *[_cell(found.get((store, value))) for store in stores])
        made.append(shown)
    return made


def _cell(found: Point | None) -> str:
    return "" if found is None else f"{found.per_second:>7,.0f} {found.cpu_ms * 1000:>7,.0f}"


def panels(points: list[Point]) -> list[Panel]:
    """What is drawn."""
    made: list[Panel] = []
    for axis in AXES:
        curves: defaultdict[str, list[tuple[int, float]]] = defaultdict(list)
        for each in points:
            if each.axis == axis.name:
                curves[each.store].append((each.value, each.per_second))
        if curves:
            made.append(Panel(axis.unit, [Curve(store, sorted(curve)) for store, curve in curves.items()]))
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description="How cost grows.", prog="python -m benchmarks.curves")
    parser.add_argument("--rounds", type=int, default=1, help="of each point, interleaved (1)")
    parser.add_argument("--scale", type=float, default=1.0, help="of the number of intents (1.0)")
    parser.add_argument("--only", default="", help="stores and axes, such as sqlite,callers")
    parser.add_argument("--force", action="store_true", help="measure although the machine is busy")
    parser.add_argument("--results", type=Path, default=None, help="the folder for figures and chart")
    given = parser.parse_args()
    words = {word for word in given.only.split(",") if word}
    stores = [store for store in STORES if store in words] or list(STORES)
    axes = [axis for axis in AXES if axis.name in words] or list(AXES)
    if given.rounds < 1 or not words <= {*STORES, *(axis.name for axis in AXES)}:
        parser.error(f"there is nothing to measure: say some of {', '.join((*STORES, *(axis.name for axis in AXES)))}")
    here = idle_machine(force=given.force)
    every = [
        (store, axis, value) for _ in range(given.rounds) for axis in axes for value in axis.values for store in stores
    ]
    found: defaultdict[tuple[str, Axis, int], list[dict[str, Any]]] = defaultdict(list)
    for cell in track(every, "measuring", console=Console(stderr=True), disable=not sys.stderr.isatty()):
        found[cell].append(measure(*cell, given.scale))
    measured = [point(*cell, rounds) for cell, rounds in found.items()]
    for table in tables(measured):
        Console().print(table)
    folder = folder_for(given.results, whole=not (words or given.force) and given.scale == 1)
    document = {"machine": here, "rounds": given.rounds, "taken": date.today().isoformat(), "points": measured}
    (folder / "curves.json").write_text(json.dumps(msgspec.to_builtins(document), indent=1) + "\n", encoding="utf-8")
    draw(panels(measured), folder, note=f"{here['cores']} cores, {here['cpu']}, uvloop, Python {here['python']}")


if __name__ == "__main__":
    main()
