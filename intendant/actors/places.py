"""The places to run of a partition's executions: who has one, who rests, and whose turn is next (`Turns`)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final

import anyio

from intendant.actors.open_execution import OpenExecution
from intendant.actors.resting import Resting
from intendant.actors.services import Services
from intendant.domain.turns import Turns

BYTES_PER_US: Final = 50  # what recording costs: as much as a place to run for that long


class Places:
    """Gives and takes places, by the clock. Whoever does nothing but wait rests, and has none.

    At every restart of the executions all is forgotten: places that were given before are void.
    """

    def __init__(self, services: Services) -> None:
        self._services = services
        self._now = services.clock.now
        self._life = 0
        self._turns = self._new_turns()
        self.waiting = self._turns.waiting  # who want their turn
        self.resuming = False  # some that were found open wait for their first turn
        self._resting = self._new_resting()
        self._ending: set[OpenExecution] = set()  # who have left, and whose end is on its way into the log
        self.idle_calls: list[Callable[[], None]] = []  # once nobody has a place
        self._session_calls: dict[tuple[str, str], Callable[[], None]] = {}  # when nothing of a session is open

    def begin_anew(self) -> None:
        """Nobody has a place, and nobody waits for one."""
        self._life += 1
        self._turns = self._new_turns()
        self.waiting = self._turns.waiting
        self.resuming = False
        self._resting = self._new_resting()
        self._ending.clear()

    def _new_resting(self) -> Resting[OpenExecution]:
        return Resting(self._services.limits.resident)

    def _new_turns(self) -> Turns[OpenExecution]:
        places, limits = self._services.limits.running, self._services.quotas.limits

        def share_of(tenant: str) -> tuple[float, int]:
            own = limits(tenant)
            return own.weight, min(own.running or places, places)

        return Turns(places, share_of)

    # --- before it is accepted

    def take_at_once(self, entries: Sequence[OpenExecution], now: int) -> bool:
        """Give all of them places, if nobody is passed over by that; else none."""
        for number, entry in enumerate(entries):
            if not self._turns.take_at_once(entry, now, concurrency=entry.concurrency):
                self.give_back(entries[:number])
                return False
            entry.life = self._life
        return True

    def give_back(self, entries: Iterable[OpenExecution]) -> None:
        """They were not accepted."""
        now = self._now()
        for entry in entries:
            if self.has_been_given(entry):
                entry.life = 0
                self._turns.rest(entry, now)
                self._end(entry, now)

    def has_been_given(self, entry: OpenExecution) -> bool:
        """Whether it was given a place before it was accepted, in this life."""
        return entry.life == self._life

    # --- whose turn it is

    def add_found(self, entries: Iterable[OpenExecution]) -> None:
        """These were found open: they wait for their turn, in this order."""
        now = self._now()
        for entry in entries:
            self._turns.add(entry, now, concurrency=entry.concurrency)
            self.resuming = True

    def queue(self, entry: OpenExecution) -> None:
        """It has a place when its turn comes."""
        if entry.begun:
            self._turns.again(entry, self._now())
        else:
            self._turns.add(entry, self._now(), concurrency=entry.concurrency)

    def prefer(self, tenant: str, session: str) -> None:
        """What was found open of this session goes ahead of its tenant's."""
        self._turns.prefer(tenant, session, self._now())

    def withdraw(self, entry: OpenExecution) -> None:
        """It does not want its turn any more."""
        self._turns.remove(entry)

    def slow_down(self, tenant: str, more: int | None) -> None:
        """So many more of a tenant may have their turn, until it is said anew; None: as of others."""
        self._turns.slow_down(tenant, more, self._now())

    def next(self) -> OpenExecution | None:
        """Whose turn it is: it has its place from now on. None when none is free, or nobody wants one."""
        if not self.waiting:
            self.resuming = False
            return None
        return self._turns.next(self._now())

    def take(self, entry: OpenExecution) -> None:
        """It has a place now, whoever waits."""
        if entry.begun:
            self._turns.resume(entry, self._now())
        else:
            entry.begun = True
            self._turns.take_now(entry, self._now(), concurrency=entry.concurrency)

    # --- who has one

    def rest(self, entry: OpenExecution) -> None:
        """It gives its place back, and is to have one at once when it goes on."""
        self._resting.add(entry)
        self._charge(entry, self._now())

    def go_on(self, entry: OpenExecution) -> None:
        """If it rests, it rests no more, and has a place again."""
        if self._resting.remove(entry):
            self._turns.resume(entry, self._now())

    def leave(self, entry: OpenExecution, *, ended: bool) -> None:
        """Its handler does not run any more, and it has no place. Its session goes on when its end is durable."""
        now = self._now()
        if not self._resting.remove(entry):
            self._charge(entry, now)
        if ended:
            self._end(entry, now)
        elif entry.closed:
            self._ending.add(entry)

    def _charge(self, entry: OpenExecution, now: int) -> None:
        written, entry.written = entry.written, 0
        self._turns.rest(entry, now, extra=written // BYTES_PER_US)

    def end(self, entry: OpenExecution) -> None:
        """It has begun, has no place any more and does not count any more: its session goes on."""
        self._ending.discard(entry)
        self._end(entry, self._now())

    def _end(self, entry: OpenExecution, now: int) -> None:
        self._turns.end(entry, now)
        if self._session_calls:
            self._tell_ended(entry)

    @property
    def running(self) -> int:
        """How many have one."""
        return self._turns.running

    @property
    def queued(self) -> int:
        """How many wait for their turn."""
        return len(self._turns)

    @property
    def resident(self) -> int:
        """How many rest, and stay in memory."""
        return len(self._resting)

    def take_excess(self) -> list[OpenExecution]:
        """Of those who rest, if they are too many: who is to leave memory. Those with tasks beside them stay.

        While more of what was found open than may stay waits for its first turn, few are kept: those who rest would
        have to leave before long, when what they hold has grown old and is the collector's.
        """

        def look() -> Callable[[OpenExecution], bool]:
            parents = {task.parent_id for task in anyio.get_running_tasks()}
            return lambda entry: entry.actor is not None and entry.actor.recording.may_leave(parents)

        few = self.resuming and len(self._turns) > self._services.limits.resident
        return self._resting.take_excess(look, few=few)

    def is_to_leave(self, entry: OpenExecution) -> bool:
        """Whether it was told to leave memory, and has not gone on since."""
        return self._resting.is_leaving(entry)

    # --- when nothing of a session is open

    def has_open(self, tenant: str, session: str) -> bool:
        """Whether executions of a session have begun and not ended, or wait to begin."""
        return self._turns.is_known(tenant, session)

    def when_ended(self, tenant: str, session: str, call: Callable[[], None]) -> None:
        """Call once when the last of a session has ended; another call for the same session replaces it."""
        self._session_calls[tenant, session] = call

    def _tell_ended(self, entry: OpenExecution) -> None:
        if not self._turns.is_known(entry.tenant, entry.lane):
            call = self._session_calls.pop((entry.tenant, entry.lane), None)
            if call is not None:
                call()

    # --- when nobody has one

    def when_idle(self, call: Callable[[], None]) -> None:
        """Call once nobody has a place, nobody may have one and all ends are durable: at once, or when it is so."""
        self.idle_calls.append(call)
        self.tell_idle()

    def tell_idle(self) -> None:
        """Call those who wait for that, if it is so."""
        if self.idle_calls and self._turns.idle and not self._ending:
            calls, self.idle_calls = self.idle_calls, []
            for call in calls:
                call()
