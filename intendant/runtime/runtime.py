"""The one object a program holds. It opens the stores, runs the supervision tree, and is the door to all."""

from __future__ import annotations

import logging
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from types import TracebackType
from typing import Any, Literal, TypeVar

import anyio
import anyio.abc
import anyio.from_thread
from msgspec import Struct

from intendant.actors.deadlines import Deadlines
from intendant.actors.endings import Ending
from intendant.actors.messages import Close, Open, SessionMessage, Submit
from intendant.actors.outbox_relay import RelaySettings
from intendant.actors.services import Limits
from intendant.actors.wal_writer import WriterSettings
from intendant.adapters.clock import SystemClock
from intendant.adapters.process import current_owner
from intendant.adapters.publishers import CallbackPublisher
from intendant.adapters.urls import open_cold, open_files, open_store
from intendant.domain.errors import (
    ActorStopped,
    InvalidIntent,
    OutcomeUnknown,
    RuntimeStopped,
    UnknownExecution,
    UnknownSession,
    WrongThread,
)
from intendant.domain.errors import Fenced as FencedError
from intendant.domain.ids import check_id, make_id, partition_of
from intendant.domain.ports import Clock, ColdStore, FileStore, Publisher, Store
from intendant.domain.state import Event, ExecutionState, Outcome, SessionState, Status
from intendant.parking import Reply, Seam, current_seam
from intendant.realm import Realm, Repertoire
from intendant.runtime import tree
from intendant.runtime.config import DurabilityName, Shutdown, resolve
from intendant.runtime.failure import cause_of
from intendant.runtime.handles import Execution, Session
from intendant.runtime.intent import INTENTS_MAX, Intent, check_metadata, check_timeout, prepare
from intendant.runtime.outbox import Outbox
from intendant.runtime.outcomes import Outcomes
from intendant.runtime.partition import Partition
from intendant.runtime.surface import StateSurface
from intendant.runtime.views import ExecutionView, Page, SessionView
from intendant.runtime.wal import WalReader
from intendant.supervisor import ChildCrashed, ChildRestarting, Supervisor
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
        self.name = name
        self.failed: BaseException | None = None
        self.state = StateSurface(self._reach, lambda: self._cold_store, timeout)
        self.wal = WalReader(self._reach)
        self.outbox = Outbox(self._reach)
        self.files: FileStore
        if on_failure not in ("report", "cancel"):
            raise ValueError(f"on_failure is 'report' or 'cancel', not {on_failure!r}")
        self._repertoire = Repertoire(realms)
        self._hot = hot
        self._cold = cold
        self._durability = durability
        self._publisher = _publisher(publisher)
        self._files = files
        self._takeover_timeout = takeover_timeout
        self._lease = lease
        try:
            self._timeout = check_timeout(timeout, finite=True)
        except InvalidIntent as error:
            raise ValueError(str(error)) from None
        self._limits = limits or Limits()
        self._relay = relay or RelaySettings()
        self._shutdown = shutdown or Shutdown()
        self._on_failure = on_failure
        self._on_event = on_event
        self._clock = clock or SystemClock()
        self._thread = 0
        self._serving = False
        self._asking = 0
        self._restarts = 0
        self._calls_ended: Callable[[], None] = _nothing
        self._partitions: list[Partition] = []
        self._cold_store: ColdStore | None = None
        self._seam: Seam
        self._store: Store
        self._root: Supervisor
        self._group: anyio.abc.TaskGroup
        self._root_ended: Reply[None]

    # --- entering and leaving

    async def __aenter__(self) -> Runtime:
        if self._thread:
            raise RuntimeStopped(f"runtime {self.name!r} is entered already; make another one, with another name")
        self.failed = None
        self._restarts = 0
        self._seam = current_seam()
        self._thread = threading.get_ident()
        try:
            await self._enter()
        except BaseException:
            self._thread = 0
            raise
        self._serving = True
        return self

    async def _enter(self) -> None:
        cold = await self._open_stores()
        try:
            self._build(cold)
            self._group = await anyio.create_task_group().__aenter__()
            try:
                await self._group.start(self._run_root)
                await self._group.start(self._run_portal)
            except BaseException:
                await self._leave_group()
                raise
        except BaseException:
            await self._close_stores()
            raise

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._serving = False
        with anyio.CancelScope(shield=True):
            if error is None and self.failed is None:
                await self._drain()
            self._root.stop()
            await self._root_ended.wait(self._seam)
            for partition in self._partitions:
                partition.fail(RuntimeStopped(f"runtime {self.name!r} was left"))
            await self._portal.stop()
            await self._close_stores()
        ours = self._on_failure == "cancel" and self.failed is not None
        if not (ours and isinstance(error, anyio.get_cancelled_exc_class())):
            kind = trace = None
        try:  # a cancellation of ours ends here, where its scope does; one from outside goes on
            await self._leave_group(kind, error if kind else None, trace)
        finally:
            self._thread = 0
        if self.failed is not None and (error is None or kind):
            raise RuntimeStopped(f"runtime {self.name!r} gave up: {self.failed}") from self.failed

    async def _open_stores(self) -> ColdStore | None:
        urls = self._urls()
        self._store = self._hot if self._hot is not None and not isinstance(self._hot, str) else open_store(urls.hot)
        cold = self._cold if not isinstance(self._cold, str | None) else open_cold(urls.cold) if urls.cold else None
        self._cold_store = cold
        await self._store.open()
        try:
            if self._store.durability < urls.durability:
                wanted, given = urls.durability.name.lower(), self._store.durability.name.lower()
                raise ValueError(
                    f"{self._store.name} gives durability {given!r}, and {wanted!r} is asked for; "
                    f"choose another store, or say durability={given!r}"
                )
            if cold is not None:
                await cold.open()
        except BaseException:
            await self._store.close()
            raise
        return cold

    def _urls(self) -> Any:
        if self._hot is None or isinstance(self._hot, str):
            cold = self._cold if isinstance(self._cold, str) else None
            return resolve(self.name, self._hot, cold, self._durability)
        level = self._durability or ("memory" if self._hot.name.startswith("memory:") else None)
        return resolve(self.name, self._hot.name, self._cold if isinstance(self._cold, str) else None, level)

    def _build(self, cold: ColdStore | None) -> None:
        deadlines = Deadlines(self._seam)
        owner = current_owner()
        self.files = self._files or open_files(self._store.name)
        threads = anyio.CapacityLimiter(40)
        self._partitions = [
            Partition(
                number,
                self._store.log(number),
                owner=owner,
                repertoire=self._repertoire,
                clock=self._clock,
                seam=self._seam,
                deadlines=deadlines,
                files=self.files,
                threads=threads,
                limits=self._limits,
                writer_settings=WriterSettings(takeover_timeout=self._takeover_timeout, lease=self._lease),
                relay_settings=self._relay,
                cold=cold,
                publisher=self._publisher,
                on_event=self._supervised,
                path=tree.partition_path(number),
            )
            for number in range(self._store.partitions)
        ]
        self._root = tree.build(
            self._partitions,
            deadlines,
            on_event=self._supervised,
            shutdown=self._shutdown,
            takeover_timeout=self._takeover_timeout,
        )

    async def _run_root(self, *, task_status: anyio.abc.TaskStatus[Any]) -> None:
        """The root of the tree in a task of ours. Its failure is told, and never thrown into the host's task."""
        self._root_ended = Reply()
        ready = _Ready(task_status)
        try:
            await self._root.run(ready)
        except Exception as error:
            cause = cause_of(error)
            if not ready.was:
                raise cause from None if cause is not error else error.__cause__
            self._fail(cause)
        finally:
            self._root_ended.set(None)

    async def _run_portal(self, *, task_status: anyio.abc.TaskStatus[None]) -> None:
        """The door for other threads, in a task of its own."""
        async with anyio.from_thread.BlockingPortal() as self._portal:
            task_status.started()
            await self._portal.sleep_until_stopped()

    def _fail(self, cause: BaseException) -> None:
        self.failed = cause
        logger.critical("runtime %r gave up", self.name, exc_info=cause)
        for partition in self._partitions:
            partition.fail(self._stopped())
        if self._on_failure == "cancel":
            self._group.cancel_scope.cancel()

    async def _drain(self) -> None:
        """Let calls that are under way, and handlers that run, come to their end."""
        idle = self._seam.parking()
        self._calls_ended = idle.wake
        with anyio.move_on_after(self._shutdown.drain):
            while self._asking:
                await idle.wait()
            for partition in self._partitions:
                partition.executions.when_idle(idle.wake)
                await idle.wait()

    async def _leave_group(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        trace: TracebackType | None = None,
    ) -> None:
        self._group.cancel_scope.cancel()
        await self._group.__aexit__(kind, error, trace)

    async def _close_stores(self) -> None:
        await self._store.close()
        if self._cold_store is not None:
            await self._cold_store.close()

    def _supervised(self, event: SupervisorEvent) -> None:
        if isinstance(event, ChildRestarting):
            self._restarts += 1
        elif isinstance(event, ChildCrashed):
            logger.error("%s crashed", event.path, exc_info=event.cause)
        if self._on_event is not None:
            self._on_event(event)

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
        self._check()
        return await self.state.sessions(tenant, solution=solution, limit=limit, cursor=cursor)

    async def close_session(self, tenant: str, id: str) -> None:
        """Let a session take no more intents. Raises UnknownSession, OutcomeUnknown."""
        try:
            await self._ask(tenant, id, Close, None)
        except TimeoutError:
            raise OutcomeUnknown(id, id, f"no answer whether session {id!r} was closed; close it again") from None

    async def view_session(self, tenant: str, id: str) -> SessionView:
        """What is known of a session. Raises UnknownSession."""
        self._check()
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
        self._check()
        check_id(tenant, "tenant")
        session = make_id(self._clock.now()) if id is None else check_id(id, "session")
        if user_id != "":
            check_id(user_id, "user_id")
        check_id(solution, "solution")
        checked = check_metadata(metadata)

        def question(reply: Reply[SessionState]) -> SessionMessage:
            return Open(user_id, solution, checked, must_be_new, reply)

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
        self._check()
        if not 1 <= len(intents) <= INTENTS_MAX:
            raise InvalidIntent("intents", f"must be 1 to {INTENTS_MAX} in one call, not {len(intents)}")
        for place, intent in enumerate(intents):
            if not isinstance(intent, Intent):  # pyright: ignore[reportUnnecessaryIsInstance]  # callers without types
                raise InvalidIntent(f"intents[{place}]", f"must be an Intent, not {type(intent).__name__}")
        now = self._clock.now()
        prepared = tuple(prepare(intent, self._repertoire, now) for intent in intents)

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
        self._check()
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
        self._check()
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
        self._check()
        for execution in executions:
            self._refresh(execution)
        return Outcomes(executions, self._look_up_end, self._seam, check_timeout(timeout))

    async def _look_up_end(self, execution: Execution[Any]) -> None:
        """If the execution is not known here as open, its end may stand in the store: tell it then."""
        ending = execution.ending
        if ending.state is None and not self._partition(execution.tenant).executions.is_open(
            execution.tenant, execution.id
        ):
            state = await self._read_execution(execution.tenant, execution.id)
            if state.status.ended:
                ending.tell(state)

    # --- doors for handles

    def ending(self, tenant: str, execution: str) -> Ending:
        """The end of an execution, as far as this process knows or will know."""
        return self._partition(tenant).endings.of(tenant, execution)

    async def wait_ended(self, execution: Execution[Any], timeout: float | None) -> ExecutionState:
        """Wait for the end of an execution; returns its document. Raises TimeoutError, UnknownExecution."""
        ending = execution.ending
        if ending.state is not None:
            return ending.state
        self._check()
        if ending.failed:  # of an earlier time that this runtime was entered
            ending = execution.ending = self.ending(execution.tenant, execution.id)
        if timeout is not None:
            with anyio.fail_after(timeout):
                return await self.wait_ended(execution, None)
        await self._look_up_end(execution)
        reply = ending.wait()
        try:
            return await reply.wait(self._seam)
        finally:
            ending.forget(reply)

    def _refresh(self, execution: Execution[Any]) -> Ending:
        """The ending that is told in this life of the runtime: a handle may come from an earlier one."""
        if execution.ending.state is None:
            execution.ending = self.ending(execution.tenant, execution.id)
        return execution.ending

    async def view_execution(self, tenant: str, id: str) -> ExecutionView:
        """What is known of an execution. Raises UnknownExecution."""
        self._check()
        view = await self.state.execution(tenant, id)
        if view is None or not view.tracked:
            raise UnknownExecution(id)
        return view

    async def _read_execution(self, tenant: str, id: str) -> ExecutionState:
        state = await self.state.tracked_execution(tenant, id)
        if state is None:
            raise UnknownExecution(id)
        return state

    def _result_type(self, type: str) -> Any:
        handler = self._repertoire.find(type)
        return Any if handler is None else handler.result

    async def _ask(
        self, tenant: str, session: str, question: Callable[[Reply[T]], SessionMessage], timeout: float | None
    ) -> T:
        """Ask a session; when its actor ends before it answers, ask its successor: every question may be repeated."""
        self._check()
        partition = self._partition(tenant)
        deadline = self._seam.time() + (self._timeout if timeout is None else check_timeout(timeout, finite=True))
        self._asking += 1
        try:
            while True:
                try:
                    ref = partition.sessions.activate(tenant, session)
                    return await ref.ask(question, timeout=deadline - self._seam.time())
                except ActorStopped:
                    self._check()
                    with anyio.fail_after(max(deadline - self._seam.time(), 0)):
                        await partition.wait_serving().wait(self._seam)
        finally:
            self._asking -= 1
            if not self._asking:
                self._calls_ended()

    # --- what else

    def stats(self) -> Stats:
        """Numbers of this moment."""
        each = self._partitions
        return Stats(
            open=sum(partition.executions.open for partition in each),
            running=sum(partition.executions.running for partition in each),
            sessions=sum(partition.sessions.resident for partition in each),
            commits=sum(partition.writer.commits for partition in each),
            records=sum(partition.writer.records for partition in each),
            restarts=self._restarts,
            published=sum(partition.relay.published for partition in each if partition.relay),
            lag=sum(partition.state_writer.lag for partition in each if partition.state_writer),
        )

    @property
    def ready(self) -> bool:
        """Whether calls are answered: entered, not given up, and no partition in the middle of a restart."""
        return self._serving and self.failed is None and all(each.sessions.serving for each in self._partitions)

    @property
    def durability(self) -> str:
        """What an acknowledgement means here: the level that the store really gives."""
        self._check()
        return self._store.durability.name.lower()

    @property
    def portal(self) -> anyio.from_thread.BlockingPortal:
        """The door for other threads; `intendant.blocking(runtime)` is the convenient one."""
        if not self._serving:
            raise self._stopped()
        return self._portal

    def _partition(self, tenant: str) -> Partition:
        return (
            self._partitions[0]
            if len(self._partitions) == 1
            else self._partitions[partition_of(tenant, len(self._partitions))]
        )

    def _reach(self, tenant: str) -> Partition:
        """The partition of a tenant, for a call from outside."""
        self._check()
        return self._partition(tenant)

    def _check(self) -> None:
        if self._thread != threading.get_ident() and self._thread:
            raise WrongThread(
                f"runtime {self.name!r} runs in another thread; from here use intendant.blocking(runtime).call(...)"
            )
        if not self._serving or self.failed is not None:
            raise self._stopped()

    def _stopped(self) -> Exception:
        if self.failed is None:
            return RuntimeStopped(f"runtime {self.name!r} is not running; use it inside `async with`")
        if isinstance(self.failed, FencedError):
            return FencedError(str(self.failed))
        stopped = RuntimeStopped(f"runtime {self.name!r} gave up: {self.failed!r}")
        stopped.__cause__ = self.failed
        return stopped

    def __repr__(self) -> str:
        return f"<Runtime {self.name!r} {'serving' if self._serving and not self.failed else 'stopped'}>"


def _nothing() -> None:
    """Nobody waits for calls to end."""


class _Ready:
    """A task status that remembers whether it was told."""

    def __init__(self, status: anyio.abc.TaskStatus[Any]) -> None:
        self.was = False
        self._status = status

    def started(self, value: Any = None) -> None:
        """Ready."""
        self.was = True
        self._status.started(value)


def _publisher(given: Publisher | Callable[[Event], Awaitable[None] | None] | None) -> Publisher | None:
    if given is None:
        return None
    if isinstance(given, Publisher):
        return given
    if not callable(given):
        raise TypeError(f"publisher must be a function, or have a method `publish`; {given!r:.80} is neither")
    return CallbackPublisher(given)
