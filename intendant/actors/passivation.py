"""Who leaves memory: of the handlers that rest, when they are too many, those that have waited longest."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from intendant.actors.execution import ExecutionActor
from intendant.actors.open_execution import OpenExecution
from intendant.actors.places import Places
from intendant.parking import Seam


class Passivation:
    """Suspends handlers of a partition that do nothing but wait, alone, until what they wait for has come.

    Not from a task: whoever cancels another task is put into words with it, which costs as much as the rest.
    """

    def __init__(self, places: Places, seam: Seam) -> None:
        self._places = places
        self._seam = seam

    def make_room(self) -> None:
        """Tell those to leave that are too many. Each has until the next turn of the loop to go by itself."""
        if told := self._places.take_excess():
            self._seam.call_soon(partial(self._tell, told))

    def _tell(self, told: Sequence[OpenExecution]) -> None:
        leaving = list[tuple[OpenExecution, ExecutionActor]]()
        for entry in told:
            actor = entry.actor
            if actor is not None and self._places.is_to_leave(entry) and actor.recording.may_leave(()):
                actor.recording.passivate()
                leaving.append((entry, actor))
        if leaving:
            self._seam.call_soon(partial(_see_off, leaving))


def _see_off(leaving: Sequence[tuple[OpenExecution, ExecutionActor]]) -> None:
    """Cancel all that handlers do that are still there."""
    for entry, actor in leaving:
        if entry.actor is actor:
            actor.recording.leave()
