"""The desk where work is handed in: opens sessions, submits intents, counts what has ended."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Awaitable, Callable, Sequence
from itertools import islice
from typing import TypeVar

import msgspec

from intendant import Context, Execution, Intent, Outcome, Runtime, Session

P = TypeVar("P")
R = TypeVar("R")
Handler = Callable[[Context, P], Awaitable[R]]

SESSION_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
PHASES = ("content", "insights", "journey", "outcomes")
TOGETHER_MAX = 256
"""Intents handed in with one commit."""


def key_of(what: str, params: object, again: str = "") -> str:
    """An idempotency key that says what is asked: the same thing with equal parameters, the same key.

    A document's parameters hold its path and the digest of its content, so that a second run does only what changed.
    """
    return hashlib.blake2b(msgspec.msgpack.encode([what, params, again]), digest_size=16).hexdigest()


class Desk:
    """Submits to a runtime, and knows how much was handed in and how much of it has ended."""

    def __init__(self, runtime: Runtime, run: str) -> None:
        self.runtime = runtime
        self.run = run
        self.phases: dict[str, str] = {}
        self.expected = 0
        self.accepted = 0

    @property
    def done(self) -> int:
        """How many of the accepted have ended; too few while a new worker still hands in what is already open."""
        return max(0, self.accepted - self.runtime.stats().open)

    @property
    def phase(self) -> str:
        """The phase of the tenant that is furthest behind."""
        return min(self.phases.values(), key=PHASES.index, default=PHASES[0])

    async def session(self, tenant: str, name: str) -> Session:
        """The session called `name`; a folder's name that cannot be an id gets one derived from it."""
        if not SESSION_NAME.fullmatch(name):
            readable = re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-")[:32]
            name = f"{readable or 'folder'}-{key_of('session', name)[:6]}"
        return await self.runtime.open_session(tenant, name, user_id="reader", solution="realms")

    async def submit(self, session: Session, handler: Handler[P, R], params: P) -> Execution[R]:
        """Hand in one intent. When this returns it will come to an end, whatever happens to this process."""
        return (await self.submit_all(session, handler, [params]))[0]

    async def submit_all(
        self, session: Session, handler: Handler[P, R], params: Sequence[P], again: str = ""
    ) -> list[Execution[R]]:
        """Hand in many, some hundred with one commit. What was handed in before is found by its key."""
        executions: list[Execution[R]] = []
        waiting = iter(params)
        while together := list(islice(waiting, TOGETHER_MAX)):
            keys = [key_of(handler.__name__, each, again) for each in together]
            intents = [Intent(handler, each, idempotency_key=key) for each, key in zip(together, keys, strict=True)]
            executions += await session.submit_many(intents)
            self.accepted += len(together)
        return executions

    async def outcomes(self, executions: Sequence[Execution[R]]) -> list[Outcome[R]]:
        """Wait for all; their outcomes in the order of `executions`."""
        ended = {execution.id: outcome async for execution, outcome in self.runtime.wait(executions)}
        return [ended[execution.id] for execution in executions]
