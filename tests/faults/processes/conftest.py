"""Real processes over one SQLite file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.reader import Reader, Verdict, examine, reader
from tests.faults.stable import stable

__all__ = ["reader", "stable"]


@pytest.fixture
def hot(tmp_path: Path) -> str:
    """The file that all processes of a test share."""
    return f"sqlite:{tmp_path / 'work.db'}"


@pytest.fixture
def examining(hot: str, reader: Reader) -> Callable[..., Verdict]:
    """Audit the file of this test, which must be sound; returns what was found."""

    def examine_now(*, all_ended: bool = False) -> Verdict:
        verdict = examine(hot, reader, all_ended=all_ended)
        verdict.check(reader)
        return verdict

    return examine_now
