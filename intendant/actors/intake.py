"""What waits to be committed: tenants in turn, and of each tenant what accepted work needs before new work."""

from __future__ import annotations

from collections import deque

from msgspec import Struct

from intendant.domain.commit import Commit, Receipt
from intendant.domain.errors import Overloaded
from intendant.parking import Reply


class Append(Struct, frozen=True, gc=False):
    """A commit that waits, with its size in bytes and the reply that it is answered by."""

    commit: Commit
    reply: Reply[Receipt]
    size: int
    new: bool = False  # work, not of what was accepted before
    erasing: bool = False  # by the erasure itself, which nothing bars


class Intake:
    """A mailbox of commits with a lane for each tenant. Only new work is bounded: `capacity` of it may wait."""

    def __init__(self, name: str, capacity: int) -> None:
        self._name = name
        self._capacity = capacity
        self._lanes: dict[str, tuple[deque[Append], deque[Append]]] = {}  # by tenant, whose turn it is first
        self._count = 0
        self._new = 0  # of them

    def put(self, append: Append) -> None:
        """Add a commit, the last of its tenant. Raises Overloaded, and adds nothing, when it is one too many."""
        if append.new and self._new >= self._capacity:
            raise Overloaded(f"the mailbox of {self._name}", self._capacity, kind="commit_queue")
        self._lane(append)[append.new].append(append)

    def put_back(self, append: Append) -> None:
        """Make a commit that was taken the next one of its tenant."""
        self._lane(append)[0].appendleft(append)

    def _lane(self, append: Append) -> tuple[deque[Append], deque[Append]]:
        self._count += 1
        self._new += append.new
        lane = self._lanes.get(append.commit.tenant)
        if lane is None:
            lane = self._lanes[append.commit.tenant] = (deque(), deque())
        return lane

    def take(self) -> Append:
        """Take the next commit. Raises StopIteration when there is none."""
        tenant, (needed, new) = next(iter(self._lanes.items()))
        append = needed.popleft() if needed else new.popleft()
        self._count -= 1
        self._new -= append.new
        if not (needed or new):
            del self._lanes[tenant]
        elif len(self._lanes) > 1:
            self._lanes[tenant] = self._lanes.pop(tenant)  # behind the others
        return append

    def clear(self) -> list[Append]:
        """Take all."""
        taken: list[Append] = []
        while self:
            taken.append(self.take())
        return taken

    def waiting(self, tenant: str) -> int:
        """How many commits of this tenant's accepted work wait."""
        lane = self._lanes.get(tenant)
        return 0 if lane is None else len(lane[0])

    def __bool__(self) -> bool:
        return bool(self._lanes)

    def __len__(self) -> int:
        return self._count
