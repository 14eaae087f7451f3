"""Curves as small multiples: SVG, a light and a dark file. Both scales are logarithmic."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Final

from msgspec import Struct

from benchmarks.charts import FONT, MARGIN, THEMES, WIDTH, Colours, text

COLUMNS: Final = 3
PLOT: Final = 168  # height of a plot
HEAD: Final = 112
BELOW: Final = 74  # from one plot to the next
AXIS: Final = 40  # room for the numbers at the left
HUES: Final = {  # of each store; light and dark alike
    "memory": "#868e96",
    "sqlite": "#0b9fb5",
    "redis-everysec": "#e8590c",
    "redis-always": "#9c36b5",
}


class Curve(Struct, frozen=True):
    """Of one store: what is measured, by what grows."""

    name: str
    points: list[tuple[int, float]]


class Panel(Struct, frozen=True):
    """What grows, and the curves of the stores."""

    title: str
    curves: list[Curve]


def draw(panels: Sequence[Panel], folder: Path, *, note: str) -> None:
    """Write both files; nothing when there is nothing to draw."""
    if panels:
        for theme, colours in THEMES.items():
            (folder / f"curves-{theme}.svg").write_text(svg(panels, colours, note), encoding="utf-8")


def svg(panels: Sequence[Panel], colours: Colours, note: str) -> str:
    """The text of the file."""
    width = (WIDTH - 2 * MARGIN) / COLUMNS
    values = [value for panel in panels for curve in panel.curves for _, value in curve.points]
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    parts = [
        text(MARGIN, 38, "Executions per second, while one thing grows", colours.text, 20, weight=600),
        text(MARGIN, 60, "all else: 64 callers, 100 sessions, one tenant, no steps, an empty store", colours.quiet, 13),
        *_legend(panels, colours),
    ]
    for place, panel in enumerate(panels):
        left = MARGIN + (place % COLUMNS) * width
        top = HEAD + (place // COLUMNS) * (PLOT + BELOW)
        parts += _plot(panel, left, top, width - 28, (low, high), colours)
    height = HEAD + math.ceil(len(panels) / COLUMNS) * (PLOT + BELOW) + 14
    parts.append(text(MARGIN, height - 14, note, colours.quiet, 12))
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" '
        f'height="{height}" role="img" font-family="{FONT}">'
    )
    return "\n".join([head, f"<title>{escape('How cost grows')}</title>", *parts, "</svg>", ""])


def _legend(panels: Sequence[Panel], colours: Colours) -> list[str]:
    names = dict.fromkeys(curve.name for panel in panels for curve in panel.curves)
    parts: list[str] = []
    x = float(MARGIN)
    for name in names:
        parts.append(f'<circle cx="{x + 5:.1f}" cy="79" r="5" fill="{HUES[name]}"/>')
        parts.append(text(x + 16, 84, name, colours.text, 13))
        x += 40 + 7.4 * len(name)
    return parts


def _plot(panel: Panel, left: float, top: float, width: float, decades: tuple[int, int], colours: Colours) -> list[str]:
    low, high = decades
    grows = sorted({value for curve in panel.curves for value, _ in curve.points})
    first, last = _place(grows[0]), _place(grows[-1])
    room = width - AXIS

    def x(value: int) -> float:
        return left + AXIS + (_place(value) - first) / max(last - first, 1e-9) * room

    def y(value: float) -> float:
        return top + PLOT - (math.log10(value) - low) / max(high - low, 1) * PLOT

    parts: list[str] = []
    for decade in range(low, high + 1):
        parts.append(
            f'<path d="M{left + AXIS:.1f} {y(10**decade):.1f}h{room:.1f}" stroke="{colours.quiet}" '
            'stroke-opacity="0.25" stroke-width="1"/>'
        )
        parts.append(text(left, y(10**decade) + 4, _short(10**decade), colours.quiet, 11))
    parts += [
        text(x(value), top + PLOT + 16, _short(value), colours.quiet, 11, anchor="middle")
        for value in dict.fromkeys((grows[0], grows[len(grows) // 2], grows[-1]))
    ]
    for curve in panel.curves:
        path = "L".join(f"{x(value):.1f} {y(measured):.1f}" for value, measured in curve.points)
        parts.append(f'<path d="M{path}" stroke="{HUES[curve.name]}" stroke-width="2" fill="none"/>')
        parts += [
            f'<circle cx="{x(value):.1f}" cy="{y(measured):.1f}" r="2.6" fill="{HUES[curve.name]}"/>'
            for value, measured in curve.points
        ]
    parts.append(
        text(left + AXIS + room / 2, top + PLOT + 35, panel.title, colours.text, 13, weight=600, anchor="middle")
    )
    return parts


def _place(value: int) -> float:
    """Where a value stands on the scale: none stands before one."""
    return math.log10(value) if value >= 1 else -0.5


def _short(number: int) -> str:
    if number >= 1_000_000:
        return f"{number // 1_000_000} M"
    return f"{number // 1000} k" if number >= 1_000 else str(number)
