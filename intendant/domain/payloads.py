"""What each record says: one struct per type, stored as a map so that every reader can read it.

Times (`at`) are µs since 1970 UTC, taken by whoever decided; the record's own time is set by the writer.
"""

from __future__ import annotations

from typing import Any, Final

from msgspec import Raw, Struct

NOTHING: Final = Raw(b"\xc0")  # msgpack's nil


class Failure(Struct, frozen=True, omit_defaults=True):
    """Why something failed: a stable code or the exception's type name, a message for people, details for programs."""

    code: str
    message: str
    details: dict[str, Any] = {}


class Emitted(Struct, frozen=True):
    """An event inside the record it rides with. Its number, counted per execution, makes its stable id."""

    number: int
    name: str
    payload: Raw


class SessionCreated(Struct, frozen=True):
    """`session_created`. `creation` is of the call that made it, so that its repetitions find their own work."""

    user_id: str
    solution: str
    metadata: dict[str, Any]
    at: int
    creation: str = ""


class SessionClosed(Struct, frozen=True):
    """`session_closed`."""

    at: int


class IntentReceived(Struct, frozen=True):
    """`intent_received`: an intent was accepted; the record's execution is the one made for it."""

    intent_id: str
    type: str
    solution: str
    key: str
    parameters: Raw
    metadata: dict[str, Any]
    at: int


class ExecutionStarted(Struct, frozen=True):
    """`execution_started`: the handler is about to run for the first time."""

    at: int


class StepCompleted(Struct, frozen=True, omit_defaults=True):
    """`step_completed`, and the journal's row for it: a result that is never computed again.

    `arguments` is the digest of the encodable arguments, empty when there were none.
    """

    path: str
    result: Raw
    at: int
    arguments: bytes = b""
    events: list[Emitted] = []


class StepFailed(Struct, frozen=True, omit_defaults=True):
    """`step_failed`, and the journal's row for it: raised again at every resume when `final`."""

    path: str
    error: Failure
    at: int
    attempt: int = 1
    final: bool = True
    arguments: bytes = b""
    events: list[Emitted] = []


class ExecutionCompleted(Struct, frozen=True, omit_defaults=True):
    """`execution_completed`: the end, with everything the handler gave."""

    result: Raw
    at: int
    artifacts: dict[str, Raw] = {}
    events: list[Emitted] = []


class ExecutionFailed(Struct, frozen=True, omit_defaults=True):
    """`execution_failed`: the end, with why, and what was given before."""

    error: Failure
    at: int
    artifacts: dict[str, Raw] = {}
    events: list[Emitted] = []


class StateSet(Struct, frozen=True):
    """`state_set`: the user's own document of a session or execution, or a file reference, was set to `value`."""

    collection: str
    key: str
    value: Raw


class EventPublished(Struct, frozen=True, omit_defaults=True):
    """`event_published`: a relay round settled these outbox positions (inclusive ranges), or gave these events up."""

    published: list[tuple[int, int]]
    at: int
    dead: list[str] = []


class WriterOpened(Struct, frozen=True):
    """`writer_opened`: a new owner's first record; what an older epoch still sends is refused from here on."""

    host: str
    pid: int
    at: int
