"""Tables by column: type, range, gaps, values that do not fit, outliers; and rows of another length."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Sequence
from statistics import median, quantiles

from .model import Cell, Column, ColumnType, Outline, Problem, Table

COLUMNS_MAX = 100
SHOWN_MAX = 8
"""Lines kept per kind of trouble in a column; the counts are exact."""

ROW_LINES_MAX = 30
GAPS = frozenset({"", "-", "–", "na", "n/a", "nan", "none", "null", "?"})
INTEGER = re.compile(r"[+-]?\d{1,18}")
NUMBER = re.compile(r"[+-]?(\d{1,3}(,\d{3})+|\d+)?\.?\d+([eE][+-]?\d{1,3})?%?")
DATE = re.compile(r"\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])([T ][\d:.]+(Z|[+-][\d:]+)?)?")
BOOLEAN = frozenset({"true", "false", "yes", "no"})
TYPICAL = 0.9
"""A column has a type when so many of its values are of it; the others are reported."""

Row = tuple[int, list[str]]


def outline_table(name: str, text: str) -> Outline:
    """A CSV or TSV file. The delimiter is the one that splits the first lines most evenly."""
    delimiter = "\t" if name.lower().endswith(".tsv") else _delimiter(text)
    rows: list[Row] = []
    problems: list[Problem] = []
    for line, cells, problem in _read(text, delimiter):
        if problem:
            problems.append(Problem(line, "malformed-row", problem))
        elif cells:
            rows.append((line, cells))
    header, body, first = _header(rows)
    table = profile_rows(header, body, first)
    return Outline("table", lines=len(text.splitlines()), tables=[table], problems=problems[:SHOWN_MAX])


def _delimiter(text: str) -> str:
    lines = [line for line in text.split("\n", 21)[:20] if line.strip()]

    def evenness(delimiter: str) -> tuple[int, int]:
        counts = [line.count(delimiter) for line in lines]
        usual = max(sorted(set(counts)), key=counts.count, default=0)
        return (counts.count(usual), usual) if usual else (0, 0)

    return max(",;\t|", key=evenness)


def _read(text: str, delimiter: str) -> Iterator[tuple[int, list[str], str]]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    while True:
        first = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield first, [], f"The row cannot be read: {error}."
            continue
        if reader.line_num - first >= ROW_LINES_MAX:
            yield (
                first,
                [],
                f"A quoted field runs over {reader.line_num - first + 1} lines: a quote is probably not closed.",
            )
        else:
            yield first, cells, ""


def _header(rows: list[Row]) -> tuple[list[str], list[Row], int]:
    if not rows:
        return [], [], 1
    line, cells = rows[0]
    names = [cell.strip() for cell in cells]
    if all(name and type_of(name) == "text" for name in names) and len(set(names)) == len(names):
        return names, rows[1:], line
    return [f"column {number}" for number in range(1, len(cells) + 1)], rows, line


def profile_rows(header: Sequence[str], rows: Sequence[Row], line: int) -> Table:
    """The table under `header`, whose first line is `line`; only rows of the right length count for the columns."""
    width = len(header)
    good = [row for row in rows if len(row[1]) == width]
    malformed = [
        Cell(number, f"{len(cells)} cells where the table has {width}") for number, cells in rows if len(cells) != width
    ]
    columns = [
        profile_column(name, [Cell(number, cells[index].strip()) for number, cells in good])
        for index, name in enumerate(header[:COLUMNS_MAX])
    ]
    return Table(line, len(rows), columns, malformed[: SHOWN_MAX * 4])


def profile_column(name: str, cells: Sequence[Cell]) -> Column:
    """What the values of a column are and which of them stand out."""
    name = name[:80]
    gaps = [cell for cell in cells if cell.value.lower() in GAPS]
    values = [cell for cell in cells if cell.value.lower() not in GAPS]
    if not values:
        return Column(name, "empty", gaps=len(gaps))
    types: list[ColumnType] = [type_of(cell.value) for cell in values]
    kind = _column_type(types)
    fitting = [cell for cell, each in zip(values, types, strict=True) if _fits(each, kind)]
    odd = [Cell(cell.line, cell.value[:60]) for cell, each in zip(values, types, strict=True) if not _fits(each, kind)]
    low, high = _range(kind, fitting)
    return Column(
        name,
        kind,
        low=low[:60],
        high=high[:60],
        values=len(values),
        gaps=len(gaps),
        gap_lines=[cell.line for cell in gaps[:SHOWN_MAX]],
        odd=odd[:SHOWN_MAX],
        outliers=outliers(fitting)[:SHOWN_MAX] if kind in ("integer", "number") else [],
    )


def type_of(value: str) -> ColumnType:
    """The narrowest type that `value` can be read as."""
    if INTEGER.fullmatch(value):
        return "integer"
    if NUMBER.fullmatch(value):
        return "number"
    if DATE.fullmatch(value):
        return "date"
    return "boolean" if value.lower() in BOOLEAN else "text"


def _column_type(types: list[ColumnType]) -> ColumnType:
    least = TYPICAL * len(types)
    if len(types) < 2:
        return "text"
    if types.count("integer") >= least:
        return "integer"
    if types.count("integer") + types.count("number") >= least:
        return "number"
    if types.count("date") >= least:
        return "date"
    return "boolean" if types.count("boolean") >= least else "text"


def _fits(each: ColumnType, kind: ColumnType) -> bool:
    return kind == "text" or each == kind or (kind == "number" and each == "integer")


def _range(kind: ColumnType, cells: Sequence[Cell]) -> tuple[str, str]:
    if kind in ("integer", "number"):
        ordered = sorted(cells, key=lambda cell: number_of(cell.value))
    else:
        ordered = sorted(cells, key=lambda cell: cell.value)
    return ordered[0].value, ordered[-1].value


def number_of(value: str) -> float:
    """The number that a cell of a numeric column stands for."""
    return float(value.rstrip("%").replace(",", ""))


def outliers(cells: Sequence[Cell]) -> list[Cell]:
    """Values far outside what is usual here: three interquartile ranges beyond the quartiles.

    A few at most: where many lie outside, the column is skewed and none of them is a mistake.
    """
    if len(cells) < 12:
        return []
    numbers = [number_of(cell.value) for cell in cells]
    low, _, high = quantiles(numbers, n=4)
    spread = high - low
    if not spread:
        spread = 10 * max(1.0, abs(median(numbers))) / 3
    found = [
        cell for cell, number in zip(cells, numbers, strict=True) if not low - 3 * spread <= number <= high + 3 * spread
    ]
    return found if len(found) <= max(3, len(cells) // 50) else []
