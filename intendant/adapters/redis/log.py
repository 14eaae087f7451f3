"""One partition on Redis: who owns it, and what is committed. Both go over one connection, one call at a time."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Any, Final, Protocol

import anyio
import anyio.lowlevel
from msgspec import Struct

from intendant.adapters.checks import check_batch
from intendant.adapters.process import is_provably_dead
from intendant.adapters.redis.calls import CommitCall
from intendant.adapters.redis.connection import Connection, Word
from intendant.adapters.redis.keys import none_key
from intendant.adapters.redis.reads import Pooled, RedisReads
from intendant.adapters.redis.server import Guarantee
from intendant.domain.commit import Batch, KeysTaken, Verdict
from intendant.domain.errors import IntendantError, PartitionOwned, StoreUnavailable
from intendant.domain.ports import Durability, Holding, Owner, Tenure

POLL_MIN_S: Final = 0.001  # less may not move a clock at all
POLL_S: Final = 0.05  # how often a waiting process looks whether the partition is free
FAREWELL_S: Final = 1.0  # how long closing waits for the server to hear that the partition is free
WAIT_S: Final = 1.0  # of one WAITAOF at most, which is then repeated

_VERDICTS: Final = {b"OK": Verdict.OK, b"GAP": Verdict.GAP, b"LOST": Verdict.LOST, b"FENCED": Verdict.FENCED}


class Serving(Pooled, Protocol):
    """The store that a log belongs to."""

    @property
    def durability(self) -> Durability:
        """What a commit gives."""
        ...

    async def connect(self, partition: int, *, lost: bool) -> tuple[Connection, Guarantee]:
        """A new connection to the server of a partition, which gives what it gave when the store was opened.

        `lost` says that there was one: another node of a cluster may serve the partition by now.
        """
        ...

    async def record(self, connection: Connection, partition: int) -> None:
        """See to it that the store's own key is there: a server that was emptied has lost it."""
        ...


class Record(Struct, frozen=True):
    """Who is written down as the owner. Times are µs of the server's clock; `token` is empty when it was released."""

    epoch: int
    token: bytes
    owner: Owner
    since: int
    until: int
    now: int

    @property
    def held(self) -> bool:
        """Whether it is an owner whose lease is not over."""
        return bool(self.token) and self.until > self.now


class RedisLog(RedisReads):
    """The log of a RedisStore."""

    def __init__(self, store: Serving, prefix: str, partition: int, timeout: float) -> None:
        super().__init__(store, prefix, partition)
        self._serving = store
        self._timeout = timeout
        self._lock = anyio.Lock(fast_acquire=True)
        self._connection: Connection | None = None
        self._wait_for: tuple[int, int] | None = None  # by WAITAOF on that connection, after each write
        self._words = (2, self._meta, none_key(self._base))
        self._tokens: set[bytes] = set()  # of ownerships that are, or may be, this object's

    def begin(self) -> None:
        """The store is being opened, perhaps on another event loop than before."""
        self._lock = anyio.Lock(fast_acquire=True)

    @property
    def durability(self) -> Durability:
        """See `Log.durability`."""
        return self._serving.durability

    async def holder(self) -> Holding | None:
        """See `Log.holder`."""
        told = await self._store.pool().function(self._partition, "holder", 1, self._meta)
        record = None if told is None else _record(told)
        return Holding(record.owner, record.epoch, record.since) if record is not None and record.held else None

    async def acquire(self, owner: Owner, *, timeout: float, lease: float, above: int = 0) -> Tenure:
        """See `Log.acquire`. The lease runs by the server's clock. A cancel is heeded once the server has answered."""
        started = anyio.current_time()
        over = b""
        while True:
            answer = await self._attempt(owner, lease, above, over)
            if isinstance(answer, Tenure):
                return answer
            waited = anyio.current_time() - started
            if answer.token != over and (answer.token in self._tokens or is_provably_dead(answer.owner)):
                over = answer.token
                continue
            if waited >= timeout:
                age = (answer.now - answer.since) / 1e6
                raise PartitionOwned(self._partition, answer.owner.host, answer.owner.pid, age, waited)
            await anyio.sleep(min(POLL_S, max(timeout - waited, POLL_MIN_S)))

    async def renew(self, tenure: Tenure, next_sequence: int) -> Verdict:
        """See `Log.renew`."""
        return _VERDICTS[await self._write("renew", tenure.epoch, tenure.token, next_sequence)]

    async def release(self, tenure: Tenure) -> None:
        """See `Log.release`."""
        await self._write("release", tenure.token)
        self._tokens.discard(tenure.token)

    async def commit(self, batch: Batch) -> Verdict | KeysTaken:
        """See `Log.commit`. Sends the batch once; StoreUnavailable leaves open whether it was applied."""
        check_batch(batch, self._partition)
        call = CommitCall(self._base, batch)
        verdict = call.verdict(await self._write("commit", *call.arguments))
        if verdict is Verdict.OK or verdict is Verdict.DUP:
            self._acknowledged = max(self._acknowledged, batch.first + batch.count)
        return verdict

    async def scrub(self) -> None:
        """See `Log.scrub`. No command tells of what was removed. But a server's append-only file has it until it is
        rewritten (BGREWRITEAOF), an RDB file until the next one is saved, and a stream's memory may have bytes of a
        rewritten entry until its neighbours go: these are the operator's.
        """
        self._store.pool()

    async def close(self) -> None:
        """Give back what is owned, if the server hears of it in time, and let go of the connection."""
        with anyio.CancelScope(shield=True):
            async with self._lock:
                with suppress(IntendantError), anyio.move_on_after(FAREWELL_S):
                    for token in list(self._tokens):
                        await self._call("release", token)
                self._tokens.clear()
                self._acknowledged = 0
                connection, self._connection = self._connection, None
                if connection is not None:
                    await connection.destroy()

    async def _attempt(self, owner: Owner, lease: float, above: int, over: bytes) -> Tenure | Record:
        token = os.urandom(16)
        who = (owner.host, owner.boot_id, owner.pid, owner.started)
        granted, *answer = await self._acquired(token, round(lease * 1e6), above, over, *who)
        if not granted:
            self._tokens.discard(token)
            return _record(answer)
        self._tokens = {token}
        epoch, next_sequence, time, first, digest = answer
        tenure = Tenure(
            partition=self._partition,
            epoch=int(epoch),
            token=token,
            next_sequence=int(next_sequence),
            last_time=int(time),
            last_first=int(first),
            last_digest=digest,
        )
        try:
            await anyio.lowlevel.checkpoint_if_cancelled()
        except BaseException:
            with anyio.CancelScope(shield=True), suppress(StoreUnavailable):
                await self.release(tenure)
            raise
        return tenure

    async def _acquired(self, token: bytes, *words: Word) -> list[Any]:
        """Ask for the partition, heeding no cancel: so that nobody owns it without knowing."""
        reply: list[Any] = []
        with anyio.CancelScope(shield=True):
            self._store.pool()
            async with self._lock:
                self._store.pool()  # it may have been closed meanwhile
                await self._serving.record(await self._connected(), self._partition)
                self._tokens.add(token)  # whatever becomes of the call
                reply = await self._call("acquire", token, *words)
        return reply

    async def _write(self, name: str, *words: Word) -> Any:
        self._store.pool()
        async with self._lock:
            self._store.pool()  # it may have been closed meanwhile
            return await self._call(name, *words)

    async def _call(self, name: str, *words: Word) -> Any:
        """Call a function that writes, and wait until what it wrote is as durable as was promised."""
        connection = await self._connected()
        wait_for = self._wait_for
        if wait_for is None:
            return await connection.function(name, *self._words, *words)
        waits = self._waits(*wait_for)
        reply, *_, kept = await connection.function(name, *self._words, *words, then=waits)
        give_up = anyio.current_time() + self._timeout
        while kept[0] < wait_for[0] or kept[1] < wait_for[1]:
            if anyio.current_time() > give_up:
                raise StoreUnavailable(
                    f"the store wrote, and has not synced within {self._timeout:g} s ({kept[0]} of {wait_for[0]} "
                    f"local, {kept[1]} of {wait_for[1]} replicas); look at its disk and its replicas"
                )
            [kept] = await connection.call(waits[-1])
        return reply

    def _waits(self, local: int, replicas: int) -> list[tuple[Word, ...]]:
        """What waits for the disks behind a write. All of them together take less than a call may.

        A replica says what it has synced when it is asked, and else once a second. WAITAOF asks as soon as the write
        is sent on, which is before it is synced there. Behind WAIT it asks a second time, when the replica has the
        write and, with appendfsync always, has synced it: 2 ms instead of a second.
        """
        patience = max(round(min(WAIT_S, self._timeout / 4) * 1000), 1)
        synced: tuple[Word, ...] = ("WAITAOF", local, replicas, patience)
        return [("WAIT", replicas, patience), synced] if replicas else [synced]

    async def _connected(self) -> Connection:
        connection = self._connection
        if connection is None or not connection.alive:
            lost = connection is not None
            connection, given = await self._serving.connect(self._partition, lost=lost)
            self._connection, self._wait_for = connection, given.wait_for
        return connection


def _record(told: list[Any]) -> Record:
    epoch, token, host, boot_id, pid, started, since, until, now = told
    owner = Owner(_text(host), _text(boot_id), int(pid), _text(started))
    return Record(int(epoch), token, owner, int(since), int(until), int(now))


def _text(told: bytes) -> str:
    return told.decode("utf-8", "replace")
