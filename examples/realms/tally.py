"""Count the bodies of steps as they start, outside of Intendant and of its store.

The log knows which steps were recorded; only this file knows how often a body really ran. The audit compares the two:
a body without a record was cut off by the kill and ran again; a body that started after its record would be a flaw.
"""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import ParamSpec, TypeVar

from msgspec import Struct

from intendant import Context

P = ParamSpec("P")
T = TypeVar("T")

_file = -1


class Body(Struct, frozen=True):
    """A step's body started, at `time` in µs since 1970."""

    time: int
    execution: str
    step: str


def count_into(path: Path) -> None:
    """Let this process count into `path`."""
    global _file  # noqa: PLW0603  one file per process, like a log's
    _file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)


def counted(ctx: Context, function: Callable[P, T]) -> Callable[P, T]:
    """`function`, leaving a line in the tally when its body starts. A step counted here has its function's name."""
    execution, step = ctx.execution_id, function.__name__

    @functools.wraps(function)
    def body(*args: P.args, **kwargs: P.kwargs) -> T:
        if _file >= 0:
            # One write of a short line to a file opened for appending is whole, also among threads.
            os.write(_file, f"{time.time_ns() // 1000} {execution} {step}\n".encode())
        return function(*args, **kwargs)

    return body


def read_tally(path: Path) -> Iterator[Body]:
    """The bodies counted into `path`; a line cut off by a crash of the machine is left out."""
    if path.exists():
        for line in path.read_text("utf-8").splitlines():
            parts = line.split(" ")
            if len(parts) == 3:
                yield Body(int(parts[0]), parts[1], parts[2])
