"""A cell whose actor may handle a message where it is sent."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from intendant.actors.actor import NOTHING, Actor, Cell
from intendant.actors.deadlines import Deadlines
from intendant.parking import Seam

M = TypeVar("M")


class DirectActor(Actor[M], Generic[M]):
    """An actor that handles some messages without awaiting anything."""

    __slots__ = ()

    def receive_at_once(self, message: M) -> bool:
        """Handle a message in the task of whoever sends it; False, with nothing done, when that can't be."""
        raise NotImplementedError(f"{type(self).__name__} does not say what it does at once")


class DirectCell(Cell[M]):
    """Spares waking a task for what the actor can handle at once, while nothing else waits or is in hand.

    Messages are handled in the same order and one at a time, as in any cell; an exception is a crash of the actor,
    for its supervisor, and never reaches who sent the message. What turns need takes no memory between them, because
    most messages come without one.
    """

    __slots__ = ("_raised",)

    def __init__(
        self,
        path: str,
        factory: Callable[[], Actor[M]],
        *,
        capacity: int,
        seam: Seam,
        deadlines: Deadlines,
        schedule: Callable[[], None],
    ) -> None:
        super().__init__(path, factory, capacity=capacity, seam=seam, deadlines=deadlines, schedule=schedule)
        self._raised: BaseException | None = None  # by what was handled at once; the next turn crashes with it

    def deliver(self, message: M, *, control: bool = False) -> None:
        """Have a message handled now, or put it into the mailbox and see to it that it is handled."""
        actor = self._actor
        if self._busy or control or self._stopping or not isinstance(actor, DirectActor):
            super().deliver(message, control=control)
            return
        self._busy = True
        self.in_hand = message
        try:
            handled = actor.receive_at_once(message)
        except BaseException as error:
            self._raised = error
            self._schedule()  # busy, with the message in hand: as if the turn that handled it had raised
            if not isinstance(error, Exception):
                raise
            return
        self.in_hand = NOTHING
        self._busy = False
        if not handled:
            super().deliver(message)
            return
        self._taken += 1
        if self.mailbox:  # it has sent something to itself
            self.wake()

    async def turn(self) -> None:
        """Handle all that waits, then return. An exception is a crash."""
        raised, self._raised = self._raised, None
        if raised is not None:
            raise raised
        await super().turn()
        self.mailbox.rest()
        if not self.questions:
            self.questions.clear()  # of its table, which only grew until now
