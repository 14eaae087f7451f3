"""Who runs next: fair between tenants by cost, in order within a session. Pure: time goes in, contenders come out.

Between tenants: deficit round robin (Shreedhar and Varghese, 1995). What a turn costs is known only when it is over, so
a tenant is charged what its turns have cost lately, and the difference afterwards (as in surplus round robin, Adiseshu,
Parulkar and Varghese, 1996). Within a tenant the highest priority goes first, then who came first; in a lane (a
session) who came first goes first, whatever its priority.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Callable, Iterable
from typing import Final, Generic, NamedTuple, Protocol, TypeVar

from msgspec import Struct

QUANTUM: Final = 5_000  # µs of cost that a tenant of weight 1 may spend each time its turn comes round
COST_MIN: Final = 500  # µs that a turn costs at least
DEBT_MAX: Final = 64  # quanta; what a turn costs beyond that is forgiven, so that nobody waits for ever
_PREFERRED: Final = -(2**31)
_SHARES: Final = 1_024  # tenants that are kept before it is looked which of them may be forgotten
_LATELY: Final = 0.25  # how much the newest cost counts in what turns have cost lately


class Contender(Protocol):
    """Who wants to run. Of one lane those that come first begin first."""

    @property
    def tenant(self) -> str:
        """Whose share it is."""
        ...

    @property
    def lane(self) -> object:
        """What it stands in line with, of its tenant."""
        ...

    @property
    def priority(self) -> int:
        """Higher goes first, among those of its tenant."""
        ...

    @property
    def exclusive(self) -> bool:
        """Whether it runs with nothing else of its lane."""
        ...


C = TypeVar("C", bound=Contender)


class _Queued(NamedTuple, Generic[C]):
    """One that may run as soon as there is a place. Compared by what comes first: `number` is unique."""

    order: int  # falling priority
    number: int
    contender: C
    in_lane: bool  # it is the first of its lane, and has not begun


class _Lane(Struct, Generic[C]):
    """Who stands in line of a lane: there while somebody waits in it, or has begun and not ended."""

    concurrency: int
    begun: int = 0  # that have begun and have not ended, whether they run or wait
    exclusive: int = 0  # of those that have begun
    preferred: int = 0  # those that came up to this number go before all else of their tenant
    first: _Queued[C] | None = None  # the first that waits, once it stands among those that may run
    waiting: deque[tuple[int, C]] | None = None  # made when one has to

    def admits(self, contender: C) -> bool:
        """Whether it may begin now, if it is its turn."""
        if self.exclusive or self.begun >= self.concurrency:
            return False
        return not (contender.exclusive and self.begun)

    def begin(self, contender: C) -> None:
        """It counts until it has ended."""
        self.begun += 1
        self.exclusive += contender.exclusive

    def end(self, contender: C) -> None:
        """It does not count any more."""
        self.begun -= 1
        self.exclusive -= contender.exclusive


class _Share(Generic[C]):
    """What a tenant has had, and who of it may run."""

    __slots__ = (
        *("credit", "debt_max", "in_ring", "lanes", "lately", "left_at", "places"),
        *("quantum", "ready", "running", "slack", "tenant", "visited", "weight"),
    )

    def __init__(self, tenant: str, weight: float, places: int) -> None:
        self.tenant = tenant
        self.weight = weight
        self.places = places
        self.quantum = QUANTUM * weight  # what it may spend each time its turn comes round
        self.debt_max = DEBT_MAX * self.quantum
        self.credit = 0.0
        self.lately = float(COST_MIN)  # what turns have cost; never less than that
        self.ready: list[_Queued[C]] = []
        self.lanes: dict[object, _Lane[C]] = {}
        self.running = 0
        self.slack = math.inf  # how many more of it may have a place in turn
        self.in_ring = False  # somebody of it may run
        self.visited = False  # its turn has come round, and it has had its quantum
        self.left_at = 0  # when it last gave a place back

    @property
    def may_run(self) -> bool:
        """Whether somebody of it may run, as soon as there is a place."""
        return bool(self.ready) and self.has_room

    @property
    def has_room(self) -> bool:
        """Whether it may have one more place."""
        return self.running < self.places and self.slack > 0

    def charge(self, cost: float) -> None:
        """Take a cost, or give one back when it is negative."""
        credit = self.credit - cost
        self.credit = self.quantum if credit > self.quantum else max(credit, -self.debt_max)

    def visit(self) -> None:
        """Its turn has come round."""
        self.visited = True
        self.credit = min(self.credit, 0.0) + self.quantum

    def age(self, now: int) -> None:
        """Forgive debts, as if it had had one place that it did not use."""
        if self.credit < 0:
            self.credit = min(0.0, self.credit + max(now - self.left_at, 0) * self.weight)
            self.left_at = now


class Turns(Generic[C]):
    """Gives places to those who wait for them, at most `places` at a time, and counts who has begun and not ended.

    `share_of` says how large a tenant's share is, compared to others', and how many places it has at a time at most.
    While a tenant has somebody who may run, the others have at most `bound(...)` places given to them before it has
    one, whatever they have queued.
    """

    def __init__(self, places: int, share_of: Callable[[str], tuple[float, int]]) -> None:
        self.running = 0
        self._places = places
        self._share_of = share_of
        self._shares: dict[str, _Share[C]] = {}
        self._ring: deque[_Share[C]] = deque()  # those of whom somebody may run; the first is visited
        self._held: dict[C, tuple[int, float]] = {}  # who has a place: since when, and what was charged
        self.waiting: dict[C, int] = {}  # for a place, by the number that it stands at; at any other it is void
        self._number = 0
        self._slowed = 0  # tenants
        self._many = _SHARES

    # --- who waits

    def __len__(self) -> int:
        """How many wait: for a place, or for their lane."""
        return len(self.waiting)

    def add(self, contender: C, now: int, *, concurrency: int) -> None:
        """It wants to begin, behind those of its lane that came before."""
        share = self._share(contender.tenant, now)
        lane = self._lane(share, contender, concurrency)
        self._number += 1
        if lane.waiting is None:
            lane.waiting = deque()
        lane.waiting.append((self._number, contender))
        self.waiting[contender] = self._number
        self._queue_first(share, lane, now)

    def again(self, contender: C, now: int) -> None:
        """One that has begun, and rested, wants a place to go on."""
        self._number += 1
        self.waiting[contender] = self._number
        self._queue(
            self._share(contender.tenant, now), _Queued(-contender.priority, self._number, contender, False), now
        )

    def prefer(self, tenant: str, key: object, now: int) -> None:
        """What waits in this lane now goes before all else of its tenant."""
        share = self._shares.get(tenant)
        lane = None if share is None else share.lanes.get(key)
        if share is None or lane is None or not lane.waiting or lane.preferred >= lane.waiting[0][0]:
            return
        lane.preferred, lane.first = lane.waiting[-1][0], None  # where its first stood before, it is void
        self._queue_first(share, lane, now)

    def remove(self, contender: C) -> bool:
        """It does not want to run any more. False when it does not wait."""
        return self.waiting.pop(contender, None) is not None

    def slow_down(self, tenant: str, more: int | None, now: int) -> None:
        """Give so many places more in turn to this tenant, until it is said anew; None: as many as others have."""
        share = self._share(tenant, now)
        self._slowed -= share.slack < math.inf
        share.slack = math.inf if more is None else more
        self._slowed += share.slack < math.inf
        self._join_ring(share, now)

    # --- who has a place

    def take_at_once(self, contender: C, now: int, *, concurrency: int) -> bool:
        """Begin without waiting, if nobody who may run waits, and its lane lets it."""
        if self._ring or self.running >= self._places:
            return False
        share = self._share(contender.tenant, now)
        if share.ready or not share.has_room:
            return False
        lane = self._lane(share, contender, concurrency)
        if lane.waiting or not lane.admits(contender):
            return False
        lane.begin(contender)
        share.slack -= 1
        self._hold(share, contender, now)
        return True

    def take_now(self, contender: C, now: int, *, concurrency: int) -> None:
        """Begin at once, whoever waits, and whatever its lane lets: it is only to end, or is looked at alone."""
        self.remove(contender)
        share = self._share(contender.tenant, now)
        self._lane(share, contender, concurrency).begin(contender)
        self._hold(share, contender, now)

    def next(self, now: int) -> C | None:
        """Whose turn it is: it has its place from now on. None when no place is free, or nobody may run."""
        while self.running < self._places and (share := self._whose()) is not None:
            queued = heapq.heappop(share.ready)
            wanted = self._take_out(share, queued, now)
            if wanted:
                del self.waiting[queued.contender]
                share.slack -= 1
                self._hold(share, queued.contender, now)
            if not share.may_run:
                self._leave_ring(share)
            if wanted:
                return queued.contender
        return None

    def rest(self, contender: C, now: int, *, extra: int = 0) -> None:
        """It gives its place back. `extra` is cost besides the time that it had it, in µs."""
        since, charged = self._held.pop(contender)
        share = self._shares[contender.tenant]
        cost = max(now - since + extra, COST_MIN)
        share.lately += _LATELY * (cost - share.lately)
        share.charge(cost - charged)
        share.running -= 1
        self.running -= 1
        share.left_at = now
        if share.ready:
            self._join_ring(share, now)

    def resume(self, contender: C, now: int) -> None:
        """One that has begun, and rested, goes on at once: it takes a place, also where none is free."""
        self.remove(contender)
        self._hold(self._share(contender.tenant, now), contender, now)

    def end(self, contender: C, now: int) -> None:
        """One that has begun, and has no place any more, does not count any more: its lane goes on."""
        share = self._shares[contender.tenant]
        lane = share.lanes[contender.lane]
        lane.end(contender)
        if lane.waiting:
            self._queue_first(share, lane, now)
        if not (lane.begun or lane.waiting):
            del share.lanes[contender.lane]

    def is_known(self, tenant: str, lane: object) -> bool:
        """Whether somebody of this lane waits, or has begun and not ended."""
        share = self._shares.get(tenant)
        return share is not None and lane in share.lanes

    @property
    def idle(self) -> bool:
        """Whether nobody has a place, and nobody may have one."""
        return not (self.running or self._ring or self._slowed)

    def holds(self, contender: C) -> bool:
        """Whether it has a place."""
        return contender in self._held

    # --- inside

    def _share(self, tenant: str, now: int) -> _Share[C]:
        share = self._shares.get(tenant)
        if share is None:
            if len(self._shares) >= self._many:
                self._forget_unused(now)
            share = self._shares[tenant] = _Share(tenant, *self._share_of(tenant))
        return share

    def _lane(self, share: _Share[C], contender: C, concurrency: int) -> _Lane[C]:
        lane = share.lanes.get(contender.lane)
        if lane is None:
            lane = share.lanes[contender.lane] = _Lane(concurrency)
        return lane

    def _queue_first(self, share: _Share[C], lane: _Lane[C], now: int) -> None:
        """Put the first of a lane among those that may run, if the lane lets it and it does not stand there yet."""
        waiting = lane.waiting
        while waiting and not self._waits(*waiting[0]):
            waiting.popleft()
            lane.first = None
        if waiting and lane.first is None and lane.admits(waiting[0][1]):
            number, contender = waiting[0]
            order = _PREFERRED if number <= lane.preferred else -contender.priority
            lane.first = _Queued(order, number, contender, in_lane=True)
            self._queue(share, lane.first, now)

    def _queue(self, share: _Share[C], queued: _Queued[C], now: int) -> None:
        heapq.heappush(share.ready, queued)
        self._join_ring(share, now)

    def _join_ring(self, share: _Share[C], now: int) -> None:
        if share.may_run and not share.in_ring:
            share.in_ring = True
            share.age(now)
            self._ring.append(share)

    def _take_out(self, share: _Share[C], queued: _Queued[C], now: int) -> bool:
        """Whether it may run; of its lane the next one comes forward."""
        contender = queued.contender
        wanted = self._waits(queued.number, contender)
        if not queued.in_lane:
            return wanted
        lane = share.lanes.get(contender.lane)
        if lane is None or lane.first is not queued or not lane.waiting:
            return False
        lane.first = None
        wanted = wanted and lane.admits(contender)  # one that began at once, whatever its lane let, may have filled it
        if wanted:
            lane.waiting.popleft()
            lane.begin(contender)
        self._queue_first(share, lane, now)
        if not (lane.begun or lane.waiting):
            del share.lanes[contender.lane]
        return wanted

    def _waits(self, number: int, contender: C) -> bool:
        return self.waiting.get(contender) == number

    def _hold(self, share: _Share[C], contender: C, now: int) -> None:
        charged = share.lately
        share.charge(charged)
        share.running += 1
        self.running += 1
        self._held[contender] = (now, charged)

    def _whose(self) -> _Share[C] | None:
        """The share whose turn it is: the first one that has credit left of its visit."""
        ring = self._ring
        while ring:
            for _ in range(len(ring)):
                share = ring[0]
                if not share.may_run:  # what went on at once has taken its last place
                    self._leave_ring(share)
                    break
                if not share.visited:
                    share.visit()
                if share.credit > 0:
                    return share
                share.visited = False
                ring.rotate(-1)
            else:
                self._skip_rounds()
        return None

    def _skip_rounds(self) -> None:
        """None has credit: as many rounds go by as the first of them needs to come out of debt, but one."""
        rounds = min([math.ceil(-share.credit / share.quantum) for share in self._ring]) - 1
        if rounds > 0:
            for share in self._ring:
                share.credit += rounds * share.quantum

    def _leave_ring(self, share: _Share[C]) -> None:
        """Nobody of it may run: what it has not spent of its visit is lost."""
        self._ring.popleft()
        share.in_ring = share.visited = False
        share.credit = min(share.credit, 0.0)

    def _forget_unused(self, now: int) -> None:
        """Of tenants that want nothing only their debts are known, until those are forgiven."""
        for share in list(self._shares.values()):
            if not (share.lanes or share.ready or share.running or share.slack < math.inf):
                share.age(now)
                if share.credit >= 0:
                    del self._shares[share.tenant]
        self._many = _SHARES + 2 * len(self._shares)


def bound(weights: Iterable[float]) -> int:
    """How many places others, of these weights, are given at most while a tenant of weight 1 waits for one.

    In each round another has its quantum of turns that cost the least, and one more that takes it into debt; the
    tenant itself may have to come out of the greatest debt first.
    """
    rounds = DEBT_MAX + 2
    return rounds * sum(math.ceil(weight * QUANTUM / COST_MIN) + 1 for weight in weights)
