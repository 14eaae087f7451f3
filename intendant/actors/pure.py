"""Pure handlers: computed while their intent is being accepted, and ended by the commit that accepts it."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

from intendant.actors.outbox_event import OutboxEvent
from intendant.domain import state as states
from intendant.domain.codec import encode
from intendant.domain.commit import AddToOutbox, ClaimKey, Commit, PutDocument, check_commit
from intendant.domain.errors import InternalError
from intendant.domain.payloads import ExecutionCompleted
from intendant.domain.records import Record
from intendant.domain.state import ExecutionState


def value_of(call: Coroutine[Any, Any, Any]) -> Any:
    """What a coroutine returns that awaits nothing. Raises what it raises."""
    try:
        call.send(None)
    except StopIteration as end:
        return end.value
    call.close()
    raise InternalError(f"{call!r} has waited for something, and is registered as pure")


def with_end(commit: Commit, accepted: ExecutionState, end: ExecutionCompleted) -> tuple[Commit, ExecutionState]:
    """The acceptance and the end of one execution in one commit, and what it becomes by that: it was never open.

    Raises InvalidValue when that is larger than a commit may be.
    """
    ended = states.execution_ended(accepted, end, len(end.events))
    claims = [each for each in commit.operations if isinstance(each, ClaimKey)]
    events = [
        AddToOutbox(ended.session, encode(OutboxEvent.of(ended.id, event)), len(commit.records)) for event in end.events
    ]
    record = Record(states.ENDS[ExecutionCompleted][0], ended.session, ended.id, end)
    put = PutDocument(states.EXECUTIONS, ended.id, encode(ended))
    whole = Commit(commit.tenant, [*commit.records, record], [*claims, put, *events])
    check_commit(whole)
    return whole, ended
