"""Where figures are written."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from benchmarks.environments import HOME

RESULTS: Final = Path(__file__).parent / "results"


def folder_for(given: Path | None, *, whole: bool) -> Path:
    """The folder that was given, or that of the kept figures for the `whole` of a benchmark; else `.bench/quick`."""
    folder = given or (RESULTS if whole else HOME / "quick")
    folder.mkdir(parents=True, exist_ok=True)
    return folder
