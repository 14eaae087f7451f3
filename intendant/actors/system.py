"""Actors without a store: a supervised set of them in one task group.

async with ActorSystem("shop") as system:
    counter = system.spawn("counter", Counter)
    counter.tell(Add(1))
    print(await counter.ask(Get, timeout=1.0))
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Any, TypeVar

import anyio
import anyio.abc

from intendant.actors.actor import Actor, Cell
from intendant.actors.dead_letters import DeadLetters
from intendant.actors.deadlines import Deadlines
from intendant.actors.mailbox import Overflow
from intendant.actors.pressure import Pressure
from intendant.actors.ref import Ref
from intendant.domain.errors import ActorStopped
from intendant.parking import Seam, current_seam
from intendant.supervisor import Backoff, DynamicSupervisor, Event, Intensity

M = TypeVar("M")


class ActorSystem:
    """Runs actors under one supervisor until it is left; then every actor handles what waits, and ends.

    A crashed actor is started anew by its factory, with back-off. One that crashes more often than `intensity` allows
    is given up: its questions fail and its watchers are told; the others go on.
    """

    def __init__(
        self,
        name: str = "actors",
        *,
        intensity: Intensity | None = None,
        backoff: Backoff | None = None,
        on_event: Callable[[Event], None] = lambda _event: None,
        shutdown: float = 5.0,
        dead_letters: int = 1_000,
    ) -> None:
        self.dead_letters = DeadLetters(dead_letters)
        """The newest messages that were not handled, at most so many."""
        self._name = name
        self._intensity = intensity or Intensity()
        self._backoff = backoff or Backoff()
        self._on_event = on_event
        self._shutdown = shutdown
        self._cells: dict[str, Cell[Any]] = {}
        self._stack = AsyncExitStack()
        self._seam: Seam
        self._deadlines: Deadlines
        self._supervisor: DynamicSupervisor

    def spawn(
        self,
        name: str,
        factory: Callable[[], Actor[M]],
        *,
        capacity: int = 10_000,
        overflow: Overflow = Overflow.REFUSE,
        attempts: int = 1,
    ) -> Ref[M]:
        """Add an actor made by `factory`, which is called anew at every restart; `capacity` bounds its mailbox.

        A message is handled at most `attempts` times: when its actor has crashed that often with it in a row, it is
        set aside in `dead_letters` and the actor goes on. Each crash is one of the actor's `intensity`.

        Raises ValueError when an actor of this name lives.
        """
        if name in self._cells:
            raise ValueError(f"an actor named {name!r} lives in {self._name} already; stop it first or choose a name")
        path = f"{self._name}/{name}"
        supervisor = self._supervisor

        def schedule() -> None:
            supervisor.perform(name, cell.turn, cell.crashed)

        cell = Cell(
            path,
            factory,
            capacity=capacity,
            seam=self._seam,
            deadlines=self._deadlines,
            schedule=schedule,
            overflow=overflow,
            attempts=attempts,
            dead_letters=self.dead_letters,
        )
        cell.watch(lambda _cause: self._forget(name))
        self._cells[name] = cell
        return cell.ref

    def _give_up(self, name: str, cause: BaseException) -> None:
        if cell := self._cells.get(name):  # it may have ended meanwhile, with one that it is linked with
            cell.give_up(cause)

    def _forget(self, name: str) -> None:
        self._cells.pop(name, None)

    def stop(self, name: str) -> None:
        """Let an actor handle what waits in its mailbox, then end it. One that is not there is no error."""
        if cell := self._cells.get(name):
            cell.stop()

    def link(self, first: str, second: str) -> None:
        """Let neither outlive the other's failure: when one is given up, the other ends with it, and so on.

        It finishes the message in hand; what waits goes to the dead letters. A normal end concerns nobody. Raises
        KeyError when one of them does not live.
        """
        one, other = self._cells[first], self._cells[second]
        for broken, linked in ((one, other), (other, one)):
            broken.watch(_ends(linked, broken.path))

    def pressure(self) -> list[Pressure]:
        """The actors that have work: how much waits, and for how long at least.

        It costs the actors next to nothing, because only looking takes the time: look regularly, and ages are true to
        the time between two looks.
        """
        return [cell.pressure() for cell in self._cells.values() if not cell.idle]

    def __len__(self) -> int:
        return len(self._cells)

    async def __aenter__(self) -> ActorSystem:
        self._seam = current_seam()
        self._deadlines = Deadlines(self._seam)
        self._supervisor = DynamicSupervisor(
            self._name,
            intensity=self._intensity,
            backoff=self._backoff,
            on_event=self._on_event,
            on_give_up=self._give_up,
        )
        group = await self._stack.enter_async_context(anyio.create_task_group())
        group.start_soon(self._deadlines.run)
        await group.start(self._supervisor.run)
        self._group: anyio.abc.TaskGroup = group
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        with anyio.CancelScope(shield=True), anyio.move_on_after(self._shutdown):
            await self._drain()
        for cell in list(self._cells.values()):
            cell.end()
        self._group.cancel_scope.cancel()
        return await self._stack.__aexit__(kind, error, trace)

    async def _drain(self) -> None:
        ended = self._seam.parking()
        for cell in list(self._cells.values()):
            cell.watch(lambda _cause: ended.wake())
            cell.stop()
        while self._cells:
            await ended.wait()


def _ends(linked: Cell[Any], path: str) -> Callable[[BaseException | None], None]:
    def end(cause: BaseException | None) -> None:
        if cause is not None:
            failure = ActorStopped(f"{linked.path} is linked with {path}, which was given up: {cause!r}")
            failure.__cause__ = cause
            linked.end(failure)

    return end
