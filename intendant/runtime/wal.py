"""The log as callers read it. Reading is all it does."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Callable
from datetime import datetime
from typing import TYPE_CHECKING

from intendant.actors.tiers import Tiers
from intendant.domain.errors import InvalidIntent
from intendant.domain.ids import check_id
from intendant.domain.records import TYPES, LogRecord
from intendant.parking import current_seam
from intendant.runtime.partition import Partition
from intendant.runtime.readable import Readable
from intendant.runtime.views import Page, check_cursor, check_limit, microseconds

if TYPE_CHECKING:
    from intendant.domain.replay import World


class LogQueries:
    """Queries over the write-ahead log of one tenant at a time."""

    def __init__(self, partition_of: Callable[[str], Readable]) -> None:
        self._readable = partition_of

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
        _check(tenant, type, session, limit, cursor)
        tiers = self._readable(tenant).tiers
        earliest = None if since is None else microseconds(since, "since")
        end = None if until is None else microseconds(until, "until")
        first, last = await _range(tiers, tenant, execution, earliest, end)
        if cursor is not None:
            first, last = (first, int(cursor) - 1) if newest_first else (int(cursor) + 1, last)
        found: list[LogRecord] = []
        rest = tiers.records(tenant, first=first, last=last, newest_first=newest_first)
        while records := await rest.read():
            for record in records:
                if (
                    (earliest is None or record.time >= earliest)
                    and (end is None or record.time < end)
                    and (type is None or record.type == type)
                    and (session is None or record.session == session)
                    and (execution is None or record.execution == execution)
                ):
                    found.append(record)
                    if len(found) == limit:
                        return Page(found, str(record.sequence))
        return Page(found, None)

    async def replay(self, tenant: str, execution: str | None = None) -> World:
        """Fold a tenant's records, or those of one execution, into the state they lead to."""
        from intendant.domain.replay import World, replay  # noqa: PLC0415  few programs fold a log

        check_id(tenant, "tenant")
        tiers = self._readable(tenant).tiers
        first, _ = await _range(tiers, tenant, execution, None, None)
        world = World()
        rest = tiers.records(tenant, first=first)
        while records := await rest.read():
            for record in records:
                if execution is None or record.execution == execution:
                    world.last_sequence = record.sequence - 1  # other tenants' records stand in between
                    replay([record], world)
        return world


class WalReader(LogQueries):
    """Reads the log of a running runtime, and follows it."""

    def __init__(self, partition_of: Callable[[str], Partition]) -> None:
        super().__init__(partition_of)
        self._partition_of = partition_of

    def tail(self, tenant: str, *, after: int | None = None) -> AsyncIterator[LogRecord]:
        """Yield a tenant's records as they are committed, for ever: those behind the sequence `after`, or new ones.

        Raises RuntimeStopped (or Fenced) when the partition does not serve any more.
        """
        partition = self._partition_of(check_id(tenant, "tenant"))
        if after is not None and (type(after) is not int or after < 0):
            raise InvalidIntent("after", f"must be a sequence, a whole number from 0 on, not {after!r:.40}")
        return _Tail(partition, tenant, partition.writer.committed if after is None else after)


async def _range(
    tiers: Tiers, tenant: str, execution: str | None, since: int | None, until: int | None
) -> tuple[int, int | None]:
    """Where to look for what is asked for; it may reach too far."""
    first = 0 if since is None else await tiers.position_at(tenant, since)
    last = None if until is None else await tiers.end_at(tenant, until)
    if execution is not None:
        first = max(first, await tiers.began(tenant, check_id(execution, "execution")))
    return first, last


class _Tail(AsyncIterator[LogRecord]):
    """An object and not a generator, so that a loop may be left early without closing anything."""

    def __init__(self, partition: Partition, tenant: str, after: int) -> None:
        self._partition = partition
        self._tenant = tenant
        self._position = after
        self._records: deque[LogRecord] = deque()
        self._parking = current_seam().parking()
        self._watch = self._parking.wake
        partition.watch_commits(self._watch)

    async def __anext__(self) -> LogRecord:
        while not self._records:
            self._partition.check()
            rest = self._partition.tiers.records(self._tenant, first=self._position + 1)
            self._records.extend(await rest.read())
            if not self._records:
                self._partition.check()
                await self._parking.wait()
        record = self._records.popleft()
        self._position = record.sequence
        return record

    def __del__(self) -> None:
        self._partition.forget_commits(self._watch)


def _check(tenant: str, type: str | None, session: str | None, limit: int, cursor: str | None) -> None:
    check_id(tenant, "tenant")
    if type is not None and type not in TYPES:
        raise InvalidIntent("type", f"{type!r:.60} is no record type; the types are {', '.join(TYPES)}")
    if session is not None:
        check_id(session, "session")
    check_limit(limit)
    check_cursor(cursor)
