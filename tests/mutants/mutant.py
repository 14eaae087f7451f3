"""Mutants: one small edit of the sources each, after which a promise of `docs/semantics.md` does not hold any more."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

ROOT: Final = Path(__file__).parents[2]
_NAMED: Final = re.compile(r"`((?:tests|intendant/testing)/[\w/]+\.py)::(\w+)`")


class Mutant(Struct, frozen=True, forbid_unknown_fields=True):
    """`old` stands once in `file`, below `intendant/`; with `new` in its place the promise is broken."""

    promise: int
    name: str
    file: str
    old: str
    new: str

    def edit(self, root: Path = ROOT) -> tuple[Path, str, str]:
        """The file, what stands in it, and what is to. Raises ValueError when `old` does not stand there once."""
        path = root / "intendant" / self.file
        source = path.read_text()
        if (found := source.count(self.old)) != 1:
            raise ValueError(f"{self.name}: its text stands {found} times in {self.file}, not once; mend mutants.toml")
        return path, source, source.replace(self.old, self.new)


class _Table(Struct, forbid_unknown_fields=True):
    mutant: list[Mutant]


def mutants() -> list[Mutant]:
    """All of `mutants.toml`."""
    text = Path(__file__).with_name("mutants.toml").read_text()
    return msgspec.toml.decode(text, type=_Table).mutant


def promises() -> list[tuple[int, list[tuple[str, str]]]]:
    """Each promise's number and the tests that it names: file and function."""
    text = (ROOT / "docs" / "semantics.md").read_text()
    parts = re.split(r"^## ", text, flags=re.MULTILINE)[1:]
    return [(int(part.partition(".")[0]), _NAMED.findall(part)) for part in parts]
