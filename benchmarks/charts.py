"""Bar charts for the README: SVG, a light and a dark file of each, ours in colour.

Lengths are true to scale from zero; a thin line shows how far apart the rounds lie.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from html import escape
from pathlib import Path
from typing import Final

from msgspec import Struct

from benchmarks.summary import Row

WIDTH: Final = 860
MARGIN: Final = 24
LABELS: Final = 212  # the column of names
GAP: Final = 28  # between panels
TOP: Final = 104
ROW: Final = 27
BAR: Final = 16
VALUES: Final = 66  # room for the number at a bar's end
GROUP: Final = 30  # the line that heads a group
WHISKER_MIN: Final = 6  # shorter ones can't be read
FONT: Final = "-apple-system, 'Segoe UI', Helvetica, Arial, sans-serif"


class Colours(Struct, frozen=True):
    """Of one file."""

    text: str
    quiet: str
    ours: str
    rival: str
    line: str


THEMES: Final = {
    "light": Colours("#1f2328", "#656d76", "#0b7285", "#b3bac2", "#495057"),
    "dark": Colours("#e6edf3", "#8b949e", "#22b8cf", "#59636e", "#c9d1d9"),
}


class Bar(Struct, frozen=True):
    """One contestant in one panel; without a value its place tells why."""

    value: float | None
    lowest: float = 0.0
    highest: float = 0.0
    text: str = ""


class Line(Struct, frozen=True):
    """One contestant: its bars, one for each panel."""

    name: str
    group: str
    ours: bool
    bars: tuple[Bar, ...]


class Chart(Struct, frozen=True):
    """A title and panels side by side that share the names at the left."""

    name: str
    title: str
    subtitle: str
    panels: tuple[str, ...]
    lines: tuple[Line, ...]


GROUPS: Final = {
    "fsync": "on disk before it is acknowledged",
    "written": "handed to the system, on disk about a second later",
    "memory": "",
}


def draw(rows: Sequence[Row], folder: Path, *, untold: Collection[str] = (), note: str = "") -> list[Path]:
    """Write every chart that the rows have something for. `untold` cells are said to be so; `note` stands below."""
    written: list[Path] = []
    for chart in charts(rows, untold):
        for theme, colours in THEMES.items():
            path = folder / f"{chart.name}-{theme}.svg"
            path.write_text(svg(chart, colours, note), encoding="utf-8")
            written.append(path)
    return written


def charts(rows: Sequence[Row], untold: Collection[str] = ()) -> list[Chart]:
    """What can be drawn of the rows."""
    rows = [row for row in rows if not row.contestant.startswith("bare-")]  # they are no rivals
    made = [
        Chart(
            name="throughput",
            title="Durable executions per second",
            subtitle="64 callers; one machine for callers, runtime and store; longer is better",
            panels=("no steps", "three durable steps"),
            lines=_lines(rows, untold, ("64 callers, no steps", "64 callers, 3 steps"), _per_second, "has no steps"),
        ),
        Chart(
            name="latency",
            title="From request to recorded result",
            subtitle="one caller, median in milliseconds; shorter is better",
            panels=("no steps", "three durable steps"),
            lines=_lines(rows, untold, ("1 caller, no steps", "1 caller, 3 steps"), _p50, "has no steps"),
        ),
        Chart(
            name="actors",
            title="Messages per second",
            subtitle="one actor in memory; longer is better",
            panels=("tell", "ask, 64 callers"),
            lines=_lines(rows, untold, ("tell", "ask, 64 callers"), _per_second, ""),
        ),
    ]
    return [chart for chart in made if chart.lines]


def _lines(
    rows: Sequence[Row],
    untold: Collection[str],
    cases: tuple[str, ...],
    bar: Callable[[Row], Bar],
    otherwise: str,
) -> tuple[Line, ...]:
    found = {(row.contestant, row.case): row for row in rows}
    newest = {row.contestant: row for case in reversed(cases) for row in rows if row.case == case}
    ordered = sorted(newest.values(), key=lambda row: (row.durability, not row.ours, -row.per_second.median))

    def cell(row: Row, case: str) -> Bar:
        if (row.contestant, case) in found:
            return bar(found[row.contestant, case])
        return Bar(None, text="too few rounds" if f"{row.contestant} at {case}" in untold else otherwise)

    return tuple(
        Line(
            name=row.name,
            group=GROUPS[row.durability],
            ours=row.ours,
            bars=tuple(cell(row, case) for case in cases),
        )
        for row in ordered
    )


def _per_second(row: Row) -> Bar:
    speeds = row.per_second
    return Bar(speeds.median, speeds.lowest, speeds.highest, _short(speeds.median))


def _p50(row: Row) -> Bar:
    if row.p50_ms is None:
        return Bar(None, text="not told")
    return Bar(
        row.p50_ms, row.p50_ms, row.p50_ms, f"{row.p50_ms:.2f} ms" if row.p50_ms < 10 else f"{row.p50_ms:.0f} ms"
    )


def _short(number: float) -> str:
    if number >= 1_000_000:
        return f"{number / 1e6:.1f} M"
    return f"{number:,.0f}"


def svg(chart: Chart, colours: Colours, note: str = "") -> str:
    """The text of the file."""
    count = len(chart.panels)
    width = (WIDTH - 2 * MARGIN - LABELS - (count - 1) * GAP) / count
    lefts = [MARGIN + LABELS + place * (width + GAP) for place in range(count)]
    tops = [max((bar.bars[place].highest for bar in chart.lines), default=0.0) or 1.0 for place in range(count)]
    parts = [
        text(MARGIN, 38, chart.title, colours.text, 20, weight=600),
        text(MARGIN, 60, chart.subtitle, colours.quiet, 13),
        *(
            text(left, TOP - 14, panel, colours.text, 13, weight=600)
            for left, panel in zip(lefts, chart.panels, strict=True)
        ),
    ]
    y, group = float(TOP), ""
    for line in chart.lines:
        if line.group and line.group != group:
            y += GROUP if group else 0
            parts.append(text(MARGIN, y - 14 if not group else y - 11, line.group, colours.quiet, 12))
            group = line.group
        parts.append(_name(line, y, colours))
        for left, top, bar in zip(lefts, tops, line.bars, strict=True):
            parts += _bar(bar, left, y, width, top, colours, ours=line.ours)
        y += ROW
    if note:
        parts.append(text(MARGIN, y + 18, note, colours.quiet, 12))
        y += 18
    height = y + MARGIN - 6
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}" width="{WIDTH}" '
        f'height="{height:.0f}" role="img" font-family="{FONT}">'
    )
    return "\n".join([head, f"<title>{escape(chart.title)}</title>", *parts, "</svg>", ""])


def _name(line: Line, y: float, colours: Colours) -> str:
    colour, weight = (colours.text, 600) if line.ours else (colours.text, 400)
    return text(MARGIN, y + BAR / 2 + 5, line.name, colour, 13, weight=weight)


def _bar(bar: Bar, left: float, y: float, width: float, top: float, colours: Colours, *, ours: bool) -> list[str]:
    room = width - VALUES
    middle = y + BAR / 2
    if bar.value is None:
        return [text(left, middle + 5, bar.text, colours.quiet, 12)]
    length = max(2.0, bar.value / top * room)
    end = max(length, bar.highest / top * room)
    colour = colours.ours if ours else colours.rival
    parts = [
        f'<rect x="{left:.1f}" y="{y}" width="{length:.1f}" height="{BAR}" rx="3" fill="{colour}"/>',
        text(left + end + 8, middle + 5, bar.text, colours.text, 13, weight=600 if ours else 400),
    ]
    low, high = (left + value / top * room for value in (bar.lowest, bar.highest))
    if high - low >= WHISKER_MIN:
        parts.append(
            f'<path d="M{low:.1f} {middle - 3}v6M{low:.1f} {middle}H{high:.1f}M{high:.1f} {middle - 3}v6" '
            f'stroke="{colours.line}" stroke-width="1" fill="none"/>'
        )
    return parts


def text(x: float, y: float, words: str, colour: str, size: int, *, weight: int = 400, anchor: str = "start") -> str:
    """A line of text, with its baseline at `y`."""
    place = f'x="{x:.1f}" y="{y:.1f}"' + (f' text-anchor="{anchor}"' if anchor != "start" else "")
    return f'<text {place} font-size="{size}" font-weight="{weight}" fill="{colour}">{escape(words)}</text>'
