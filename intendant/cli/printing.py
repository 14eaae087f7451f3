"""What commands print for people: tables that fit the terminal, times, and what is left out."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
from msgspec import Struct
from rich.console import Console
from rich.table import Table
from rich.text import Text

from intendant.cli.tree_table import duration

GAP: Final = 2  # between columns
PIPE_WIDTH: Final = 200  # where nobody says how wide lines may be
STYLES: Final = {
    "completed": "green", "failed": "red", "cancelled": "yellow", "running": "cyan", "waiting": "blue",
    "accepted": "", "blocked": "bold red", "open": "green", "closed": "dim", "ok": "green", "warning": "yellow",
    "wrong": "bold red",
}  # fmt: skip


class Column(Struct, frozen=True):
    """A column of a table. Where there is no room it becomes narrower, down to `least`; 0: it never does.

    An `id` loses its beginning then: its end tells those of about one time apart.
    """

    title: str
    least: int = 0
    right: bool = False
    id: bool = False


def console() -> Console:
    """Stdout, as wide as the terminal."""
    wide = sys.stdout.isatty() or "COLUMNS" in os.environ
    return Console(width=None if wide else PIPE_WIDTH, highlight=False)


def print_table(columns: Sequence[Column], rows: Iterable[Sequence[str | Text]]) -> None:
    """One line a row, none longer than the terminal is wide if that can be."""
    to = console()
    listed = [[_text(cell) for cell in row] for row in rows]
    widths = fitting(columns, [[cell.cell_len for cell in row] for row in listed], to.width)
    to.print(_line([Text(each.title, "bold") for each in columns], columns, widths), soft_wrap=True)
    for row in listed:
        to.print(_line(row, columns, widths), soft_wrap=True)


def fitting(columns: Sequence[Column], lengths: Sequence[Sequence[int]], width: int) -> list[int]:
    """How wide each column is: as wide as what is in it; the widest one gives way as long as there is no room."""
    widths = [max([len(each.title), *(row[place] for row in lengths)]) for place, each in enumerate(columns)]
    while sum(widths) + GAP * (len(widths) - 1) > width:
        room = [widths[place] - each.least if each.least else 0 for place, each in enumerate(columns)]
        if max(room) <= 0:
            break
        giving = max((place for place, left in enumerate(room) if left > 0), key=lambda place: widths[place])
        widths[giving] -= 1
    return widths


def _line(cells: Sequence[Text], columns: Sequence[Column], widths: Sequence[int]) -> Text:
    line = Text()
    for place, (cell, column, width) in enumerate(zip(cells, columns, widths, strict=True)):
        cut = _cut(cell, width, from_left=column.id)
        spaces = " " * (width - cut.cell_len)
        line.append(" " * GAP if place else "")
        line.append_text(Text(spaces) + cut if column.right else cut + Text(spaces))
    line.rstrip()
    return line


def _cut(cell: Text, width: int, *, from_left: bool) -> Text:
    if cell.cell_len <= width:
        return cell
    if from_left:
        return Text("…" + cell.plain[-(width - 1) :], cell.style)
    short = cell.copy()
    short.truncate(width, overflow="ellipsis")
    return short


def print_fields(fields: Iterable[tuple[str, str | Text]]) -> None:
    """Names and values, one a line; what is empty is left out. Long ones go on below their beginning."""
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in fields:
        if value:
            table.add_row(name, _text(value, lines=True))
    console().print(table)


def print_note(text: str) -> None:
    """Beside the result, on stderr: where it is from, how to see more."""
    if sys.stderr.isatty():
        Console(stderr=True).print(Text(text, "dim"))
    else:
        sys.stderr.write(f"{text}\n")


def print_json(answer: bytes) -> None:
    """One value on one line."""
    sys.stdout.write(answer.decode() + "\n")
    sys.stdout.flush()


def styled(word: object) -> Text:
    """A status in its colour."""
    return Text(str(word), STYLES.get(str(word), ""))


def ago(time: datetime | None) -> str:
    """How long ago that was."""
    return "" if time is None else duration(max((datetime.now(UTC) - time).total_seconds(), 0.0))


def between(first: datetime | None, last: datetime | None) -> str:
    """How long it took."""
    if first is None or last is None:
        return ""
    seconds = (last - first).total_seconds()
    return f"{seconds * 1000:.0f}ms" if seconds < 1 else duration(seconds)


def clock(time: datetime | None) -> str:
    """A time in UTC, to the millisecond."""
    return "" if time is None else f"{time.astimezone(UTC):%Y-%m-%d %H:%M:%S}.{time.microsecond // 1000:03}Z"


def short_clock(time: datetime) -> str:
    """The same without the year, for lists."""
    return clock(time)[5:-1]


def compact(value: Any) -> str:
    """A value as JSON on one line; nothing for nothing."""
    return "" if value is None or value == {} else msgspec.json.encode(value).decode()


def _text(value: str | Text, *, lines: bool = False) -> Text:
    """As it is, but for what would move the cursor: it comes from users."""
    text = value if isinstance(value, Text) else Text(value)
    clean = "".join(each if each.isprintable() or (lines and each == "\n") else "�" for each in text.plain)
    return Text(clean, text.style)
