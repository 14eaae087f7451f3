"""Assess one folder's files, each by itself: what is wrong in them, with the line."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath

from .model import Finding, Outline, Profile, Severity, Table
from .order import by_place

SEVERITY: dict[str, Severity] = {"syntax-error": "fix", "malformed-row": "fix", "unreadable": "fix", "encoding": "fix"}
TABLE_LINES_MAX = 8


def assess(profiles: Iterable[Profile]) -> list[Finding]:
    """Unreadable, empty and broken files, bad rows and values, public code without docstrings, heavy functions."""
    found = [finding for profile in profiles for finding in _of(profile)]
    return sorted(found, key=by_place)


def is_test(path: str) -> bool:
    """Whether `path` is a test or a test's data: not public, and often wrong on purpose."""
    parts = PurePosixPath(path).parts
    folders = any(part in ("test", "tests", "testing", "idle_test", "testdata", "fixtures") for part in parts[1:-1])
    return folders or parts[-1].startswith(("test_", "conftest")) or parts[-1].endswith("_test.py")


def _is_private(path: str) -> bool:
    """Whether a module says by its name that it is nobody else's business."""
    return any(part.startswith("_") and not part.startswith("__") for part in PurePosixPath(path).parts)


def _of(profile: Profile) -> Iterator[Finding]:
    outline = profile.outline
    for problem in outline.problems:
        severity = SEVERITY.get(problem.kind, "note")
        # A test's file that does not parse is there to be refused.
        if is_test(profile.path) and severity == "fix":
            severity = "note"
        yield Finding(profile.path, problem.line, problem.kind, severity, problem.message)
    for table in outline.tables:
        yield from _table(profile.path, table)
    if outline.code and not is_test(profile.path) and not _is_private(profile.path):
        yield from _code(profile.path, outline)


def _table(path: str, table: Table) -> Iterator[Finding]:
    for row in table.malformed[:TABLE_LINES_MAX]:
        yield Finding(path, row.line, "malformed-row", "fix", f"The row has {row.value}.")
    for column in table.columns:
        for cell in column.odd:
            message = f"“{cell.value}” in column “{column.name}”, whose other values are of type {column.type}."
            yield Finding(path, cell.line, "misfit-value", "fix", message)
        for cell in column.outliers:
            message = (
                f"{cell.value} in column “{column.name}” lies far outside the usual ({column.low} to {column.high})."
            )
            yield Finding(path, cell.line, "outlier", "improve", message)
        if column.gaps and column.values and column.gaps * 5 <= column.values:
            message = f"Column “{column.name}” has {_times(column.gaps, 'gap')} in {column.gaps + column.values} rows."
            yield Finding(path, column.gap_lines[0], "gap", "improve", message, count=column.gaps)


def _code(path: str, outline: Outline) -> Iterator[Finding]:
    code = outline.code
    if code is None:
        return
    missing = code.public - code.documented
    if missing:
        shown = ", ".join(f"{each.name} ({each.line})" for each in code.undocumented[:4])
        more = f" and {missing - 4} more" if missing > 4 else ""
        message = f"{missing} of {code.public} public names have no docstring: {shown}{more}."
        yield Finding(path, code.undocumented[0].line, "undocumented", "improve", message, count=missing)
    for each in code.heavy:
        message = f"{each.name} has {each.lines} lines and branches {each.branches} times."
        yield Finding(path, each.line, "heavy-function", "improve", message)


def _times(count: int, noun: str) -> str:
    return f"1 {noun}" if count == 1 else f"{count} {noun}s"
