"""Copies one partition into another store: the log in its order, and with it everything derived from it.

Sequences, times and bytes stay as they are. Events travel in the batch that holds their sequence, and each batch brings
along as much of all else that is derived as fits into it: as every derived thing once came with a record, there is room
for all before the log has ended. What the target holds already is compared first: so an interrupted copy goes on, and
ends equal also if the source went on meanwhile.
"""

from __future__ import annotations

import itertools
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Final

import anyio
import anyio.lowlevel
from msgspec import Struct

from intendant.domain.codec import COMMIT_BYTES_MAX
from intendant.domain.commit import PLACES, RECORDS_MAX, KeysTaken, Verdict
from intendant.domain.errors import Fenced, InternalError
from intendant.domain.ports import Chunk, ColdDocument, FileStore, OutboxItem, Tenure
from intendant.domain.records import SYSTEM_TENANT
from intendant.domain.state import MIGRATION
from intendant.runtime.contents import (
    CHECKPOINTS,
    CHUNKS,
    COLD,
    CONTENT,
    ENTRIES,
    IN_THE_HOT_STORE,
    KEYS,
    MEMBERS,
    OUTBOX,
    Contents,
)
from intendant.runtime.packing import Packing
from intendant.runtime.rows import Differences, Entry, Pages, Row

_COLD_AT_ONCE: Final = 64
_IN_ORDER: Final = (ENTRIES, OUTBOX)  # what is missing of these comes by its sequence


class Span(Struct, frozen=True):
    """Sequences that become one batch: entries of one time, and what is missing before them."""

    first: int
    begins: int  # where its entries begin
    end: int
    time: int
    entries: list[Entry]


class Change(Struct, frozen=True, gc=False):
    """A row as it should be, and as it is."""

    kind: str
    tenant: str
    wanted: Row | None
    found: Row | None


class PartitionCopy:
    """One partition on its way. Both sides are owned by us; `copied` is the sequence of the newest copied record."""

    def __init__(self, source: Contents, target: Contents, source_tenure: Tenure, target_tenure: Tenure) -> None:
        self.copied = target_tenure.next_sequence - 1
        self._source = source
        self._target = target
        self._end = source_tenure.next_sequence
        self._last_time = source_tenure.last_time
        self._tenure = target_tenure
        self._next = target_tenure.next_sequence
        self._time = target_tenure.last_time
        self._resumed = target_tenure.next_sequence > 1
        self._events = source.events_from(self._next)
        self._event: OutboxItem | None = None  # the next one

    async def run(self) -> None:
        """Copy what is missing. Cancelled or failed anywhere, another copy goes on from there."""
        async with aclosing(self._changes()) as changes, aclosing(self._spans()) as spans:
            self._event = await anext(self._events, None)
            change = await anext(changes, None)
            async for span in spans:
                change = await self._fill(changes, change, min(span.begins, span.end - 1))
                last = span.end == self._end
                packing, change = await _pack(
                    changes, change, span.end - self._next, room=None if last else COMMIT_BYTES_MAX
                )
                if last and self._source.floor > 1:
                    packing.trim(SYSTEM_TENANT, self._source.floor)
                await self._send(packing, span.end, span.time, span.entries)
            if change is not None:
                raise InternalError(f"there is no room for {change.kind} of tenant {change.tenant!r}")
        await self._move({name: await self._source.checkpoint(name) for name in CHECKPOINTS})

    async def _fill(self, changes: AsyncIterator[Change], change: Change | None, end: int) -> Change | None:
        """Use the sequences before `end`, of which no entry is left; returns the change that comes next."""
        while self._next < end and (change or (self._event and self._event.position < end * PLACES)):
            until = self._next + 1 if change or not self._event else self._event.position // PLACES + 1
            packing, change = await _pack(changes, change, until - self._next, room=COMMIT_BYTES_MAX)
            await self._send(packing, until, self._time, [])
        return change

    async def mark(self, unfinished: bool) -> None:
        """Say in the target whether it may be used."""
        await self._move({MIGRATION: int(unfinished)})

    async def _move(self, checkpoints: dict[str, int]) -> None:
        packing = Packing()
        packing.checkpoints = {
            name: position
            for name, position in checkpoints.items()
            if await self._target.log.checkpoint(name) != position
        }
        if packing.checkpoints:
            await self._send(packing, self._next, self._time, [])

    async def _send(self, packing: Packing, end: int, time: int, entries: list[Entry]) -> None:
        while self._event is not None and self._event.position < end * PLACES:
            packing.add(self._event)
            self._event = await anext(self._events, None)
        batch = packing.sealed(self._tenure, self._next, end, time, entries)
        await anyio.lowlevel.checkpoint()  # where it may be cancelled: not while a batch is on its way
        with anyio.CancelScope(shield=True):
            self._check(await self._target.log.commit(batch), batch.first)
        self._next, self._time = end, time
        self.copied = end - 1

    def _check(self, answer: Verdict | KeysTaken, first: int) -> None:
        if answer is Verdict.FENCED or answer is Verdict.LOST:
            raise Fenced(f"another process has taken partition {self._target.partition} of the target meanwhile")
        if answer is not Verdict.OK:
            raise InternalError(f"the target answered {answer} to the batch at {first}")

    # --- the log

    async def _spans(self) -> AsyncGenerator[Span]:
        """The log from where the target ends, in pieces that fit into batches; the last one ends where it ends."""
        first, gathered = self._next, list[Entry]()
        size = 0
        async for entry in self._source.log_from(self._next):
            if gathered and (self._parts(gathered, entry) or size + len(entry.body) > COMMIT_BYTES_MAX // 2):
                yield _span(first, gathered)
                first, gathered, size = gathered[-1].end, [], 0
            gathered.append(entry)
            size += len(entry.body)
        if gathered:
            yield _span(first, gathered)
            first = gathered[-1].end
        if first < self._end:  # what came last was trimmed
            yield Span(first, self._end, self._end, self._last_time, [])

    def _parts(self, gathered: list[Entry], entry: Entry) -> bool:
        """Whether an entry must be in another batch. A batch has one time and an entry of each tenant; reading all
        tenants begins with one.
        """
        return (
            entry.time != gathered[0].time
            or entry.first == self._source.floor
            or entry.end - gathered[0].first > RECORDS_MAX
            or any(entry.tenant == each.tenant for each in gathered)
        )

    # --- what is derived from it

    async def _changes(self) -> AsyncGenerator[Change]:
        """All that differs. Keys that become free come first: they can't be claimed in the same batch. What is open is
        told before its journal is written, and until that is dropped: journals are found by it.
        """
        tenants = sorted({*self._source.tenants, *self._target.tenants})
        last: list[Change] = []
        for tenant in tenants:
            async for wanted, found in self._differences(KEYS, tenant):
                if found is not None:
                    yield Change(KEYS, tenant, None, found)
                    if wanted is not None:
                        last.append(Change(KEYS, tenant, wanted, None))
                else:
                    yield Change(KEYS, tenant, wanted, None)
        for tenant, kind in itertools.product(tenants, IN_THE_HOT_STORE[1:]):
            async for wanted, found in self._differences(kind, tenant):
                if kind == MEMBERS and wanted is None:
                    last.append(Change(kind, tenant, None, found))
                elif found is not None or kind not in _IN_ORDER:
                    yield Change(kind, tenant, wanted, found)
        for change in last:
            yield change

    def _differences(self, kind: str, tenant: str) -> Differences:
        if self._resumed:
            return Differences(self._source.read(kind, tenant), self._target.read(kind, tenant))
        return Differences(Pages() if kind in _IN_ORDER else self._source.read(kind, tenant), Pages())


async def _pack(
    changes: AsyncIterator[Change], change: Change | None, count: int, *, room: int | None
) -> tuple[Packing, Change | None]:
    """Pack this change and those that follow, as long as there is room; returns the first one that did not go in."""
    packing = Packing(count)
    while change is not None and (room is None or packing.size < room):
        if change.wanted is None:
            assert change.found is not None  # noqa: S101  one of them is there
            packing.take(change.kind, change.tenant, change.found)
        elif packing.admits(change.kind, change.tenant, change.wanted):
            packing.put(change.kind, change.tenant, change.wanted)
        else:
            break
        change = await anext(changes, None)
    return packing, change


def _span(first: int, entries: list[Entry]) -> Span:
    return Span(first, entries[0].first, entries[-1].end, entries[0].time, entries)


# --- what lies beside the hot store


async def copy_beside(source: Contents, target: Contents) -> None:
    """Copy cold documents, chunks and files of a partition's tenants, as far as they differ."""
    for tenant in sorted({*source.tenants, *target.tenants}):
        await _copy_cold(source, target, tenant)
        if source.files is None or target.files is None:
            continue
        async for wanted, _ in Differences(source.read(CONTENT, tenant), target.read(CONTENT, tenant)):
            if wanted is not None:  # what only the target has is an orphan there, or another runtime's
                await _copy_file(source.files, target.files, tenant, *wanted.key)


async def _copy_file(source: FileStore, target: FileStore, tenant: str, digest: str) -> None:
    content = await source.get(tenant, digest)
    if content is not None:
        await target.put(tenant, content)


async def _copy_cold(source: Contents, target: Contents, tenant: str) -> None:
    cold = target.cold
    if cold is None:
        return
    gathered: list[ColdDocument] = []
    async for wanted, found in Differences(source.read(COLD, tenant), target.read(COLD, tenant)):
        if wanted is not None:
            gathered.append(ColdDocument(tenant, *wanted.key, *wanted.value))
        elif found is not None:
            await cold.remove([(tenant, *found.key)])
        if len(gathered) == _COLD_AT_ONCE:
            await cold.put(gathered)
            gathered = []
    await cold.put(gathered)
    begun = False
    async for wanted, found in Differences(source.read(CHUNKS, tenant), target.read(CHUNKS, tenant)):
        if wanted is not None:
            begun = True
            await cold.archive(source.partition, [Chunk(tenant, *wanted.key, *wanted.value)])
        elif found is not None and not begun:  # the source was trimmed since
            await cold.trim(source.partition, tenant, below=found.value[0] + 1)
