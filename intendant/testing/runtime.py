"""A runtime for tests: it has a clock of its own, its steps can be stubbed, and it can die at any record and go on."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial
from typing import Any, Final, Literal, ParamSpec, TypeVar, overload

import anyio
import anyio.abc
from msgspec.structs import replace

from intendant.actors.services import Periods
from intendant.adapters.memory import MemoryFileStore, MemoryStore
from intendant.context import Context
from intendant.domain.errors import IntendantError
from intendant.domain.ids import make_id
from intendant.domain.ports import Store
from intendant.domain.records import LogRecord
from intendant.domain.state import Event
from intendant.realm import Realm
from intendant.runtime.config import Shutdown
from intendant.runtime.handles import Execution
from intendant.runtime.runtime import Runtime
from intendant.testing.across import CancellationsAcross, EndsAcross, across
from intendant.testing.clock import LoopTime, MovableClock, RealClock
from intendant.testing.crashes import Crash, CrashingStore, Lost, Moment
from intendant.testing.faults import ProcessDied
from intendant.testing.history import ExecutionLog
from intendant.testing.replays import NonDeterminism, Replays, other_days
from intendant.testing.stubs import UNSET, StepStub, Stubs, stubbed_context

P = ParamSpec("P")
T = TypeVar("T")
A = TypeVar("A")
R = TypeVar("R")

ClockName = Literal["jump", "hand", "real"]
LostName = Literal["nothing", "reply", "record"]

PATIENCE: Final = timedelta(days=400)  # of virtual time: what does not end by then never does
REAL_PATIENCE: Final = timedelta(seconds=30)
_LEASE: Final = 1e6  # seconds: nobody else wants the store, and each heartbeat would be a jump
_DAY: Final = 86_400.0  # seconds


class TestRuntime(Runtime):
    """A runtime over a store of its own, which can die and go on while its callers wait.

    When it dies, its handlers are cut off, and another life begins over what the store holds. Calls that were under
    way are made again then, as a client's would be: a test waits for a result across any number of crashes. Sub-objects
    (`wal`, `outbox`, `state`) raise while it is down.
    """

    __test__ = False  # pytest takes it for tests by its name

    def __init__(
        self,
        realms: Iterable[Realm],
        new_store: Callable[[], Store] = MemoryStore,
        *,
        time: LoopTime | None = None,
        always_replay: bool = False,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        self._time = time
        self.clock = RealClock() if time is None else MovableClock(time)
        self.published: list[Event] = []
        """What its publisher was given, in order; after a crash an event may come twice."""
        self.crashes = 0
        """How often it has died."""
        self.replays: Replays | None = None
        self._stubs = Stubs()
        self._fault: BaseException | None = None
        self._fault_told = False
        self._is_up = anyio.Event()
        self._is_to_leave = anyio.Event()
        self._ends = self._anew = False
        held = None if time is None or new_store is MemoryStore else time.held
        self.store = CrashingStore(new_store, self._died, held)
        given: dict[str, Any] = {"publisher": self.published.append, "files": MemoryFileStore(), "name": "test"}
        given |= {"shutdown": Shutdown(drain=0.0), "clock": self.clock}
        given |= {} if time is None else {"lease": _LEASE}
        super().__init__(tuple(realms), hot=self.store, **{**given, **(options or {})})
        self._settings = replace(self._settings, context=partial(stubbed_context, self._stubs))
        if time is not None:
            self._settings = replace(self._settings, periods=Periods(_DAY, _DAY, _DAY))
        if always_replay:
            self._replay_always()
        patience = REAL_PATIENCE if time is None else PATIENCE
        self.ends = EndsAcross(self, self._serving, patience.total_seconds())
        self.cancellations = CancellationsAcross(self, self._serving, self._settings.timeout)

    def _replay_always(self) -> None:
        files = self._settings.files
        assert files is None or not isinstance(files, str)  # noqa: S101  they were made above
        self._settings = replace(self._settings, limits=replace(self._settings.limits, resident=0))
        self.replays = self.store.witness = Replays(self.repertoire, files, self.fail)

    # --- what tests do with it

    async def start(
        self,
        handler: Callable[[Context, A], Awaitable[R]],
        parameters: A,
        *,
        tenant: str = "tenant",
        session: str = "session",
        idempotency_key: str | None = None,
    ) -> Execution[R]:
        """Submit an intent to a session, which is opened if it is not there."""
        opened = await self.open_session(tenant, session)
        return await opened.submit(handler, parameters, idempotency_key=idempotency_key)

    async def run(
        self,
        handler: Callable[[Context, A], Awaitable[R]],
        parameters: A,
        *,
        tenant: str = "tenant",
        session: str = "session",
        timeout: float | None = None,
    ) -> R:
        """Submit an intent as `start` does, and wait for its result, across crashes; raises as `Execution.result`."""
        execution = await self.start(handler, parameters, tenant=tenant, session=session)
        return await execution.result(timeout=timeout)

    async def log(self, execution: Execution[Any]) -> ExecutionLog:
        """What is recorded of an execution by now; records beyond the first 10,000 are left out."""

        async def read() -> list[LogRecord]:
            page = await self.wal.query(execution.tenant, execution=execution.id, newest_first=False, limit=10_000)
            return page.items

        return ExecutionLog(execution.id, await self.outlive(read))

    @overload
    def stub_step(self, name: str, *, returns: object) -> StepStub: ...
    @overload
    def stub_step(self, name: str, *, calls: Callable[..., Any]) -> StepStub: ...
    @overload
    def stub_step(
        self,
        name: str,
        *,
        raises: Exception | type[Exception],
        times: int | None = None,
        returns: object = ...,
        calls: Callable[..., Any] | None = None,
    ) -> StepStub: ...
    def stub_step(
        self,
        name: str,
        *,
        returns: object = UNSET,
        raises: Exception | type[Exception] | None = None,
        times: int | None = None,
        calls: Callable[..., Any] | None = None,
    ) -> StepStub:
        """Let a step return or raise this instead of running its function, or call another function: `calls(*args)`.

        `name` is its path (`place/charge[key]`, `undo(place/charge)`), or its name for all of that name (`charge`,
        `undo(charge)`). With `times`, only so many first attempts of each raise; then it returns, or calls, or runs.
        The newest stub of a step holds, to the end of the test. `calls` of the stub lists every attempt.
        """
        if times is not None and raises is None:
            raise ValueError("times= says how many attempts raise: give raises= as well")
        return self._stubs.add(StepStub(name, returns=returns, raises=raises, calls=calls, times=times))

    def crash_after(
        self,
        *,
        record: int | None = None,
        kind: str | None = None,
        step: str | None = None,
        nth: int = 1,
        lost: LostName = "nothing",
    ) -> Crash:
        """Let the process die once, at a record from now on; it goes on by itself, over what the store holds.

        `record` counts all that is written from now on, from 1; `kind` is a record's type; `step` the path of a step
        or wait; `nth` counts what fits. `lost` is what is lost besides what it had in memory: nothing (the record is
        durable and its writer was told), the reply (it is durable, nobody was told), or the record.

        As functions can't be killed, those under way are cancelled instead. Raises ValueError for no moment at all.
        """
        if record is None and kind is None and step is None:
            raise ValueError("say where it is to crash: record=, kind= or step=")
        if record is not None and (kind is not None or step is not None or nth != 1):
            raise ValueError("record= says the one record; kind=, step= and nth= say it otherwise")
        crash = Crash(Moment(record, kind, step, nth), Lost(lost))
        self.store.crashes.append(crash)
        return crash

    def every_crash(self, *, lost: Iterable[LostName] = ("nothing", "reply", "record")) -> AsyncIterator[Crash]:
        """Run the loop's body again and again, each time over an empty store: first without a crash, then with one.

            async for crash in runtime.every_crash():
                bank.clear()
                assert await runtime.run(place, Order("tea")) == Receipt("tea")
                assert bank.charges == ["tea"]

        It dies at every commit of the first run, in every way (see `crash_after`). What the body keeps outside of the
        runtime is its own to reset. When an assertion fails, the report says at which crash.
        """
        return EveryCrash(self, [Lost(each) for each in lost])

    async def settle(self) -> None:
        """Wait until nothing more can happen unless time passes: events have left, say."""
        await (anyio.wait_all_tasks_blocked() if self._time is None else self._time.settle())

    async def restart(self) -> None:
        """Leave it in good order and go on over the same store, as a deploy does."""
        await self._next_life()

    async def begin_anew(self) -> None:
        """Go on over an empty store, as if nothing had been. Handles of before lead nowhere."""
        self._anew = True
        await self._next_life()
        self.published.clear()

    def describe(self) -> str:
        """What it went through: crashes, and the history of each execution."""
        lines = [str(crash) for crash in self.store.crashes]
        found: dict[str, list[LogRecord]] = {}
        for record in (each for batch in self.store.batches for each in batch):
            if record.execution:
                found.setdefault(record.execution, []).append(record)
        logs = [str(ExecutionLog(id, records)) for id, records in found.items()]
        return "\n".join([*lines, *logs[-_SHOWN:]])

    def check(self) -> None:
        """Raise what was found, unless a call has raised it."""
        if self._fault is not None and not self._fault_told:
            self._fault_told = True
            raise self._fault

    # --- its lives

    def fail(self, fault: NonDeterminism) -> None:
        """Stop for good; calls raise this from now on."""
        if self._fault is None:
            self._fault = fault
            self.store.die()

    def _died(self) -> None:
        if self._is_up.is_set():
            self._is_up = anyio.Event()
        self._is_to_leave.set()

    async def _next_life(self) -> None:
        await self._wait_until_up()
        self._died()
        await self._wait_until_up()

    async def _wait_until_up(self) -> None:
        while not self._is_up.is_set():  # another death may come before this task has its turn
            await self._is_up.wait()
        if self._fault is not None:
            self._fault_told = True
            raise self._fault

    async def outlive(self, call: Callable[[], Awaitable[T]]) -> T:
        """Make a call, and again if the process died meanwhile; returns when a process runs again."""
        while True:
            await self._wait_until_up()
            life = self._is_up
            try:
                result = await call()
            except IntendantError:
                if life is self._is_up:
                    raise
            else:
                if life is not self._is_up:
                    await self._wait_until_up()
                return result

    async def live(self, *, task_status: anyio.abc.TaskStatus[None]) -> None:
        """Its lives, one after the other, until `end`."""
        await self.__aenter__()
        task_status.started()
        while True:
            if not self.store.dead:  # it may have died while it began
                self._is_up.set()
            await self._is_to_leave.wait()
            died = ProcessDied() if self.store.dead else None
            await self.__aexit__(None, died, None)
            self._is_to_leave = anyio.Event()
            if self._ends or self._fault is not None:
                break
            self.crashes += died is not None
            if self._anew:
                self._anew = False
                self.store.begin_anew()
            self.store.revive()
            try:
                await self.__aenter__()
            except Exception as error:
                self._fault = error
                break
        self._is_up.set()

    def end(self) -> None:
        """Leave it."""
        self._ends = True
        self._is_to_leave.set()

    # --- calls that outlive the process

    open_session = across(Runtime.open_session)
    create_session = across(Runtime.create_session)
    close_session = across(Runtime.close_session)
    view_session = across(Runtime.view_session)
    read_session_state = across(Runtime.read_session_state)
    sessions = across(Runtime.sessions)
    submit_prepared = across(Runtime.submit_prepared)
    executions = across(Runtime.executions)
    view_execution = across(Runtime.view_execution)
    read_sagas = across(Runtime.read_sagas)
    read_children = across(Runtime.read_children)
    ask_progress = across(Runtime.ask_progress)
    query = across(Runtime.query)
    tenants = across(Runtime.tenants)

    async def signal(
        self, tenant: str, id: str, name: str, payload: object, given_id: str | None, timeout: float | None
    ) -> None:
        """See `Runtime.signal`. It is the same signal, however often it is sent."""
        same = make_id(self.now()) if given_id is None else given_id
        signal = super().signal
        await self.outlive(lambda: signal(tenant, id, name, payload, same, timeout))


_SHOWN: Final = 5  # executions in a report, the newest


class EveryCrash(AsyncIterator[Crash]):
    """An object and not a generator, so that a loop may be left early without closing anything."""

    def __init__(self, runtime: TestRuntime, ways: Sequence[Lost]) -> None:
        self._runtime = runtime
        self._ways = ways
        self._ahead: list[Crash] | None = None
        self._first = True  # the run that shows what is to come

    async def __anext__(self) -> Crash:
        if self._ahead is None:
            self._ahead = []
            return await self._begin(Crash(None, Lost.NOTHING))
        if self._first:
            self._first = False
            self._ahead = [Crash(each, lost) for each in self._runtime.store.moments() for lost in self._ways]
        if not self._ahead:
            raise StopAsyncIteration
        return await self._begin(self._ahead.pop(0))

    async def _begin(self, crash: Crash) -> Crash:
        await self._runtime.begin_anew()
        self._runtime.store.crashes.append(crash)
        return crash


@asynccontextmanager
async def running(
    realms: Iterable[Realm],
    new_store: Callable[[], Store] = MemoryStore,
    *,
    clock: ClockName = "jump",
    always_replay: bool = False,
    options: Mapping[str, Any] | None = None,
) -> AsyncGenerator[TestRuntime]:
    """A TestRuntime at work; what pytest's fixture `runtime` gives.

    With `clock="jump"` virtual time jumps to the next deadline when nothing else can happen, with "hand" it stands
    still until `runtime.clock.advance` moves it: both on a loop of `virtual_backends()`. `options` are `Runtime`'s.
    Raises, when it is left, what `always_replay` has found and no call has raised.
    """
    time = None if clock == "real" else LoopTime(jumps=clock == "jump")
    raised: Exception | None = None
    with contextlib.ExitStack() as stack:
        if time is not None:
            stack.enter_context(time.threads_held())
        if always_replay:
            stack.enter_context(other_days())
        runtime = TestRuntime(realms, new_store, time=time, always_replay=always_replay, options=options)
        async with anyio.create_task_group() as group:
            await group.start(runtime.live)
            try:
                yield runtime
            except Exception as error:  # no group is made of it
                raised = error
            if time is not None:
                time.let_jump()  # what takes its time to leave has a limit
            runtime.end()
    if raised is not None:
        raise raised
    runtime.check()
