"""Values too large for a step's result (64 KiB), kept as files named by their content.

A handler writes here inside a step and records the name. Writing is idempotent: the same value gives the same name,
and a file is there whole or not at all, whenever the process dies.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from .analysis.listing import digest_of

T = TypeVar("T")


class Shelf:
    """A folder of values."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    def put(self, value: Any) -> str:
        """Keep `value`; it is durable when its name is returned."""
        content = msgspec.msgpack.encode(value)
        name = digest_of(content)
        path = self.folder / name
        if not path.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            write_whole(path, content)
        return name

    def get(self, name: str, type_: type[T]) -> T:
        """The value that `put` named."""
        return msgspec.msgpack.decode((self.folder / name).read_bytes(), type=type_)


def write_whole(path: Path, content: bytes) -> None:
    """Write a file so that no reader and no crash ever sees half of it."""
    draft = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
    with draft.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
