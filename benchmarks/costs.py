"""Where the microseconds of one execution go: own time by stage, of the runtime's part in Python.

    python -m benchmarks.costs [--steps 0] [--callers 64] [--executions 6400] [--json]

One process, the memory store, asyncio. The same work runs twice: once as it is, for the CPU time of an execution, and
once under `cProfile`, for how that time is shared out. The profiler makes calls dearer than they are, so that stages of
many small functions look larger than they are, by a quarter at most; the sum is the measured one. What Python's
built-ins take counts for the function that calls them. `calls` are calls of the runtime's own functions, which is what
`tests/benchmarks/test_call_counts.py` holds on to: it does not hang on the machine.
"""

from __future__ import annotations

import argparse
import cProfile
import json
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import anyio
from msgspec import Struct

import intendant
from intendant import Context, Realm, Runtime

PACKAGE: Final = Path(intendant.__file__).parent
SESSIONS: Final = 100
WARM: Final = 1_280  # executions, before anything is counted

STAGES: Final = {
    "validate": ("runtime/intent", "actors/intents", "realm", "domain/ids", "domain/codec", "domain/quotas"),
    "route": (
        *("runtime/runtime", "runtime/engine", "runtime/partition", "actors/ref", "actors/sessions", "actors/actor"),
        *("actors/direct_cell", "actors/mailbox", "actors/residents", "actors/deadlines"),
    ),
    "accept": (
        *("actors/session", "actors/submission", "actors/acceptance"),
        *("actors/open_set", "actors/open_execution", "actors/barred"),
    ),
    "turn": ("actors/places", "actors/passivation", "domain/turns", "actors/stage"),
    "spawn": ("supervisor/", "actors/executions"),
    "run": (
        *("actors/execution", "actors/live_recording", "actors/conclusion", "actors/noted_files"),
        *("context", "steps/", "domain/retry"),
    ),
    "state": ("domain/state", "actors/history", "domain/waits", "domain/journal", "domain/sagas"),
    "seal": ("domain/commit", "domain/records"),
    "commit": ("actors/wal_writer", "actors/intake", "actors/landing", "actors/ownership", "actors/ring"),
    "store": ("adapters/",),
    "followers": ("actors/timers", "runtime/touched", "domain/window", "actors/state_writer", "actors/outbox_relay"),
    "reply": ("runtime/handles", "runtime/ends", "actors/endings"),
    "park and wake": ("parking",),
}
OTHERS: Final = "event loop"


class Cost(Struct, frozen=True):
    """Of one execution: µs of CPU in a stage, and how many calls of the runtime's functions."""

    stage: str
    us: float
    calls: float


class Work:
    """A realm with one handler, and callers that submit and wait."""

    def __init__(self, steps: int, callers: int) -> None:
        self._callers = callers
        self._realm = Realm("bench")

        @self._realm.handler
        async def work(ctx: Context, given: dict[str, int]) -> int:
            for number in range(steps):
                await ctx.step(f"step{number}", _double, given["n"])
            return given["n"]

    async def run(self, executions: int, begin: Callable[[], Any], end: Callable[[], Any]) -> None:
        """Some to warm up; then so many, between `begin()` and `end()`."""
        async with Runtime([self._realm], hot="memory:") as runtime:
            sessions = [await runtime.open_session("acme", f"session-{number}") for number in range(SESSIONS)]

            async def caller(first: int, count: int) -> None:
                for number in range(first, count, self._callers):
                    execution = await sessions[number % SESSIONS].submit("bench.work", {"n": number})
                    await execution.result()

            async def wave(count: int) -> None:
                async with anyio.create_task_group() as group:
                    for number in range(self._callers):
                        group.start_soon(caller, number, count)

            await wave(WARM)
            begin()
            try:
                await wave(executions)
            finally:
                end()


async def _double(number: int) -> int:
    return 2 * number


def count_calls(steps: int, callers: int, executions: int) -> float:
    """Calls of the runtime's own functions, and resumptions of its coroutines, for each execution."""
    calls = 0
    package = f"{PACKAGE}/"

    def count(frame: Any, event: str, _argument: object) -> None:
        nonlocal calls
        if event == "call" and frame.f_code.co_filename.startswith(package):
            calls += 1

    work = Work(steps, callers)
    anyio.run(work.run, executions, lambda: sys.setprofile(count), lambda: sys.setprofile(None))
    return calls / executions


def measure_cpu(steps: int, callers: int, executions: int) -> float:
    """Seconds of CPU for each execution, unobserved; the best of three."""
    times: list[float] = []

    def note() -> None:
        times.append(time.process_time())

    for _ in range(3):
        anyio.run(Work(steps, callers).run, executions, note, note)
    return min(end - begin for begin, end in zip(times[::2], times[1::2], strict=True)) / executions


def share_out(steps: int, callers: int, executions: int) -> list[Cost]:
    """The stages, with what an execution costs in each."""
    seconds = measure_cpu(steps, callers, executions)
    profile = cProfile.Profile()
    anyio.run(Work(steps, callers).run, executions, profile.enable, profile.disable)
    own, calls = _by_stage(profile)
    whole = sum(own.values())
    order = [*STAGES, OTHERS]
    return [Cost(stage, 1e6 * seconds * own[stage] / whole, calls[stage] / executions) for stage in order]


def _by_stage(profile: cProfile.Profile) -> tuple[dict[str, float], Counter[str]]:
    """Own time and calls; what built-ins take is own time of the function that calls them."""
    own: dict[str, float] = defaultdict(float)
    calls: Counter[str] = Counter()
    for entry in profile.getstats():
        if isinstance(entry.code, str):
            continue
        stage = _stage(entry.code.co_filename)
        own[stage] += entry.inlinetime
        own[stage] += sum(each.inlinetime for each in entry.calls or () if isinstance(each.code, str))
        if stage != OTHERS:
            calls[stage] += entry.callcount
    return own, calls


def _stage(file: str) -> str:
    try:
        module = Path(file).relative_to(PACKAGE).with_suffix("").as_posix()
    except ValueError:
        return OTHERS
    for stage, places in STAGES.items():
        if any(module == place or (place.endswith("/") and module.startswith(place)) for place in places):
            return stage
    return OTHERS


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.costs", description="Where the microseconds of one execution go."
    )
    parser.add_argument("--steps", type=int, default=0)
    parser.add_argument("--callers", type=int, default=64)
    parser.add_argument("--executions", type=int, default=6_400)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    costs = share_out(given.steps, given.callers, given.executions)
    if given.json:
        print(json.dumps({each.stage: {"us": round(each.us, 2), "calls": round(each.calls, 2)} for each in costs}))
        return
    whole = sum(each.us for each in costs)
    print("| stage | µs | share | calls |\n|---|---|---|---|")
    for each in sorted(costs, key=lambda each: -each.us):
        print(f"| {each.stage} | {each.us:.1f} | {each.us / whole:.0%} | {each.calls:.1f} |")
    print(f"| **all** | **{whole:.1f}** | | **{sum(each.calls for each in costs):.1f}** |")


if __name__ == "__main__":
    main()
