"""The outbox relay: brings committed events out, at least once, in order per session.

A round reads the oldest events, publishes each session's in order and the sessions side by side, and settles what
went out in one record that names the positions. What fails stays, and holds back only its own session; after
`attempts` tries an event becomes a dead letter, so that nothing waits for ever.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterable
from contextlib import suppress
from typing import Final

import anyio
import msgspec
from msgspec import Struct

from intendant.actors.barred import Barred
from intendant.actors.outbox_event import OutboxEvent
from intendant.actors.wal_writer import WalWriter
from intendant.domain import state as states
from intendant.domain.codec import encode
from intendant.domain.commit import Commit, PutDocument, SettleOutbox
from intendant.domain.errors import BeingErased
from intendant.domain.logs import about, told
from intendant.domain.payloads import EventPublished, Failure
from intendant.domain.ports import Clock, LogReader, OutboxItem, Publisher
from intendant.domain.records import SYSTEM_TENANT, Record
from intendant.domain.state import Event
from intendant.parking import Reply, Seam
from intendant.supervisor import Backoff, Started

logger = logging.getLogger("intendant.outbox")

_ROUND_EVENTS: Final = 256
_outbox_event = msgspec.msgpack.Decoder(OutboxEvent)


class DeadLetter(Struct, frozen=True):
    """An event that could not be published."""

    event: Event
    error: Failure
    attempts: int


class RelaySettings(Struct, frozen=True):
    """`attempts` until it is a dead letter; `sessions` published side by side; `deadline`: seconds an event."""

    attempts: int = 8
    sessions: int = 16
    deadline: float = 30.0
    retry: Backoff = Backoff(initial=0.1, maximum=30.0)


class OutboxRelay:
    """Publishes one partition's outbox."""

    def __init__(
        self,
        log: LogReader,
        publisher: Publisher,
        writer: WalWriter,
        clock: Clock,
        seam: Seam,
        settings: RelaySettings,
        barred: Barred | None = None,
    ) -> None:
        self.published = 0  # events, since this process began; and of them
        self.dead = 0  # those that were given up, and
        self.failures = 0  # attempts that failed
        self._oldest = 0  # when the oldest event that waited at the last look was committed, µs since 1970 UTC
        self._log = log
        self._publisher = publisher
        self._writer = writer
        self._clock = clock
        self._settings = settings
        self._seam = seam
        self._barred = Barred() if barred is None else barred
        self._in_round = False
        self._round_ends: list[Reply[None]] = []
        self._parking = seam.parking()
        self._stopping = False
        self._attempts: dict[int, int] = {}
        self._not_before: dict[tuple[str, str], float] = {}

    @property
    def lag(self) -> float:
        """Seconds since the oldest event that waits was committed, as of the last look; 0 when none waits."""
        return max(self._clock.now() - self._oldest, 0) / 1e6 if self._oldest else 0.0

    @property
    def held_back(self) -> int:
        """How many sessions' events wait for another attempt."""
        return len(self._not_before)

    def wake(self) -> None:
        """There are new events."""
        self._parking.wake()

    def stop(self) -> None:
        """End after the round under way."""
        self._stopping = True
        self._parking.wake()

    async def run(self, task_status: Started) -> None:
        """Publish until stopped. After a crash, what was published and not settled is published again."""
        self._stopping = False
        self._attempts.clear()
        self._not_before.clear()
        task_status.started(self)
        while not self._stopping:
            if not await self._one_round():
                with anyio.move_on_after(self._pause()):
                    await self._parking.wait()

    async def round_over(self) -> None:
        """Wait until the round under way is over: what it had read is published, or will not be."""
        if self._in_round:
            reply: Reply[None] = Reply()
            self._round_ends.append(reply)
            await reply.wait(self._seam)

    async def _one_round(self) -> bool:
        self._in_round = True
        try:
            return await self._round()
        finally:
            self._in_round = False
            ends, self._round_ends = self._round_ends, []
            for reply in ends:
                reply.set(None)

    def _pause(self) -> float:
        """Seconds until a session that failed may be tried again; for ever when none has."""
        if not self._not_before:
            return float("inf")
        return max(min(self._not_before.values()) - self._seam.time(), 0.0)

    async def _round(self) -> bool:
        """Publish what is due; False when nothing was."""
        due = await self._due()
        if not due:
            return False
        published: list[int] = []
        dead: list[tuple[OutboxItem, DeadLetter]] = []
        limiter = anyio.CapacityLimiter(self._settings.sessions)
        async with anyio.create_task_group() as group:
            for items in due:
                group.start_soon(self._publish_session, items, limiter, published, dead)
        await self._settle(published, dead)
        return bool(published or dead)

    async def _due(self) -> list[list[OutboxItem]]:
        """The oldest events of sessions that are not being held back, by session."""
        now = self._seam.time()
        self._not_before = {session: time for session, time in self._not_before.items() if time > now}
        sessions: defaultdict[tuple[str, str], list[OutboxItem]] = defaultdict(list)
        after = found = 0
        while found < _ROUND_EVENTS:
            page = await self._log.outbox(after=after, limit=_ROUND_EVENTS)
            if not after:
                self._oldest = page[0].time if page else 0
            for item in page:
                if (item.tenant, item.session) not in self._not_before:
                    sessions[item.tenant, item.session].append(item)
                    found += 1
            if len(page) < _ROUND_EVENTS:
                break
            after = page[-1].position
        return list(sessions.values())

    async def _publish_session(
        self,
        items: list[OutboxItem],
        limiter: anyio.CapacityLimiter,
        published: list[int],
        dead: list[tuple[OutboxItem, DeadLetter]],
    ) -> None:
        async with limiter:
            for item in items:
                if self._barred.holds(item.tenant, session=item.session):
                    return  # it is being erased, and what was not sent yet is not sent
                failure = await self._publish(item)
                if failure is None:
                    self._attempts.pop(item.position, None)
                    published.append(item.position)
                elif letter := self._hold_back(item, failure):
                    dead.append((item, letter))
                else:
                    return

    async def _publish(self, item: OutboxItem) -> Failure | None:
        try:
            with anyio.fail_after(self._settings.deadline):
                await self._publisher.publish(event_of(item))
        except Exception as error:
            logger.warning(
                "event %d of session %s was not published: %s",
                *(item.position, item.session, told(error)),
                extra=about(item.tenant, item.session, attempt=self._attempts.get(item.position, 0) + 1),
            )
            return Failure(type(error).__name__, str(error)[:500])
        return None

    def _hold_back(self, item: OutboxItem, failure: Failure) -> DeadLetter | None:
        """Count a failure: hold the session back, or give the event up."""
        self.failures += 1
        attempts = self._attempts[item.position] = self._attempts.get(item.position, 0) + 1
        if attempts >= self._settings.attempts:
            del self._attempts[item.position]
            return DeadLetter(event_of(item), failure, attempts)
        delay = self._settings.retry.delay(attempts, lambda: 0.5)
        self._not_before[item.tenant, item.session] = self._seam.time() + delay
        return None

    async def _settle(self, published: list[int], dead: list[tuple[OutboxItem, DeadLetter]]) -> None:
        for item, letter in dead:  # of their tenant; the record of the round follows, and settles them
            put = PutDocument(states.DEAD_LETTERS, letter.event.id, encode(letter))
            round_ = EventPublished([], self._clock.now(), [letter.event.id])
            record = Record("event_published", item.session, letter.event.execution_id, round_)
            with suppress(BeingErased):
                await self._writer.commit(Commit(item.tenant, [record], [put, SettleOutbox((item.position,))]))
                self.dead += 1
        if published:
            record = Record("event_published", "", "", EventPublished(ranges(published), self._clock.now()))
            await self._writer.commit(Commit(SYSTEM_TENANT, [record], [SettleOutbox(tuple(sorted(published)))]))
            self.published += len(published)


def event_of(item: OutboxItem) -> Event:
    """The event that an outbox item holds."""
    event = _outbox_event.decode(item.body)
    payload = msgspec.msgpack.decode(event.payload)
    return Event(event.id, item.tenant, item.session, event.execution, event.name, payload, item.position, item.time)


def ranges(positions: Iterable[int]) -> list[tuple[int, int]]:
    """Positions as inclusive ranges, in order."""
    found: list[tuple[int, int]] = []
    for position in sorted(positions):
        if found and found[-1][1] == position - 1:
            found[-1] = (found[-1][0], position)
        else:
            found.append((position, position))
    return found
