"""The load itself: callers that submit and wait, timed, and what they were told."""

from __future__ import annotations

import math
import re
import secrets
import time
from array import array
from collections import Counter
from collections.abc import Iterator
from typing import Final

import anyio
from msgspec import Struct

from intendant.context import Context
from intendant.domain import state as states
from intendant.domain.errors import OutcomeUnknown, Overloaded
from intendant.domain.ports import IndexMember, LogReader
from intendant.domain.state import Status
from intendant.realm import Realm
from intendant.runtime.audit import Told
from intendant.runtime.handles import Execution, Session
from intendant.runtime.runtime import Runtime

OPENERS: Final = 64  # sessions that are opened at a time, before the clock starts
AGAIN_SECONDS: Final = 0.01  # after Overloaded

realm = Realm("load")


class Plan(Struct, frozen=True):
    """What is to be done."""

    intents: int
    sessions: int
    callers: int
    steps: int = 0
    tenants: int = 1
    thread_steps: bool = False
    fail_rate: float = 0.0
    payload: int = 0
    result: int = 0
    timeout: float = 60.0

    def fails(self, number: int) -> bool:
        """Whether this intent's handler raises: evenly spread, the same in every run."""
        return self.failures(number + 1) > self.failures(number)

    def failures(self, intents: int) -> int:
        """How many of the first `intents` raise."""
        return math.floor(intents * self.fail_rate + 1e-9)


class Work(Struct, frozen=True):
    """The parameters of one intent."""

    number: int
    steps: int
    in_threads: bool
    fails: bool
    payload: str
    result: int = 0


class Planned(Exception):
    """A failure that was asked for."""


async def advance(number: int) -> int:
    """A step."""
    return number + 1


def advance_in_thread(number: int) -> int:
    """A step in a worker thread."""
    return number + 1


async def fetch(size: int) -> str:
    """A step that returns so many bytes; over 64 KiB they are kept as a file."""
    return "x" * size


@realm.handler
async def work(ctx: Context, work: Work) -> int:
    """Do the steps, then return their number or fail."""
    done = 0
    for place in range(work.steps):
        if work.in_threads:
            done = await ctx.step("advance", advance_in_thread, done, key=str(place))
        else:
            done = await ctx.step("advance", advance, done, key=str(place))
    if work.result:
        await ctx.step("fetch", fetch, work.result)
    if work.fails:
        raise Planned(f"number {work.number} was to fail")
    return done


class Load:
    """One run of a plan, and what it came to. Times are in seconds."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.told = Told()
        self.accepted = 0
        self.ends: Counter[Status] = Counter()
        self.unexpected = 0  # ends that were not those of the plan
        self.unanswered = 0  # no answer within the time-out
        self.overloaded = 0  # times that new work was refused, and sent again
        self.submit_seconds = array("d")
        self.result_seconds = array("d")
        self.seconds = self.cpu_seconds = 0.0
        self._name = secrets.token_hex(4)  # a part of every key: a second run on the same store is new work
        self._payload = "x" * plan.payload

    @property
    def done(self) -> int:
        """Intents whose outcome is known."""
        return len(self.result_seconds)

    async def open_sessions(self, runtime: Runtime) -> list[Session]:
        """Get or create the sessions; their tenants take turns."""
        opened: list[Session] = []
        numbers = iter(range(self.plan.sessions))

        async def opener() -> None:
            for number in numbers:
                tenant = f"load-{number % self.plan.tenants}"
                opened.append(await runtime.open_session(tenant, f"load-{number}", timeout=self.plan.timeout))

        async with anyio.create_task_group() as group:
            for _ in range(min(OPENERS, self.plan.sessions)):
                group.start_soon(opener)
        return opened

    async def run(self, sessions: list[Session]) -> None:
        """Let the callers work; time and processor time are taken around this alone, also when it is cancelled."""
        numbers = iter(range(self.plan.intents))
        cpu, began = time.process_time(), time.perf_counter()
        try:
            async with anyio.create_task_group() as group:
                for _ in range(min(self.plan.callers, self.plan.intents)):
                    group.start_soon(self._caller, sessions, numbers)
        finally:
            self.seconds = time.perf_counter() - began
            self.cpu_seconds = time.process_time() - cpu

    async def _caller(self, sessions: list[Session], numbers: Iterator[int]) -> None:
        for number in numbers:
            began = time.perf_counter()
            try:
                execution = await self._submit(sessions[number % len(sessions)], number)
                submitted = time.perf_counter()
                outcome = await execution.outcome(timeout=self.plan.timeout)
            except (OutcomeUnknown, TimeoutError):
                self.unanswered += 1
                continue
            ended = time.perf_counter()
            self.submit_seconds.append(submitted - began)
            self.result_seconds.append(ended - began)
            self.told.end(outcome)
            self.ends[outcome.status] += 1
            self.unexpected += outcome.success is self.plan.fails(number)

    async def _submit(self, session: Session, number: int) -> Execution[int]:
        plan, key = self.plan, f"{self._name}-{number}"
        request = Work(number, plan.steps, plan.thread_steps, plan.fails(number), self._payload, plan.result)
        while True:
            try:
                execution = await session.submit(work, request, idempotency_key=key, timeout=plan.timeout)
            except Overloaded:
                self.overloaded += 1
                await anyio.sleep(AGAIN_SECONDS)
            else:
                self.accepted += 1
                self.told.accept(session.tenant, execution.id, key)
                return execution


class ForeignWork(Exception):
    """The store holds open executions that are not a load's. `count` of them, one by name."""

    def __init__(self, count: int, tenant: str, execution: str) -> None:
        super().__init__(f"{count} open executions of others, such as {execution} of tenant {tenant}")
        self.count = count


async def open_executions(log: LogReader) -> list[tuple[str, str]]:
    """What an earlier load left open: this one resumes it. Raises ForeignWork for what a load's runtime would fail."""
    found: list[IndexMember] = []
    while page := await log.index(states.OPEN, after=found[-1] if found else None):
        found += page
    foreign = [each for each in found if not re.fullmatch(r"load-\d+", each.tenant)]
    if foreign:
        raise ForeignWork(len(foreign), foreign[0].tenant, foreign[0].member)
    return [(each.tenant, each.member) for each in found]


async def finish(runtime: Runtime, left: list[tuple[str, str]], timeout: float) -> None:
    """Wait for what an earlier load left open."""
    async for _ in runtime.wait([runtime.execution(*each) for each in left], timeout=timeout):
        pass
