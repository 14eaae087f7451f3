"""What the worker tells the driver, as JSON lines on its standard output; and what the driver asks of it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import IO

import msgspec
from msgspec import Struct

from .content import Source
from .pages.run import Figures


class Assignment(Struct, frozen=True):
    """What a worker is to do. A worker that takes over after a kill gets the same one."""

    run: str
    started: int
    work: str
    sources: list[Source]


class Opened(Struct, tag="opened", frozen=True):
    """The store is ours; `resumed` executions were open in it and go on."""

    resumed: int


class Progress(Struct, tag="progress", frozen=True):
    """So many executions have ended, so many are accepted and open, so many are expected in all.

    `written` counts the records of this worker: few, when most of what is done was done by an earlier one.
    """

    done: int
    open: int
    expected: int
    written: int
    phase: str


class Finished(Struct, tag="finished", frozen=True):
    """All is done; `studies`, `report` and `roadmap` lie on the shelf."""

    figures: Figures
    studies: list[str]
    report: str
    roadmap: str


class Refused(Struct, tag="refused", frozen=True):
    """The worker did not get what it needs; `message` is for the user."""

    message: str


Message = Opened | Progress | Finished | Refused

_encode = msgspec.json.Encoder().encode
_decoder = msgspec.json.Decoder[Message](Message)


def tell(message: Message) -> None:
    """Send one line. Raises BrokenPipeError when nobody listens any more."""
    sys.stdout.buffer.write(_encode(message) + b"\n")
    sys.stdout.buffer.flush()


def listen(pipe: IO[bytes]) -> Iterator[Message]:
    """The messages of a worker until it ends. A line cut off by a kill is left out."""
    for line in pipe:
        if line.endswith(b"\n"):
            yield _decoder.decode(line)
