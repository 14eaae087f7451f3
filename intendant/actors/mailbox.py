"""A bounded mailbox with two lanes: control before work."""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from intendant.domain.errors import Overloaded

M = TypeVar("M")


class Overflow(enum.Enum):
    """What becomes of work that comes to a full mailbox. To wait for room is the sender's choice: `Ref.send`."""

    REFUSE = "refuse"
    """The sender gets Overloaded."""
    DROP_OLDEST = "drop_oldest"
    """What has waited longest goes to the dead letters; whoever asked it gets Overloaded."""


class Mailbox(Generic[M]):
    """Messages in the order they came, control messages before work.

    Only work is bounded: `capacity` is how many work messages may wait. Control is what the runtime itself sends and
    what accepted work needs to end; refusing it could only make things worse. A lane is made when something has to
    wait in it: an empty deque takes 760 bytes, and a hundred thousand actors may have nothing to do.
    """

    __slots__ = ("_control", "_dropped", "_work", "capacity", "name")

    def __init__(self, name: str, capacity: int, dropped: Callable[[M], None] | None = None) -> None:
        self.name = name
        self.capacity = capacity
        self._dropped = dropped  # told what had to make room; without it new work is refused
        self._control: deque[M] | None = None
        self._work: deque[M] | None = None

    @property
    def lanes(self) -> tuple[deque[M] | None, deque[M] | None]:
        """What waits, control and work; always in these same deques until `rest`. Not to be changed by others."""
        return self._control, self._work

    def put(self, message: M) -> None:
        """Add work. When `capacity` messages wait, raises Overloaded and adds nothing, or drops the oldest of them."""
        work = self._work
        if work is None:
            work = self._work = deque()
        if len(work) >= self.capacity:
            self._make_room()
        work.append(message)

    def _make_room(self) -> None:
        if self._dropped is None or not self._work:
            raise Overloaded(f"the mailbox of {self.name}", self.capacity)
        self._dropped(self._work.popleft())

    def put_control(self, message: M) -> None:
        """Add a control message; never refused."""
        if self._control is None:
            self._control = deque()
        self._control.append(message)

    def take(self) -> M:
        """Take the next message. Raises IndexError when there is none."""
        lane = self._control or self._work
        if lane is None:
            raise IndexError(f"the mailbox of {self.name} is empty")
        return lane.popleft()

    def put_back(self, message: M) -> None:
        """Make a message the next one to be taken."""
        if self._control is None:
            self._control = deque()
        self._control.appendleft(message)

    def clear(self) -> list[M]:
        """Take all messages."""
        messages = list(self)
        for lane in self.lanes:
            if lane is not None:
                lane.clear()
        return messages

    def rest(self) -> None:
        """Nothing waits, nor will soon: let the lanes go."""
        if not self:
            self._control = self._work = None

    def __iter__(self) -> Iterator[M]:
        yield from self._control or ()
        yield from self._work or ()

    def __bool__(self) -> bool:
        return bool(self._work or self._control)

    def __len__(self) -> int:
        return len(self._control or ()) + len(self._work or ())
