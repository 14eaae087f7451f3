"""One life of a runtime, from its entering to its leaving: open stores, the tree at work, and how both end."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Awaitable, Callable
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

import anyio
import anyio.abc
import anyio.lowlevel

from intendant.actors.deadlines import Deadlines
from intendant.actors.hot_gauge import HotGauge
from intendant.actors.orphans import WatchedFiles
from intendant.actors.stage import Stage
from intendant.actors.wal_writer import WriterSettings
from intendant.adapters.process import current_owner
from intendant.domain.errors import ActorStopped, Fenced, Overloaded, RuntimeStopped, WrongThread
from intendant.domain.ids import partition_of
from intendant.domain.logs import about, trace_of
from intendant.domain.ports import LastingPublisher, Owner, Usage
from intendant.parking import Reply, current_seam
from intendant.runtime import tree
from intendant.runtime.config import resolve_own
from intendant.runtime.failure import cause_of
from intendant.runtime.foreign import Foreign
from intendant.runtime.observer import Observer
from intendant.runtime.partition import LOST, Partition
from intendant.runtime.settings import Settings
from intendant.runtime.stores import OpenStores
from intendant.runtime.tree_node import LoopBlock
from intendant.supervisor import ChildCrashed, ChildRestarting, Start
from intendant.supervisor import Event as SupervisorEvent

if TYPE_CHECKING:
    from anyio.from_thread import BlockingPortal

    from intendant.runtime.control import Answer, Control, Request
    from intendant.runtime.watchdog import Watchdog

T = TypeVar("T")

logger = logging.getLogger("intendant")

_RESIDENT = 4  # how deep sessions and executions lie


class Engine:
    """Belongs to the event loop and the thread that it was made in."""

    def __init__(self, settings: Settings, answer: Callable[[Request], Awaitable[Answer]]) -> None:
        self.failed: BaseException | None = None
        self.running = False  # from the beginning of `start` to the end of `stop`
        self.serving = False
        self.restarts: Counter[str] = Counter()  # by what was started again
        self.refusals: Counter[str] = Counter()  # of calls, by which limit it was
        self.threads: dict[str, anyio.CapacityLimiter] = {}  # of plain functions, by realm
        self.seam = current_seam()
        self.stores = OpenStores(settings)
        self.files = WatchedFiles(self.stores.files)
        self.tracing = None if settings.telemetry is None else settings.telemetry.tracing
        self.deadlines = Deadlines(self.seam)
        self.partitions: list[Partition] = []  # that are served here
        self.observer: Observer
        self.control: Control | None = None
        self.portal: BlockingPortal
        self._settings = settings
        self._answer = answer
        self._thread = threading.get_ident()
        self.lost: list[int] = []  # those of them that ended for good while others went on
        self._by_number: dict[int, Partition] = {}
        self._count = 1  # of all partitions, here and elsewhere
        self._stage = Stage()
        self._foreign: Foreign
        self._gauge: HotGauge
        self._watchdog: Watchdog | None = None
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
        await self.stores.open()
        try:
            self._build()
            self._group = await anyio.create_task_group().__aenter__()
            try:
                await self._group.start(self._run_root)
                await self._group.start(self._run_portal)
                self._observe()
            except BaseException:
                await self._leave_group()
                raise
        except BaseException:
            await self.stores.close()
            raise

    def _observe(self) -> None:
        if self._settings.telemetry is not None:
            from intendant.runtime.metrics import METRICS, read  # noqa: PLC0415

            self._settings.telemetry.observe(self._settings.name, [*METRICS], partial(read, self))

    def _forget(self) -> None:
        if self._settings.telemetry is not None:
            self._settings.telemetry.forget(self._settings.name)

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
            self._forget()
            await self._close_publisher()
            await self.stores.close()
        ours = self._settings.on_failure == "cancel" and self.failed is not None
        if not (ours and isinstance(error, anyio.get_cancelled_exc_class())):
            kind = trace = None
        try:  # a cancellation of ours ends here, where its scope does; one from outside goes on
            await self._leave_group(kind, error if kind else None, trace)
        finally:
            self.running = False
        if self.failed is not None and (error is None or kind):
            raise RuntimeStopped(f"runtime {self._settings.name!r} gave up: {self.failed}") from self.failed

    def _build(self) -> None:
        settings, store = self._settings, self.stores.hot
        own = resolve_own(settings.name, settings.own, store.partitions)
        owner = current_owner()
        self.threads = {realm: anyio.CapacityLimiter(count) for realm, count in settings.repertoire.threads.items()}
        self.partitions = [self._partition(number, owner) for number in own]
        self._by_number = {each.number: each for each in self.partitions}
        self._count = store.partitions
        self._foreign = Foreign(store, [each for each in range(store.partitions) if each not in self._by_number])
        writers = [each.writer for each in self.partitions]
        lag = None if self.stores.cold is None else self.lag
        self._gauge = HotGauge(store, writers, lag, settings.periods.gauge)
        built = tree.build(
            self.partitions,
            self.deadlines,
            watchers=self._watchers(),
            on_lost=self._lost,
            on_event=self._supervised,
            shutdown=settings.shutdown,
            takeover_timeout=settings.takeover_timeout,
        )
        self._root = built.root
        self.observer = Observer(built, self.partitions, self.seam, settings.clock, lambda: self.blocked)

    def _watchers(self) -> dict[str, Start]:
        settings = self._settings
        watchers: dict[str, Start] = {"hot-gauge": self._gauge.run}
        if self._foreign:
            watchers["foreign"] = self._foreign.run
        if settings.watchdog is not None:
            from intendant.runtime.watchdog import Watchdog  # noqa: PLC0415  most runtimes have none

            self._watchdog = Watchdog(settings.watchdog, self.seam, self._type_of)
            watchers["watchdog"] = self._watchdog.run
        if settings.control is not None:
            from intendant.runtime.control import Control  # noqa: PLC0415  it brings all that can be asked, and sockets

            self.control = Control(settings.control, settings.name, self._answer)
            watchers["control"] = self.control.run
        return watchers

    def _type_of(self, tenant: str, execution: str) -> str:
        """For the watchdog's thread: one look-up in a dictionary for each partition, and nothing is changed."""
        found = (each.executions.open.find(tenant, execution) for each in self.partitions)
        return next((each.type for each in found if each is not None), "")

    def _partition(self, number: int, owner: Owner) -> Partition:
        settings = self._settings
        return Partition(
            number,
            self.stores.hot.log(number),
            owner=owner,
            repertoire=settings.repertoire,
            clock=settings.clock,
            seam=self.seam,
            deadlines=self.deadlines,
            files=self.files,
            threads=self.threads,
            stage=self._stage,
            limits=settings.limits,
            writer_settings=WriterSettings(
                takeover_timeout=settings.takeover_timeout, lease=settings.lease, apart=self.stores.hot.apart
            ),
            relay_settings=settings.relay,
            cold=self.stores.cold,
            loss_window=self.stores.hot.loss_window,
            partitions=self.stores.hot.partitions,
            retention=settings.retention,
            publisher=settings.publisher,
            context=settings.context,
            periods=settings.periods,
            on_event=self._supervised,
            path=tree.partition_path(number),
            tracing=self.tracing,
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
        from anyio.from_thread import BlockingPortal  # noqa: PLC0415  it imports much that nothing else of ours does

        async with BlockingPortal() as self.portal:
            task_status.started()
            await self.portal.sleep_until_stopped()

    def _fail(self, cause: BaseException) -> None:
        self.failed = cause
        logger.critical("runtime %r gave up\n%s", self._settings.name, trace_of(cause), extra=about())
        for partition in self.partitions:
            partition.fail(self.stopped())
        if self._settings.on_failure == "cancel":
            self._group.cancel_scope.cancel()

    def _lost(self, partition: Partition, cause: BaseException) -> None:
        """One partition has ended for good, and others go on."""
        self.lost.append(partition.number)
        logger.critical(
            "partition %d is lost to runtime %r\n%s",
            *(partition.number, self._settings.name, trace_of(cause)),
            extra=about(),
        )
        partition.fail(cause if isinstance(cause, LOST) else _given_up(f"partition {partition.number}", cause))

    async def _drain(self) -> None:
        """Let calls that are under way, and handlers that run, come to their end."""
        idle = self.seam.parking()
        self._calls_ended = idle.wake
        with anyio.move_on_after(self._settings.shutdown.drain):
            while self._asking:
                await idle.wait()
            for partition in self.live():
                partition.executions.places.when_idle(idle.wake)
                await idle.wait()

    async def _close_publisher(self) -> None:
        publisher = self._settings.publisher
        if isinstance(publisher, LastingPublisher):
            try:
                await publisher.aclose()
            except Exception as error:  # all events that it has delivered are settled
                logger.error("the publisher was not closed: %s", trace_of(error), extra=about())

    async def _leave_group(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        trace: TracebackType | None = None,
    ) -> None:
        self._group.cancel_scope.cancel()
        await self._group.__aexit__(kind, error, trace)

    def _supervised(self, event: SupervisorEvent) -> None:
        if isinstance(event, ChildRestarting):
            self.restarts[_kind_of(event.path)] += 1
        elif isinstance(event, ChildCrashed):
            level = logging.ERROR if self.serving else logging.DEBUG  # before that, whoever enters is told
            if logger.isEnabledFor(level):
                logger.log(level, "%s crashed\n%s", event.path, trace_of(event.cause), extra=_about(event.path))
        if self._settings.on_event is not None:
            self._settings.on_event(event)

    # --- calls

    @property
    def ready(self) -> bool:
        """Whether calls are answered: not given up, and no partition in the middle of a restart. A lost one is left."""
        return self.serving and self.failed is None and all(each.sessions.serving for each in self.live())

    def live(self) -> list[Partition]:
        """The partitions that were not lost."""
        return [each for each in self.partitions if each.number not in self.lost]

    @property
    def usage(self) -> Usage:
        """How full the hot store was at the last look."""
        return self._gauge.usage

    @property
    def blocked(self) -> tuple[int, LoopBlock | None]:
        """How often the loop was held too long, and the last time."""
        return (0, None) if self._watchdog is None else (self._watchdog.blocks, self._watchdog.last)

    def lag(self) -> int:
        """How many records cold state is behind the log, of all partitions."""
        return sum(each.state_writer.lag for each in self.live() if each.state_writer)

    def partition(self, tenant: str) -> Partition:
        """The partition that a tenant lives in. Raises NotOwner when it is not served here, or what it was lost by."""
        number = 0 if self._count == 1 else partition_of(tenant, self._count)
        partition = self._by_number.get(number)
        if partition is None:
            raise self._foreign.not_owner(number)
        if partition.lost is not None:
            partition.check()
        return partition

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
        return _given_up(f"runtime {self._settings.name!r}", self.failed)

    async def persist(self, partition: Partition, call: Callable[[float], Awaitable[T]], timeout: float) -> T:
        """Call what may be repeated, and again when whoever was called ends before it answers.

        `call` is told how many of the `timeout` seconds are left, and keeps to that; the waits in between raise
        TimeoutError when none are.
        """
        deadline, left = self.seam.time() + timeout, timeout
        self._asking += 1
        try:
            while True:
                try:
                    return await call(left)
                except ActorStopped:
                    self.check()
                    partition.check()
                    with anyio.fail_after(max(deadline - self.seam.time(), 0)):
                        await anyio.lowlevel.checkpoint()  # what has stopped may need some turns until it says so
                        await partition.wait_serving().wait(self.seam)
                    left = deadline - self.seam.time()
        except Overloaded as error:
            self.refusals[error.kind] += 1
            raise
        finally:
            self._asking -= 1
            if not self._asking:
                self._calls_ended()


def _about(path: str) -> dict[str, str | int]:
    """Whom a place in the tree concerns."""
    names = path.split("/")
    if len(names) < _RESIDENT + 2:
        return about()
    tenant, id = names[_RESIDENT : _RESIDENT + 2]
    return about(tenant, session=id) if names[_RESIDENT - 1] == "sessions" else about(tenant, execution=id)


def _kind_of(path: str) -> str:
    """What stands at a path of the tree, in a word: of a small closed set."""
    names = path.split("/")
    if len(names) > _RESIDENT and names[_RESIDENT - 1] in {"sessions", "executions"}:
        return names[_RESIDENT - 1].removesuffix("s")
    return names[-1].partition("[")[0]


def not_running(name: str) -> RuntimeStopped:
    """What a call gets outside of `async with`."""
    return RuntimeStopped(f"runtime {name!r} is not running; use it inside `async with`")


def _given_up(who: str, cause: BaseException) -> RuntimeStopped:
    stopped = RuntimeStopped(f"{who} gave up: {cause!r}")
    stopped.__cause__ = cause
    return stopped


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
