"""Messages, one group per receiver. A question carries the one reply that answers it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec import Struct

from intendant.domain.commit import Receipt
from intendant.domain.state import SessionState
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
    must_be_new: bool
    reply: Reply[SessionState]


class Close(Struct, frozen=True):
    """Take no more intents. What was accepted goes on."""

    reply: Reply[SessionState]


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


class Submit(Struct, frozen=True):
    """Accept these intents, all or none; answer with the ids of their executions, in order."""

    intents: tuple[PreparedIntent, ...]
    reply: Reply[list[str]]


class Settled(Struct, frozen=True):
    """The writer has told what became of a commit: `proceed` goes on with it, for the actor that sent it."""

    by: object
    proceed: Callable[[Reply[Receipt]], None]
    outcome: Reply[Receipt]


SessionMessage = Open | Close | Submit | Settled


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
