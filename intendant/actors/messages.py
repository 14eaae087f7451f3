"""Messages, one group per receiver. A question carries the one reply that answers it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec import Struct

from intendant.domain.commit import Commit, Receipt
from intendant.domain.forks import Fork
from intendant.domain.payloads import Parent
from intendant.domain.state import ExecutionState, SessionState
from intendant.parking import Reply

# --- to a SessionActor


class Open(Struct, frozen=True):
    """Create the session; if it exists, return it, or with `must_be_new` answer SessionExists.

    `creation` tells repetitions of one call from another call: it is recorded with the session that it made.
    """

    creation: str
    user_id: str
    solution: str
    metadata: dict[str, Any]
    concurrency: int
    idle_timeout: int
    must_be_new: bool
    reply: Reply[SessionState]


class Close(Struct, frozen=True):
    """Take no more intents. What was accepted goes on. `expired`: because the idle time is over."""

    reply: Reply[SessionState]
    expired: bool = False


class Due(Struct, frozen=True, gc=False):
    """The time has come that stands in the index of timers: close, if there was no work meanwhile."""

    now: int


class WorkEnded(Struct, frozen=True, gc=False):
    """None of its executions is open any more: the idle time begins."""


class PreparedIntent(Struct, frozen=True, gc=False):
    """An intent that was checked and encoded at the edge."""

    id: str
    type: str
    key: str
    parameters: bytes
    metadata: dict[str, Any]
    solution: str | None
    priority: int
    digest: bytes
    version: int  # of its handler; 0 when there is none
    fork: Fork | None = None
    trace: str = ""  # the `traceparent` of whoever submits it, where traces are wanted


class Submit(Struct, frozen=True):
    """Accept these intents, all or none; answer with their executions, in order.

    Each is told by its id; one that has ended in the commit that accepted it by all that it has become.
    """

    intents: tuple[PreparedIntent, ...]
    reply: Reply[list[str | ExecutionState]]


class Spawn(Struct, frozen=True):
    """Accept this child of an execution; answer with its id once that is durable.

    `accept` is called with its id, what accepts it, and the reply of the commit, when the session has decided; it adds
    what the parent records, and hands the commit to the writer, or raises.
    """

    intent: PreparedIntent
    parent: Parent
    accept: Callable[[str, Commit, Reply[Receipt]], None]
    reply: Reply[str]


class Settled(Struct, frozen=True):
    """The writer has told what became of a commit: `proceed` goes on with it, for the actor that sent it."""

    proceed: Callable[[Reply[Receipt]], None]
    outcome: Reply[Receipt]


SessionMessage = Open | Close | Submit | Spawn | Settled | Due | WorkEnded


# --- to an ExecutionActor


class Progress(Struct, frozen=True):
    """Where a running execution is: the steps whose functions run now, how much is recorded, what it waits for."""

    running: list[str]
    recorded: int
    waiting: list[str] = []


class Describe(Struct, frozen=True):
    """Tell where the execution is."""

    reply: Reply[Progress]


ExecutionMessage = Describe
