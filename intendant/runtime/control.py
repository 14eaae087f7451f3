"""The control socket: a running runtime's public surface for other processes of the same user.

One request and one answer for each connection, each a line of JSON: `{"ask": "tree", "depth": 4}`, or any other of
`requests`, and an `Answer`. Whatever comes, it is bounded: a request is at most 256 KiB and must have come within five
seconds, an answer is at most 32 MiB and must have been taken within as many, eight connections are served at a time,
one of them is shown the tree at a time. What takes its time says so by its own `timeout`.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

import anyio
import anyio.abc
import msgspec
from msgspec import Raw, Struct

from intendant.domain.errors import IntendantError, InvalidIntent
from intendant.runtime import control_place
from intendant.runtime.observer import View
from intendant.runtime.requests import ORDERS, QUESTIONS
from intendant.runtime.stats import Stats
from intendant.runtime.tree_node import TreeNode
from intendant.supervisor import Started

if TYPE_CHECKING:
    from intendant.runtime.runtime import Runtime

logger = logging.getLogger("intendant.control")

REQUEST_BYTES_MAX: Final = 256 * 1024  # a signal carries up to 64 KiB, which JSON may write longer
ANSWER_BYTES_MAX: Final = 32 * 1024 * 1024
CONNECTIONS_MAX: Final = 8
SECONDS: Final = 5.0

Request = View | QUESTIONS | ORDERS


class Answer(Struct, frozen=True, omit_defaults=True):
    """What a request gets: an `error` and its stable `code`, or `stats` and `tree`, or another request's `value`."""

    error: str = ""
    code: str = ""
    name: str = ""
    pid: int = 0
    stats: Stats | None = None
    tree: TreeNode | None = None
    value: Raw = Raw(b"null")


async def answer(runtime: Runtime, request: Request) -> Answer:
    """Use a runtime's public surface. Raises what that raises."""
    if isinstance(request, View):
        view = request
        tree = await runtime.tree(depth=view.depth, tenant=view.tenant or None, limit=view.limit, fold=view.fold)
        return Answer(name=runtime.name, pid=os.getpid(), stats=runtime.stats(), tree=tree)
    told = encoded(await request.answer(runtime))
    if len(told) > ANSWER_BYTES_MAX:
        raise InvalidIntent(
            "limit", f"the answer has {len(told):,} bytes, the limit is {ANSWER_BYTES_MAX:,}: ask for less"
        )
    return Answer(name=runtime.name, pid=os.getpid(), value=Raw(told))


def encoded(told: object) -> bytes:
    """What is told, as JSON; what JSON has no word for, as Python shows it."""
    return msgspec.json.encode(told, enc_hook=repr)


class Control:
    """A unix socket of mode 0600 in `directory`, which is made if it is missing. Gone when `run` has ended."""

    def __init__(self, directory: Path, name: str, answer: Callable[[Request], Awaitable[Answer]]) -> None:
        self.path: Path | None = None  # while it listens
        self._directory = directory
        self._name = name
        self._answer_request = answer
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
        answer = Answer(error=f"no request came within {SECONDS:g} s")
        if self._connections > CONNECTIONS_MAX:
            answer = Answer(error=f"{CONNECTIONS_MAX} others are being answered; ask again")
        else:
            request: bytes | None = None
            with anyio.move_on_after(SECONDS) as waiting:
                request = await _read_line(stream)
            if not waiting.cancelled_caught:
                answer = await self._answer(request)
        with anyio.move_on_after(SECONDS):
            await stream.send(msgspec.json.encode(answer) + b"\n")

    async def _answer(self, request: bytes | None) -> Answer:
        if request is None:
            return Answer(error=f"a request is a line of JSON of at most {REQUEST_BYTES_MAX} bytes", code="unreadable")
        try:
            asked = msgspec.json.decode(request, type=Request)
        except (msgspec.MsgspecError, RecursionError, ValueError) as error:
            return Answer(error=str(error)[:500], code="unreadable")
        except InvalidIntent as error:
            return Answer(error=str(error)[:500], code=error.code)
        try:
            if not isinstance(asked, View):
                return await self._answer_request(asked)
            async with self._turn:
                return await self._answer_request(asked)
        except IntendantError as error:
            return Answer(error=str(error)[:500], code=error.code)
        except TimeoutError:
            return Answer(error="no answer came in time", code="timeout")
        except (msgspec.MsgspecError, RecursionError, ValueError, TypeError) as error:
            return Answer(error=f"the answer can't be told: {error}"[:500], code="internal_error")


async def _read_line(stream: anyio.abc.SocketStream) -> bytes | None:
    """What comes before the first line's end; None when that is too much, or the connection ends before."""
    read = b""
    try:
        while b"\n" not in read:
            if len(read) > REQUEST_BYTES_MAX:
                return None
            read += await stream.receive(REQUEST_BYTES_MAX)
    except anyio.EndOfStream:
        return None
    line = read.partition(b"\n")[0]
    return line if len(line) <= REQUEST_BYTES_MAX else None
