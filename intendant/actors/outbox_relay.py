"""The outbox relay: brings committed events out, at least once, in order per session.

It reads the oldest events, publishes each session's in order and the sessions side by side, and settles what went out
in one record that names the positions: when all of it is out, or after a tenth of a second what is out by then, so
that a slow session keeps nobody waiting. What fails stays, and holds back only its own session; after `attempts` tries
an event becomes a dead letter, so that nothing waits for ever. While its target takes nothing at all, no try counts.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Collection, Iterable
from contextlib import suppress
from typing import Final

import anyio
import anyio.abc
import msgspec
from msgspec import Struct

from intendant.actors.barred import Barred
from intendant.actors.outbox_event import OutboxEvent
from intendant.actors.wal_writer import WalWriter
from intendant.domain import state as states
from intendant.domain.codec import encode
from intendant.domain.commit import Commit, PutDocument, SettleOutbox
from intendant.domain.erasure import Scope
from intendant.domain.errors import BeingErased, TargetUnavailable, Undeliverable
from intendant.domain.logs import about, told
from intendant.domain.payloads import EventPublished, Failure
from intendant.domain.ports import Clock, LogReader, OutboxItem, Publisher
from intendant.domain.records import SYSTEM_TENANT, Record
from intendant.domain.state import Event
from intendant.parking import Reply, Seam
from intendant.supervisor import Backoff, Started

logger = logging.getLogger("intendant.outbox")

_READ_EVENTS: Final = 256
_ROUND_SECONDS: Final = 0.1  # after which what is out is settled, whatever else is under way
_LEAST_WAIT: Final = 0.01  # seconds
_TURN_SECONDS: Final = 1.0  # after which a session with many events makes room for others


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


class _Delivery:
    """Events of one session that are being published, and what has become of them since the last settlement."""

    __slots__ = ("dead", "items", "over", "published")

    def __init__(self, items: list[OutboxItem]) -> None:
        self.items = items
        self.published: list[int] = []
        self.dead: list[tuple[OutboxItem, DeadLetter]] = []
        self.over = False


class _Failing(Struct):
    """The oldest event of a session, which could not be published yet."""

    position: int
    attempts: int = 0  # that count
    tries: int = 0
    not_before: float = 0.0  # of the seam's clock


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
        self._parking = seam.parking()
        self._woken = self._ended = self._stopping = self._reading = False
        self._read_at = self._rest_until = 0.0  # of the seam's clock
        self._deliveries: dict[tuple[str, str], _Delivery] = {}  # by session; until what was published is settled
        self._running = 0  # of them, that are not over
        self._failing: dict[tuple[str, str], _Failing] = {}
        self._unavailable = False
        self._waiting: list[tuple[Scope, Reply[None]]] = []

    @property
    def lag(self) -> float:
        """Seconds since the oldest event that waits was committed, as of the last look; 0 when none waits."""
        return max(self._clock.now() - self._oldest, 0) / 1e6 if self._oldest else 0.0

    @property
    def held_back(self) -> int:
        """How many sessions' events wait for another attempt."""
        return len(self._failing)

    def wake(self) -> None:
        """There are new events."""
        self._woken = True
        self._parking.wake()

    def stop(self) -> None:
        """End after the events that are under way."""
        self._stopping = True
        self._parking.wake()

    async def run(self, task_status: Started) -> None:
        """Publish until stopped. After a crash, what was published and not settled is published again."""
        self._stopping = False
        self._failing.clear()
        limiter = anyio.CapacityLimiter(self._settings.sessions)
        task_status.started(self)
        crash: Exception | None = None
        try:
            async with anyio.create_task_group() as group:
                try:
                    await self._rounds(group, limiter)
                except Exception as error:
                    crash = error  # it leaves as it is, not in a group
                    group.cancel_scope.cancel()
            if crash is not None:
                raise crash
            await self._settle()
        finally:
            self._deliveries.clear()
            self._running, self._reading = 0, False
            self._tell_sent()

    async def sent(self, scope: Scope) -> None:
        """Wait until what is under way of a scope is published, or will not be."""
        if self._concerns(scope):
            reply: Reply[None] = Reply()
            self._waiting.append((scope, reply))
            await reply.wait(self._seam)

    async def _rounds(self, group: anyio.abc.TaskGroup, limiter: anyio.CapacityLimiter) -> None:
        while not self._stopping:
            self._woken = self._ended = False
            if self._running < self._settings.sessions:
                await self._rest()
                await self._begin(group, limiter)
            with anyio.move_on_after(_ROUND_SECONDS):
                while self._running and not self._stopping:
                    await self._parking.wait()
            if not await self._settle():
                with anyio.move_on_after(self._pause()):
                    while not (self._woken or self._ended or self._stopping):
                        await self._parking.wait()

    def _pause(self) -> float:
        """Seconds until a session may be tried again that was held back at the last look; for ever when none was."""
        times = [
            each.not_before
            for session, each in self._failing.items()
            if each.not_before > self._read_at and session not in self._deliveries
        ]
        return max(min(times, default=float("inf")) - self._seam.time(), 0.0)

    async def _rest(self) -> None:
        """Where many events are held back, looking through them takes a tenth of the time at most."""
        left = self._rest_until - self._seam.time()
        if left > 0:
            with anyio.move_on_after(left):
                while not self._stopping:
                    await self._parking.wait()

    async def _begin(self, group: anyio.abc.TaskGroup, limiter: anyio.CapacityLimiter) -> None:
        """Have what is due published."""
        self._reading = True
        for session, items in (await self._due()).items():
            delivery = self._deliveries[session] = _Delivery(items)
            self._running += 1
            group.start_soon(self._deliver, session, delivery, limiter)
        self._reading = False
        self._tell_sent()

    async def _due(self) -> dict[tuple[str, str], list[OutboxItem]]:
        """The oldest events of sessions that are neither under way, held back nor being erased, by session."""
        now = self._read_at = self._seam.time()
        held = {session for session, failing in self._failing.items() if failing.not_before > now}
        sessions: defaultdict[tuple[str, str], list[OutboxItem]] = defaultdict(list)
        after = found = 0
        while found < _READ_EVENTS:
            page = await self._log.outbox(after=after, limit=_READ_EVENTS)
            if after:
                self._rest_until = now + 10 * (self._seam.time() - now)
            else:
                self._oldest = page[0].time if page else 0
            for item in page:
                session = item.tenant, item.session
                if session in held or session in self._deliveries or self._barred.holds(session[0], session=session[1]):
                    continue
                sessions[session].append(item)
                found += 1
            if len(page) < _READ_EVENTS:
                self._forget_failing(now, sessions)
                break
            after = page[-1].position
        return sessions

    def _forget_failing(self, now: float, found: Collection[tuple[str, str]]) -> None:
        """All was read: what is due and was not found has been erased."""
        for session, failing in list(self._failing.items()):
            if failing.not_before <= now and session not in found and session not in self._deliveries:
                del self._failing[session]

    async def _deliver(self, session: tuple[str, str], delivery: _Delivery, limiter: anyio.CapacityLimiter) -> None:
        async with limiter:
            await self._publish_in_order(session, delivery)
        delivery.over = self._ended = True
        self._running -= 1
        self._parking.wake()

    async def _publish_in_order(self, session: tuple[str, str], delivery: _Delivery) -> None:
        """The session's events, until one fails or the turn is over."""
        until = self._seam.time() + _TURN_SECONDS
        for item in delivery.items:
            if self._barred.holds(item.tenant, session=item.session):
                return  # it is being erased, and what was not sent yet is not sent
            if self._stopping or self._seam.time() >= until:
                return
            error = await self._publish(item)
            if error is None:
                self._failing.pop(session, None)
                delivery.published.append(item.position)
            elif letter := self._failed(session, item, error):
                delivery.dead.append((item, letter))
            else:
                return

    async def _publish(self, item: OutboxItem) -> Exception | None:
        try:
            with anyio.fail_after(self._settings.deadline):
                await self._publisher.publish(event_of(item))
        except TargetUnavailable as error:
            if not self._unavailable:
                logger.warning(
                    "events wait, no attempt is counted: %s", told(error), extra=about(item.tenant, item.session)
                )
            self._unavailable = True
            return error
        except Exception as error:
            failing = self._failing.get((item.tenant, item.session))
            logger.warning(
                "event %d of session %s was not published: %s",
                *(item.position, item.session, told(error)),
                extra=about(item.tenant, item.session, attempt=1 if failing is None else failing.tries + 1),
            )
            return error
        self._unavailable = False
        return None

    def _failed(self, session: tuple[str, str], item: OutboxItem, error: Exception) -> DeadLetter | None:
        """Count a failure: hold the session back, or give the event up."""
        self.failures += 1
        failing = self._failing.get(session)
        if failing is None or failing.position != item.position:
            failing = self._failing[session] = _Failing(item.position)
        after = error.after if isinstance(error, TargetUnavailable) else None
        failing.attempts += not isinstance(error, TargetUnavailable)
        failing.tries += after is None
        if failing.attempts >= self._settings.attempts or isinstance(error, Undeliverable):
            del self._failing[session]
            return DeadLetter(event_of(item), Failure(type(error).__name__, str(error)[:500]), failing.attempts)
        delay = self._settings.retry.delay(failing.tries, lambda: 0.5) if after is None else max(after, _LEAST_WAIT)
        failing.not_before = self._seam.time() + delay
        return None

    async def _settle(self) -> bool:
        """Record what went out since the last time, and let go of sessions that are through; False if nothing did."""
        over = [session for session, delivery in self._deliveries.items() if delivery.over]
        published: list[int] = []
        dead: list[tuple[OutboxItem, DeadLetter]] = []
        for delivery in self._deliveries.values():
            published += delivery.published
            dead += delivery.dead
            delivery.published, delivery.dead = [], []
        await self._record(published, dead)
        for session in over:
            del self._deliveries[session]
        self._tell_sent()
        return bool(published or dead)

    async def _record(self, published: list[int], dead: list[tuple[OutboxItem, DeadLetter]]) -> None:
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

    def _concerns(self, scope: Scope) -> bool:
        return self._reading or any(
            tenant == scope.tenant and (not scope.session or session == scope.session)
            for tenant, session in self._deliveries
        )

    def _tell_sent(self) -> None:
        waiting, self._waiting = self._waiting, []
        for scope, reply in waiting:
            if self._concerns(scope):
                self._waiting.append((scope, reply))
            else:
                reply.set(None)


def event_of(item: OutboxItem) -> Event:
    """The event that an outbox item holds."""
    event = msgspec.msgpack.decode(item.body, type=OutboxEvent)
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
