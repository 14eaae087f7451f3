"""The one object a program holds. It opens the stores, runs the supervision tree, and is the door to all."""

from __future__ import annotations

import logging
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from types import TracebackType
from typing import Any, Literal, TypeVar

import anyio
import anyio.from_thread
from msgspec import Struct

from intendant.actors.endings import Ending
from intendant.actors.messages import Close, Describe, Open, Progress, SessionMessage, Submit
from intendant.actors.outbox_relay import RelaySettings
from intendant.actors.services import Limits
from intendant.adapters.clock import SystemClock
from intendant.adapters.publishers import CallbackPublisher
from intendant.domain.errors import (
    ActorStopped,
    InvalidIntent,
    OutcomeUnknown,
    RuntimeStopped,
    UnknownExecution,
    UnknownSession,
)
from intendant.domain.ids import check_id, make_id
from intendant.domain.ports import Clock, ColdStore, FileStore, Publisher, Store
from intendant.domain.state import Event, ExecutionState, Outcome, SessionState, Status
from intendant.parking import Reply
from intendant.realm import Realm, Repertoire
from intendant.runtime.config import DurabilityName, Shutdown
from intendant.runtime.engine import Engine, Settings, not_running
from intendant.runtime.handles import Execution, Session
from intendant.runtime.intent import INTENTS_MAX, Intent, check_metadata, check_timeout, prepare
from intendant.runtime.outbox import Outbox
from intendant.runtime.outcomes import Outcomes
from intendant.runtime.partition import Partition
from intendant.runtime.surface import StateSurface
from intendant.runtime.views import ExecutionView, Page, SessionView
from intendant.runtime.wal import WalReader
from intendant.supervisor import Event as SupervisorEvent

T = TypeVar("T")
R = TypeVar("R")

logger = logging.getLogger("intendant")


class Stats(Struct, frozen=True):
    """Numbers of a running runtime. Counts are since it was entered."""

    open: int  # executions accepted and not ended
    running: int  # handlers
    sessions: int  # resident
    commits: int  # batches
    records: int
    restarts: int  # by any supervisor
    published: int  # events
    lag: int  # records that cold state is behind the log; 0 without a cold store


class Runtime:
    """A supervised set of actors over one hot store, entered with `async with`.

    It has no side effects until it is entered, and may stand at module level; it may be entered again after it was
    left. `hot` is a store's URL or a Store; without it, `INTENDANT_HOT` or `sqlite:intendant.db`. `durability` is what
    an acknowledgement must mean at least: by default `written`, or `memory` when memory was asked for by its URL.
    `publisher` takes the events of the outbox; without one they wait there.

    Entering raises PartitionOwned when another live process owns the store and does not give it up within
    `takeover_timeout` seconds, StoreUnavailable when it can't be reached, ValueError when it can't give the durability.
    Leaving lets running handlers finish for a moment, suspends the others (they resume at the next start), commits
    what waits and gives the store back, each stage with its own deadline.

    When the root supervisor gives up, `failed` has the cause, every call raises at once, and leaving raises; the
    host's own task is cancelled only with `on_failure="cancel"`.
    """

    def __init__(
        self,
        realms: Sequence[Realm] = (),
        *,
        hot: str | Store | None = None,
        cold: str | ColdStore | None = None,
        durability: DurabilityName | None = None,
        name: str = "default",
        publisher: Publisher | Callable[[Event], Awaitable[None] | None] | None = None,
        files: FileStore | None = None,
        takeover_timeout: float = 5.0,
        lease: float = 10.0,
        timeout: float = 30.0,
        limits: Limits | None = None,
        relay: RelaySettings | None = None,
        shutdown: Shutdown | None = None,
        on_failure: Literal["report", "cancel"] = "report",
        on_event: Callable[[SupervisorEvent], None] | None = None,
        clock: Clock | None = None,
    ) -> None:
        if on_failure not in ("report", "cancel"):
            raise ValueError(f"on_failure is 'report' or 'cancel', not {on_failure!r}")
        try:
            check_timeout(timeout, finite=True)
        except InvalidIntent as error:
            raise ValueError(str(error)) from None
        self.name = name
        self.state = StateSurface(self._reach, lambda: self._serving().cold, timeout)
        self.wal = WalReader(self._reach)
        self.outbox = Outbox(self._reach)
        self._engine: Engine | None = None
        self._settings = Settings(
            name=name,
            repertoire=Repertoire(realms),
            hot=hot,
            cold=cold,
            durability=durability,
            publisher=_publisher(publisher),
            files=files,
            takeover_timeout=takeover_timeout,
            lease=lease,
            timeout=timeout,
            limits=limits or Limits(),
            relay=relay or RelaySettings(),
            shutdown=shutdown or Shutdown(),
            on_failure=on_failure,
            on_event=on_event,
            clock=clock or SystemClock(),
        )

    # --- entering and leaving

    async def __aenter__(self) -> Runtime:
        if self._engine is not None and self._engine.running:
            raise RuntimeStopped(f"runtime {self.name!r} is entered already; make another one, with another name")
        engine = Engine(self._settings)
        self._engine = engine
        await engine.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._entered().stop(kind, error, trace)

    @property
    def failed(self) -> BaseException | None:
        """What made the root supervisor give up; None as long as it has not."""
        return None if self._engine is None else self._engine.failed

    # --- sessions

    async def open_session(
        self,
        tenant: str,
        id: str | None = None,
        *,
        user_id: str = "",
        solution: str = "default",
        metadata: Mapping[str, Any] | None = None,
        timeout: float | None = None,
    ) -> Session:
        """Get a session, or create it; without an `id` a new one is made.

        What an existing session was created with stays as it is. Raises InvalidIntent naming the field, Overloaded,
        OutcomeUnknown after `timeout` seconds.
        """
        return await self._open(tenant, id, user_id, solution, metadata, timeout, must_be_new=False)

    async def create_session(
        self,
        tenant: str,
        id: str | None = None,
        *,
        user_id: str = "",
        solution: str = "default",
        metadata: Mapping[str, Any] | None = None,
        timeout: float | None = None,
    ) -> Session:
        """Create a session; raises SessionExists when this tenant has one of that id, else as `open_session`."""
        return await self._open(tenant, id, user_id, solution, metadata, timeout, must_be_new=True)

    def session(self, tenant: str, id: str) -> Session:
        """A handle of a session; whether there is one shows when it is used."""
        return Session(self, check_id(tenant, "tenant"), check_id(id, "session"))

    async def sessions(
        self, tenant: str, *, solution: str | None = None, limit: int = 100, cursor: str | None = None
    ) -> Page[SessionView]:
        """A tenant's sessions by id, filtered; `cursor` continues an earlier page."""
        self._serving()
        return await self.state.sessions(tenant, solution=solution, limit=limit, cursor=cursor)

    async def close_session(self, tenant: str, id: str) -> None:
        """Let a session take no more intents. Raises UnknownSession, OutcomeUnknown."""
        try:
            await self._ask(tenant, id, Close, None)
        except TimeoutError:
            raise OutcomeUnknown(id, id, f"no answer whether session {id!r} was closed; close it again") from None

    async def view_session(self, tenant: str, id: str) -> SessionView:
        """What is known of a session. Raises UnknownSession."""
        self._serving()
        view = await self.state.session(tenant, id)
        if view is None or not view.tracked:
            raise UnknownSession(id)
        return view

    async def _open(
        self,
        tenant: str,
        id: str | None,
        user_id: str,
        solution: str,
        metadata: Mapping[str, Any] | None,
        timeout: float | None,
        *,
        must_be_new: bool,
    ) -> Session:
        self._serving()
        check_id(tenant, "tenant")
        session = make_id(self._settings.clock.now()) if id is None else check_id(id, "session")
        if user_id != "":
            check_id(user_id, "user_id")
        check_id(solution, "solution")
        checked = check_metadata(metadata)
        creation = make_id(self._settings.clock.now())

        def question(reply: Reply[SessionState]) -> SessionMessage:
            return Open(creation, user_id, solution, checked, must_be_new, reply)

        try:
            await self._ask(tenant, session, question, timeout)
        except TimeoutError:
            again = f"no answer whether session {session!r} was opened; open_session with that id is safe"
            raise OutcomeUnknown(session, session, again) from None
        return Session(self, tenant, session)

    # --- executions

    async def submit(
        self, tenant: str, session: str, intents: Sequence[Intent[R]], timeout: float | None = None
    ) -> list[Execution[R]]:
        """Submit intents to a session; `Session.submit` and `submit_many` are the doors to it."""
        self._serving()
        if not 1 <= len(intents) <= INTENTS_MAX:
            raise InvalidIntent("intents", f"must be 1 to {INTENTS_MAX} in one call, not {len(intents)}")
        for place, intent in enumerate(intents):
            if not isinstance(intent, Intent):  # pyright: ignore[reportUnnecessaryIsInstance]  # callers without types
                raise InvalidIntent(f"intents[{place}]", f"must be an Intent, not {type(intent).__name__}")
        now = self._settings.clock.now()
        prepared = tuple(prepare(intent, self._settings.repertoire, now) for intent in intents)

        def question(reply: Reply[list[str]]) -> SessionMessage:
            return Submit(prepared, reply)

        try:
            ids = await self._ask(tenant, session, question, timeout)
        except TimeoutError:
            raise OutcomeUnknown(prepared[0].id, prepared[0].key) from None
        return [
            Execution(self, tenant, id, intent.id, self._result_type(intent.type))
            for id, intent in zip(ids, prepared, strict=True)
        ]

    def execution(self, tenant: str, id: str) -> Execution[Any]:
        """A handle of an execution; whether there is one shows when it is used."""
        self._serving()
        return Execution(self, check_id(tenant, "tenant"), check_id(id, "execution"), None, Any)

    async def executions(
        self,
        tenant: str,
        *,
        status: Status | str | None = None,
        type: str | None = None,
        session: str | None = None,
        solution: str | None = None,
        since: datetime | None = None,
        limit: int = 100,
        cursor: str | None = None,
    ) -> Page[ExecutionView]:
        """A tenant's executions, the newest first, filtered; `cursor` continues an earlier page."""
        self._serving()
        return await self.state.executions(
            tenant,
            status=status,
            type=type,
            session=session,
            solution=solution,
            since=since,
            limit=limit,
            cursor=cursor,
        )

    def wait(
        self, executions: Sequence[Execution[R]], *, timeout: float | None = None
    ) -> AsyncIterator[tuple[Execution[R], Outcome[R]]]:
        """Yield executions with their outcomes as they end. Raises TimeoutError when `timeout` seconds do not do."""
        self._serving()
        for execution in executions:
            self._refresh(execution)
        return Outcomes(executions, self._look_up_end, self._entered().seam, check_timeout(timeout))

    async def _look_up_end(self, execution: Execution[Any]) -> None:
        """If the execution is not known here as open, its end may stand in the store: tell it then."""
        ending = execution.ending
        if ending.state is None and not self._serving().partition(execution.tenant).executions.is_open(
            execution.tenant, execution.id
        ):
            state = await self._read_execution(execution.tenant, execution.id)
            if state.status.ended:
                ending.tell(state)

    # --- doors for handles

    def ending(self, tenant: str, execution: str) -> Ending:
        """The end of an execution, as far as this process knows or will know."""
        return self._entered().partition(tenant).endings.of(tenant, execution)

    async def wait_ended(self, execution: Execution[Any], timeout: float | None) -> ExecutionState:
        """Wait for the end of an execution; returns its document. Raises TimeoutError, UnknownExecution."""
        ending = execution.ending
        if ending.state is not None:
            return ending.state
        engine = self._serving()
        if ending.failed:  # of an earlier time that this runtime was entered
            ending = execution.ending = self.ending(execution.tenant, execution.id)
        wait = ending.wait()
        tick = None if timeout is None or timeout == math.inf else engine.deadlines.add(wait, timeout)
        try:
            if not engine.partition(execution.tenant).executions.is_open(execution.tenant, execution.id):
                with anyio.fail_after(timeout):  # a store is asked, which may not answer
                    await self._look_up_end(execution)
            return await wait.wait(engine.seam)
        finally:
            ending.forget(wait)
            if tick is not None:
                engine.deadlines.remove(wait, tick)

    def _refresh(self, execution: Execution[Any]) -> Ending:
        """The ending that is told in this life of the runtime: a handle may come from an earlier one."""
        if execution.ending.state is None:
            execution.ending = self.ending(execution.tenant, execution.id)
        return execution.ending

    async def view_execution(self, tenant: str, id: str) -> ExecutionView:
        """What is known of an execution. Raises UnknownExecution."""
        self._serving()
        view = await self.state.execution(tenant, id)
        if view is None or not view.tracked:
            raise UnknownExecution(id)
        return view

    async def ask_progress(self, tenant: str, id: str, timeout: float) -> Progress | None:
        """Ask a running execution's actor where it is; None when no handler of it runs here."""
        ref = self._reach(tenant).executions.ref(tenant, id)
        if ref is None:
            return None
        try:
            return await ref.ask(Describe, timeout=check_timeout(timeout, finite=True))
        except ActorStopped:
            return None  # it came to its end meanwhile

    async def _read_execution(self, tenant: str, id: str) -> ExecutionState:
        state = await self.state.tracked_execution(tenant, id)
        if state is None:
            raise UnknownExecution(id)
        return state

    def _result_type(self, type: str) -> Any:
        handler = self._settings.repertoire.find(type)
        return Any if handler is None else handler.result

    async def _ask(
        self, tenant: str, session: str, question: Callable[[Reply[T]], SessionMessage], timeout: float | None
    ) -> T:
        seconds = self._settings.timeout if timeout is None else check_timeout(timeout, finite=True)
        return await self._serving().ask(tenant, session, question, seconds)

    # --- what else

    def stats(self) -> Stats:
        """Numbers of this moment; those of the end, once the runtime was left."""
        engine = self._entered()
        each = engine.partitions
        return Stats(
            open=sum(partition.executions.open for partition in each),
            running=sum(partition.executions.running for partition in each),
            sessions=sum(partition.sessions.resident for partition in each),
            commits=sum(partition.writer.commits for partition in each),
            records=sum(partition.writer.records for partition in each),
            restarts=engine.restarts,
            published=sum(partition.relay.published for partition in each if partition.relay),
            lag=sum(partition.state_writer.lag for partition in each if partition.state_writer),
        )

    @property
    def ready(self) -> bool:
        """Whether calls are answered: entered, not given up, and no partition in the middle of a restart."""
        return self._engine is not None and self._engine.ready

    @property
    def durability(self) -> str:
        """What an acknowledgement means here: the level that the store really gives."""
        return self._serving().store.durability.name.lower()

    @property
    def files(self) -> FileStore:
        """Content by tenant and digest: where handlers' `ctx.files` lie."""
        return self._serving().files

    @property
    def portal(self) -> anyio.from_thread.BlockingPortal:
        """The door for other threads; `intendant.blocking(runtime)` is the convenient one."""
        engine = self._entered()
        if not engine.serving:
            raise engine.stopped()
        return engine.portal

    def _entered(self) -> Engine:
        if self._engine is None:
            raise not_running(self.name)
        return self._engine

    def _serving(self) -> Engine:
        """The engine, for a call from outside; raises when calls are not served."""
        engine = self._entered()
        engine.check()
        return engine

    def _reach(self, tenant: str) -> Partition:
        """The partition of a tenant, for a call from outside."""
        return self._serving().partition(tenant)

    def __repr__(self) -> str:
        return f"<Runtime {self.name!r} {'serving' if self.ready else 'not serving'}>"


def _publisher(given: Publisher | Callable[[Event], Awaitable[None] | None] | None) -> Publisher | None:
    if given is None:
        return None
    if isinstance(given, Publisher):
        return given
    if not callable(given):
        raise TypeError(f"publisher must be a function, or have a method `publish`; {given!r:.80} is neither")
    return CallbackPublisher(given)
