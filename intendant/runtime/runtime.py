"""The one object a program holds. It opens the stores, runs the supervision tree, and is the door to all."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import msgspec

from intendant.actors.messages import PreparedIntent, Progress
from intendant.actors.outbox_relay import RelaySettings
from intendant.actors.services import Limits
from intendant.adapters.clock import SystemClock
from intendant.domain.erasure import Erased, Scope
from intendant.domain.errors import (
    InvalidIntent,
    OutcomeUnknown,
    RuntimeStopped,
    UnknownExecution,
)
from intendant.domain.ids import check_id
from intendant.domain.payloads import ChildRecord, SagaRecord
from intendant.domain.ports import Clock, ColdStore, FileStore, Publisher, Store
from intendant.domain.retention import Retention, RetentionPolicy
from intendant.domain.state import CancelResult, Event, Outcome, Status
from intendant.domain.telemetry import Telemetry
from intendant.realm import Realm, Repertoire
from intendant.runtime.cancellations import Cancellations
from intendant.runtime.config import DurabilityName, Shutdown, resolve_control, resolve_telemetry, resolve_watchdog
from intendant.runtime.configuration import Configuration, configuration_of
from intendant.runtime.ends import Ends
from intendant.runtime.engine import Engine, not_running
from intendant.runtime.erasures import Erasures
from intendant.runtime.event_stream import EventStreams
from intendant.runtime.execution_client import ExecutionClient
from intendant.runtime.forks import Forks
from intendant.runtime.handles import Execution, Session
from intendant.runtime.intent import Intent, check_timeout, prepare_all, seconds_of
from intendant.runtime.observer import DEPTH_MAX, View
from intendant.runtime.opening import Opening
from intendant.runtime.outbox import Outbox
from intendant.runtime.partition import Partition
from intendant.runtime.session_client import SessionClient
from intendant.runtime.settings import Settings
from intendant.runtime.stats import Stats, stats_of
from intendant.runtime.surface import StateSurface
from intendant.runtime.tenants import TenantView, list_tenants
from intendant.runtime.tree_node import TreeNode
from intendant.runtime.views import ExecutionView, Page, SessionView
from intendant.runtime.wal import WalReader
from intendant.supervisor import Event as SupervisorEvent

if TYPE_CHECKING:
    from anyio.from_thread import BlockingPortal

    from intendant.runtime.control import Answer, Request

T = TypeVar("T")
R = TypeVar("R")

logger = logging.getLogger("intendant")


class Runtime:
    """A supervised set of actors over one hot store, entered with `async with`.

    It has no side effects until it is entered, and may stand at module level; it may be entered again after it was
    left. `hot` is a store's URL or a Store; without it, `INTENDANT_HOT` or `sqlite:intendant.db`. `durability` is what
    an acknowledgement must mean at least: by default `written`, or `memory` when memory was asked for by its URL.
    `publisher` takes the events of the outbox: a function, one of `intendant.adapters.publishers`, or a Publisher of
    your own; without one they wait there. `files` is where `ctx.files` lie: `file:/shared/directory` or a FileStore;
    without it, `INTENDANT_FILES`, or beside the hot store if that is a file.
    `own` names the partitions of the store to serve; without it, `INTENDANT_OWN="0,1"`, or all. A call for a tenant
    that lives in another partition raises NotOwner, whatever it asks. `retention` says how long what has ended is
    kept; a realm's own, `Realm(..., retention=...)`, goes before it, and a tenant's before both:
    `retention_of={"acme": Retention(...)}`.

    `control=True` offers a control socket for `intendant ps`, mode 0600, in `$XDG_RUNTIME_DIR/intendant` or
    `/tmp/intendant-<uid>`; a path is another directory for it. Without it, `INTENDANT_CONTROL=1`, or there is none.
    `watchdog` is how many seconds the event loop may be held until the log says by which handler; without it,
    `INTENDANT_WATCHDOG`, or nobody watches. `telemetry=True` tells OpenTelemetry's global providers of traces and
    metrics, which needs `intendant[otel]`; `OpenTelemetry(...)` names others; without it, `INTENDANT_TELEMETRY=1`, or
    nobody is told.

    Entering raises PartitionOwned when another live process owns the store and does not give it up within
    `takeover_timeout` seconds, StoreUnavailable when it can't be reached, ValueError when it can't give the durability
    or has no such partition.
    Leaving lets running handlers finish for a moment, suspends the others (they resume at the next start), commits
    what waits and gives the store back, each stage with its own deadline.

    A partition that another process took, or whose store lost what it had acknowledged and can't get it back, ends for
    good: its callers get Fenced or AcknowledgedDataMissing, `stats().lost` names it, and the others go on. When none is
    left, or anything else makes the root supervisor give up, `failed` has the cause, every call raises at once, and
    leaving raises; the host's own task is cancelled only with `on_failure="cancel"`.
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
        files: str | FileStore | None = None,
        own: Collection[int] | None = None,
        takeover_timeout: float = 5.0,
        lease: float = 10.0,
        timeout: float = 30.0,
        limits: Limits | None = None,
        retention: Retention | None = None,
        retention_of: Mapping[str, Retention] | None = None,
        relay: RelaySettings | None = None,
        shutdown: Shutdown | None = None,
        on_failure: Literal["report", "cancel"] = "report",
        on_event: Callable[[SupervisorEvent], None] | None = None,
        clock: Clock | None = None,
        control: bool | str | PathLike[str] | None = None,
        watchdog: float | None = None,
        telemetry: bool | Telemetry | None = None,
    ) -> None:
        if on_failure not in ("report", "cancel"):
            raise ValueError(f"on_failure is 'report' or 'cancel', not {on_failure!r}")
        try:
            check_timeout(timeout, finite=True)
        except InvalidIntent as error:
            raise ValueError(str(error)) from None
        repertoire, clock = Repertoire(realms), clock or SystemClock()
        self.name = name
        self.repertoire = repertoire
        """The handlers of its realms."""
        self.now = clock.now
        """The runtime's clock, in µs since 1970 UTC."""
        self.state = StateSurface(self._reach, timeout)
        self.ends = Ends(self._serving, self.state)
        self.cancellations = Cancellations(self._serving, self.state, timeout)
        self.wal = WalReader(self._reach)
        self._session_client = SessionClient(self._serving, self.state, self.now, timeout)
        self._execution_client = ExecutionClient(self._serving, self.state, self.wal, self.now, timeout)
        self._erasures = Erasures(self._reach)
        self.forks = Forks(self)
        self.streams = EventStreams(self._reach, self.state)
        self.outbox = Outbox(self._reach, self.now, timeout)
        self._engine: Engine | None = None
        self._control = control
        self._settings = Settings(
            name=name,
            repertoire=repertoire,
            hot=hot,
            cold=cold,
            durability=durability,
            own=None if own is None else tuple(own),
            publisher=_publisher(publisher),
            files=files,
            takeover_timeout=takeover_timeout,
            lease=lease,
            timeout=timeout,
            limits=limits or Limits(),
            retention=RetentionPolicy(retention or Retention(), repertoire.retentions, retention_of),
            relay=relay or RelaySettings(),
            shutdown=shutdown or Shutdown(),
            on_failure=on_failure,
            on_event=on_event,
            clock=clock,
            control=resolve_control(name, control),
            watchdog=resolve_watchdog(name, watchdog),
            telemetry=resolve_telemetry(name, telemetry),
        )

    def offer_control(self) -> None:
        """Have a control socket when it is entered next, where nothing says whether there is to be one.

        For whoever runs a runtime that others have made. It lies at the default place.
        """
        self._settings = msgspec.structs.replace(
            self._settings, control=resolve_control(self.name, self._control, default=True)
        )

    # --- entering and leaving

    async def __aenter__(self) -> Runtime:
        if self._engine is not None and self._engine.running:
            raise RuntimeStopped(f"runtime {self.name!r} is entered already; make another one, with another name")
        engine = Engine(self._settings, self._answer)
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

    # --- tenants

    async def tenants(self, *, limit: int = 100, cursor: str | None = None) -> Page[TenantView]:
        """Tenants of the partitions that are served here, by id; `cursor` continues an earlier page."""
        engine = self._serving()
        stores = engine.stores
        return await list_tenants(engine.live(), stores.hot.partitions, stores.cold, limit=limit, cursor=cursor)

    # --- sessions

    async def open_session(
        self,
        tenant: str,
        id: str | None = None,
        *,
        user_id: str = "",
        solution: str = "default",
        metadata: Mapping[str, Any] | None = None,
        concurrency: int | None = None,
        idle_timeout: timedelta | None = None,
        timeout: float | None = None,
    ) -> Session:
        """Get a session, or create it; without an `id` a new one is made.

        Its executions begin in the order they were submitted in, and at most `concurrency` of them have begun and not
        ended (default: `Limits.session_concurrency`); 1 makes a queue. With `idle_timeout` (1 ms or more) it is closed
        when it had no open executions, and no intents came, for so long: then it takes no more intents (SessionClosed,
        with `expired`). What an existing session was created with stays as it is. Raises InvalidIntent naming the
        field, Overloaded, OutcomeUnknown after `timeout` seconds.
        """
        opening = Opening(user_id, solution, metadata, concurrency, idle_timeout)
        opened = await self._session_client.open(tenant, id, opening, timeout, must_be_new=False)
        return Session(self, tenant, opened)

    async def create_session(
        self,
        tenant: str,
        id: str | None = None,
        *,
        user_id: str = "",
        solution: str = "default",
        metadata: Mapping[str, Any] | None = None,
        concurrency: int | None = None,
        idle_timeout: timedelta | None = None,
        timeout: float | None = None,
    ) -> Session:
        """Create a session; raises SessionExists when this tenant has one of that id, else as `open_session`."""
        opening = Opening(user_id, solution, metadata, concurrency, idle_timeout)
        opened = await self._session_client.open(tenant, id, opening, timeout, must_be_new=True)
        return Session(self, tenant, opened)

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
        await self._session_client.close(tenant, id)

    async def view_session(self, tenant: str, id: str) -> SessionView:
        """What is known of a session. Raises UnknownSession."""
        return await self._session_client.view(tenant, id)

    async def read_session_state(self, tenant: str, id: str, type: Any) -> Any:
        """What a session's handlers share; `Session.state` is the door to it."""
        return await self._session_client.shared_state(tenant, id, type)

    # --- erasure

    async def erase_tenant(
        self, tenant: str, *, dry_run: bool = False, drop_open: bool = False, timeout: float | None = None
    ) -> Erased:
        """Remove everything of a tenant from every store: log, documents, keys, events, journals, files, archive.

        Returns when nothing is left; what it then says was removed. `dry_run` only tells what would be. Nothing of the
        tenant is written meanwhile: its callers get BeingErased. Afterwards it is as if it had never been, but for the
        records that say that it was erased; its id and its keys may be used again.

        An erasure is a recorded command: once it has begun it goes on by itself, also after a crash, and until then
        nothing has changed. It waits for cold state to catch up first. Raises StillOpen when executions have not
        ended; with `drop_open` they are stopped where they are and never go on. TimeoutError after `timeout` seconds
        (without it there is no limit), OutcomeUnknown: it goes on, or call it again.
        """
        return await self._erasures.erase(
            Scope(check_id(tenant, "tenant")), timeout, dry_run=dry_run, drop_open=drop_open
        )

    async def erase_session(
        self,
        tenant: str,
        session: str,
        *,
        dry_run: bool = False,
        drop_open: bool = False,
        timeout: float | None = None,
    ) -> Erased:
        """Remove everything of a session from every store, as `erase_tenant` does with a tenant.

        Its records keep their places in the log, as `content_erased` without content. A file stays if something else
        of the tenant names the same content. Costs reading all of the tenant's log and documents.
        """
        scope = Scope(check_id(tenant, "tenant"), check_id(session, "session"))
        return await self._erasures.erase(scope, timeout, dry_run=dry_run, drop_open=drop_open)

    # --- executions

    async def submit(
        self, tenant: str, session: str, intents: Sequence[Intent[R]], timeout: float | None = None
    ) -> list[Execution[R]]:
        """Submit intents to a session; `Session.submit` and `submit_many` are the doors to it."""
        prepared = prepare_all(intents, self.repertoire, self.now())
        return await self.submit_prepared(tenant, session, prepared, timeout)

    async def submit_prepared(
        self, tenant: str, session: str, prepared: tuple[PreparedIntent, ...], timeout: float | None
    ) -> list[Execution[Any]]:
        """Submit what was checked and encoded."""
        engine, seconds = self._serving(), seconds_of(timeout, self._settings.timeout)
        partition = engine.partition(tenant)
        submit = partition.sessions.submit
        try:
            if engine.tracing is None:
                accepted = await engine.persist(partition, partial(submit, tenant, session, prepared), seconds)
            else:
                with engine.tracing.submit(tenant, session, prepared[0].type, len(prepared)) as trace:
                    if trace:
                        prepared = tuple(msgspec.structs.replace(each, trace=trace) for each in prepared)
                    accepted = await engine.persist(partition, partial(submit, tenant, session, prepared), seconds)
        except TimeoutError:
            raise OutcomeUnknown(prepared[0].id, prepared[0].key) from None
        executions: list[Execution[Any]] = []
        for known, intent in zip(accepted, prepared, strict=True):
            id = known if isinstance(known, str) else known.id
            ending = partition.endings.of(tenant, id)
            if not isinstance(known, str):  # it has ended in the commit that accepted it
                ending.tell(known)
            result = self.repertoire.result_of(intent.type)
            executions.append(Execution(self, tenant, id, intent.id, result, ending))
        return executions

    def execution(self, tenant: str, id: str) -> Execution[Any]:
        """A handle of an execution; whether there is one shows when it is used."""
        ending = self.ends.of(check_id(tenant, "tenant"), check_id(id, "execution"))
        return Execution(self, tenant, id, None, Any, ending)

    async def executions(
        self,
        tenant: str,
        *,
        status: Status | str | None = None,
        type: str | None = None,
        session: str | None = None,
        solution: str | None = None,
        parent: str | None = None,
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
            parent=parent,
            since=since,
            limit=limit,
            cursor=cursor,
        )

    def wait(
        self, executions: Sequence[Execution[R]], *, timeout: float | None = None
    ) -> AsyncIterator[tuple[Execution[R], Outcome[R]]]:
        """Yield executions with their outcomes as they end. Raises TimeoutError when `timeout` seconds do not do."""
        return self.ends.wait_all(executions, timeout)

    async def view_execution(self, tenant: str, id: str) -> ExecutionView:
        """What is known of an execution. Raises UnknownExecution."""
        self._serving()
        view = await self.state.execution(tenant, id)
        if view is None or not view.tracked:
            raise UnknownExecution(id)
        return view

    async def read_sagas(self, tenant: str, id: str) -> list[SagaRecord]:
        """What is recorded of an execution's sagas. Raises UnknownExecution."""
        self._serving()
        sagas = await self.state.sagas(tenant, id)
        if sagas is None:
            raise UnknownExecution(id)
        return sagas

    async def read_children(self, tenant: str, id: str) -> list[ChildRecord]:
        """What an execution has submitted. Raises UnknownExecution."""
        self._serving()
        children = await self.state.children(tenant, id)
        if children is None:
            raise UnknownExecution(id)
        return children

    async def ask_progress(self, tenant: str, id: str, timeout: float) -> Progress | None:
        """Ask a running execution's actor where it is; None when no handler of it runs here."""
        return await self._execution_client.progress(tenant, id, timeout)

    async def signal(
        self, tenant: str, id: str, name: str, payload: object, given_id: str | None, timeout: float | None
    ) -> None:
        """Send a signal to an execution; `Execution.signal` is the door to it."""
        await self._execution_client.signal(tenant, id, name, payload, given_id, timeout)

    async def cancel_tenant(self, tenant: str, *, timeout: float | None = None) -> dict[str, CancelResult]:
        """Cancel all executions of a tenant that are open now, as `Execution.cancel` does; results by id.

        Its sessions stay open. Raises OutcomeUnknown when `timeout` seconds do not do: some are cancelled then, and
        cancelling again is safe.
        """
        return await self.cancellations.cancel_all(Scope(check_id(tenant, "tenant")), timeout)

    async def query(self, tenant: str, id: str, name: str, type: Any, timeout: float | None) -> Any:
        """Ask an execution's handler; `Execution.query` is the door to it."""
        return await self._execution_client.query(tenant, id, name, type, timeout)

    # --- what else

    def stats(self) -> Stats:
        """Numbers of this moment; those of the end, once the runtime was left."""
        return stats_of(self._entered())

    def metrics(self) -> str:
        """The metrics of this moment, as Prometheus reads them. Those of the end, once the runtime was left."""
        from intendant.runtime.exposition import exposition  # noqa: PLC0415
        from intendant.runtime.metrics import METRICS, read  # noqa: PLC0415

        return exposition(METRICS, partial(read, self._entered()))

    async def tree(
        self, *, depth: int = DEPTH_MAX, tenant: str | None = None, limit: int = 1_000, fold: str | None = None
    ) -> TreeNode:
        """Every supervisor, and its workers, sessions and executions: how they fare, and what they are at.

        `depth` is how many levels below the root are shown; sessions and executions are the fourth. Of each supervisor
        at most `limit` sessions or executions are shown: those that are at work first, of these the oldest; `counts`
        counts them all. `tenant` shows those of one tenant. `fold` shows sums of executions by "tenant" or by
        "session" instead of each, the largest first. It looks at 500 at a time, and lets others have their turn in
        between: each part is true, the whole is about one moment. Raises InvalidIntent naming the field.
        """
        view = View(depth, check_id(tenant, "tenant") if tenant is not None else "", limit, fold or "")
        return await self._serving().observer.look(view)

    def configuration(self) -> Configuration:
        """What it was made with, and what its stores give; without secrets."""
        return configuration_of(self._settings, self._serving())

    @property
    def control_socket(self) -> Path | None:
        """Where `intendant ps` finds this runtime; None when it has no control socket, or it does not listen now."""
        control = self._entered().control
        return None if control is None else control.path

    @property
    def ready(self) -> bool:
        """Whether calls are answered: entered, not given up, and no partition in the middle of a restart."""
        return self._engine is not None and self._engine.ready

    @property
    def durability(self) -> str:
        """What an acknowledgement means here: the level that the store really gives."""
        return self._serving().stores.hot.durability.name.lower()

    @property
    def files(self) -> FileStore:
        """Content by tenant and digest: where handlers' `ctx.files` lie."""
        return self._serving().files

    @property
    def portal(self) -> BlockingPortal:
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
        engine = self._engine or self._entered()
        engine.check()
        return engine

    def _reach(self, tenant: str) -> Partition:
        """The partition of a tenant, for a call from outside."""
        return self._serving().partition(tenant)

    async def _answer(self, request: Request) -> Answer:
        """What came through the control socket, which most runtimes do not have."""
        from intendant.runtime.control import answer  # noqa: PLC0415

        return await answer(self, request)

    def __repr__(self) -> str:
        return f"<Runtime {self.name!r} {'serving' if self.ready else 'not serving'}>"


def _publisher(given: Publisher | Callable[[Event], Awaitable[None] | None] | None) -> Publisher | None:
    if given is None:
        return None
    if isinstance(given, Publisher):
        return given
    if not callable(given):
        raise TypeError(f"publisher must be a function, or have a method `publish`; {given!r:.80} is neither")
    from intendant.adapters.publishers import CallbackPublisher  # noqa: PLC0415

    return CallbackPublisher(given)
