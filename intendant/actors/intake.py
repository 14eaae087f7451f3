"""What waits to be committed: tenants in turn, and of each tenant what accepted work needs before new work."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Protocol

from msgspec import Struct

from intendant.domain.commit import Commit, Receipt
from intendant.domain.errors import Overloaded


class Told(Protocol):
    """Who is told what became of a commit: once, what comes later is ignored. A `Reply` is one."""

    def set(self, value: Receipt) -> None:
        """It is durable."""
        ...

    def fail(self, error: BaseException) -> None:
        """It is not made; or nobody knows, because the writer has stopped."""
        ...


class Append(Struct, frozen=True, gc=False):
    """A commit that waits, with its size in bytes, the keys it claims and who is told what becomes of it."""

    commit: Commit
    told: Told
    size: int
    claims: tuple[tuple[str, str], ...] = ()  # tenant, key
    new: bool = False  # work, not of what was accepted before
    erasing: bool = False  # by the erasure itself, which nothing bars


class Intake:
    """A mailbox of commits with a lane for each tenant. Only new work is bounded: `capacity` of it may wait."""

    def __init__(self, name: str, capacity: int) -> None:
        self._name = name
        self._capacity = capacity
        self._lanes: dict[str, tuple[deque[Append], deque[Append]]] = {}  # by tenant, whose turn it is first
        self._new = 0  # commits of new work that wait

    def put(self, append: Append) -> bool:
        """Add a commit, the last of its tenant; tell whether none waited before.

        Raises Overloaded, and adds nothing, when it is one too many.
        """
        if append.new:
            if self._new >= self._capacity:
                raise Overloaded(f"the mailbox of {self._name}", self._capacity, kind="commit_queue")
            self._new += 1
        lanes, tenant = self._lanes, append.commit.tenant
        first = not lanes
        lane = lanes.get(tenant)
        if lane is None:
            lane = lanes[tenant] = (deque(), deque())
        lane[append.new].append(append)
        return first

    def put_back(self, append: Append) -> None:
        """Make a commit that was taken the next one of its tenant."""
        self._new += append.new
        self._lanes.setdefault(append.commit.tenant, (deque(), deque()))[0].appendleft(append)

    def take(self) -> Iterator[Append]:
        """Take one commit after the other, for as long as there are some and the caller goes on."""
        lanes = self._lanes
        while lanes:
            tenant, (needed, new) = next(iter(lanes.items()))
            append = needed.popleft() if needed else new.popleft()
            if append.new:
                self._new -= 1
            if not (needed or new):
                del lanes[tenant]
            elif len(lanes) > 1:
                lanes[tenant] = lanes.pop(tenant)  # behind the others
            yield append

    def waiting(self, tenant: str) -> int:
        """How many commits of this tenant's accepted work wait."""
        lane = self._lanes.get(tenant)
        return 0 if lane is None else len(lane[0])

    def __len__(self) -> int:
        return sum(len(needed) + len(new) for needed, new in list(self._lanes.values()))
