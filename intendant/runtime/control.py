"""The control socket: the tree of a running runtime for other processes of the same user. It only reads.

One question and one answer for each connection, each a line of JSON: `{"depth": 4, "tenant": "acme", "limit": 100,
"fold": "tenant"}`, every field optional, and an `Answer`. Whatever comes, it is bounded: a question is at most 4 KiB
and must have come within five seconds, an answer must have been taken within as many, eight connections are served at a
time, one of them is answered at a time.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

import anyio
import anyio.abc
import msgspec
from msgspec import Struct

from intendant.domain.errors import IntendantError
from intendant.runtime import control_place
from intendant.runtime.observer import View
from intendant.runtime.stats import Stats
from intendant.runtime.tree_node import TreeNode
from intendant.supervisor import Started

logger = logging.getLogger("intendant.control")

QUESTION_BYTES_MAX: Final = 4_096
CONNECTIONS_MAX: Final = 8
SECONDS: Final = 5.0


class Answer(Struct, frozen=True, omit_defaults=True):
    """What a question gets: `error`, or all the rest."""

    error: str = ""
    name: str = ""
    pid: int = 0
    stats: Stats | None = None
    tree: TreeNode | None = None


class Control:
    """A unix socket of mode 0600 in `directory`, which is made if it is missing. Gone when `run` has ended."""

    def __init__(
        self,
        directory: Path,
        name: str,
        look: Callable[[View], Awaitable[TreeNode]],
        stats: Callable[[], Stats],
    ) -> None:
        self.path: Path | None = None  # while it listens
        self._directory = directory
        self._name = name
        self._look = look
        self._stats = stats
        self._connections = 0
        self._turn: anyio.Lock

    async def run(self, task_status: Started) -> None:
        """Answer until cancelled. Raises PermissionError, ValueError or OSError when the socket can't be made."""
        self._turn = anyio.Lock()
        self._connections = 0
        path = await anyio.to_thread.run_sync(self._place)
        async with await anyio.create_unix_listener(path, mode=0o600, backlog=CONNECTIONS_MAX) as listener:
            self.path = path
            try:
                task_status.started()
                await listener.serve(self._serve)
            finally:
                self.path = None
                path.unlink(missing_ok=True)  # one system call, in a moment in which nobody may wait

    def _place(self) -> Path:
        control_place.prepare(self._directory)
        control_place.remove_stale(self._directory)
        return control_place.free_path(self._directory, self._name)

    async def _serve(self, stream: anyio.abc.SocketStream) -> None:
        self._connections += 1
        try:
            async with stream:
                await self._converse(stream)
        except (anyio.BrokenResourceError, anyio.ClosedResourceError, OSError):
            pass  # whoever asked has left
        finally:
            self._connections -= 1

    async def _converse(self, stream: anyio.abc.SocketStream) -> None:
        answer = Answer(error=f"no question came within {SECONDS:g} s")
        if self._connections > CONNECTIONS_MAX:
            answer = Answer(error=f"{CONNECTIONS_MAX} others are being answered; ask again")
        else:
            question: bytes | None = None
            with anyio.move_on_after(SECONDS) as waiting:
                question = await _read_line(stream)
            if not waiting.cancelled_caught:
                answer = await self._answer(question)
        with anyio.move_on_after(SECONDS):
            await stream.send(msgspec.json.encode(answer) + b"\n")

    async def _answer(self, question: bytes | None) -> Answer:
        if question is None:
            return Answer(error=f"a question is a line of JSON of at most {QUESTION_BYTES_MAX} bytes")
        try:
            view = msgspec.json.decode(question, type=View)
            async with self._turn:
                return Answer("", self._name, os.getpid(), self._stats(), await self._look(view))
        except (IntendantError, msgspec.MsgspecError, RecursionError, ValueError) as error:
            return Answer(error=str(error)[:500])


async def _read_line(stream: anyio.abc.SocketStream) -> bytes | None:
    """What comes before the first line's end; None when that is too much, or the connection ends before."""
    read = b""
    try:
        while b"\n" not in read:
            if len(read) > QUESTION_BYTES_MAX:
                return None
            read += await stream.receive(QUESTION_BYTES_MAX)
    except anyio.EndOfStream:
        return None
    line = read.partition(b"\n")[0]
    return line if len(line) <= QUESTION_BYTES_MAX else None
