"""Supervised restarts, `tell` and `ask` a second, beside OTP; and what measuring costs an actor.

    python -m benchmarks.restarts [--rounds 5] [--scale 1.0] [--only tell,uvloop] [--json]

Rounds are interleaved, each measurement is a process of its own, and what is told is the median with the slowest and
the fastest: whatever else the machine does meets all of them, so trust the ratios more than the figures. OTP runs
restarts.escript, where an `escript` is installed (on Debian: apt-get install erlang-base).

- restarts: one child without back-off; it is made to crash as soon as it is up again.
- tell: a plain actor gets so many messages and has handled them all; ask: one caller, or 64.
- measuring: seconds of CPU for a message, of an actor that does not count what it takes, of one as it is, and of one
  whose pressure (depth, age of the oldest message, time in hand) is looked at ten times a second. Short slices of the
  three take turns in one process.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any, Final

import anyio
import anyio.lowlevel
from msgspec import Struct

from benchmarks.machine import machine
from intendant import Actor, ActorSystem, Ref, Reply
from intendant.actors.actor import NOTHING, TURN, Cell
from intendant.supervisor import Backoff, ChildSpec, DynamicSupervisor, Intensity, Started, Supervisor

BACKENDS: Final = ("asyncio", "uvloop", "trio")
COUNTS: Final = {
    "restarts": 20_000,
    "restarts, dynamic": 20_000,
    "restarts, actor": 20_000,
    "tell": 500_000,
    "ask": 100_000,
    "ask, 64 callers": 200_000,
}
OTP: Final = {"restarts": "restarts", "tell": "tell", "ask": "ask"}  # what the escript has, by our names
SLICE: Final = 5_000  # messages
LOOKS_PER_SECOND: Final = 10
BATCH: Final = 5_000  # told before the actor gets a turn
ENDLESS: Final = Intensity.unlimited()


class Ask(Struct):
    """A question."""

    reply: Reply[int]


class Crash(Struct):
    """Crash, and tell when there is a new instance."""

    up: Reply[None]


class Counter(Actor[Any]):
    """Counts what it is told."""

    def __init__(self) -> None:
        self.count = 0

    async def receive(self, message: Any) -> None:
        if isinstance(message, Ask):
            message.reply.set(self.count)
        elif isinstance(message, Crash):
            raise LookupError
        else:
            self.count += 1


class Child:
    """Is up, and crashes when told."""

    def __init__(self) -> None:
        self.up = anyio.Event()
        self.go = anyio.Event()

    async def start(self, status: Started) -> None:
        self.go = anyio.Event()
        status.started()
        self.up.set()
        await self.go.wait()
        raise LookupError

    async def crash(self) -> None:
        self.up = anyio.Event()
        self.go.set()
        await self.up.wait()


# ---------------------------------------------------------------------- what is measured


async def restarts(count: int) -> float:
    child = Child()
    supervisor = Supervisor("s", [ChildSpec("child", child.start)], intensity=ENDLESS, backoff=Backoff.none())
    seconds = 0.0
    async with anyio.create_task_group() as group:
        await group.start(supervisor.run)
        seconds = await timed(child.crash, count)
        supervisor.stop()
    return count / seconds


async def dynamic_restarts(count: int) -> float:
    child = Child()
    dynamic = DynamicSupervisor("d", intensity=ENDLESS, backoff=Backoff.none(), restarts_per_second=float("inf"))
    seconds = 0.0
    async with anyio.create_task_group() as group:
        await group.start(dynamic.run)
        dynamic.start_child(ChildSpec("child", child.start))
        await child.up.wait()
        seconds = await timed(child.crash, count)
        dynamic.stop()
    return count / seconds


async def actor_restarts(count: int) -> float:
    """A new instance answers the question that comes after the crash; the system's pace is made wide."""
    async with ActorSystem(intensity=ENDLESS, backoff=Backoff.none()) as system:
        system._supervisor._pace._spacing = 0.0  # pyright: ignore[reportPrivateUsage]
        counter: Ref[Any] = system.spawn("counter", Counter)

        async def crash() -> None:
            counter.tell(Crash(Reply()))
            await counter.ask(Ask, timeout=60.0)

        seconds = await timed(crash, count)
    return count / seconds


async def timed(do: Callable[[], Awaitable[object]], count: int) -> float:
    began = time.perf_counter()
    for _ in range(count):
        await do()
    return time.perf_counter() - began


async def tell(count: int) -> float:
    async with ActorSystem() as system:
        counter: Ref[Any] = system.spawn("counter", Counter)
        began = time.perf_counter()
        await told(counter, count)
        return count / (time.perf_counter() - began)


async def told(counter: Ref[Any], count: int) -> None:
    """Tell so many, a batch at a time, and see them handled."""
    send = counter.tell
    for _ in range(count // BATCH):
        for number in range(BATCH):
            send(number)
        await anyio.lowlevel.checkpoint()
        await counter.ask(Ask, timeout=60.0)


async def ask(count: int, callers: int = 1) -> float:
    async with ActorSystem() as system:
        counter: Ref[Any] = system.spawn("counter", Counter)

        async def caller() -> None:
            for _ in range(count // callers):
                await counter.ask(Ask, timeout=60.0)

        began = time.perf_counter()
        async with anyio.create_task_group() as group:
            for _ in range(callers):
                group.start_soon(caller)
        return count / (time.perf_counter() - began)


MEASURES: Final[dict[str, Callable[[int], Awaitable[float]]]] = {
    "restarts": restarts,
    "restarts, dynamic": dynamic_restarts,
    "restarts, actor": actor_restarts,
    "tell": tell,
    "ask": ask,
    "ask, 64 callers": partial(ask, callers=64),
}


# ---------------------------------------------------------------------- what measuring costs


class Uncounted(Cell[Any]):
    """Turns as `Cell` has them, that count for nobody: only how long others have waited."""

    async def turn(self) -> None:
        if self._ended:
            return
        actor = self._actor or await self._start()
        if self._quiet is not None or self._timed_out:
            await self._after_quiet(actor)
        mailbox = self.mailbox
        control, work = mailbox.lanes
        left = len(TURN)
        while mailbox:
            message = self.in_hand = mailbox.take()
            if self._senders:
                self._senders.popleft().wake()
            await actor.receive(message)
            left -= 1
            if not work and not control:
                break
            if not left:
                left = len(TURN)
                await anyio.lowlevel.checkpoint()
        self.in_hand = NOTHING
        self._busy = False


class Counted(Cell[Any]):
    """A cell as it is. An object whose class was changed is slower, so both are given theirs in the same way."""


async def measuring(slices: int) -> dict[str, float]:
    """Nanoseconds of CPU for a message, of each of the three: the least of all slices, which others disturb least."""
    seconds: dict[str, list[float]] = {"uncounted": [], "counted": [], "looked at": []}
    async with ActorSystem() as system:
        counted: Ref[Any] = system.spawn("counted", Counter)
        uncounted: Ref[Any] = system.spawn("uncounted", Counter)
        for name, kind in (("counted", Counted), ("uncounted", Uncounted)):
            cell: Any = system._cells[name]  # pyright: ignore[reportPrivateUsage]
            cell.__class__ = kind
        for number in range(slices * 3):
            which = list(seconds)[(number + number // 3) % 3]  # each comes first, second and last as often
            ref = uncounted if which == "uncounted" else counted
            began = time.process_time()
            await told(ref, SLICE)
            took = time.process_time() - began
            if which == "looked at":
                counted.tell(0)
                began = time.process_time()
                system.pressure()  # of an actor that has work
                took += (time.process_time() - began) * took * LOOKS_PER_SECOND  # a look's share of that time
            seconds[which].append(took / SLICE * 1e9)
    return {which: min(each) for which, each in seconds.items()}


# ---------------------------------------------------------------------- rounds


def one(what: str, backend: str, count: int) -> Any:
    """One measurement in a process of its own."""
    if backend == "otp":
        script = Path(__file__).with_suffix(".escript")
        command = ["escript", str(script), OTP[what], str(count)]
    else:
        command = [sys.executable, "-m", "benchmarks.restarts", "--measure", what, backend, str(count)]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True, timeout=600).stdout)


def measure(what: str, backend: str, count: int) -> Any:
    """The same in this process."""
    options = {} if backend == "trio" else {"use_uvloop": backend == "uvloop"}
    call = measuring if what == "measuring" else MEASURES[what]
    return anyio.run(call, count, backend=backend.replace("uvloop", "asyncio"), backend_options=options)


def main() -> None:
    parser = argparse.ArgumentParser(description="Time supervision beside OTP.", prog="python -m benchmarks.restarts")
    parser.add_argument("--rounds", type=int, default=5, help="of each measurement, interleaved (5)")
    parser.add_argument("--scale", type=float, default=1.0, help="of the counts (1.0)")
    parser.add_argument("--only", default="", help="measurements with all of these words, such as tell,uvloop")
    parser.add_argument("--json", action="store_true", help="print the JSON object only")
    parser.add_argument("--measure", nargs=3, metavar=("WHAT", "BACKEND", "COUNT"), help="one measurement, here")
    given = parser.parse_args()
    if given.measure:
        print(json.dumps(measure(given.measure[0], given.measure[1], int(given.measure[2]))))
        return
    report(rounds(given), given)


def rounds(given: argparse.Namespace) -> dict[tuple[str, str], list[Any]]:
    """Go through all measurements so often."""
    every = list(product(COUNTS, BACKENDS)) + [("measuring", backend) for backend in BACKENDS]
    if shutil.which("escript"):
        every += [(what, "otp") for what in OTP]
    else:
        print("OTP is left out: there is no escript here (on Debian: apt-get install erlang-base)", file=sys.stderr)
    words = [word for word in given.only.split(",") if word]
    every = [each for each in every if all(word in each for word in words)]
    results: dict[tuple[str, str], list[Any]] = {each: [] for each in every}
    for _ in range(given.rounds):
        for what, backend in every:
            count = COUNTS.get(what, 200) * given.scale
            results[what, backend].append(one(what, backend, max(BATCH, int(count)) if what == "tell" else int(count)))
    return results


def report(results: dict[tuple[str, str], list[Any]], given: argparse.Namespace) -> None:
    """Print medians with the slowest and the fastest, the ratio to OTP, and all of it as one JSON object."""
    if not given.json:
        for (what, backend), figures in results.items():
            print(f"{what:18} {backend:8} {_told(what, figures, results.get((what, 'otp')))}")
    rows = [{"what": what, "backend": backend, "rounds": each} for (what, backend), each in results.items()]
    print(json.dumps({"machine": machine(), "scale": given.scale, "results": rows}))


def _told(what: str, figures: list[Any], otp: list[Any] | None) -> str:
    if what == "measuring":
        medians = {name: statistics.median(each[name] for each in figures) for name in figures[0]}
        added = {name: statistics.median(each[name] / each["uncounted"] - 1 for each in figures) for name in medians}
        return ", ".join(f"{name} {medians[name]:,.0f} ns ({added[name]:+.1%})" for name in medians)
    middle = statistics.median(figures)
    ratio = f", {middle / statistics.median(otp):.2f} of OTP's" if otp else ""
    return f"{middle:>12,.0f}/s ({min(figures):,.0f} to {max(figures):,.0f}){ratio}"


if __name__ == "__main__":
    main()
