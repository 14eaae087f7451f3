"""Bare group commit: the wall that ours is measured against, not a rival. argv: `sqlite:<path>`, or a Redis URL.

A task and three records for each intent (accepted, started, ended), one more for a step; whoever waits is told when its
batch is kept, and what comes meanwhile goes into the next one. No sessions, no supervision, no validation, no state,
no keys, no outbox, no recovery: what they cost is the factor between this and ours.
"""

from __future__ import annotations

import asyncio
import platform
import queue
import sys
import threading
from collections.abc import Awaitable, Callable, Sequence
from importlib.metadata import version
from typing import Any, Final, cast
from urllib.parse import urlsplit

import apsw
import hiredis
import msgspec
import uvloop

from benchmarks.rivals.protocol import Request, Timed, call, serve_async
from intendant.adapters.sqlite.driver import Connection

# The stub of hiredis knows commands of one word only.
pack: Final = cast("Callable[[tuple[str | bytes, ...]], bytes]", hiredis.pack_command)  # pyright: ignore[reportUnknownMemberType]
encode: Final = msgspec.msgpack.Encoder().encode


class Log:
    """Records that wait, and the batch that flies. `write` says when it is done by calling `landed`."""

    def __init__(self, write: Callable[[Sequence[bytes], Callable[[], None]], None]) -> None:
        self._write = write
        self._waiting: list[bytes] = []
        self._told: asyncio.Future[None] | None = None
        self._flies = False

    def append(self, *records: dict[str, Any]) -> Awaitable[None]:
        """Awaiting what this returns ends when the records are kept."""
        loop = asyncio.get_running_loop()
        self._waiting += map(encode, records)
        if self._told is None:
            self._told = loop.create_future()
            if not self._flies:
                loop.call_soon(self._fly)
        return self._told

    def _fly(self) -> None:
        records, told = self._waiting, self._told
        self._waiting, self._told, self._flies = [], None, True
        self._write(records, lambda: self._landed(told))

    def _landed(self, told: asyncio.Future[None] | None) -> None:
        self._flies = False
        if told is not None:
            told.set_result(None)
        if self._waiting:
            self._fly()


def into_sqlite(path: str) -> Log:
    """One transaction a batch, on disk when it ends, in a thread."""
    loop = asyncio.get_running_loop()
    batches: queue.SimpleQueue[tuple[Sequence[bytes], Callable[[], None]]] = queue.SimpleQueue()

    def serve() -> None:
        connection = cast("Connection", apsw.Connection(path))
        connection.execute("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL")
        connection.execute("CREATE TABLE log (number INTEGER PRIMARY KEY, record BLOB)")
        while True:
            records, landed = batches.get()
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany("INSERT INTO log (record) VALUES (?)", [(record,) for record in records])
            connection.execute("COMMIT")
            loop.call_soon_threadsafe(landed)

    threading.Thread(target=serve, daemon=True).start()
    return Log(lambda records, landed: batches.put((records, landed)))


class Server(asyncio.Protocol):
    """A connection to Redis on which one command is under way."""

    def __init__(self) -> None:
        self._answered: Callable[[Any], None] = _ignore
        self._reader = hiredis.Reader()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Raises what the server complains about."""
        self._reader.feed(data)
        while (reply := self._reader.gets()) is not False:
            if isinstance(reply, Exception):
                raise reply
            self._answered(reply)

    def send(self, *words: str | bytes, answered: Callable[[Any], None]) -> None:
        """A command; `answered` gets its reply."""
        assert self._transport is not None
        self._answered = answered
        self._transport.write(pack(words))

    async def ask(self, *words: str) -> Any:
        """The reply to a command."""
        told: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.send(*words, answered=told.set_result)
        return await told


def _ignore(_reply: object) -> None:
    """Nothing is under way."""


def into_redis(server: Server) -> Log:
    """One entry of a stream a batch."""

    def write(records: Sequence[bytes], landed: Callable[[], None]) -> None:
        server.send("XADD", "log", "*", "records", b"".join(records), answered=lambda _: landed())

    return Log(write)


async def execution(log: Log, number: int, steps: int) -> None:
    """Accepted, run in a task of its own, and its result told."""
    await log.append({"type": "accepted", "id": number, "given": 7}, {"type": "started", "id": number})
    assert (await asyncio.create_task(_run(log, number, steps)))["ok"]


async def _run(log: Log, number: int, steps: int) -> dict[str, Any]:
    for step in range(steps):
        await log.append({"type": "step", "id": number, "step": step, "result": step})
    result = {"ok": True, "number": 7}
    await log.append({"type": "ended", "id": number, "result": result})
    return result


async def main(url: str) -> None:
    """Serve what is asked on the standard input."""
    facts: dict[str, object] = {"version": f"Python {platform.python_version()}, uvloop {version('uvloop')}"}
    if url.startswith("sqlite:"):
        log = into_sqlite(url.removeprefix("sqlite:"))
        facts |= {"durability": "fsync", "settings": {"sqlite": apsw.sqlite_lib_version(), "synchronous": "full"}}
    else:
        place = urlsplit(url)
        assert place.hostname
        assert place.port
        _, server = await asyncio.get_running_loop().create_connection(Server, place.hostname, place.port)
        log, (_, sync) = into_redis(server), map(bytes.decode, await server.ask("CONFIG", "GET", "appendfsync"))
        facts |= {"durability": "fsync" if sync == "always" else "written", "settings": {"appendfsync": sync}}

    async def measure(request: Request) -> Timed:
        number = 0

        async def one() -> None:
            nonlocal number
            number += 1
            await execution(log, number, request.steps)

        return await call(one, request)

    await serve_async(facts, measure)


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1]))
