"""`intendant load`: makes the store, runs the load, audits, prints."""

from __future__ import annotations

import contextlib
import os
import platform
import signal
import sys
import tempfile
import threading
import time
from collections.abc import AsyncGenerator, Generator
from importlib.metadata import version
from pathlib import Path
from typing import Final, cast

import anyio

from intendant.adapters.urls import open_store, without_secrets
from intendant.cli.asking import directory
from intendant.cli.backend import loop_options
from intendant.cli.exits import FAILED, INTERRUPTED, OK, USAGE, Refusal
from intendant.cli.figures import Figures, milliseconds, print_json, print_table, rss_bytes, show
from intendant.cli.load import ForeignWork, Load, Plan, finish, open_executions, realm
from intendant.cli.meters import Meters
from intendant.cli.urls import cold_of, files_of, named
from intendant.domain.errors import IntendantError, PartitionOwned
from intendant.domain.ports import ColdStore, FileStore, Store
from intendant.domain.state import Status
from intendant.runtime.audit import Audit, audit
from intendant.runtime.control_place import prepare
from intendant.runtime.handles import Session
from intendant.runtime.runtime import Runtime
from intendant.runtime.stats import Stats

INLINE_BYTES: Final = 65_000  # of a result, which has a little around it; a longer one is kept as a file
TAKEOVER_SECONDS: Final = 1.0  # a released or orphaned store is free at once; a living owner does not leave for us


def load(plan: Plan, *, hot: str | None, cold: str | None, files: str | None, backend: str, as_json: bool) -> int:
    """Run a plan and print what came of it. Returns the exit code; raises Refusal, or an error of ours."""
    if plan.sessions < plan.tenants:
        raise Refusal(f"--tenants {plan.tenants} need as many --sessions at least, not {plan.sessions}", USAGE)
    options = loop_options(backend)
    with _store_url(hot) as url:
        store = named(open_store, "--hot", url)
        place = files_of("--files", store, files)
        if place is None and plan.result > INLINE_BYTES:
            raise Refusal(
                f"--result {plan.result} is kept as a file, and {store.name} has no place: name --files", USAGE
            )
        ran = _Ran(plan, store, cold_of("--cold", cold), place)
        try:
            anyio.run(ran.run, **options)
        except PartitionOwned as owned:
            raise Refusal(
                f"{without_secrets(url)} is in use by process {owned.pid} on {owned.host}, for {owned.age:.0f} s; "
                "wait until it ends, or give --hot another file"
            ) from None
        except ForeignWork as foreign:
            shown = without_secrets(url)
            raise Refusal(f"{shown} holds {foreign}; a load would end them: give --hot another file", USAGE) from None
    found = ran.figures(without_secrets(hot) if hot else "sqlite: (temporary)", cold and without_secrets(cold), backend)
    (print_json if as_json else print_table)(found)
    if ran.interrupted:
        return INTERRUPTED
    return OK if found.sound and not (found.error or found.unanswered or found.unexpected) else FAILED


class _Ran:
    """A load on its stores, with all that is to be told of it."""

    def __init__(self, plan: Plan, store: Store, cold: ColdStore | None, files: FileStore | None) -> None:
        self.load = Load(plan)
        self.interrupted = False
        self.error: Exception | None = None
        self.meters = Meters(store, cold)
        self._store = store
        self._cold = cold
        self._files = files
        self._audit: Audit | None = None
        self._audit_seconds = 0.0
        self._before: Stats | None = None
        self._after: Stats
        self._durability = ""
        self._resumed = 0
        self._rss = 0

    async def run(self) -> None:
        """Run and audit. The first signal ends the load, the second one everything."""
        async with anyio.create_task_group() as group:
            load = anyio.CancelScope()
            if threading.current_thread() is threading.main_thread() and sys.platform != "win32":
                group.start_soon(self._watch, load, group.cancel_scope)
            try:
                await self._run(load)
            except (IntendantError, ForeignWork) as error:
                self.error = error
            if self._before is not None:  # it began: whatever happened then, what callers were told must hold
                await self._look()
            group.cancel_scope.cancel()
        if self._audit is None:
            raise self.error or KeyboardInterrupt

    async def _run(self, scope: anyio.CancelScope) -> None:
        async with _opened(self._store):
            logs = [self._store.log(number) for number in range(self._store.partitions)]
            left = [each for log in logs for each in await open_executions(log)]
        self._resumed = len(left)
        async with self._runtime() as runtime:
            self._durability = runtime.durability
            self._before = self._after = runtime.stats()
            try:
                with scope:
                    sessions = await self.load.open_sessions(runtime)
                    await finish(runtime, left, self.load.plan.timeout)
                    self._before = runtime.stats()
                    await self.meters.begin()
                    await self._timed(sessions)
                    await self.meters.end(runtime, self.load.plan.timeout)
            finally:
                self._after = runtime.stats()
                self._rss = rss_bytes()

    async def _timed(self, sessions: list[Session]) -> None:
        try:
            async with anyio.create_task_group() as group:
                if sys.stderr.isatty():
                    group.start_soon(show, self.load)
                await self.load.run(sessions)
                group.cancel_scope.cancel()
        except ExceptionGroup as errors:
            raise _first(errors) from errors

    def _runtime(self) -> Runtime:
        return Runtime(
            [realm],
            hot=self._store,
            cold=self._cold,
            files=self._files,
            name="load",  # reads INTENDANT_LOAD_* alone, never an application's settings
            takeover_timeout=TAKEOVER_SECONDS,
            timeout=self.load.plan.timeout,
            control=_control(),
        )

    async def _look(self) -> None:
        """Audit the store, as the load left it."""
        began = time.perf_counter()
        whole = not self.interrupted and self.error is None
        try:
            async with _opened(self._store):
                logs = [self._store.log(number) for number in range(self._store.partitions)]
                self._audit = await audit(logs, self.load.told, all_ended=whole)
        except IntendantError as error:
            self.error = self.error or error
        self._audit_seconds = time.perf_counter() - began

    async def _watch(self, load: anyio.CancelScope, everything: anyio.CancelScope) -> None:
        with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            async for _ in signals:
                if self.interrupted:
                    everything.cancel()
                self.interrupted = True
                load.cancel()

    def figures(self, hot: str, cold: str | None, backend: str) -> Figures:
        """What is printed."""
        load, plan, found = self.load, self.load.plan, self._audit
        assert found is not None  # noqa: S101  `run` returns only then
        assert self._before is not None  # noqa: S101
        completed, failed = (found.told.get(status, 0) for status in (Status.COMPLETED, Status.FAILED))
        return Figures(
            accepted=load.accepted,
            completed=completed,
            failed=failed,
            unfinished=sum(found.told.values()) - completed - failed,
            lost=found.lost,
            duplicated=found.duplicated,
            broken=found.broken,
            diverged=found.diverged,
            sound=found.sound,
            per_second=_rounded(load.done / load.seconds if load.seconds else 0.0),
            seconds=round(load.seconds, 3),
            p50_ms=milliseconds(load.result_seconds, 0.5),
            p99_ms=milliseconds(load.result_seconds, 0.99),
            max_ms=milliseconds(load.result_seconds, 1.0),
            submit_p50_ms=milliseconds(load.submit_seconds, 0.5),
            submit_p99_ms=milliseconds(load.submit_seconds, 0.99),
            durability=self._durability,
            rss_mb=round(self._rss / 1e6, 1),
            cpu_s_per_1000=self._per_1000(load.cpu_seconds) or 0.0,
            hot_server_cpu_s_per_1000=self._per_1000(self.meters.hot_seconds),
            cold_server_cpu_s_per_1000=self._per_1000(self.meters.cold_seconds),
            restarts=self._after.restarts,
            commits=self._after.commits - self._before.commits,
            records=self._after.records - self._before.records,
            lag=self._after.lag if self.meters.lag is None else self.meters.lag,
            lag_s=self.meters.lag_seconds,
            resumed=self._resumed,
            overloaded=load.overloaded,
            unanswered=load.unanswered,
            unexpected=load.unexpected,
            interrupted=self.interrupted,
            audit_s=round(self._audit_seconds, 3),
            stored=sum(found.executions.values()),
            findings=[str(finding) for finding in found.findings],
            error=None if self.error is None else " ".join(str(self.error).split()),
            plan=plan,
            hot=hot,
            cold=cold,
            backend=backend,
            python=platform.python_version(),
            version=version("intendant"),
        )

    def _per_1000(self, seconds: float | None) -> float | None:
        return None if seconds is None or not self.load.done else round(seconds / self.load.done * 1000, 4)


@contextlib.contextmanager
def _store_url(hot: str | None) -> Generator[str]:
    """The URL that was asked for, or that of a file which is removed afterwards."""
    if hot is not None:
        yield hot
        return
    with tempfile.TemporaryDirectory(prefix="intendant-load-") as folder:
        yield f"sqlite:{Path(folder) / 'load.db'}"


@contextlib.asynccontextmanager
async def _opened(store: Store) -> AsyncGenerator[None]:
    await store.open()
    try:
        yield
    finally:
        with anyio.CancelScope(shield=True):
            await store.close()


def _first(error: Exception) -> Exception:
    """The first error of a group, or of a group in it."""
    while isinstance(error, ExceptionGroup):
        error = cast("ExceptionGroup[Exception]", error).exceptions[0]
    return error


def _rounded(number: float) -> float:
    """Enough digits to compare, not more."""
    return round(number, 1) if number < 100 else float(round(number))


def _control() -> Path | bool:
    """Where `intendant ps` finds the load; where that can't be, it is a load all the same."""
    if os.environ.get("INTENDANT_CONTROL", "").strip() == "0":
        return False
    try:
        prepare(where := directory(None))
    except OSError:
        return False
    return where
