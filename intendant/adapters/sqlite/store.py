"""The embedded store: one SQLite file, one thread, one connection, one transaction a batch.

A commit is durable at level `fsync` with synchronous=FULL, the default, and at level `written` with NORMAL.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

import anyio

from intendant.adapters.checks import check_batch
from intendant.adapters.sqlite.checkpointer import Checkpointer
from intendant.adapters.sqlite.database import Database, Synchronous, usage
from intendant.adapters.sqlite.driver import Connection
from intendant.adapters.sqlite.lock import LockFile
from intendant.adapters.sqlite.ownership import Holder, Ownership, holding
from intendant.adapters.sqlite.reads import SqliteReads
from intendant.adapters.sqlite.scrub import scrub
from intendant.adapters.sqlite.writes import commit
from intendant.domain.commit import Batch, KeysTaken, Verdict
from intendant.domain.errors import InternalError, StoreUnavailable
from intendant.domain.ports import Durability, Holding, Owner, Tenure, Usage

T = TypeVar("T")

POLL_MIN_S: Final = 0.001  # less may not move a clock at all
POLL_S: Final = 0.05  # how often a waiting process looks whether the file is free
WRITTEN_BACK_S: Final = 60.0  # within which the system writes what nobody synced; Linux: 35 s unless it is set longer


class SqliteStore:
    """A store of one partition in one SQLite file. Constructing it touches nothing."""

    def __init__(self, path: str | Path, *, synchronous: Synchronous = "full") -> None:
        self.path = Path(path)
        self.partitions = 1
        self.apart = False  # its thread waits for the interpreter, statement by statement
        quoted = str(path).replace("%", "%25").replace("?", "%3F")
        self.name = f"sqlite:{quoted}" + ("" if synchronous == "full" else f"?synchronous={synchronous}")
        self._synchronous: Synchronous = synchronous
        self._log = SqliteLog(self.name, self.path, synchronous)

    @property
    def durability(self) -> Durability:
        """What the file really gives; before `open`, what it was asked to give."""
        return self._log.durability

    @property
    def loss_window(self) -> float:
        """0 with synchronous=FULL. With NORMAL a power loss takes what the system had not written by itself."""
        return 0.0 if self._synchronous == "full" else WRITTEN_BACK_S

    async def usage(self) -> Usage:
        """The file and SQLite's log of it, without pages that are free in it, against what the file system has."""
        return await self._log.usage()

    async def open(self) -> None:
        """Open the file, or make it.

        Raises StoreUnavailable when the file can't be used as it is (missing directory, no permission, ...), and
        UnknownFormat when a newer version or another program made it.
        """
        await self._log.open()

    async def close(self) -> None:
        """Let go of the file. What was begun ends first; an ownership that was not released is free at once."""
        await self._log.close()

    def log(self, partition: int) -> SqliteLog:
        """The partition's log; the same object each time."""
        if partition != 0:
            raise InternalError(f"there is no partition {partition}: a SQLite file is one")
        return self._log


class SqliteLog(SqliteReads):
    """The log of a SqliteStore."""

    def __init__(self, name: str, path: Path, synchronous: Synchronous) -> None:
        super().__init__(name)
        self._path = path
        self._synchronous: Synchronous = synchronous
        self._durability = Durability.FSYNC if synchronous == "full" else Durability.WRITTEN
        self._holder: Holder | None = None
        self._checkpointer: Checkpointer | None = None

    @property
    def durability(self) -> Durability:
        """What the file really gives; before it is opened, what it was asked to give."""
        return self._durability

    async def open(self) -> None:
        """See `SqliteStore.open`."""
        if self._thread is not None:
            raise InternalError(f"{self._name} is open already")
        path = self._path.absolute()
        opening = partial(Database, path, synchronous=self._synchronous)
        database = await self._open(opening)
        self._checkpointer = Checkpointer(database, self._opened()[0], partial(opening, beside=True))
        self._durability = database.durability
        self._holder = Holder(LockFile(path.with_name(path.name + ".lock")))

    async def close(self) -> None:
        """See `SqliteStore.close`."""
        holder, self._holder = self._holder, None
        if holder is not None:
            if self._checkpointer is not None:
                await self._checkpointer.stop()
            await self._close(holder.give_back, holder.let_go)

    async def usage(self) -> Usage:
        """See `SqliteStore.usage`."""
        return await self._read(partial(usage, self._path.absolute()))

    async def holder(self) -> Holding | None:
        """See `Log.holder`."""
        return await self._read(holding)

    async def acquire(self, owner: Owner, *, timeout: float, lease: float, above: int = 0) -> Tenure:
        """See `Log.acquire`. The lease runs by this machine's wall clock."""
        started = time.monotonic()
        while True:
            taken = await self._attempt(owner, lease, above)
            if isinstance(taken, Tenure):
                return taken
            waited = time.monotonic() - started
            if waited >= timeout:
                raise taken.refusal(waited)
            await anyio.sleep(min(POLL_S, max(timeout - waited, POLL_MIN_S)))

    async def renew(self, tenure: Tenure, next_sequence: int) -> Verdict:
        """See `Log.renew`. Also takes the lock file, if another process still held it when this one took over."""
        return await self._write(partial(self._held().renew, tenure, next_sequence))

    async def release(self, tenure: Tenure) -> None:
        """See `Log.release`."""
        await self._read(partial(self._held().release, tenure))

    async def commit(self, batch: Batch) -> Verdict | KeysTaken:
        """See `Log.commit`."""
        check_batch(batch, 0)
        return await self._write(partial(commit, batch))

    async def scrub(self) -> None:
        """See `Log.scrub`. Writes the file anew (VACUUM), for which the disk needs as much room again, twice."""
        await self._read(partial(scrub, self._path.absolute()))

    async def _write(self, work: Callable[[Connection], T]) -> T:
        done = await self._read(work)
        if self._checkpointer is not None:
            self._checkpointer.look()
        return done

    async def _attempt(self, owner: Owner, lease: float, above: int) -> Tenure | Ownership:
        thread, database = self._opened()
        holder = self._held()
        granted: list[Tenure] = []

        def attempt(connection: Connection) -> Tenure | Ownership:
            taken = holder.attempt(owner, lease, above, connection)
            if isinstance(taken, Tenure):
                granted.append(taken)
            return taken

        def give_back(connection: Connection) -> None:
            for tenure in granted:
                holder.release(tenure, connection)

        try:
            return await thread.run(partial(database.run, attempt))
        except BaseException:  # given up, perhaps while the thread was at it: nobody would know of the tenure
            thread.submit(partial(database.run, give_back))
            raise

    def _held(self) -> Holder:
        if self._holder is None:
            raise StoreUnavailable(f"{self._name} is not open; nothing was read or written")
        return self._holder
