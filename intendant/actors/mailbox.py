"""A bounded mailbox with two lanes: control before work."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Generic, TypeVar

from intendant.domain.errors import Overloaded

M = TypeVar("M")


class Mailbox(Generic[M]):
    """Messages in the order they came, control messages before work.

    Only work is bounded: `capacity` is how many work messages may wait. Control is what the runtime itself sends and
    what accepted work needs to end; refusing it could only make things worse.
    """

    __slots__ = ("_control", "_work", "capacity", "name")

    def __init__(self, name: str, capacity: int) -> None:
        self.name = name
        self.capacity = capacity
        self._control: deque[M] = deque()
        self._work: deque[M] = deque()

    def put(self, message: M) -> None:
        """Add work. Raises Overloaded, and adds nothing, when `capacity` messages wait."""
        if len(self._work) >= self.capacity:
            raise Overloaded(f"the mailbox of {self.name}", self.capacity)
        self._work.append(message)

    def put_control(self, message: M) -> None:
        """Add a control message; never refused."""
        self._control.append(message)

    def take(self) -> M:
        """Take the next message. Raises IndexError when there is none."""
        return self._control.popleft() if self._control else self._work.popleft()

    def put_back(self, message: M) -> None:
        """Make a message the next one to be taken."""
        self._control.appendleft(message)

    def clear(self) -> list[M]:
        """Take all messages."""
        messages = list(self)
        self._control.clear()
        self._work.clear()
        return messages

    def __iter__(self) -> Iterator[M]:
        yield from self._control
        yield from self._work

    def __len__(self) -> int:
        return len(self._control) + len(self._work)
