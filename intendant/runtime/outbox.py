"""The outbox as callers read it: what waits, what went out, what was given up."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import anyio
import msgspec
from msgspec import Struct

from intendant.actors.outbox_relay import DeadLetter, event_of
from intendant.actors.revival import EVENTS_MAX, revival
from intendant.actors.tiers import Tiers
from intendant.domain import state as states
from intendant.domain.commit import PLACES
from intendant.domain.errors import ActorStopped, InvalidIntent, OutcomeUnknown
from intendant.domain.ids import check_id
from intendant.domain.journal import CARRIERS
from intendant.domain.payloads import Emitted, EventPublished
from intendant.domain.ports import LogReader
from intendant.domain.records import SYSTEM_TENANT, LogRecord
from intendant.domain.state import ENDS, Event
from intendant.runtime.partition import Partition
from intendant.runtime.readable import Readable
from intendant.runtime.views import Page, check_cursor, check_key_cursor, check_limit


class _WithEvents(Struct, frozen=True):
    """Any payload that events ride with; only those are read."""

    events: list[Emitted] = []


class OutboxReader:
    """Reads a tenant's events."""

    def __init__(self, partition_of: Callable[[str], Readable]) -> None:
        self._readable = partition_of

    def _log_of(self, tenant: str) -> LogReader:
        return self._readable(tenant).log

    async def pending(self, tenant: str, *, limit: int = 100, cursor: str | None = None) -> Page[Event]:
        """Events that have not been published yet, the oldest first."""
        log = self._log_of(check_id(tenant, "tenant"))
        items = await log.outbox(limit=check_limit(limit), after=int(check_cursor(cursor) or 0), tenant=tenant)
        return Page([event_of(item) for item in items], str(items[-1].position) if len(items) == limit else None)

    async def published(self, tenant: str, *, limit: int = 100, cursor: str | None = None) -> Page[Event]:
        """Events that went out, the newest relay rounds first.

        A page holds whole rounds, and may so hold up to 255 events more than `limit`. Read from the log: its cost
        grows with the rounds that are looked through, of whatever tenant.
        """
        check_id(tenant, "tenant")
        check_limit(limit)
        tiers = self._readable(tenant).tiers
        found: list[Event] = []
        position = check_cursor(cursor)
        rounds = tiers.records(SYSTEM_TENANT, last=None if position is None else int(position) - 1, newest_first=True)
        while records := await rounds.read():
            for record in records:
                if record.type == "event_published":
                    found += await _events(tiers, tenant, record)
                if len(found) >= limit:
                    return Page(found, str(record.sequence))
        return Page(found, None)

    async def letters(self, tenant: str, events: Sequence[str]) -> list[DeadLetter]:
        """Dead letters by their event ids, 1 to 100. Raises InvalidIntent for one that is none of this tenant."""
        if not 1 <= len(set(events)) == len(events) <= EVENTS_MAX:
            raise InvalidIntent("events", f"must be 1 to {EVENTS_MAX} ids, each once, not {len(events)}")
        tiers = self._readable(check_id(tenant, "tenant")).tiers
        found: list[DeadLetter] = []
        for event in events:
            body = await tiers.document(tenant, states.DEAD_LETTERS, check_id(event, "event"))
            if body is None:
                raise InvalidIntent("event", f"{event!r} is no dead letter of this tenant")
            found.append(msgspec.msgpack.decode(body, type=DeadLetter))
        return found

    async def dead_letters(self, tenant: str, *, limit: int = 100, cursor: str | None = None) -> Page[DeadLetter]:
        """Events that were given up after their last attempt, by event id."""
        tiers = self._readable(check_id(tenant, "tenant")).tiers
        after = check_key_cursor(cursor)
        documents = await tiers.documents(tenant, states.DEAD_LETTERS, after=after, limit=check_limit(limit))
        letters = [msgspec.msgpack.decode(document.body, type=DeadLetter) for document in documents]
        return Page(letters, documents[-1].key if len(documents) == limit else None)


class Outbox(OutboxReader):
    """Reads a tenant's events, and lets those wait again that were given up."""

    def __init__(self, partition_of: Callable[[str], Partition], now: Callable[[], int], timeout: float) -> None:
        super().__init__(partition_of)
        self._partition_of = partition_of
        self._now = now
        self._timeout = timeout

    async def retry(self, tenant: str, events: Sequence[str]) -> list[str]:
        """Let dead letters be published again, in this order, by their event ids: up to 100; returns the ids.

        When this returns they are durably in the outbox, behind what waits there; their ids stay what they were. All
        of them, or none: raises InvalidIntent for one that is no dead letter of this tenant; OutcomeUnknown when no
        answer came in time: what has been revived is no dead letter any more.
        """
        partition = self._partition_of(check_id(tenant, "tenant"))
        try:
            with anyio.fail_after(self._timeout):
                letters = await self.letters(tenant, events)
                for each in letters:
                    await partition.sweeper.may_change(tenant, each.event.execution_id)
                await partition.commit(revival(tenant, letters, self._now()))
        except (TimeoutError, ActorStopped) as error:
            partition.check()
            again = "it is not known whether the events wait again; look at the dead letters"
            raise OutcomeUnknown(events[0], events[0], again) from error
        return [each.event.id for each in letters]


async def _events(tiers: Tiers, tenant: str, record: LogRecord) -> list[Event]:
    """The tenant's events that a relay round settled, the newest first."""
    events: list[Event] = []
    for first, last in msgspec.msgpack.decode(record.raw, type=EventPublished).published:
        sources = tiers.records(tenant, first=first // PLACES, last=last // PLACES)
        while records := await sources.read():
            for source in records:
                events += [event for event in _events_in(source) if first <= event.position <= last]
    return sorted(events, key=lambda event: -event.position)


def _events_in(record: LogRecord) -> list[Event]:
    if record.type == "event_published":
        emitted = msgspec.msgpack.decode(record.raw, type=EventPublished).revived
    elif record.type in _CARRIERS:
        emitted = msgspec.msgpack.decode(record.raw, type=_WithEvents).events
    else:
        return []
    return [
        Event(
            f"{record.execution}-{event.number}",
            record.tenant,
            record.session,
            record.execution,
            event.name,
            msgspec.msgpack.decode(event.payload),
            record.sequence * PLACES + place,
            record.time,
        )
        for place, event in enumerate(emitted)
    ]


_CARRIERS = CARRIERS.union(type for type, _ in ENDS.values())
