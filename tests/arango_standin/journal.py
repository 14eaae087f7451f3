"""What was written, in the order in which it was; how much of it survives depends on how the server ends.

    file    frames, one for each request that changed something
    frame   length of the rest (u32, big-endian), 1 if it is on the disk and everything before it else 0 (u8), msgpack

A server that is killed keeps every whole frame: the operating system has it. One that loses power keeps those up to the
last one that was to be on the disk (HTTP API > Documents > waitForSync), none that came later.
"""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from tests.arango_standin.data import Change

_HEAD = 5


class Journal:
    """A file of frames, opened to add to it."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("ab", buffering=0)
        self._encoder = msgspec.msgpack.Encoder()

    def keep(self, change: Change, synced: bool) -> None:
        """Add a frame."""
        content = self._encoder.encode(change)
        self._file.write(len(content).to_bytes(4, "big") + bytes([synced]) + content)

    def close(self) -> None:
        """No more is added."""
        self._file.close()


def load(path: Path, *, power_lost: bool) -> list[Change]:
    """What survived, and cut the rest off."""
    data = path.read_bytes() if path.exists() else b""
    frames: list[tuple[int, Change]] = []  # where each ends, and what it holds
    kept = place = 0
    decoder = msgspec.msgpack.Decoder(Change)
    while place + _HEAD <= len(data):
        end = place + _HEAD + int.from_bytes(data[place : place + 4], "big")
        if end > len(data):
            break
        frames.append((end, decoder.decode(data[place + _HEAD : end])))
        if data[place + 4] or not power_lost:
            kept = end
        place = end
    if kept < len(data):
        os.truncate(path, kept)
    return [change for end, change in frames if end <= kept]
