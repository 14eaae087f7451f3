"""What accepting intents writes: their records, their documents, and the claims of their keys. Decided without I/O."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from msgspec import Raw, Struct

from intendant.actors.messages import PreparedIntent
from intendant.actors.open_execution import OpenExecution
from intendant.actors.outbox_event import OutboxEvent
from intendant.domain import payloads
from intendant.domain import state as states
from intendant.domain.codec import encode
from intendant.domain.commit import AddToIndex, AddToOutbox, AppendJournal, ClaimKey, Commit, Operation, PutDocument
from intendant.domain.errors import IdempotencyConflict
from intendant.domain.forks import Fork
from intendant.domain.journal import as_recorded, events_of
from intendant.domain.payloads import Parent
from intendant.domain.records import Record
from intendant.domain.state import ExecutionState, SessionState


class Claim(Struct, array_like=True, frozen=True, gc=False):
    """What an idempotency key is claimed with: the execution, and what it was claimed for."""

    execution: str
    type: str
    digest: bytes


def decode_claim(body: bytes) -> Claim:
    """What a taken key says."""
    return msgspec.msgpack.decode(body, type=Claim)


def conflict(intent: PreparedIntent, claim: Claim) -> IdempotencyConflict:
    """The error of an intent whose key was claimed for another one."""
    return IdempotencyConflict(
        intent.key,
        f"{claim.type} with parameters of digest {claim.digest.hex()[:12]}",
        f"{intent.type} with parameters of digest {intent.digest.hex()[:12]}",
        claim.execution,
    )


def without_repetitions(intents: Sequence[PreparedIntent]) -> list[PreparedIntent]:
    """Each intent once; raises IdempotencyConflict when they have the same key for different ones."""
    by_key: dict[str, PreparedIntent] = {}
    for intent in intents:
        first = by_key.setdefault(intent.key, intent)
        if first.digest != intent.digest:
            raise conflict(intent, Claim("(in this same call)", first.type, first.digest))
    return list(by_key.values())


def accept(
    session: SessionState,
    planned: Sequence[tuple[PreparedIntent, OpenExecution]],
    now: int,
    parent: Parent | None = None,
    *,
    at_once: bool,
) -> tuple[Commit, list[tuple[OpenExecution, ExecutionState]]]:
    """The commit that accepts intents as these executions, and what they become by it.

    `at_once`: they have their places, and those that have a handler begin in the same commit.
    """
    records: list[Record] = []
    operations: list[Operation] = []
    accepted: list[tuple[OpenExecution, ExecutionState]] = []
    tenant, of, score = session.tenant, session.id, states.open_score(session.id)
    for intent, entry in planned:
        id = entry.id
        payload = _received(session, intent, now, parent)
        records.append(Record("intent_received", of, id, payload))
        starts = at_once and entry.handler is not None
        if starts:
            records.append(Record("execution_started", of, id, payloads.ExecutionStarted(now)))
        state = states.intent_received(tenant, of, id, payload, now if starts else 0)
        accepted.append((entry, state))
        operations += (
            ClaimKey(intent.key, encode(Claim(id, intent.type, intent.digest))),
            PutDocument(states.EXECUTIONS, id, encode(state)),
            AddToIndex(states.OPEN, id, score),
        )
        if intent.fork is not None:
            take_journal(intent.fork, of, id, records, operations)
    return Commit(tenant, records, operations), accepted


def _received(
    session: SessionState, intent: PreparedIntent, now: int, parent: Parent | None
) -> payloads.IntentReceived:
    fork = intent.fork
    return payloads.IntentReceived(
        intent.id,
        intent.type,
        intent.solution or session.solution,
        intent.key,
        Raw(intent.parameters),
        intent.metadata,
        now,
        intent.priority,
        parent,
        intent.version,
        fork.origin if fork else "",
        fork.step if fork else "",
        intent.trace,
    )


def take_journal(fork: Fork, session: str, execution: str, records: list[Record], operations: list[Operation]) -> None:
    """What the fork goes on from is recorded as its own; events that rode with it go out as its own."""
    for row in fork.rows:
        body = encode(row)
        type, stored = as_recorded(row, body)
        place = len(records)
        records.append(Record(type, session, execution, Raw(body)))
        operations.append(AppendJournal(execution, stored))
        events = [encode(OutboxEvent.of(execution, event)) for event in events_of(row)]
        operations += [AddToOutbox(session, event, place) for event in events]
