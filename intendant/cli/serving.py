"""`intendant run`: enters a runtime that somebody else's module has made, and serves it until told to stop."""

from __future__ import annotations

import gc
import inspect
import json
import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any, Final

import anyio
from rich.console import Console
from rich.markup import escape

from intendant.cli.backend import loop_options
from intendant.cli.exits import FAILED, INTERRUPTED, OK, USAGE, Refusal
from intendant.cli.imports import imported
from intendant.domain.errors import PartitionOwned
from intendant.realm import Realm
from intendant.runtime.configuration import Configuration
from intendant.runtime.runtime import Runtime

LOOK_SECONDS: Final = 0.25  # until it is seen that the runtime has given up


def serve(target: str, *, backend: str, control: bool, as_json: bool) -> int:
    """Serve until SIGTERM or SIGINT, then drain. Returns the exit code; raises Refusal, or an error of ours."""
    options = loop_options(backend)
    given = imported("MODULE:NAME", target)
    if isinstance(given, Realm) or (isinstance(given, list | tuple) and given):
        raise Refusal(f"{target} is realms, not a runtime: write runtime = Runtime({target.partition(':')[2]})", USAGE)
    serving = _Serving(target, given, control=control, as_json=as_json)
    gc.collect()
    gc.freeze()  # programs, which stay: no full collection is to look at them while everybody waits
    gc.set_threshold(10_000, 20, 50)  # the hot path leaves no cycles: to look seldom costs nothing, and saves a tenth
    try:
        return anyio.run(serving.run, **options)
    except PartitionOwned as owned:
        raise Refusal(
            f"the store is in use by process {owned.pid} on {owned.host}, for {owned.age:.0f} s; stop it first, or "
            "give this runtime a takeover_timeout to wait for it"
        ) from None
    except (ValueError, OSError) as error:
        raise Refusal(f"{target} can't be entered: {error}", USAGE) from error


class _Serving:
    """One runtime from its start to its end."""

    def __init__(self, target: str, given: Any, *, control: bool, as_json: bool) -> None:
        self._target = target
        self._given = given
        self._control = control
        self._as_json = as_json
        self._asked: signal.Signals | None = None
        self._entering: anyio.CancelScope | None = None
        self._stop: anyio.Event

    async def run(self) -> int:
        self._stop = anyio.Event()
        runtime = await self._runtime()
        if self._control:
            runtime.offer_control()
        failed: Exception | None = None
        code = FAILED
        async with anyio.create_task_group() as group:
            if threading.current_thread() is threading.main_thread() and sys.platform != "win32":
                await group.start(self._watch_signals)
            try:
                code = await self._serve(runtime)
            except Exception as error:
                failed = error
            group.cancel_scope.cancel()
        if failed is not None and runtime.failed is None:
            raise failed
        if failed is not None:
            self._say(f"runtime {runtime.name!r} gave up: {runtime.failed}", {"failed": str(runtime.failed)})
        return code

    async def _runtime(self) -> Runtime:
        given = self._given
        if callable(given) and not isinstance(given, type | Runtime):
            given = await _made(self._target, given)
        if isinstance(given, Runtime):
            return given
        what = f"the class {given.__name__}" if isinstance(given, type) else f"{type(given).__name__}"
        raise Refusal(
            f"{self._target} is {what}, and neither a Runtime nor a function without arguments that returns one", USAGE
        )

    async def _serve(self, runtime: Runtime) -> int:
        with anyio.CancelScope() as entering:
            self._entering = entering
            async with runtime:
                self._entering = None
                self._tell(runtime)
                while not self._stop.is_set() and runtime.failed is None:
                    with anyio.move_on_after(LOOK_SECONDS):
                        await self._stop.wait()
                if self._asked is not None:
                    name = "Ctrl-C" if self._asked is signal.SIGINT else self._asked.name
                    self._say(f"{name}: handlers may finish, then the rest is suspended; again ends at once", None)
        if entering.cancelled_caught:
            self._say("stopped before it served", {"stopped": True})
            return OK
        stats = runtime.stats()
        left = f"{stats.open:,} executions are open and go on at the next start" if stats.open else "nothing is open"
        self._say(f"stopped: {left}", {"stopped": True, "open": stats.open})
        return OK

    async def _watch_signals(self, *, task_status: anyio.abc.TaskStatus[None]) -> None:
        with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            task_status.started()
            async for number in signals:
                if self._asked is not None:
                    sys.stderr.write("intendant: ended at once; what was acknowledged is in the log\n")
                    sys.stderr.flush()
                    os._exit(INTERRUPTED)  # as a crash would: the next start resumes
                self._asked = number
                self._stop.set()
                if self._entering is not None:
                    self._entering.cancel()  # it may stand by for another process, for as long as it was told to

    # --- what is told

    def _tell(self, runtime: Runtime) -> None:
        found, socket = runtime.configuration(), runtime.control_socket
        if self._as_json:
            told = {
                "serving": found.name,
                "pid": os.getpid(),
                "hot": found.hot,
                "cold": found.cold,
                "durability": found.durability,
                "own": found.own,
                "handlers": found.handlers,
                "control": None if socket is None else str(socket),
            }
            print(json.dumps(told), flush=True)  # noqa: T201  this is the command line
            return
        console = Console(stderr=True)
        for name, value in _rows(found, None if socket is None else str(socket)):
            console.print(f"[bold]{name:<9}[/]{escape(value)}", highlight=False, soft_wrap=True)
        console.print("Ctrl-C or SIGTERM drains and stops.", style="dim", highlight=False)

    def _say(self, text: str, told: dict[str, Any] | None) -> None:
        if not self._as_json:
            sys.stderr.write(f"intendant: {text}\n")
        elif told is not None:
            print(json.dumps(told), flush=True)  # noqa: T201


def _rows(found: Configuration, socket: str | None) -> list[tuple[str, str]]:
    own = f", partitions {', '.join(map(str, found.own))} of {found.partitions}" if found.partitions > 1 else ""
    handlers = ", ".join(found.handlers[:8]) + (f", … {len(found.handlers) - 8} more" if found.handlers[8:] else "")
    return [
        ("serving", f"{found.name}, process {os.getpid()}"),
        ("hot", f"{found.hot} ({found.durability}{own})"),
        *([("cold", found.cold)] if found.cold else []),
        ("handlers", handlers or "none: everything that is submitted will fail"),
        ("control", socket or "no socket: intendant ps and the like can't reach it"),
    ]


async def _made(target: str, function: Callable[..., Any]) -> Any:
    """What the function returns. Raises Refusal when it wants arguments; what it raises is not caught."""
    try:
        inspect.signature(function).bind()
    except TypeError as error:
        raise Refusal(f"{target} can't be called without arguments: {error}", USAGE) from None
    except ValueError:
        pass  # it tells nobody what it takes
    found = function()
    return await found if inspect.isawaitable(found) else found
