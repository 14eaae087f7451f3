"""The state writer: the only one that writes cold state. It follows the log and never runs ahead of it.

It reads committed entries behind its checkpoint, archives them, brings the documents they touched up to date, and
only then moves the checkpoint. Every cold write is idempotent, so a crash anywhere means: do it again. It reads the log
again instead of keeping it, piece by piece; an outage of the cold store makes a lag, and restarts nothing.

Where the hot store may lose its newest commits, only what is older than its loss window is archived: what such a store
forgets was never in cold state. A document that is newer than that waits here until it is old enough.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterator
from typing import Final

import anyio
import anyio.lowlevel

from intendant.actors.wal_writer import WalWriter
from intendant.domain.archive import Piece, Place
from intendant.domain.commit import Commit, MoveCheckpoint
from intendant.domain.errors import AcknowledgedDataMissing, ActorStopped, Stopped, StoreUnavailable
from intendant.domain.logs import about
from intendant.domain.ports import ColdDocument, ColdStore, LogReader
from intendant.domain.records import SYSTEM_TENANT
from intendant.parking import Seam
from intendant.supervisor import Backoff, Started

logger = logging.getLogger("intendant.cold")

CHECKPOINT: Final = "cold"
RECORDS_MAX: Final = 8_192  # of a round, and
BYTES_MAX: Final = 8 * 1024 * 1024  # of its entries; what was begun is taken whole
LINGER: Final = 0.2  # seconds that a round which is not full waits for more
_PAGE: Final = 128  # entries that are read at a time
_AT_A_TIME: Final = 512  # records that are looked at in one turn of the loop: some 0.8 ms
_CHUNKS: Final = 64
_FETCH: Final = 128  # documents that are read at a time,
_PUT: Final = 512  # that are written at a time, and
_SIDE_BY_SIDE: Final = 2  # how many times that at once
_HELD_BACK_MAX: Final = 4_096  # documents that wait until they are old enough
_START: Final = 5.0  # seconds that a start waits for the cold store at most
_MISCONFIGURED: Final = Backoff(initial=10.0, maximum=300.0)


class StateWriter:
    """Projects one partition's log into the cold store. `window` is the hot store's loss window, in seconds."""

    def __init__(
        self, log: LogReader, cold: ColdStore, writer: WalWriter, seam: Seam, retry: Backoff, *, window: float = 0.0
    ) -> None:
        self.archived = -1  # the sequence of the newest record that is in cold state; -1 before the first look
        self._log = log
        self._cold = cold
        self._writer = writer
        self._seam = seam
        self._retry = retry
        self._window = window
        self._parking = seam.parking()
        self._stopped = seam.parking()
        self._stopping = False
        self._compared = False
        self._begun = 0  # up to here chunks may lie in cold state already: of rounds whose checkpoint is not known
        self._chunks: set[tuple[str, int]] = set()  # where they begin: tenant and sequence
        self._held_back: dict[Place, ColdDocument] = {}

    @property
    def lag(self) -> int:
        """How many records the cold store is behind the log."""
        return max(self._writer.committed - self.archived, 0)

    @property
    def lag_seconds(self) -> float:
        """How long the oldest record that the cold store lacks has been in the log; 0 when it lacks none."""
        return self._writer.age(self.archived + 1) if self.lag else 0.0

    def wake(self) -> None:
        """There are new records."""
        self._parking.wake()

    def stop(self) -> None:
        """End after the round under way."""
        self._stopping = True
        self._parking.wake()
        self._stopped.wake()

    # --- life

    async def run(self, task_status: Started) -> None:
        """Follow the log until stopped."""
        self._stopping = self._compared = False
        self._begun = 0
        self._held_back.clear()
        self.archived = await self._log.checkpoint(CHECKPOINT)
        with anyio.move_on_after(_START):  # before calls are served, if the cold store answers at once
            await self._attempt(self._compare, 0)
        task_status.started(self)
        failures = 0
        while not self._stopping:
            failures = 0 if await self._attempt(self._go_on, failures) else failures + 1

    async def _attempt(self, act: Callable[[], Awaitable[None]], failures: int) -> bool:
        """Act, and if that fails tell it, and wait before the next attempt."""
        try:
            await act()
        except AcknowledgedDataMissing as error:
            logger.critical("%s", error, extra=about())
            self._writer.lose(error)
            self._stopping = True
        except (StoreUnavailable, ActorStopped) as error:  # of the log, or of its writer, which is being restarted
            delay = self._retry.delay(failures, lambda: 0.5)
            logger.warning(
                "cold state is %d records behind, trying again in %.1f s: %s", self.lag, delay, error, extra=about()
            )
            await self._pause(delay)
        except Stopped as error:
            delay = _MISCONFIGURED.delay(failures, lambda: 0.5)
            logger.error(
                "cold state is %d records behind and stays so until this is changed (looking again in %.0f s): %s",
                self.lag,
                delay,
                error,
                extra=about(),
            )
            await self._pause(delay)
        else:
            return True
        return False

    async def _pause(self, seconds: float) -> None:
        """Wait, unless it is to stop."""
        if not self._stopping:
            with anyio.move_on_after(seconds):
                await self._stopped.wait()

    async def _go_on(self) -> None:
        """One round, or a wait for something to archive."""
        if not self._compared:
            await self._compare()
        ready = self._ready - self.archived
        if ready <= 0 and self.lag:
            await self._pause(LINGER)  # until what is there is old enough
        elif ready <= 0:
            await self._parking.wait()
        else:
            if ready < RECORDS_MAX and not self._begun:
                await self._pause(LINGER)
            await self._round(self._ready)

    @property
    def _ready(self) -> int:
        """Up to here the log may be archived."""
        return max(self._writer.settled(self._window), self._begun)

    async def _compare(self) -> None:
        """Is cold state ahead of the log, or in the middle of a round that a crash cut off?"""
        tail = await self._cold.tail(self._writer.partition)
        if not self._writer.serving:
            raise ActorStopped("the log's end is not known while its writer is being restarted")
        if tail > self._writer.committed:
            raise AcknowledgedDataMissing(
                f"partition {self._writer.partition}: cold state holds records up to sequence {tail}, and the hot "
                f"store's log ends at {self._writer.committed}: it lost what it had acknowledged. The partition stops; "
                "bring back the hot store's newest copy and start again"
            )
        self._chunks = await self._chunks_since(self.archived + 1)
        self._begun = tail if tail > self.archived else 0
        self._compared = True

    async def _chunks_since(self, first: int) -> set[tuple[str, int]]:
        limit = _CHUNKS
        while True:
            found = await self._cold.chunks(self._writer.partition, None, first=first, limit=limit)
            if len(found) < limit:
                return {(chunk.tenant, chunk.first) for chunk in found}
            limit *= 2  # they are few: not more than a round or two

    # --- a round

    async def _round(self, target: int) -> None:
        """Archive what stands next in the log, up to `target` or until it is enough."""
        piece = await self._read(target)
        if not piece.records:
            return
        await self._cold.archive(self._writer.partition, piece.chunks)
        await self._bring_up_to_date(piece.touched, target)
        await self._move_checkpoint(piece.newest)

    async def _read(self, target: int) -> Piece:
        piece = Piece(self._chunks)
        position = self.archived + 1
        while position <= target and piece.records < RECORDS_MAX and piece.bytes < BYTES_MAX:
            page = await self._log.entries(None, first=position, last=target, limit=_PAGE)
            for entry in page:
                seen = piece.records
                piece.add(entry)
                if seen // _AT_A_TIME != piece.records // _AT_A_TIME:
                    await anyio.lowlevel.checkpoint()
            if len(page) < _PAGE:
                break
            position = piece.newest + 1
        return piece

    async def _bring_up_to_date(self, touched: dict[Place, int], target: int) -> None:
        """Read each document once, however often the round touched it, and write it as it is now."""
        await self._release(target)
        pieces = _pieces(list(touched.items()), _PUT)

        async def bring() -> None:
            for piece in pieces:
                await self._bring(piece, target)

        try:
            async with anyio.create_task_group() as group:
                for _ in range(min(_SIDE_BY_SIDE, -(-len(touched) // _PUT))):
                    group.start_soon(bring)
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from None

    async def _bring(self, piece: list[tuple[Place, int]], target: int) -> None:
        documents: list[ColdDocument] = []
        for some in _pieces(piece, _FETCH):
            documents += await self._look_up(some, target)
        if documents:
            await self._cold.put(documents)

    async def _look_up(self, piece: list[tuple[Place, int]], target: int) -> list[ColdDocument]:
        """The documents as they are now, but those that are too new."""
        found = await self._log.fetch([place for place, _ in piece])
        old_enough = self._old_enough(target)
        documents: list[ColdDocument] = []
        for (place, sequence), document in zip(piece, found, strict=True):
            if document is None:
                documents.append(ColdDocument(*place, sequence, None))
            elif document.version <= old_enough:
                documents.append(ColdDocument(*place, document.version, document.body))
            else:
                self._hold_back(place, ColdDocument(*place, document.version, document.body))
        return documents

    def _old_enough(self, target: int) -> int:
        """Documents up to this version can't be lost any more; where nothing can be, all that are committed."""
        return max(self._writer.settled(self._window), target) if self._window else self._writer.committed

    def _hold_back(self, place: Place, document: ColdDocument) -> None:
        """Keep the oldest copy until it is old enough. A later round meets the document again anyway: its version is
        that of a record behind this round. But one that changes all the time would be too new each time.
        """
        if len(self._held_back) < _HELD_BACK_MAX:
            self._held_back.setdefault(place, document)

    async def _release(self, target: int) -> None:
        """Write what was held back and is old enough by now."""
        old_enough = self._old_enough(target)
        due = [document for document in self._held_back.values() if document.version <= old_enough]
        if due:
            await self._cold.put(due)
            for document in due:
                del self._held_back[document.tenant, document.collection, document.key]

    async def _move_checkpoint(self, newest: int) -> None:
        """Through the writer, as everything; `archived` moves only when that is durable."""
        commit = Commit(SYSTEM_TENANT, (), [MoveCheckpoint(CHECKPOINT, newest)])
        await self._writer.append(commit).wait(self._seam)
        self.archived = newest
        if self._begun and newest >= self._begun:
            self._begun = 0
            self._chunks.clear()


def _pieces(items: list[tuple[Place, int]], size: int) -> Iterator[list[tuple[Place, int]]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
