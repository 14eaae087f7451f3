"""What this shop works with: a warehouse, a bank, a carrier, a mail server. Here a ledger in one file plays them all.

Like any good service it takes a key with each request, and does the same thing once, however often it is asked.
"""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
from msgspec import Struct

STOCK = {"tea": 5, "cups": 2}


class Entry(Struct):
    """Something that was done, under the key of whoever asked for it."""

    key: str
    what: str
    order: str
    item: str = ""
    pieces: int = 0
    euros: int = 0


class Ledger:
    """All that was done, each thing once. In memory, until it is told to keep a file."""

    def __init__(self) -> None:
        self.entries: dict[str, Entry] = {}
        self._file: int | None = None

    def keep(self, path: Path) -> None:
        """Go on with what stands in a file, and write each new entry to its end."""
        if path.exists():
            lines = path.read_bytes().splitlines()
            self.entries = {entry.key: entry for entry in (msgspec.json.decode(line, type=Entry) for line in lines)}
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def book(self, entry: Entry) -> None:
        """Do it, unless it was done under this key before."""
        if entry.key in self.entries:
            return
        if self._file is not None:
            os.write(self._file, msgspec.json.encode(entry) + b"\n")
            print(f"{entry.order:>10}: {entry.what}", flush=True)
        self.entries[entry.key] = entry

    def reverse(self, key: str, undone: str, what: str) -> None:
        """Undo what was done under the key `undone`, if it ever was."""
        entry = self.entries.get(undone)
        if entry is not None:
            self.book(Entry(key, what, entry.order, entry.item, -entry.pieces, -entry.euros))

    def free(self, item: str) -> int:
        """Pieces on the shelves that no order has."""
        return STOCK.get(item, 0) - sum(entry.pieces for entry in self.entries.values() if entry.item == item)

    def earned(self) -> int:
        """Euros that were charged, less those that went back."""
        return sum(entry.euros for entry in self.entries.values())

    def of(self, order: str) -> list[str]:
        """What was done for an order, the oldest first."""
        return [entry.what for entry in self.entries.values() if entry.order == order]
