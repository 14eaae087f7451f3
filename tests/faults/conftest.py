"""The stage of the fault tests: scenarios as data, a way to run them that may be cut off anywhere, and what must hold.

Everything runs in memory and in virtual time, on asyncio and on trio, so that a run takes milliseconds and the n-th
commit is the same one each time. Test modules import names from here for their types only, and get the objects from
the fixture `stage`.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import logging
import math
import selectors
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import cache, partial
from typing import Any, Final, Literal, TypeVar, cast

import anyio
import anyio.lowlevel
import anyio.to_thread
import msgspec
import pytest
import trio
import trio.testing

from intendant import (
    ActorStopped,
    CancelResult,
    Context,
    Event,
    ExecutionEnded,
    IntendantError,
    Intent,
    Limits,
    NotExclusive,
    Outcome,
    OutcomeUnknown,
    Realm,
    Retry,
    Runtime,
    SessionExists,
    Shutdown,
    Step,
    StepFailed,
    StoreUnavailable,
    Suspended,
)
from intendant.actors.outbox_relay import event_of
from intendant.actors.session import Claim
from intendant.adapters.memory import MemoryFileStore, MemoryLog, MemorySnapshot, MemoryStore
from intendant.domain import state as states
from intendant.domain.commit import PLACES, Batch, KeysTaken, Verdict
from intendant.domain.journal import Journal, Row, decode_journal_row
from intendant.domain.payloads import CancelRequested
from intendant.domain.ports import (
    Document,
    Durability,
    Holding,
    IndexMember,
    Log,
    LogReader,
    OutboxItem,
    Owner,
    Store,
    Tenure,
    Usage,
)
from intendant.domain.records import decode_entry
from intendant.domain.replay import World, replay
from intendant.domain.state import ExecutionState, SessionState
from intendant.parking import Seam
from intendant.supervisor import Event as SupervisorEvent
from tests.faults.children import make_children
from tests.faults.sagas import make_sagas

T = TypeVar("T")
Backend = Literal["asyncio", "trio"]
BACKENDS: Final[tuple[Backend, ...]] = ("asyncio", "trio")
PATIENCE: Final = 3600.0  # virtual seconds: whatever takes longer hangs
START: Final = 1_700_000_000_000_000  # µs since 1970 UTC: when every scenario begins


# --- virtual time


class _JumpingSelector(selectors.SelectSelector):
    """Does not wait for time to pass: moves the clock."""

    loop: VirtualLoop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self.loop.turn()
        ready = super().select(0)
        if ready or (timeout is not None and timeout <= 0):
            return ready
        if timeout is None:
            raise RuntimeError("deadlock: nothing is scheduled and nothing can happen")
        self.loop.now += timeout
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop in virtual time that counts its turns, and calls at one of them."""

    def __init__(self, turns: Turns) -> None:
        self.now = 0.0
        self._turns = turns
        selector = _JumpingSelector()
        selector.loop = self
        super().__init__(selector)

    def time(self) -> float:
        return self.now

    def turn(self) -> None:
        self._turns.turn(self.call_soon)


class TurnInstrument(trio.abc.Instrument):
    """Counts trio's turns."""

    def __init__(self, turns: Turns) -> None:
        self._turns = turns

    def before_io_wait(self, timeout: float) -> None:
        self._turns.turn(trio.lowlevel.current_trio_token().run_sync_soon)


class Turns:
    """How often the event loop went round; `call` is made at turn `at`."""

    def __init__(self, at: float = math.inf, call: Callable[[], None] = lambda: None) -> None:
        self.count = 0
        self.at = at
        self.call = call

    def turn(self, soon: Callable[[Callable[[], None]], object]) -> None:
        self.count += 1
        if self.count == self.at:
            soon(self.call)


def run_virtual(backend: Backend, main: Callable[[], Awaitable[None]], turns: Turns | None = None) -> None:
    """Run `main` in virtual time, the same way each time."""
    turns = turns or Turns()
    if backend == "asyncio":
        anyio.run(main, backend="asyncio", backend_options={"loop_factory": lambda: VirtualLoop(turns)})
        return
    core: Any = importlib.import_module("trio._core._run")  # its scheduling is made deterministic by private names
    allowed, state = core._ALLOW_DETERMINISTIC_SCHEDULING, core._r.getstate()
    core._ALLOW_DETERMINISTIC_SCHEDULING = True
    core._r.seed(7)
    clock = trio.testing.MockClock(autojump_threshold=0)
    options: dict[str, Any] = {"clock": clock, "instruments": [TurnInstrument(turns)]}
    try:
        anyio.run(main, backend="trio", backend_options=options)
    finally:
        core._ALLOW_DETERMINISTIC_SCHEDULING = allowed
        core._r.setstate(state)


class TickingClock:
    """A wall clock that goes on by a millisecond each time it is read."""

    def __init__(self, start: int = START) -> None:
        self._now = start

    def now(self) -> int:
        self._now += 1000
        return self._now


async def _run_here(
    function: Callable[..., Any], *arguments: Any, limiter: object = None, abandon_on_cancel: bool = False
) -> Any:
    """Instead of a worker thread, which virtual time would not wait for."""
    await anyio.lowlevel.checkpoint()
    value = function(*arguments)
    await anyio.lowlevel.checkpoint()
    return value


# --- a store that fails as planned


class Plan:
    """Told of every call of the store, before and after; what it raises, the store raises. This one lets all pass."""

    async def before_commit(self, number: int, batch: Batch) -> None: ...

    async def after_commit(self, number: int, batch: Batch) -> None: ...

    async def before_read(self, number: int, what: str) -> None: ...


class FaultyStore:
    """A store around another one that does what its plan says."""

    def __init__(self, inner: Store, plan: Plan) -> None:
        self.inner = inner
        self._log = FaultyLog(inner.log(0), plan)

    @property
    def name(self) -> str:
        return self.inner.name

    @property
    def partitions(self) -> int:
        return self.inner.partitions

    @property
    def durability(self) -> Durability:
        return self.inner.durability

    @property
    def loss_window(self) -> float:
        return self.inner.loss_window

    async def usage(self) -> Usage:
        return await self.inner.usage()

    async def open(self) -> None:
        await self.inner.open()

    async def close(self) -> None:
        await self.inner.close()

    def log(self, partition: int) -> FaultyLog:
        return self._log


class FaultyLog:
    """The log of a FaultyStore."""

    def __init__(self, inner: Log, plan: Plan) -> None:
        self.inner = inner
        self.plan = plan
        self.commits = 0
        self.reads = 0

    @property
    def durability(self) -> Durability:
        return self.inner.durability

    async def commit(self, batch: Batch) -> Verdict | KeysTaken:
        self.commits += 1
        number = self.commits
        await self.plan.before_commit(number, batch)
        verdict = await self.inner.commit(batch)
        await self.plan.after_commit(number, batch)
        return verdict

    async def holder(self) -> Holding | None:
        return await self.inner.holder()

    async def acquire(self, owner: Owner, *, timeout: float, lease: float, above: int = 0) -> Tenure:
        return await self.inner.acquire(owner, timeout=timeout, lease=lease, above=above)

    async def renew(self, tenure: Tenure, next_sequence: int) -> Verdict:
        await self._read("renew")
        return await self.inner.renew(tenure, next_sequence)

    async def release(self, tenure: Tenure) -> None:
        await self.inner.release(tenure)

    async def scrub(self) -> None:
        await self.inner.scrub()

    async def document(self, tenant: str, collection: str, key: str) -> Document | None:
        await self._read("document")
        return await self.inner.document(tenant, collection, key)

    async def fetch(self, wanted: Sequence[tuple[str, str, str]]) -> list[Document | None]:
        await self._read("fetch")
        return await self.inner.fetch(wanted)

    async def keys(self, tenant: str, *, after: str = "", limit: int = 1000) -> list[tuple[str, bytes]]:
        await self._read("keys")
        return await self.inner.keys(tenant, after=after, limit=limit)

    async def tenants(self, *, after: str = "", limit: int = 1000) -> list[str]:
        await self._read("tenants")
        return await self.inner.tenants(after=after, limit=limit)

    async def documents(
        self, tenant: str, collection: str, *, after: str = "", limit: int = 100, newest_first: bool = False
    ) -> list[Document]:
        await self._read("documents")
        return await self.inner.documents(tenant, collection, after=after, limit=limit, newest_first=newest_first)

    async def journal(self, tenant: str, execution: str) -> list[bytes]:
        await self._read("journal")
        return await self.inner.journal(tenant, execution)

    async def index(self, name: str, *, after: IndexMember | None = None, limit: int = 1000) -> list[IndexMember]:
        await self._read("index")
        return await self.inner.index(name, after=after, limit=limit)

    async def key(self, tenant: str, key: str) -> bytes | None:
        await self._read("key")
        return await self.inner.key(tenant, key)

    async def outbox(self, *, after: int = 0, limit: int = 256, tenant: str | None = None) -> list[OutboxItem]:
        await self._read("outbox")
        return await self.inner.outbox(after=after, limit=limit, tenant=tenant)

    async def checkpoint(self, name: str) -> int:
        await self._read("checkpoint")
        return await self.inner.checkpoint(name)

    async def entries(
        self,
        tenant: str | None,
        *,
        first: int = 0,
        last: int | None = None,
        limit: int = 100,
        newest_first: bool = False,
    ) -> list[bytes]:
        await self._read("entries")
        return await self.inner.entries(tenant, first=first, last=last, limit=limit, newest_first=newest_first)

    async def position_at(self, time: int) -> int:
        await self._read("position_at")
        return await self.inner.position_at(time)

    async def _read(self, what: str) -> None:
        self.reads += 1
        await self.plan.before_read(self.reads, what)


# --- what handlers leave behind outside of the runtime


class Ledger:
    """Notes every run of a step's body, and looks into the store, behind the runtime's back, whether it may run."""

    def __init__(self, store: MemoryStore) -> None:
        self.store = store
        self.runs: list[tuple[str, str]] = []  # execution and path
        self.violations: list[str] = []
        self.refused = 0  # durable calls that a handler made while it was suspended, and that were refused

    def ran(self, ctx: Context, path: str, after: Sequence[str]) -> None:
        """A body begins; the steps in `after` came before it in its handler."""
        self.runs.append((ctx.execution_id, path))
        ended, recorded = self._recorded(ctx)
        if ended:
            self.violations.append(f"step {path} of {ctx.execution_id} ran after the end")
        elif path in recorded:
            self.violations.append(f"step {path} of {ctx.execution_id} was recorded and ran again")
        else:
            missing = [each for each in after if each not in recorded]
            if missing:
                self.violations.append(f"step {path} of {ctx.execution_id} ran before {missing} was recorded")
        if path.startswith("undo-") and not self._cancelled(ctx):
            self.violations.append(f"{ctx.execution_id} cleaned up after a cancel that was not recorded")

    def waited(self, ctx: Context, waits: int) -> None:
        """A body begins that goes on from so many waits: that they are over must be recorded."""
        rows = self.store.log(0).shared.partition.journals.get((ctx.tenant_id, ctx.execution_id), [])
        ended = sum(body[:1] in (b"e", b"s") for _, body in rows)
        if ended < waits:
            self.violations.append(f"{ctx.execution_id} went on from {waits} waits, of which {ended} were recorded")

    def counted(self, ctx: Context, count: object) -> None:
        """A handler reads its session's state: that is how many of `counting` have completed in it, at any moment."""
        documents = self.store.log(0).shared.partition.documents[ctx.tenant_id, states.EXECUTIONS].values.values()
        found = [msgspec.msgpack.decode(each.body, type=ExecutionState) for each in documents]
        completed = count_completed(each for each in found if each.session == ctx.session.id)
        if count != completed:
            self.violations.append(f"{ctx.execution_id} reads {count} where {completed} have completed")

    def rows(self, ctx: Context) -> list[Row]:
        """What the journal holds now."""
        rows = self.store.log(0).shared.partition.journals.get((ctx.tenant_id, ctx.execution_id), [])
        return [decode_journal_row(body) for _, body in rows]

    def _cancelled(self, ctx: Context) -> bool:
        return any(isinstance(row, CancelRequested) for row in self.rows(ctx))

    def _recorded(self, ctx: Context) -> tuple[bool, set[str]]:
        partition = self.store.log(0).shared.partition
        documents = partition.documents.get((ctx.tenant_id, states.EXECUTIONS))
        document = documents.values.get(ctx.execution_id) if documents else None
        ended = document is not None and msgspec.msgpack.decode(document.body, type=ExecutionState).status.ended
        rows = [row for row in self.rows(ctx) if getattr(row, "final", True)]  # an attempt may be followed by others
        return ended, {getattr(row, "path", "") for row in rows}


class CurrentLedger:
    """The ledger of whoever lives now: handlers are registered once for all lives, of which one goes on at a time."""

    now: Ledger

    def __getattr__(self, name: str) -> Any:
        return getattr(self.now, name)

    def __setattr__(self, name: str, value: object) -> None:
        if name == "now":
            object.__setattr__(self, name, value)
        else:
            setattr(self.now, name, value)


LEDGERS: Final = CurrentLedger()


def count_completed(executions: Iterable[ExecutionState]) -> int:
    """How many have counted in their session's state."""
    return sum((each.type, each.status) == ("play.counting", states.Status.COMPLETED) for each in executions)


class Published:
    """A publisher that notes what came, and whether it was durable then."""

    def __init__(self, store: MemoryStore, events: Sequence[Event] = ()) -> None:
        self.store = store
        self.events: list[Event] = list(events)
        self.violations: list[str] = []

    async def publish(self, event: Event) -> None:
        await anyio.lowlevel.checkpoint()
        if event.position // PLACES >= self.store.log(0).shared.partition.ownership.next_sequence:
            self.violations.append(f"event {event.id} was published before its record was durable")
        self.events.append(event)


def make_realm(ledger: Ledger) -> Realm:  # noqa: C901  a list of handlers, none of which branches much
    """The handlers of the scenarios; their step bodies write to the ledger."""
    play = Realm("play")

    def plain_step(ctx: Context, path: str, value: Any, *after: str) -> Callable[[], Any]:
        def body() -> Any:
            ledger.ran(ctx, path, after)
            if isinstance(value, Exception):
                raise value
            return value

        return body

    def async_step(ctx: Context, path: str, value: Any, *after: str) -> Callable[[], Awaitable[Any]]:
        async def body() -> Any:
            ledger.ran(ctx, path, after)
            await anyio.sleep(0.01)
            if isinstance(value, Exception):
                raise value
            return value

        return body

    @play.handler
    async def plain(ctx: Context, given: dict[str, Any]) -> int:
        return int(given["n"]) * 2

    @play.handler(pure=True)
    async def computed(ctx: Context, given: dict[str, Any]) -> int:
        ctx.emit("computed", given["n"])
        ctx.artifact("half", given["n"] / 2)
        if given.get("fails"):
            raise ValueError("as asked")
        return int(given["n"]) * 2

    @play.handler
    async def steps(ctx: Context, given: dict[str, Any]) -> int:
        total = 0
        done: list[str] = []
        for number in range(given["steps"]):
            ctx.emit("before", number)
            make = plain_step if number % 2 else async_step
            total += await ctx.step(f"s{number}", make(ctx, f"s{number}", number + 1, *done))
            done.append(f"s{number}")
            ctx.emit("after", total)
        return int(total)

    @play.handler
    async def failing(ctx: Context, given: dict[str, Any]) -> int:
        value = await ctx.step("first", async_step(ctx, "first", 1))
        ctx.artifact("half", {"value": value})
        ctx.emit("giving-up")
        raise ValueError(f"as asked: {given['n']}")

    @play.handler
    async def guarded(ctx: Context, given: dict[str, Any]) -> str:
        try:
            await ctx.step("broken", async_step(ctx, "broken", LookupError("nothing there")))
        except StepFailed as error:
            ctx.emit("caught", error.kind)
        value = await ctx.step("instead", plain_step(ctx, "instead", "spare", "broken"))
        return str(value)

    @play.handler
    async def broken(ctx: Context, given: dict[str, Any]) -> None:
        await ctx.step("good", plain_step(ctx, "good", 1))
        await ctx.step("bad", plain_step(ctx, "bad", OSError("no such thing"), "good"))

    @play.handler
    async def fan(ctx: Context, given: dict[str, Any]) -> list[int]:
        found: dict[int, int] = {}

        async def one(number: int) -> None:
            found[number] = await ctx.step("part", async_step(ctx, f"part[{number}]", number * number), key=str(number))

        async with anyio.create_task_group() as group:
            for number in range(given["width"]):
                group.start_soon(one, number)
        ctx.artifact("squares", [found[number] for number in sorted(found)])
        kept = await ctx.files.put("squares.txt", repr(sorted(found.items())).encode())
        ctx.artifact("file", kept.digest)
        ctx.emit("fanned", len(found))
        return [found[number] for number in sorted(found)]

    @play.handler
    async def resting(ctx: Context, given: dict[str, Any]) -> int:
        """Cleans up in `finally`, by a step, as one should not: it is refused while the handler is suspended."""
        try:
            first = await ctx.step("a", async_step(ctx, "a", 1))
            ctx.emit("resting")
            await anyio.sleep(5)
            second = await ctx.step("b", plain_step(ctx, "b", 2, "a"))
            await anyio.sleep(5)
        finally:
            try:
                third = await ctx.step("clean", async_step(ctx, "clean", 4, "a", "b"))
            except Suspended:
                ledger.refused += 1
                raise
        return int(first + second + third)

    @play.handler
    async def stubborn(ctx: Context, given: dict[str, Any]) -> int:
        """Swallows its cancellation and every error, and goes on."""
        first = await ctx.step("a", async_step(ctx, "a", 1))
        try:
            await anyio.sleep(5)
        except anyio.get_cancelled_exc_class():
            pass
        try:
            second = await ctx.step("b", async_step(ctx, "b", 2, "a"))
        except BaseException:
            ledger.refused += 1
            second = -100
        try:
            ctx.emit("went-on", second)
        except Suspended:
            ledger.refused += 1
        return int(first + second)

    @play.handler
    async def forgiving(ctx: Context, given: dict[str, Any]) -> str:
        """Takes every error of a step for the step's own."""
        try:
            await ctx.step("a", async_step(ctx, "a", 1))
            await ctx.step("b", plain_step(ctx, "b", 2, "a"))
        except Exception:
            return "fallback"
        return "fine"

    @play.handler
    async def napping(ctx: Context, given: dict[str, Any]) -> int:
        """Sleeps between its steps, and side by side."""
        total = int(await ctx.step("a", async_step(ctx, "a", 1)))
        ctx.emit("sleeps")
        await ctx.sleep(timedelta(milliseconds=20))
        total += await ctx.step("b", plain_step(ctx, "b", 2, "a"))

        async def nap(key: str) -> None:
            await ctx.sleep(timedelta(milliseconds=10), key=key)
            await ctx.step("after", async_step(ctx, f"after[{key}]", 1, "b"), key=key)

        async with anyio.create_task_group() as group:
            group.start_soon(nap, "x")
            group.start_soon(nap, "y")
        await ctx.sleep(timedelta(milliseconds=1), key="last")
        ctx.emit("slept")
        return int(total)

    @play.handler
    async def awaiting(ctx: Context, given: dict[str, Any]) -> list[Any]:
        """Takes what is sent, each in a wait of its own; what it took decides the arguments of a step."""
        came: list[Any] = []
        for number in range(given["waits"]):
            key = str(number)
            try:
                limit = timedelta(milliseconds=given["limit"]) if "limit" in given else None
                came.append(await ctx.wait_signal("go", type=int, timeout=limit, key=key))
            except TimeoutError:
                came.append("late")
            ctx.emit("came", key)
            done = [f"kept[{each}]" for each in range(number)]

            async def keep(value: object, path: str, after: list[str], waits: int) -> None:
                ledger.ran(ctx, path, after)
                ledger.waited(ctx, waits)

            await ctx.step("kept", keep, came[-1], f"kept[{key}]", done, len(came), key=key)
        return ["either"] if given.get("either") else came

    @play.handler
    async def giving_up(ctx: Context, given: dict[str, Any]) -> int:
        """Waits for a while by a cancel scope, as one should not; what comes then is for the next wait."""
        with anyio.move_on_after(0.03):
            return int(await ctx.wait_signal("go", type=int))
        await ctx.step("between", async_step(ctx, "between", 1))
        return int(await ctx.wait_signal("go", type=int, key="again"))

    @play.handler(retry=Retry(attempts=2, initial=timedelta(milliseconds=5), jitter=0))
    async def trying(ctx: Context, given: dict[str, Any]) -> int:
        """Steps in scopes, one that is tried twice, one whose result can't be recorded; and fails once itself."""
        total = 0

        async def unlucky(step: Step) -> int:
            if step.attempt == 1:
                raise OSError("no line")
            return step.attempt

        for part in ("x", "y"):
            with ctx.scope("part", key=part):
                total += await ctx.step("a", async_step(ctx, f"part[{part}]/a", 1))
                total += await ctx.step("b", unlucky, retry=Retry(attempts=2, initial=timedelta(milliseconds=5)))
                ctx.emit("part", part)
        try:
            await ctx.step("unheard-of", object)
        except StepFailed as error:
            ctx.emit("refused", error.kind)
        if ctx.attempt == 1:
            raise ValueError("once")
        return int(total)

    @play.handler(cleanup=timedelta(hours=1))  # an outage of the store is not to use it up
    async def cleaning(ctx: Context, given: dict[str, Any]) -> int:
        """Works or waits as it is told, and undoes what it did, step by step."""
        kind = given["kind"]
        try:
            await ctx.step("a", async_step(ctx, "a", 1))
            ctx.emit("begun")
            if kind in {"step", "fails"}:
                await ctx.step("b", anyio.sleep, 3_000)
            elif kind == "sleep":
                await ctx.sleep(timedelta(days=1))
            elif kind == "signal":
                await ctx.wait_signal("go", timeout=timedelta(days=1))
            elif kind == "map":
                await ctx.map("part", anyio.sleep, [0.005, 0.005, 3_000, 3_000], limit=2)
            elif kind == "retry":
                if ctx.attempt > 1:
                    ledger.violations.append(f"{ctx.execution_id} was tried again after a cancel")
                raise ValueError("to be tried again")
        except anyio.get_cancelled_exc_class():
            await ctx.step("undo-b", async_step(ctx, "undo-b", 2, "a"))
            await ctx.sleep(timedelta(milliseconds=5), key="between")
            ctx.emit("undone")
            if kind == "fails":
                raise ValueError("in its clean-up") from None
            raise
        finally:
            if kind != "retry":
                await ctx.step("undo-a", plain_step(ctx, "undo-a", 3, "a"))
                ctx.artifact("clean", given["kind"])
        return 1

    play.handler(name="tidying", retry=Retry(attempts=5, initial=timedelta(hours=1), jitter=0.0))(cleaning)

    @play.handler(exclusive=True)
    async def counting(ctx: Context, given: dict[str, Any]) -> int:
        """Counts in its session's state, if it comes to its end."""
        state = await ctx.session.state.get()
        ledger.counted(ctx, state.get("count", 0))
        ctx.session.state.set({"count": -1})
        await ctx.step("a", async_step(ctx, "a", 1))
        if given.get("fails"):
            raise ValueError("as asked")
        await ctx.sleep(timedelta(days=1) if given.get("cancelled") else timedelta(milliseconds=5))
        count = int(state.get("count", 0)) + 1
        ctx.session.state.set({"count": count})
        return count

    @play.handler
    async def peeking(ctx: Context, given: dict[str, Any]) -> int:
        """Reads its session's state, twice, and would like to set it."""
        before = (await ctx.session.state.get()).get("count", 0)
        ledger.counted(ctx, before)
        try:
            ctx.session.state.set({"count": -2})
        except NotExclusive:
            ctx.emit("refused")
        else:
            ledger.violations.append(f"{ctx.execution_id} is not exclusive, and has set its session's state")
        await ctx.step("a", async_step(ctx, "a", 1))
        await ctx.sleep(timedelta(milliseconds=5))
        ledger.counted(ctx, before)
        return int(before)

    @play.handler
    async def cursed(ctx: Context, given: dict[str, Any]) -> None:
        await ctx.step("a", plain_step(ctx, "a", 1))
        raise Curse("again")

    return play


class Curse(BaseException):
    """What no handler should raise."""


# --- scenarios: what clients do


@dataclass(frozen=True)
class Open:
    tenant: str
    session: str
    user: str = ""
    must_be_new: bool = False


@dataclass(frozen=True)
class Submit:
    tenant: str
    session: str
    type: str
    key: str
    parameters: dict[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True)
class Many:
    intents: tuple[Submit, ...]


@dataclass(frozen=True)
class SetData:
    tenant: str
    session: str
    version: int


@dataclass(frozen=True)
class SetExecution:
    tenant: str
    key: str
    data: dict[str, Any]


@dataclass(frozen=True)
class Close:
    tenant: str
    session: str


@dataclass(frozen=True)
class Result:
    tenant: str
    key: str


@dataclass(frozen=True)
class Signal:
    """`late`: the execution may have ended by then."""

    tenant: str
    key: str
    id: str
    payload: int = 1
    late: bool = False


@dataclass(frozen=True)
class Follow:
    """Read the stream of what happens to it, to its end."""

    tenant: str
    key: str


@dataclass(frozen=True)
class Cancel:
    """Once the log has so many records of type `after` of it, or at once; `either`: it may have completed by then."""

    tenant: str
    key: str
    after: str = ""
    either: bool = False
    records: int = 1


@dataclass(frozen=True)
class Fork:
    """Fork it from a step on, under a key of its own, once the log has a record of type `after` of it."""

    tenant: str
    key: str
    step: str
    new: str
    after: str = "execution_completed"


@dataclass(frozen=True)
class CancelAll:
    """What is open in a session, or of the tenant, once all of these wait."""

    tenant: str
    session: str
    keys: tuple[str, ...]


@dataclass(frozen=True)
class Refused:
    call: Open | Submit | Many | Close | Signal | Cancel
    code: str


Call = (
    Open
    | Submit
    | Many
    | SetData
    | SetExecution
    | Close
    | Result
    | Signal
    | Follow
    | Cancel
    | CancelAll
    | Fork
    | Refused
)


@dataclass(frozen=True)
class Scenario:
    """Clients that work at the same time, each with its calls in order; then all wait for everything to end."""

    name: str
    clients: tuple[tuple[Call, ...], ...]
    running: int = 1000
    large: bool = False
    resident: int = 1000


def _signalled() -> tuple[tuple[Call, ...], ...]:
    """Signals that end waits, and one nobody waits for."""
    return (
        (
            Open("acme", "s"),
            Submit("acme", "s", "play.awaiting", "k", {"waits": 2}),
            Signal("acme", "k", "first", 1),
            Signal("acme", "k", "second", 2),
            Result("acme", "k"),
            Signal("acme", "k", "second", 2),
            Refused(Signal("acme", "k", "third", 3), "execution_ended"),
        ),
    )


def _early() -> tuple[tuple[Call, ...], ...]:
    """Signals that come before they are waited for: nobody runs yet, but one."""
    return (
        (
            Open("acme", "s"),
            Submit("acme", "s", "play.resting", "slow"),
            Submit("acme", "s", "play.awaiting", "k", {"waits": 3}),
            *(Signal("acme", "k", f"s{number}", number) for number in range(3)),
        ),
    )


def _cancelled(kind: str, after: str, *, type: str = "play.cleaning") -> tuple[tuple[Call, ...], ...]:
    """One that is cancelled in the middle of things, twice."""
    return (
        (
            Open("acme", "s"),
            Submit("acme", "s", type, "k", {"kind": kind}),
            Cancel("acme", "k", after),
            Cancel("acme", "k"),
            Result("acme", "k"),
            Cancel("acme", "k"),
        ),
    )


def _crowd() -> tuple[tuple[Call, ...], ...]:
    clients: list[tuple[Call, ...]] = []
    kinds = [("play.plain", {"n": 1}), ("play.steps", {"steps": 2}), ("play.fan", {"width": 2})]
    for tenant in ("acme", "beta"):
        for session in ("s1", "s2", "s3"):
            calls: list[Call] = [Open(tenant, session)]
            calls += [Submit(tenant, session, kind, f"{session}-{kind}", given) for kind, given in kinds]
            clients.append((*calls, SetData(tenant, session, 1)))
    return tuple(clients)


def _counted() -> tuple[tuple[Call, ...], ...]:
    """Some that count in their session's state, one that fails, one that is cancelled, and some that look."""
    kinds = ("counting", "peeking", "peeking", "counting", "fails", "cancelled", "counting", "peeking")
    calls: list[Call] = [Open("acme", "s")]
    for number, kind in enumerate(kinds):
        type, given = ("counting", {kind: True}) if kind in {"fails", "cancelled"} else (kind, {})
        calls.append(Submit("acme", "s", f"play.{type}", f"{kind}-{number}", given))
    return ((*calls, Cancel("acme", "cancelled-5", "timer_set")),)


def _saga(handler: str, **given: Any) -> tuple[tuple[Call, ...], ...]:
    return ((Open("acme", "s"), Submit("acme", "s", f"sagas.{handler}", "k", given), Result("acme", "k")),)


def _saga_cancelled(kind: str, after: str, records: int = 1) -> tuple[tuple[Call, ...], ...]:
    ((opens, submits, result),) = _saga("cancelled", kind=kind)
    return ((opens, submits, Cancel("acme", "k", after, records=records), result),)


def _saga_signalled() -> tuple[tuple[Call, ...], ...]:
    ((opens, submits, result),) = _saga("waiting", limit=3_600_000)
    return ((opens, submits, Signal("acme", "k", "go", 1), result),)


def _child(handler: str, **given: Any) -> tuple[tuple[Call, ...], ...]:
    submits = Submit("acme", "s", f"kids.{handler}", "k", given)
    return ((Open("acme", "s"), Open("acme", "t"), submits, Result("acme", "k")),)


def _child_cancelled() -> tuple[tuple[Call, ...], ...]:
    """When its child has recorded its own child, nobody here knows."""
    ((*begins, result),) = _child("lasting")
    return ((*begins, Cancel("acme", "k", "step_completed"), result),)


def _forked(type: str, given: dict[str, Any], step: str, *, signals: int = 0) -> tuple[tuple[Call, ...], ...]:
    """One that is forked twice under one key, and its fork again; each gets signals of its own."""

    def send(key: str) -> tuple[Call, ...]:
        return tuple(Signal("acme", key, f"{key}{number}", number, late=True) for number in range(signals))

    return (
        (
            Open("acme", "s"),
            Submit("acme", "s", type, "k", given),
            *send("k"),
            Fork("acme", "k", step, "f"),
            Fork("acme", "k", step, "f"),
            *send("f"),
            Result("acme", "f"),
            Fork("acme", "f", step, "g"),
            *send("g"),
        ),
    )


SCENARIOS: Final = (
    Scenario("plain", ((Open("acme", "s"), Submit("acme", "s", "play.plain", "k", {"n": 4}), Result("acme", "k")),)),
    Scenario(
        "pure",
        (
            (
                Open("acme", "s"),
                Submit("acme", "s", "play.computed", "k", {"n": 4}),
                Submit("acme", "s", "play.computed", "k", {"n": 4}),
                Submit("acme", "s", "play.computed", "f", {"n": 4, "fails": True}),
                Result("acme", "k"),
            ),
            (Open("beta", "s"), Submit("beta", "s", "play.computed", "k", {"n": 6})),
        ),
    ),
    Scenario("steps", ((Open("acme", "s", "ada"), Submit("acme", "s", "play.steps", "k", {"steps": 4})),)),
    Scenario(
        "failures",
        (
            (
                Open("acme", "s"),
                Submit("acme", "s", "play.failing", "f", {"n": 1}),
                Submit("acme", "s", "play.guarded", "g"),
                Submit("acme", "s", "play.broken", "b"),
            ),
        ),
    ),
    Scenario(
        "tenants",
        tuple(
            (
                Open(tenant, "s", f"user-{tenant}"),
                Submit(tenant, "s", "play.steps", "same-key", {"steps": width}),
                SetData(tenant, "s", width),
                Result(tenant, "same-key"),
            )
            for tenant, width in (("acme", 1), ("beta", 2), ("gamma", 3))
        ),
    ),
    Scenario(
        "repeats",
        (
            *[
                (
                    Open("acme", "s"),
                    Open("acme", "t"),
                    Submit("acme", "s", "play.steps", "once", {"steps": 2}),
                    Submit("acme", "s", "play.plain", "twice", {"n": 3}),
                    Submit("acme", "t", "play.plain", "twice", {"n": 3}),
                    Refused(Submit("acme", "s", "play.plain", "twice", {"n": 4}), "idempotency_conflict"),
                )
                for _ in range(3)
            ],
        ),
    ),
    Scenario(
        "many",
        (
            (
                Open("acme", "s", must_be_new=True),
                Submit("acme", "s", "play.plain", "m2", {"n": 2}),
                Many(tuple(Submit("acme", "s", "play.plain", f"m{n % 4}", {"n": n % 4}) for n in range(6))),
                Many(
                    (
                        Submit("acme", "s", "play.steps", "m7", {"steps": 2}),
                        Submit("acme", "s", "play.failing", "m8", {"n": 8}),
                        Submit("acme", "s", "play.guarded", "m9"),
                    )
                ),
            ),
        ),
    ),
    Scenario(
        "unknown",
        (
            (
                Refused(Submit("acme", "nowhere", "play.plain", "x", {"n": 1}), "unknown_session"),
                Open("acme", "s"),
                Submit("acme", "s", "play.nobody", "u", {"n": 1}),
                Many((Submit("acme", "s", "else.where", "v"), Submit("acme", "s", "play.plain", "w", {"n": 5}))),
                Refused(Close("acme", "nowhere"), "unknown_session"),
            ),
        ),
    ),
    Scenario(
        "documents",
        (
            (Open("acme", "s"), *(SetData("acme", "s", version) for version in range(1, 5))),
            (
                Open("acme", "t"),
                Submit("acme", "t", "play.steps", "k", {"steps": 1}),
                SetExecution("acme", "k", {"seen": True}),
                Result("acme", "k"),
                SetExecution("acme", "k", {"seen": True, "done": 1}),
            ),
        ),
    ),
    Scenario(
        "closing",
        (
            (
                Open("acme", "s"),
                Submit("acme", "s", "play.steps", "before", {"steps": 3}),
                Close("acme", "s"),
                Refused(Submit("acme", "s", "play.plain", "after", {"n": 1}), "session_closed"),
                Close("acme", "s"),
                Result("acme", "before"),
            ),
        ),
    ),
    Scenario("fan", ((Open("acme", "s"), Submit("acme", "s", "play.fan", "k", {"width": 5})),)),
    Scenario(
        "resting",
        (
            (Open("acme", "s"), Submit("acme", "s", "play.resting", "r")),
            (Open("beta", "s"), Submit("beta", "s", "play.steps", "r", {"steps": 2})),
        ),
    ),
    Scenario(
        "stubborn",
        ((Open("acme", "s"), Submit("acme", "s", "play.stubborn", "k"), Submit("acme", "s", "play.forgiving", "f")),),
    ),
    Scenario("napping", ((Open("acme", "s"), Submit("acme", "s", "play.napping", "k")),)),
    Scenario("napping-passive", ((Open("acme", "s"), Submit("acme", "s", "play.napping", "k")),), resident=0),
    Scenario("signalled", _signalled()),
    Scenario("signalled-passive", _signalled(), resident=0),
    Scenario("signalled-early", _early(), running=1),
    Scenario("signalled-early-passive", _early(), running=1, resident=0),
    Scenario(
        "timed-out",
        (
            (
                Open("acme", "s"),
                Submit("acme", "s", "play.awaiting", "k", {"waits": 2, "limit": 5}),
                Result("acme", "k"),
                Refused(Signal("acme", "k", "x"), "execution_ended"),
            ),
        ),
    ),
    *(
        Scenario(
            f"both-at-once{'' if resident else '-passive'}",
            tuple(
                (
                    Open("acme", "s"),
                    Submit("acme", "s", "play.awaiting", f"k{limit}", {"waits": 1, "limit": limit, "either": True}),
                    Signal("acme", f"k{limit}", "x", late=True),
                )
                for limit in (3, 6, 9)
            ),
            resident=resident,
        )
        for resident in (1000, 0)
    ),
    Scenario(
        "signalled-again",
        tuple(
            (
                Open("acme", "s"),
                Submit("acme", "s", "play.awaiting", "k", {"waits": 2}),
                Signal("acme", "k", "once", 1),
                *((Signal("acme", "k", "last", 1),) * (client == 0)),
                Signal("acme", "k", "once", 1),
            )
            for client in range(3)
        ),
    ),
    Scenario(
        "giving-up",
        ((Open("acme", "s"), Submit("acme", "s", "play.giving_up", "k"), Signal("acme", "k", "x", 7)),),
    ),
    Scenario("trying", ((Open("acme", "s"), Submit("acme", "s", "play.trying", "k")),), running=1),
    Scenario(
        "followed",
        (
            (Open("acme", "s"), Submit("acme", "s", "play.trying", "k"), Follow("acme", "k")),
            (Open("acme", "s"), Submit("acme", "s", "play.awaiting", "w", {"waits": 1}), Signal("acme", "w", "x", 1)),
            (Open("acme", "s"), Submit("acme", "s", "play.awaiting", "w", {"waits": 1}), Follow("acme", "w")),
        ),
    ),
    Scenario("forked", _forked("play.steps", {"steps": 3}, "s2")),
    Scenario(
        "forked-signalled",
        _forked("play.awaiting", {"waits": 2}, "signal(go)[1]", signals=2),
    ),
    Scenario("forked-saga", _forked("sagas.waiting", {"limit": 3_600_000}, "order/charge", signals=1)),
    Scenario("cancelled-in-step", _cancelled("step", "step_completed")),
    Scenario("cancelled-in-sleep", _cancelled("sleep", "timer_set")),
    Scenario("cancelled-in-sleep-passive", _cancelled("sleep", "timer_set"), resident=0),
    Scenario("cancelled-in-wait", _cancelled("signal", "timer_set")),
    Scenario("cancelled-in-wait-passive", _cancelled("signal", "timer_set"), resident=0),
    Scenario("cancelled-in-map", _cancelled("map", "step_completed")),
    Scenario("cancelled-between-attempts", _cancelled("retry", "step_failed", type="play.tidying")),
    Scenario("cancelled-failing", _cancelled("fails", "step_completed", type="play.tidying")),
    Scenario(
        "cancelled-before-start",
        (
            (
                Open("acme", "s"),
                Submit("acme", "s", "play.cleaning", "first", {"kind": "step"}),
                Many(tuple(Submit("acme", "s", "play.plain", f"q{n}", {"n": n}) for n in range(3))),
                Cancel("acme", "q1"),
                Cancel("acme", "first", "step_completed"),
            ),
        ),
        running=1,
        resident=1,
    ),
    Scenario(
        "cancelled-or-ended",
        tuple(
            (
                Open("acme", "s"),
                Submit("acme", "s", "play.plain", f"either{n}", {"n": n}),
                Cancel("acme", f"either{n}", either=True),
            )
            for n in range(3)
        ),
    ),
    Scenario(
        "cancelled-all",
        (
            (
                Open("acme", "s"),
                Open("acme", "t"),
                Submit("acme", "s", "play.cleaning", "k1", {"kind": "sleep"}),
                Submit("acme", "s", "play.cleaning", "k2", {"kind": "signal"}),
                Submit("acme", "t", "play.cleaning", "k3", {"kind": "signal"}),
                CancelAll("acme", "s", ("k1", "k2")),
                CancelAll("acme", "", ("k3",)),
                Submit("acme", "s", "play.plain", "still", {"n": 1}),
            ),
        ),
    ),
    Scenario("cursed", ((Open("acme", "s"), Submit("acme", "s", "play.cursed", "c")),)),
    Scenario(
        "queued",
        (
            (
                Open("acme", "s"),
                Many(tuple(Submit("acme", "s", "play.steps", f"q{n}", {"steps": 1}) for n in range(4))),
                Submit("acme", "s", "play.plain", "last", {"n": 1}),
            ),
        ),
        running=1,
    ),
    Scenario("saga-done", _saga("trip")),
    Scenario("saga-second-fails", _saga("trip", fails="hotel")),
    Scenario("saga-block-fails", _saga("trip", fails="block", stuck="hotel", failures=1)),
    Scenario("saga-not-undone", _saga("trip", fails="car", stuck="hotel", failures=9)),
    Scenario("saga-nested", _saga("nested")),
    Scenario("saga-two", _saga("two")),
    Scenario("saga-fan", _saga("fan")),
    Scenario("saga-again", _saga("again")),
    Scenario("saga-scoped", _saga("scoped")),
    Scenario("saga-timed-out", _saga("waiting", limit=5)),
    Scenario("saga-signalled-passive", _saga_signalled(), resident=0),
    Scenario("saga-timed-out-passive", _saga("waiting", limit=5), resident=0),
    Scenario("saga-cancelled-in-body", _saga_cancelled("body", "saga_started", 2)),
    Scenario("saga-cancelled-in-wait", _saga_cancelled("wait", "timer_set")),
    Scenario("saga-cancelled-in-wait-passive", _saga_cancelled("wait", "timer_set"), resident=0),
    Scenario("saga-cancelled-undoing", _saga_cancelled("undoing", "saga_compensating")),
    Scenario("child-awaited", _child("awaiting", children=2, fails=1)),
    Scenario("child-abroad-passive", _child("awaiting", children=2, fails=1, failures=2, session="t"), resident=0),
    Scenario("child-left", _child("leaving")),
    Scenario("child-stopped", _child("stopping", session="t")),
    Scenario("child-cancelled", _child_cancelled()),
    Scenario("child-cancelled-passive", _child_cancelled(), resident=0),
    Scenario("child-undone", _child("undoing")),
    Scenario("counted", _counted()),
    Scenario("counted-passive", _counted(), resident=0),
    Scenario("crowd", _crowd(), running=4, large=True),
)


@dataclass
class Told:
    """What callers were told, and must be able to rely on from then on."""

    sessions: set[tuple[str, str]] = field(default_factory=set[tuple[str, str]])
    closed: set[tuple[str, str]] = field(default_factory=set[tuple[str, str]])
    executions: dict[tuple[str, str], str] = field(default_factory=dict[tuple[str, str], str])  # ids by tenant, key
    ends: dict[tuple[str, str], Any] = field(default_factory=dict[tuple[str, str], Any])
    data: dict[tuple[str, str], int] = field(default_factory=dict[tuple[str, str], int])
    signals: set[tuple[str, str, str]] = field(default_factory=set[tuple[str, str, str]])
    streams: dict[tuple[str, str], list[Any]] = field(default_factory=dict[tuple[str, str], list[Any]])
    cancels: dict[tuple[str, str], str] = field(default_factory=dict[tuple[str, str], str])  # by tenant, execution
    violations: list[str] = field(default_factory=list[str])

    def copy(self) -> Told:
        return Told(
            set(self.sessions),
            set(self.closed),
            dict(self.executions),
            dict(self.ends),
            dict(self.data),
            set(self.signals),
            dict(self.streams),
            dict(self.cancels),
            list(self.violations),
        )

    def accept(self, tenant: str, key: str, execution: str) -> None:
        known = self.executions.setdefault((tenant, key), execution)
        if known != execution:
            self.violations.append(f"key {key} of {tenant} was {known} and is now {execution}")

    def cancel(self, tenant: str, execution: str, answer: CancelResult) -> None:
        status = "cancelled" if answer is CancelResult.REQUESTED else answer.value
        known = self.cancels.setdefault((tenant, execution), status)
        if known != status:
            self.violations.append(f"the cancel of {execution} was told as {known} and is now {status}")

    def end(self, tenant: str, key: str, end: Any) -> None:
        known = self.ends.setdefault((tenant, key), end)
        if known != end:
            self.violations.append(f"the end of {key} of {tenant} was told as {known} and is now {end}")


class Driver:
    """Makes a scenario's calls. They may be made any number of times, over any number of lives."""

    def __init__(self, runtime: Runtime, told: Told) -> None:
        self.runtime = runtime
        self.told = told

    async def drive(self, scenario: Scenario) -> None:
        """Make all calls, then wait until everything has ended and every event is out."""
        with anyio.fail_after(PATIENCE):
            async with anyio.create_task_group() as group:
                for calls in scenario.clients:
                    group.start_soon(self._client, calls)
            for tenant, key in list(self.told.executions):
                await self._result(tenant, key)
                await self._end_below(tenant, self.told.executions[tenant, key])
            for tenant in sorted({tenant for tenant, _ in self.told.sessions}):
                while await self.runtime.outbox.pending(tenant):  # noqa: ASYNC110  virtual time, and no event to wait for
                    await anyio.sleep(0.05)

    async def _client(self, calls: tuple[Call, ...]) -> None:
        for call in calls:
            await self._perform(call)

    async def _perform(self, call: Call) -> None:  # noqa: C901  one case for each kind of call
        match call:
            case Open(tenant, session, user, must_be_new):
                if must_be_new:
                    with contextlib.suppress(SessionExists):  # by an earlier life
                        await self.runtime.create_session(tenant, session, user_id=user)
                else:
                    await self.runtime.open_session(tenant, session, user_id=user)
                self.told.sessions.add((tenant, session))
            case Submit():
                execution = await self.runtime.session(call.tenant, call.session).submit(
                    call.type, call.parameters, idempotency_key=call.key
                )
                self.told.accept(call.tenant, call.key, execution.id)
            case Many(intents):
                await self._many(intents)
            case SetData(tenant, session, version):
                state, known = self.runtime.state, self.told.data.get((tenant, session), version)
                if known > version:  # a client that begins anew sets older ones again
                    self.told.data[tenant, session] = version
                await self._set(lambda: state.set_session(tenant, session, {"version": version}))
                self.told.data[tenant, session] = version
            case SetExecution(tenant, key, data):
                state, id = self.runtime.state, self.told.executions[tenant, key]
                await self._set(lambda: state.set_execution(tenant, id, data))
            case Close(tenant, session):
                await self.runtime.session(tenant, session).close()
                self.told.closed.add((tenant, session))
            case Result(tenant, key):
                await self._result(tenant, key)
            case Signal():
                await self._signal(call)
            case Follow(tenant, key):
                execution = self.runtime.execution(tenant, self.told.executions[tenant, key])
                found = [(each.kind, each.name) async for each in execution.events()]
                self.told.streams[tenant, execution.id] = found
            case Cancel():
                await self._cancel(call)
            case CancelAll():
                await self._cancel_all(call)
            case Fork():
                await self._fork(call)
            case Refused(refused, code):
                await self._refused(refused, code)

    async def _set(self, call: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await call()
            except (
                ActorStopped,
                OutcomeUnknown,
            ):  # the log's writer has crashed: whether it was set is not known, and it may be again
                await anyio.sleep(0.1)
            else:
                return

    async def _many(self, intents: tuple[Submit, ...]) -> None:
        session = self.runtime.session(intents[0].tenant, intents[0].session)
        executions = await session.submit_many(
            [Intent(each.type, each.parameters, idempotency_key=each.key) for each in intents]
        )
        for intent, execution in zip(intents, executions, strict=True):
            self.told.accept(intent.tenant, intent.key, execution.id)

    async def _result(self, tenant: str, key: str) -> None:
        outcome = await self.runtime.execution(tenant, self.told.executions[tenant, key]).outcome(timeout=PATIENCE)
        self.told.end(tenant, key, plain(outcome))

    async def _end_below(self, tenant: str, execution: str) -> None:
        for child in await self.runtime.execution(tenant, execution).children():
            await self.runtime.execution(tenant, child.execution).outcome(timeout=PATIENCE)
            await self._end_below(tenant, child.execution)

    async def _signal(self, call: Signal) -> None:
        execution = self.runtime.execution(call.tenant, self.told.executions[call.tenant, call.key])
        try:
            await execution.signal("go", call.payload, id=call.id)
        except ExecutionEnded:
            if not call.late:
                raise
        else:
            self.told.signals.add((call.tenant, execution.id, call.id))

    async def _cancel(self, call: Cancel) -> None:
        execution = self.runtime.execution(call.tenant, self.told.executions[call.tenant, call.key])
        if call.after:
            await self._recorded(call.tenant, execution.id, call.after, call.records)
        answer = await execution.cancel()
        if not call.either and answer not in {CancelResult.REQUESTED, CancelResult.CANCELLED}:
            self.told.violations.append(f"{call} came to {answer}")
        self.told.cancel(call.tenant, execution.id, answer)

    async def _cancel_all(self, call: CancelAll) -> None:
        ids = {self.told.executions[call.tenant, key] for key in call.keys}
        for id in ids:
            await self._recorded(call.tenant, id, "timer_set")
        if call.session:
            answers = await self.runtime.session(call.tenant, call.session).cancel()
        else:
            answers = await self.runtime.cancel_tenant(call.tenant)
        for id in ids:  # what an earlier life cancelled may have ended
            self.told.cancel(call.tenant, id, answers.get(id, CancelResult.CANCELLED))

    async def _fork(self, call: Fork) -> None:
        origin = self.runtime.execution(call.tenant, self.told.executions[call.tenant, call.key])
        await self._recorded(call.tenant, origin.id, call.after)
        fork = await origin.fork(call.step, idempotency_key=call.new)
        self.told.accept(call.tenant, call.new, fork.id)

    async def _recorded(self, tenant: str, execution: str, type: str, records: int = 1) -> None:
        query = partial(self.runtime.wal.query, tenant, type=type, execution=execution, limit=records)
        while len((await query()).items) < records:  # noqa: ASYNC110  virtual time, and no event to wait for
            await anyio.sleep(0.001)

    async def _refused(self, call: Call, code: str) -> None:
        try:
            await self._perform(call)
        except IntendantError as error:
            if error.code != code:
                raise
        else:
            self.told.violations.append(f"{call} was to be refused with {code}")


# --- what a store holds, and what must hold of it


@dataclass(frozen=True)
class End:
    """What a store holds in the end, in terms that are the same in every run: keys instead of ids, no times."""

    executions: dict[tuple[str, str], Any]
    sessions: dict[tuple[str, str], Any]
    documents: dict[tuple[str, str, str], Any]
    events: dict[tuple[str, str], list[Any]]


def plain(outcome: Outcome[Any]) -> tuple[Any, ...]:
    """An outcome without ids. The last of several crashes need not be the same in every run."""
    error = outcome.error and (outcome.error.code, outcome.error.message if outcome.error.code != "crashed" else "")
    sagas = [
        (saga.path, saga.compensated, sorted((step.path, step.state.value) for step in saga.steps))
        for saga in outcome.sagas
    ]
    children = sorted((child.path, child.session, child.abandoned) for child in outcome.children)
    return (outcome.status.value, outcome.result, outcome.artifacts, error, outcome.events, sorted(sagas), children)


async def read_world(log: LogReader) -> World:
    """Replay the whole log."""
    world = World()
    first = 0
    while entries := await log.entries(None, first=first, limit=256):
        for entry in entries:
            records = decode_entry(entry)
            replay(records, world)
            first = records[-1].sequence + 1
    return world


async def audit(log: LogReader, world: World | None = None) -> list[str]:
    """Compare everything that is derived from the log with the log, `world` if it is known. Empty when all is well."""
    world = world or await read_world(log)
    found = list(world.violations)
    await _audit_documents(log, world, found)
    open_members = {(each.tenant, each.member) for each in await log.index(states.OPEN, limit=1_000_000)}
    _compare(found, "the open set", open_members, world.open)
    timers = {(each.score, each.tenant, each.member) for each in await log.index(states.TIMERS, limit=1_000_000)}
    _compare(found, "the timers", timers, world.timers)
    outbox = {item.position: event_of(item).id for item in await log.outbox(limit=1_000_000)}
    _compare(found, "the outbox", outbox, world.outbox)
    for (tenant, key), execution in world.keys.items():
        value = await log.key(tenant, key)
        held = None if value is None else msgspec.msgpack.decode(value, type=Claim).execution
        _compare(found, f"key {key} of {tenant}", held, execution)
    for tenant, execution in world.executions:
        rows = [decode_journal_row(row) for row in await log.journal(tenant, execution)]
        _compare(found, f"the journal of {execution}", rows, world.journals.get((tenant, execution), Journal()).rows)
    for (tenant, collection, session), body in world.documents.items():
        if collection == states.SESSION_STATE:
            own = [each for (of, _), each in world.executions.items() if (of, each.session) == (tenant, session)]
            _compare(found, f"the state of {session}", msgspec.msgpack.decode(body), {"count": count_completed(own)})
    return found


async def _audit_documents(log: LogReader, world: World, found: list[str]) -> None:
    tenants = {tenant for tenant, _ in (*world.sessions, *world.executions)}
    tenants |= {tenant for tenant, _, _ in world.documents}
    for tenant in sorted(tenants):
        sessions = {
            (tenant, each.key): msgspec.msgpack.decode(each.body, type=SessionState)
            for each in await log.documents(tenant, states.SESSIONS, limit=1_000_000)
        }
        _compare(found, f"sessions of {tenant}", sessions, _of(world.sessions, tenant))
        executions = {
            (tenant, each.key): msgspec.msgpack.decode(each.body, type=ExecutionState)
            for each in await log.documents(tenant, states.EXECUTIONS, limit=1_000_000)
        }
        _compare(found, f"executions of {tenant}", executions, _of(world.executions, tenant))
        for collection in (states.SESSION_DATA, states.SESSION_STATE, states.EXECUTION_DATA):
            data = {each.key: each.body for each in await log.documents(tenant, collection, limit=1_000_000)}
            wanted = {
                key: body for (of, place, key), body in world.documents.items() if of == tenant and place == collection
            }
            _compare(found, f"{collection} of {tenant}", data, wanted)


def _of(values: dict[tuple[str, str], Any], tenant: str) -> dict[tuple[str, str], Any]:
    return {key: value for key, value in values.items() if key[0] == tenant}


def _compare(found: list[str], what: str, held: object, told_by_log: object) -> None:
    if held != told_by_log:
        found.append(f"{what}: the store holds {held!r:.300}, the log tells {told_by_log!r:.300}")


def end_of(world: World, events: Sequence[Event]) -> End:
    """What a store holds, and what was published, in terms that are the same in every run."""
    keys = {(tenant, execution): key for (tenant, key), execution in world.keys.items()}
    for child, state in world.executions.items():  # the oldest first, and so parents before their children
        if state.parent is not None:
            above, attempt = keys[state.tenant, state.parent.execution], state.key.rpartition(":")[2]
            keys[child] = f"{above}/{state.parent.path}:{attempt}"
    executions: dict[tuple[str, str], Any] = {}
    for (tenant, id), state in world.executions.items():
        if state.parent is not None and state.status is states.Status.CANCELLED:
            continue  # how far it had come is not the same in every run
        key = keys[tenant, id]
        told = ("either",) if key.startswith("either") and state.status.ended else plain(states.outcome_of(state))
        executions[tenant, key] = (state.session, state.type, told)
    sessions = {key: (each.user_id, each.solution, each.closed) for key, each in world.sessions.items()}
    documents = {
        (tenant, collection, keys.get((tenant, key), key)): msgspec.msgpack.decode(body)
        for (tenant, collection, key), body in world.documents.items()
    }
    published: defaultdict[tuple[str, str], dict[str, Any]] = defaultdict(dict)
    for event in events:
        number = int(event.id.rpartition("-")[2])
        place = (keys[event.tenant, event.execution_id], number)
        published[event.tenant, event.session][event.id] = (*place, event.name, event.payload)
    in_order = {session: sorted(events.values()) for session, events in published.items()}
    return End(executions, sessions, documents, in_order)


def check_order(events: Sequence[Event]) -> list[str]:
    """First deliveries must come in the order of the log, session by session."""
    last: dict[tuple[str, str], int] = {}
    seen: set[str] = set()
    found: list[str] = []
    for event in events:
        if event.id in seen:
            continue
        seen.add(event.id)
        if event.position <= last.get((event.tenant, event.session), -1):
            found.append(f"event {event.id} came after one that follows it")
        last[event.tenant, event.session] = event.position
    return found


async def read_signals(log: LogReader) -> Counter[tuple[str, str, str]]:
    """How often each signal was received, by tenant, execution and id."""
    received: Counter[tuple[str, str, str]] = Counter()
    first = 0
    while entries := await log.entries(None, first=first, limit=256):
        for record in (record for entry in entries for record in decode_entry(entry)):
            first = record.sequence + 1
            if record.type == "signal_received":
                received[record.tenant, record.execution, record.payload["id"]] += 1
    return received


async def read_happenings(log: LogReader, tenant: str, execution: str) -> list[tuple[str, str]]:
    """What a stream is to say of an execution, by its records."""
    statuses = {"intent_received": "accepted", "execution_started": "running", "execution_completed": "completed"}
    found: list[tuple[str, str]] = []
    first = 0
    while entries := await log.entries(tenant, first=first, limit=256):
        for record in (record for entry in entries for record in decode_entry(entry)):
            first = record.sequence + 1
            if record.execution != execution:
                continue
            found += [("event", each["name"]) for each in record.payload.get("events", [])]
            if record.type in statuses or record.payload.get("path") == "":
                found.append(("status", statuses.get(record.type, "running")))
            elif record.type.startswith("step_"):
                found.append(("step", record.payload["path"]))
    return found


async def check_told(log: LogReader, told: Told, world: World) -> list[str]:
    """What callers were told must stand in the log."""
    found = list(told.violations)
    found += [f"session {key} is lost" for key in told.sessions if key not in world.sessions]
    found += [f"session {key} is open again" for key in told.closed if not world.sessions[key].closed]
    for (tenant, key), execution in told.executions.items():
        if world.keys.get((tenant, key)) != execution:
            found.append(f"{key} of {tenant} was accepted as {execution}, the log has {world.keys.get((tenant, key))}")
    for (tenant, key), end in told.ends.items():
        state = world.executions.get((tenant, told.executions[tenant, key]))
        if state is None or state.status.value != end[0]:
            found.append(f"the end of {key} of {tenant} was told as {end}, the log has {state}")
    for (tenant, execution), stream in told.streams.items():
        _compare(found, f"the stream of {execution}", stream, await read_happenings(log, tenant, execution))
    for (tenant, execution), status in told.cancels.items():
        state, journal = world.executions[tenant, execution], world.journals.get((tenant, execution), Journal())
        asked = status == "cancelled" and journal.waits.cancelled is not None
        if state.status.value != status and not asked:
            found.append(f"the cancel of {execution} was told as {status}, the log has {state.status}, and no cancel")
    received = await read_signals(log)
    found += [f"signal {key} is in the log {many} times" for key, many in received.items() if many > 1]
    found += [f"signal {key} was told to be received, and is lost" for key in told.signals if key not in received]
    for (tenant, session), version in told.data.items():
        body = world.documents.get((tenant, states.SESSION_DATA, session), b"\x80")
        if msgspec.msgpack.decode(body).get("version", 0) < version:
            found.append(f"the document of {session} of {tenant} was set to version {version}, which is lost")
    return found


# --- lives


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
            _compare(found, what, getattr(end, what), getattr(wanted, what))
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


class Fault(Plan):
    """Raises once: around commit number `at`."""

    def __init__(self, at: int, when: Literal["before", "after"], error: Callable[[], Exception]) -> None:
        self.at = at
        self.when = when
        self.error = error
        self.done = False

    async def before_commit(self, number: int, batch: Batch) -> None:
        await self._fault(number, "before")

    async def after_commit(self, number: int, batch: Batch) -> None:
        await self._fault(number, "after")

    async def _fault(self, number: int, when: str) -> None:
        if number >= self.at and when == self.when and not self.done:
            self.done = True
            raise self.error()


class ReadFault(Plan):
    """Raises once: at read number `at`."""

    def __init__(self, at: int, error: Callable[[], Exception]) -> None:
        self.at = at
        self.error = error

    async def before_read(self, number: int, what: str) -> None:
        if number == self.at:
            raise self.error()


class Outage(Plan):
    """From its beginning on, or from that read on, the store answers nothing for so many seconds."""

    def __init__(self, seconds: float, at_read: int = 0) -> None:
        self.refused = 0
        self._at_read = at_read
        self._seconds = seconds
        self._until = -math.inf

    def begin(self) -> None:
        self._until = anyio.current_time() + self._seconds

    async def before_commit(self, number: int, batch: Batch) -> None:
        self._check()

    async def before_read(self, number: int, what: str) -> None:
        if number == self._at_read:
            self.begin()
        self._check()

    def _check(self) -> None:
        if anyio.current_time() < self._until:
            self.refused += 1
            raise unavailable()


class CrashSoon(Plan):
    """Once `arm` was called, the next commit meets a fault of ours, before or after it is applied."""

    def __init__(self, when: Literal["before", "after"]) -> None:
        self.when = when
        self.armed = False
        self.done = False

    def arm(self) -> None:
        self.armed = True

    async def before_commit(self, number: int, batch: Batch) -> None:
        self._crash("before")

    async def after_commit(self, number: int, batch: Batch) -> None:
        self._crash("after")

    def _crash(self, when: str) -> None:
        if self.armed and when == self.when and not self.done:
            self.done = True
            raise crash()


def unavailable() -> Exception:
    return StoreUnavailable("planted: the store does not answer")


def crash() -> Exception:
    return RuntimeError("planted: a fault of ours")


@dataclass(frozen=True)
class Stage:
    """What test modules use: they can't import it."""

    backend: Backend
    lives: Callable[..., Lives]
    cutting: Callable[[Lives], Cutting]
    fault: Callable[..., Fault]
    read_fault: Callable[..., ReadFault]
    plan: type[Plan]
    store: type[FaultyStore]
    realm: Callable[[Ledger], Realm]
    ledger: type[Ledger]
    published: type[Published]
    outage: type[Outage]
    crash_soon: type[CrashSoon]
    faults: dict[str, tuple[Literal["before", "after"], Callable[[], Exception]]]
    scenarios: tuple[Scenario, ...] = SCENARIOS
    replace: Callable[..., Any] = replace


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> Backend:
    chosen: Backend = request.param
    return chosen


@pytest.fixture(params=SCENARIOS, ids=lambda scenario: scenario.name)
def scenario(request: pytest.FixtureRequest) -> Scenario:
    chosen: Scenario = request.param
    return chosen


@pytest.fixture
def stage(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    monkeypatch.setattr(anyio.to_thread, "run_sync", _run_here)
    logging.disable(logging.CRITICAL)  # crashes are what happens here
    yield Stage(
        backend=backend,
        lives=partial(Lives, backend=backend),
        cutting=Cutting,
        fault=Fault,
        read_fault=ReadFault,
        plan=Plan,
        store=FaultyStore,
        realm=make_realm,
        ledger=Ledger,
        published=Published,
        outage=Outage,
        crash_soon=CrashSoon,
        faults={
            "not applied": ("before", unavailable),
            "applied, reply lost": ("after", unavailable),
            "writer crashes before": ("before", crash),
            "writer crashes after": ("after", crash),
        },
    )
    logging.disable(logging.NOTSET)


@pytest.fixture
def auditing() -> Callable[[LogReader], Awaitable[list[str]]]:
    return audit


@pytest.fixture
def in_order() -> Callable[[Sequence[Event]], list[str]]:
    return check_order


@pytest.fixture
def virtual() -> Callable[[Backend, Callable[[], Awaitable[None]]], None]:
    return run_virtual
