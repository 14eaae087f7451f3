"""The log as callers read it. Reading is all it does."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from datetime import datetime

from intendant.domain import state as states
from intendant.domain.errors import InvalidIntent
from intendant.domain.ids import check_id
from intendant.domain.ports import LogReader
from intendant.domain.records import TYPES, LogRecord, decode_entry
from intendant.domain.replay import World, replay
from intendant.parking import Seam
from intendant.runtime.partition import Partition
from intendant.runtime.views import Page, check_cursor, microseconds

LIMIT_MAX = 10_000
_READ_ENTRIES = 128


class WalReader:
    """Queries over the write-ahead log of one tenant at a time."""

    def __init__(self, partition_of: Callable[[str], Partition], seam: Seam) -> None:
        self._partition_of = partition_of
        self._seam = seam

    def _log_of(self, tenant: str) -> LogReader:
        return self._partition_of(tenant).log

    async def query(
        self,
        tenant: str,
        *,
        type: str | None = None,
        session: str | None = None,
        execution: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        newest_first: bool = True,
        limit: int = 100,
        cursor: str | None = None,
    ) -> Page[LogRecord]:
        """A tenant's records, filtered. `since` is inclusive, `until` is not; both need a time zone.

        Costs at most what the tenant wrote between `since` and `until`, or during the life of `execution`. Raises
        InvalidIntent, naming the argument, for one that can't be.
        """
        _check(tenant, type, limit, cursor)
        log = self._log_of(tenant)
        first, last = await self._range(log, tenant, execution, since, until)
        if cursor is not None:
            first, last = (first, int(cursor) - 1) if newest_first else (int(cursor) + 1, last)
        found: list[LogRecord] = []
        async for record in _records(log, tenant, first, last, newest_first=newest_first):
            if (
                (type is None or record.type == type)
                and (session is None or record.session == session)
                and (execution is None or record.execution == execution)
            ):
                found.append(record)
                if len(found) == limit:
                    return Page(found, str(record.sequence))
        return Page(found, None)

    async def tail(self, tenant: str, *, after: int | None = None) -> AsyncIterator[LogRecord]:
        """Yield a tenant's records as they are committed, for ever: those behind the sequence `after`, or new ones.

        Raises RuntimeStopped (or Fenced) when the partition does not serve any more.
        """
        check_id(tenant, "tenant")
        partition = self._partition_of(tenant)
        parking = self._seam.parking()
        with partition.watching_commits(parking.wake):
            position = partition.writer.committed if after is None else after
            while True:
                async for record in _records(partition.log, tenant, position + 1, None, newest_first=False):
                    position = record.sequence
                    yield record
                partition.check()
                await parking.wait()

    async def replay(self, tenant: str, execution: str | None = None) -> World:
        """Fold a tenant's records, or those of one execution, into the state they lead to."""
        check_id(tenant, "tenant")
        log = self._log_of(tenant)
        first, last = await self._range(log, tenant, execution, None, None)
        world = World()
        async for record in _records(log, tenant, first, last, newest_first=False):
            if execution is None or record.execution == execution:
                world.last_sequence = record.sequence - 1  # other tenants' records stand in between
                replay([record], world)
        return world

    async def _range(
        self,
        log: LogReader,
        tenant: str,
        execution: str | None,
        since: datetime | None,
        until: datetime | None,
    ) -> tuple[int, int | None]:
        first, last = 0, None
        if since is not None:
            first = await log.position_at(microseconds(since, "since"))
        if until is not None:
            last = await log.position_at(microseconds(until, "until")) - 1
        if execution is not None:
            document = await log.document(tenant, states.EXECUTIONS, check_id(execution, "execution"))
            if document is not None:
                first = max(first, document.since)
        return first, last


async def _records(
    log: LogReader, tenant: str, first: int, last: int | None, *, newest_first: bool
) -> AsyncIterator[LogRecord]:
    """A tenant's records with a sequence in first..last."""
    while last is None or first <= last:
        entries = await log.entries(tenant, first=first, last=last, limit=_READ_ENTRIES, newest_first=newest_first)
        records: list[LogRecord] = []
        for entry in entries:
            records = decode_entry(entry)
            for record in reversed(records) if newest_first else records:
                if first <= record.sequence and (last is None or record.sequence <= last):
                    yield record
        if len(entries) < _READ_ENTRIES:
            return
        if newest_first:
            last = records[0].sequence - 1
        else:
            first = records[-1].sequence + 1


def _check(tenant: str, type: str | None, limit: int, cursor: str | None) -> None:
    check_id(tenant, "tenant")
    if type is not None and type not in TYPES:
        raise InvalidIntent("type", f"{type!r} is no record type; the types are {', '.join(TYPES)}")
    if not 1 <= limit <= LIMIT_MAX:
        raise InvalidIntent("limit", f"must be 1 to {LIMIT_MAX:,}, not {limit}")
    check_cursor(cursor)
