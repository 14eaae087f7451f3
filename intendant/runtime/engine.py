"""One life of a runtime, from its entering to its leaving: open stores, the tree at work, and how both end."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal, TypeVar

import anyio
import anyio.abc
import anyio.from_thread

from intendant.actors.deadlines import Deadlines
from intendant.actors.messages import SessionMessage
from intendant.actors.outbox_relay import RelaySettings
from intendant.actors.services import Limits
from intendant.actors.wal_writer import WriterSettings
from intendant.adapters.process import current_owner
from intendant.adapters.urls import open_cold, open_files, open_store
from intendant.domain.errors import ActorStopped, Fenced, RuntimeStopped, WrongThread
from intendant.domain.ids import partition_of
from intendant.domain.ports import Clock, ColdStore, FileStore, Publisher, Store
from intendant.parking import Reply, current_seam
from intendant.realm import Repertoire
from intendant.runtime import tree
from intendant.runtime.config import DurabilityName, Shutdown, Stores, resolve
from intendant.runtime.failure import cause_of
from intendant.runtime.partition import Partition
from intendant.supervisor import ChildCrashed, ChildRestarting
from intendant.supervisor import Event as SupervisorEvent

T = TypeVar("T")

logger = logging.getLogger("intendant")


@dataclass(frozen=True, slots=True)
class Settings:
    """What a runtime was made with; each means what `Runtime` says of it. Times are seconds."""

    name: str
    repertoire: Repertoire
    hot: str | Store | None
    cold: str | ColdStore | None
    durability: DurabilityName | None
    publisher: Publisher | None
    files: FileStore | None
    takeover_timeout: float
    lease: float
    timeout: float
    limits: Limits
    relay: RelaySettings
    shutdown: Shutdown
    on_failure: Literal["report", "cancel"]
    on_event: Callable[[SupervisorEvent], None] | None
    clock: Clock


class Engine:
    """Belongs to the event loop and the thread that it was made in."""

    def __init__(self, settings: Settings) -> None:
        self.failed: BaseException | None = None
        self.running = False  # from the beginning of `start` to the end of `stop`
        self.serving = False
        self.restarts = 0
        self.seam = current_seam()
        self.store, self.cold = _stores(settings)
        self.files: FileStore = settings.files or open_files(self.store.name)
        self.deadlines = Deadlines(self.seam)
        self.partitions: list[Partition] = []
        self.portal: anyio.from_thread.BlockingPortal
        self._settings = settings
        self._thread = threading.get_ident()
        self._asking = 0
        self._calls_ended: Callable[[], None] = _nothing
        self._root_ended: Reply[None] = Reply()
        self._group: anyio.abc.TaskGroup

    # --- beginning and ending

    async def start(self) -> None:
        """Open the stores and start the tree; what was begun is undone when that fails."""
        self.running = True
        try:
            await self._start()
        except BaseException:
            self.running = False
            raise
        self.serving = True

    async def _start(self) -> None:
        await self._open_stores()
        try:
            self._build()
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

    async def stop(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Drain, stop the tree, close the stores; takes what `__aexit__` was given, and raises what it is to raise."""
        self.serving = False
        with anyio.CancelScope(shield=True):
            if error is None and self.failed is None:
                await self._drain()
            self._root.stop()
            await self._root_ended.wait(self.seam)
            for partition in self.partitions:
                partition.fail(RuntimeStopped(f"runtime {self._settings.name!r} was left"))
            await self.portal.stop()
            await self._close_stores()
        ours = self._settings.on_failure == "cancel" and self.failed is not None
        if not (ours and isinstance(error, anyio.get_cancelled_exc_class())):
            kind = trace = None
        try:  # a cancellation of ours ends here, where its scope does; one from outside goes on
            await self._leave_group(kind, error if kind else None, trace)
        finally:
            self.running = False
        if self.failed is not None and (error is None or kind):
            raise RuntimeStopped(f"runtime {self._settings.name!r} gave up: {self.failed}") from self.failed

    async def _open_stores(self) -> None:
        await self.store.open()
        try:
            _check_durability(self.store, _urls(self._settings))
            if self.cold is not None:
                await self.cold.open()
        except BaseException:
            await self.store.close()
            raise

    def _build(self) -> None:
        settings = self._settings
        owner = current_owner()
        threads = anyio.CapacityLimiter(40)
        self.partitions = [
            Partition(
                number,
                self.store.log(number),
                owner=owner,
                repertoire=settings.repertoire,
                clock=settings.clock,
                seam=self.seam,
                deadlines=self.deadlines,
                files=self.files,
                threads=threads,
                limits=settings.limits,
                writer_settings=WriterSettings(takeover_timeout=settings.takeover_timeout, lease=settings.lease),
                relay_settings=settings.relay,
                cold=self.cold,
                publisher=settings.publisher,
                on_event=self._supervised,
                path=tree.partition_path(number),
            )
            for number in range(self.store.partitions)
        ]
        self._root = tree.build(
            self.partitions,
            self.deadlines,
            on_event=self._supervised,
            shutdown=settings.shutdown,
            takeover_timeout=settings.takeover_timeout,
        )

    async def _run_root(self, *, task_status: anyio.abc.TaskStatus[Any]) -> None:
        """The root of the tree in a task of ours. Its failure is told, and never thrown into the host's task."""
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
        async with anyio.from_thread.BlockingPortal() as self.portal:
            task_status.started()
            await self.portal.sleep_until_stopped()

    def _fail(self, cause: BaseException) -> None:
        self.failed = cause
        logger.critical("runtime %r gave up", self._settings.name, exc_info=cause)
        for partition in self.partitions:
            partition.fail(self.stopped())
        if self._settings.on_failure == "cancel":
            self._group.cancel_scope.cancel()

    async def _drain(self) -> None:
        """Let calls that are under way, and handlers that run, come to their end."""
        idle = self.seam.parking()
        self._calls_ended = idle.wake
        with anyio.move_on_after(self._settings.shutdown.drain):
            while self._asking:
                await idle.wait()
            for partition in self.partitions:
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
        await self.store.close()
        if self.cold is not None:
            await self.cold.close()

    def _supervised(self, event: SupervisorEvent) -> None:
        if isinstance(event, ChildRestarting):
            self.restarts += 1
        elif isinstance(event, ChildCrashed):
            level = logging.ERROR if self.serving else logging.DEBUG  # before that, whoever enters is told
            logger.log(level, "%s crashed", event.path, exc_info=event.cause)
        if self._settings.on_event is not None:
            self._settings.on_event(event)

    # --- calls

    @property
    def ready(self) -> bool:
        """Whether calls are answered: not given up, and no partition in the middle of a restart."""
        return self.serving and self.failed is None and all(each.sessions.serving for each in self.partitions)

    def partition(self, tenant: str) -> Partition:
        """The partition that a tenant lives in."""
        partitions = self.partitions
        return partitions[0] if len(partitions) == 1 else partitions[partition_of(tenant, len(partitions))]

    def check(self) -> None:
        """Raise unless calls are served here: WrongThread, RuntimeStopped, or Fenced."""
        if self._thread != threading.get_ident():
            raise WrongThread(
                f"runtime {self._settings.name!r} runs in another thread; "
                "from here use intendant.blocking(runtime).call(...)"
            )
        if not self.serving or self.failed is not None:
            raise self.stopped()

    def stopped(self) -> Exception:
        """What a call gets that is not served any more."""
        if self.failed is None:
            return not_running(self._settings.name)
        if isinstance(self.failed, Fenced):
            return Fenced(str(self.failed))
        stopped = RuntimeStopped(f"runtime {self._settings.name!r} gave up: {self.failed!r}")
        stopped.__cause__ = self.failed
        return stopped

    async def ask(self, tenant: str, session: str, question: Callable[[Reply[T]], SessionMessage], timeout: float) -> T:
        """Ask a session; when its actor ends before it answers, ask its successor: every question may be repeated."""
        self.check()
        partition = self.partition(tenant)
        deadline = self.seam.time() + timeout
        self._asking += 1
        try:
            while True:
                try:
                    ref = partition.sessions.activate(tenant, session)
                    return await ref.ask(question, timeout=deadline - self.seam.time())
                except ActorStopped:
                    self.check()
                    with anyio.fail_after(max(deadline - self.seam.time(), 0)):
                        await partition.wait_serving().wait(self.seam)
        finally:
            self._asking -= 1
            if not self._asking:
                self._calls_ended()


def not_running(name: str) -> RuntimeStopped:
    """What a call gets outside of `async with`."""
    return RuntimeStopped(f"runtime {name!r} is not running; use it inside `async with`")


def _stores(settings: Settings) -> tuple[Store, ColdStore | None]:
    urls = _urls(settings)
    hot = open_store(urls.hot) if settings.hot is None or isinstance(settings.hot, str) else settings.hot
    if settings.cold is not None and not isinstance(settings.cold, str):
        return hot, settings.cold
    return hot, open_cold(urls.cold) if urls.cold else None


def _urls(settings: Settings) -> Stores:
    """Where the stores are and what they must give; of stores that were given as objects, by their names."""
    cold = settings.cold if isinstance(settings.cold, str) else None
    if settings.hot is None or isinstance(settings.hot, str):
        return resolve(settings.name, settings.hot, cold, settings.durability)
    name = settings.hot.name
    durability = settings.durability or ("memory" if name.startswith("memory:") else None)
    return resolve(settings.name, name, cold, durability)


def _check_durability(store: Store, urls: Stores) -> None:
    if store.durability < urls.durability:
        wanted, given = urls.durability.name.lower(), store.durability.name.lower()
        raise ValueError(
            f"{store.name} gives durability {given!r}, and {wanted!r} is asked for; "
            f"choose another store, or say durability={given!r}"
        )


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
