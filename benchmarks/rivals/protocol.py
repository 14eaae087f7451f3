"""How a comparison talks to what it measures: a process that answers lines with lines.

It gets `<measure> <callers> <steps> <seconds>` on its standard input and answers with one line of JSON on its standard
output: how many a second, the latencies, and what it is that was measured (version, durability, settings read back).
It ends when its input ends. This file runs in the rivals' own environments: it imports the standard library only.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TextIO

WARM_UP_SECONDS = 0.5
BATCH = 100  # asks of an actor between two looks at the clock: the look would cost as much as some of them
PR_SET_PDEATHSIG = 1  # of prctl(2)
TELLS = 10_000  # tells of an actor before one ask waits until it has handled them


@dataclass(frozen=True)
class Request:
    """What to measure, and for how long after the warm-up."""

    measure: str
    callers: int
    steps: int
    seconds: float


@dataclass
class Timed:
    """What ended in the time that counts; latencies in seconds, of those where they are told."""

    count: int = 0
    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)


def serve(facts: dict[str, object], measure: Callable[[Request], Timed]) -> None:
    """Answer until the input ends; `facts` go into every answer."""
    answers = _answers()
    for line in sys.stdin:
        _answer(answers, facts, measure(_request(line)))


async def serve_async(facts: dict[str, object], measure: Callable[[Request], Awaitable[Timed]]) -> None:
    """The same in an event loop, which goes on while nothing is asked."""
    answers = _answers()
    while line := await asyncio.to_thread(sys.stdin.readline):
        _answer(answers, facts, await measure(_request(line)))


async def call(one: Callable[[], Awaitable[None]], request: Request) -> Timed:
    """Let tasks call again and again: what ends between the warm-up and the end counts, also if it began before."""
    window = _Window(request.seconds)

    async def caller() -> None:
        while (began := time.perf_counter()) < window.end:
            await one()
            window.note(began)

    await asyncio.gather(*(caller() for _ in range(request.callers)))
    return window.result()


def call_in_threads(one: Callable[[], None], request: Request) -> Timed:
    """The same with a thread for each caller."""
    window, failures = _Window(request.seconds), []

    def caller() -> None:
        try:
            while (began := time.perf_counter()) < window.end:
                one()
                window.note(began)
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=caller) for _ in range(request.callers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    return window.result()


def repeat(some: Callable[[], int], seconds: float) -> Timed:
    """Do again and again what says how many it did, for fast operations of one caller."""
    timed = Timed()
    began = time.perf_counter()
    while (now := time.perf_counter()) < began + seconds:
        timed.count += some()
    timed.seconds = now - began
    return timed


def end_with_parent() -> None:
    """Let Linux end this process when the one that started it dies, even by SIGKILL."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


class _Window:
    """The time that counts."""

    def __init__(self, seconds: float) -> None:
        self._begin = time.perf_counter() + WARM_UP_SECONDS
        self.end = self._begin + seconds
        self.timed = Timed(seconds=seconds)

    def note(self, began: float) -> None:
        """One has ended just now."""
        now = time.perf_counter()
        if self._begin <= now < self.end:
            self.timed.latencies.append(now - began)  # of a list: several threads may append

    def result(self) -> Timed:
        """What ended in it, once all have."""
        self.timed.count = len(self.timed.latencies)
        return self.timed


def _answers() -> TextIO:
    """Our standard output; whatever else is printed goes to the standard error."""
    have_the_collector_look_seldom()
    ours = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    ours.write("ready\n")
    return ours


def have_the_collector_look_seldom() -> None:
    """As `intendant run` does, and whoever has the process to itself: by now all is imported and set up."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 50)


def _request(line: str) -> Request:
    measure, callers, steps, seconds = line.split()
    return Request(measure, int(callers), int(steps), float(seconds))


def _answer(answers: TextIO, facts: dict[str, object], timed: Timed) -> None:
    figures = {
        "per_second": timed.count / timed.seconds,
        "count": timed.count,
        "p50_ms": _milliseconds(timed.latencies, 0.5),
        "p99_ms": _milliseconds(timed.latencies, 0.99),
    }
    answers.write(json.dumps({**figures, **facts}) + "\n")


def _milliseconds(latencies: list[float], share: float) -> float | None:
    if not latencies:
        return None
    ordered = sorted(latencies)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] * 1e3
