"""Lives of one scenario over one store: each may be cut off anywhere, and the next goes on from there."""

from __future__ import annotations

import math
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeVar, cast

import anyio

from intendant import Event, Limits, Realm, Runtime, Shutdown
from intendant.adapters.memory import MemoryFileStore, MemoryLog, MemorySnapshot, MemoryStore
from intendant.domain.commit import Batch
from intendant.domain.ports import LogReader, Store
from intendant.domain.replay import World
from intendant.parking import Seam
from intendant.supervisor import Event as SupervisorEvent
from tests.faults.auditing import audit, compare, read_world
from tests.faults.children import make_children
from tests.faults.driver import Driver
from tests.faults.ends import End, end_of
from tests.faults.faulty_store import FaultyStore, Plan
from tests.faults.handlers import make_realm
from tests.faults.ledger import LEDGERS, Ledger
from tests.faults.published import Published, check_order
from tests.faults.sagas import make_sagas
from tests.faults.scenarios import Scenario
from tests.faults.told import Told, check_told
from tests.faults.virtual_time import Backend, TickingClock, Turns, run_virtual

T = TypeVar("T")


@cache
def all_realms() -> tuple[Realm, ...]:
    """The realms of every life."""
    ledger: Any = LEDGERS
    return make_realm(ledger), make_sagas(ledger), make_children(ledger)


def _at_once(read: Coroutine[Any, Any, T]) -> T:
    """What is read by a coroutine that does not wait."""
    try:
        read.send(None)
    except StopIteration as done:
        value: T = done.value
        return value
    read.close()
    raise RuntimeError("it waits, and nobody would wake it")


@dataclass
class Cut:
    """The moment a process dies: what the store holds then, and what the world outside has seen."""

    when: str
    snapshot: MemorySnapshot
    told: Told
    events: list[Event]


class Lives:
    """One scenario over one store, through as many lives as a test wants; what the outside has seen stays."""

    def __init__(self, scenario: Scenario, backend: Backend, cut: Cut | None = None) -> None:
        self.scenario = scenario
        self.backend: Backend = backend
        self.store = MemoryStore()
        if cut is not None:
            self.store.restore(cut.snapshot)
        self.told = cut.told.copy() if cut else Told()
        self.ledger = Ledger(self.store)
        self.published = Published(self.store, cut.events if cut else ())
        self.files = MemoryFileStore()
        self.happened: list[SupervisorEvent] = []
        self.clock = TickingClock()
        self.turns = 0
        self.commits = 0
        self.reads = 0
        self.wrap: Callable[[MemoryStore], Store] = lambda store: store
        self.realms = list(all_realms())
        self._world: World | None = None  # to which the log leads, since the last life

    def live(
        self,
        plan: Plan | None = None,
        *,
        leave_at: float = math.inf,
        call_at: Callable[[], None] | None = None,
        cancel: bool = False,
        drain: float = 0.0,
    ) -> bool:
        """Live once: drive the scenario to its end, or leave at that turn of the loop. Whether it came to its end."""
        ended = False
        LEDGERS.now, self._world = self.ledger, None
        turns = Turns(leave_at)
        faulty = FaultyStore(self.wrap(self.store), plan or Plan())

        async def main() -> None:
            nonlocal ended
            leave = anyio.Event()
            turns.call = call_at or leave.set
            with anyio.CancelScope() as host:
                async with self._runtime(faulty, drain) as runtime, anyio.create_task_group() as group:

                    async def leaving() -> None:
                        await leave.wait()
                        (host if cancel else group.cancel_scope).cancel()

                    group.start_soon(leaving)
                    await Driver(runtime, self.told).drive(self.scenario)
                    ended = True
                    group.cancel_scope.cancel()

        run_virtual(self.backend, main, turns)
        self.turns, self.commits, self.reads = turns.count, faulty.log(0).commits, faulty.log(0).reads
        return ended

    def _runtime(self, store: Store, drain: float) -> Runtime:
        return Runtime(
            self.realms,
            hot=store,
            publisher=self.published,
            files=self.files,
            limits=Limits(running=self.scenario.running, resident=self.scenario.resident),
            shutdown=Shutdown(drain=drain),
            on_event=self.happened.append,
            clock=self.clock,
        )

    def read(self, read: Callable[[LogReader, World], Coroutine[Any, Any, T]]) -> T:
        """Look into the store, which is not open otherwise. Nothing waits for memory, so no event loop is needed."""
        log = MemoryLog(self.store.log(0).shared)
        log.open(cast("Seam", object()))
        if self._world is None:
            self._world = _at_once(read_world(log))
        return _at_once(read(log, self._world))

    def end(self) -> End:
        """What the store holds now."""

        async def look(_log: LogReader, world: World) -> End:
            return end_of(world, self.published.events)

        return self.read(look)

    def violations(self) -> list[str]:
        """Everything that is wrong now, in the store and in what the outside has seen. Empty when all is well."""
        found = self.read(self._audit)
        found += self.ledger.violations + self.published.violations + check_order(self.published.events)
        return found

    async def _audit(self, log: LogReader, world: World) -> list[str]:
        return await audit(log, world) + await check_told(log, self.told, world)

    def differences(self, wanted: End) -> list[str]:
        """How what the store holds now differs from what it should hold in the end."""
        end = self.end()
        found: list[str] = []
        for what in ("executions", "sessions", "documents", "events"):
            compare(found, what, getattr(end, what), getattr(wanted, what))
        return found

    def ended_differently(self, wanted: End) -> list[str]:
        """Executions that have ended by now, and not as they should."""
        end = self.end()
        return [
            f"{key} ended as {value}, not as {wanted.executions[key]}"
            for key, value in end.executions.items()
            if value[2][0] in ("completed", "failed", "cancelled") and value != wanted.executions[key]
        ]

    def cut(self, when: str) -> Cut:
        """The process dies now."""
        return Cut(when, self.store.snapshot(), self.told.copy(), list(self.published.events))


class Cutting(Plan):
    """Takes a cut around every commit: before it is applied, and when it is applied and not yet answered."""

    def __init__(self, lives: Lives) -> None:
        self.cuts: list[Cut] = []
        self._lives = lives

    async def before_commit(self, number: int, batch: Batch) -> None:
        self.cuts.append(self._lives.cut(f"before commit {number}"))

    async def after_commit(self, number: int, batch: Batch) -> None:
        self.cuts.append(self._lives.cut(f"after commit {number}, before its reply"))
