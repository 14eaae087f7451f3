"""A folder in which something of each kind is wrong, on purpose and at known lines."""

from __future__ import annotations

from pathlib import Path

import pytest

PROSE = [
    "The harbour master keeps a ledger of every vessel that enters, its tonnage, its cargo and its last port of call.",
    "When the tide turns before dawn the pilots row out to the roadstead and wait beside the anchored merchant ships.",
    "No captain may unload barrels until the customs clerk has broken the seals and put a sample on the brass scales.",
    "Smugglers prefer the northern creek, where reeds hide a flat boat and the mud keeps revenue men from following.",
    "In winter the lighthouse burns colza oil through eighteen hours of darkness, and its keeper trims the wick.",
    "Rope makers walk backwards along the covered alley, spinning hemp to hold a frigate against an autumn gale.",
]

GUIDE = """# Guide

See [the plan](plan.md), [nothing](missing.md) and [a heading](plan.md#second-part).

![picture](images/none.png) and [wrong heading](plan.md#third-part), [out](https://example.org/x.md).

| name | size |
|------|------|
| a    | 1    |
| b    | 2    | 3 |
"""

PLAN = """# Plan

## Second part

Back to [the guide](guide.md#guide) and the [folder](../docs/).
"""

CODE = '''"""A module."""

from shop.stock import count


class Till:
    """A till."""

    def open(self):
        return count()


def close():
    pass
'''

STOCK = '''"""Stock."""

from shop.till import Till


def count() -> int:
    """How many."""
    return len(vars(Till))
'''


@pytest.fixture
def planted(tmp_path: Path) -> Path:
    """A small project with planted faults."""
    folder = tmp_path / "planted"
    rows = [f"{number},{20 + number % 5}.5,2024-01-{number + 1:02d}" for number in range(30)]
    rows[9] = "9,warm,2024-01-10"
    rows[14] = "14,9000.0,2024-01-15"
    rows[19] = "19,22.5"
    files = {
        "docs/guide.md": GUIDE,
        "docs/plan.md": PLAN,
        "docs/harbour.txt": "\n".join(PROSE * 3),
        "notes/harbour-draft.txt": "\n".join(PROSE * 3)
        .replace("brass scales", "iron scales")
        .replace("frigate", "sloop"),
        "notes/copy.md": PLAN * 3,
        "notes/copy-again.md": PLAN * 3,
        "data/readings.csv": "station,temperature,day\n" + "\n".join(rows) + "\n",
        "shop/__init__.py": "",
        "shop/till.py": CODE,
        "shop/stock.py": STOCK,
    }
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    return folder
