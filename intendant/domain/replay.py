"""Replay: the log folded into the state it must have led to. Pure; the measure of everything derived.

The hot store's documents, journals, keys and outbox change in the same commit as the records, so at any moment they
must equal this fold. `World.violations` collects what no correct log can hold: an audit reads it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final, TypeVar

import msgspec
from msgspec import Struct, field

from intendant.domain import payloads
from intendant.domain import state as states
from intendant.domain.commit import PLACES
from intendant.domain.records import LogRecord
from intendant.domain.state import ExecutionState, SessionState, Status

Key = tuple[str, str]  # tenant and id
P = TypeVar("P", bound=Struct)


class World(Struct):
    """Everything that the log says, by tenant and id."""

    sessions: dict[Key, SessionState] = field(default_factory=dict[Key, SessionState])
    executions: dict[Key, ExecutionState] = field(default_factory=dict[Key, ExecutionState])
    journals: dict[Key, dict[str, payloads.StepCompleted | payloads.StepFailed]] = field(
        default_factory=dict[Key, dict[str, payloads.StepCompleted | payloads.StepFailed]]
    )
    keys: dict[Key, str] = field(default_factory=dict[Key, str])
    outbox: dict[int, str] = field(default_factory=dict[int, str])  # event ids by position
    published: list[str] = field(default_factory=list[str])  # event ids, in the order they were settled
    dead: list[str] = field(default_factory=list[str])
    documents: dict[tuple[str, str, str], bytes] = field(default_factory=dict[tuple[str, str, str], bytes])
    emitted: dict[Key, int] = field(default_factory=dict[Key, int])
    records: int = 0
    last_sequence: int = 0
    last_time: int = 0
    violations: list[str] = field(default_factory=list[str])

    @property
    def open(self) -> set[Key]:
        """The executions that have not ended."""
        return {key for key, state in self.executions.items() if not state.status.ended}


def replay(records: Iterable[LogRecord], world: World | None = None) -> World:
    """Fold records, oldest first, into `world` (a new one if none is given) and return it."""
    world = world or World()
    for record in records:
        _check_order(world, record)
        fold = _FOLDS.get(record.type)
        if fold is not None:
            fold(world, record)
    return world


def _check_order(world: World, record: LogRecord) -> None:
    if world.records and record.sequence != world.last_sequence + 1:
        world.violations.append(f"sequence {record.sequence} follows {world.last_sequence}")
    if record.time < world.last_time:
        world.violations.append(f"time goes back at sequence {record.sequence}")
    world.records += 1
    world.last_sequence = record.sequence
    world.last_time = record.time


def _session_created(world: World, record: LogRecord) -> None:
    payload = _payload(record, payloads.SessionCreated)
    if (record.tenant, record.session) in world.sessions:
        world.violations.append(f"session {record.session} was created twice, at {record.sequence}")
    world.sessions[record.tenant, record.session] = states.session_created(record.tenant, record.session, payload)


def _session_closed(world: World, record: LogRecord) -> None:
    key = (record.tenant, record.session)
    if state := world.sessions.get(key):
        world.sessions[key] = states.session_closed(state, _payload(record, payloads.SessionClosed).at)
    else:
        world.violations.append(f"session {record.session} was closed and never created, at {record.sequence}")


def _intent_received(world: World, record: LogRecord) -> None:
    payload = _payload(record, payloads.IntentReceived)
    key = (record.tenant, record.execution)
    if key in world.executions:
        world.violations.append(f"execution {record.execution} was accepted twice, at {record.sequence}")
    if (record.tenant, payload.key) in world.keys:
        world.violations.append(f"key {payload.key} was claimed twice, at {record.sequence}")
    world.executions[key] = states.intent_received(record.tenant, record.session, record.execution, payload)
    world.keys[record.tenant, payload.key] = record.execution


def _execution_started(world: World, record: LogRecord) -> None:
    if state := _open_execution(world, record):
        at = _payload(record, payloads.ExecutionStarted).at
        world.executions[record.tenant, record.execution] = states.execution_started(state, at)


def _step_completed(world: World, record: LogRecord) -> None:
    _step(world, record, _payload(record, payloads.StepCompleted))


def _step_failed(world: World, record: LogRecord) -> None:
    _step(world, record, _payload(record, payloads.StepFailed))


def _step(world: World, record: LogRecord, step: payloads.StepCompleted | payloads.StepFailed) -> None:
    if _open_execution(world, record) is None:
        return
    journal = world.journals.setdefault((record.tenant, record.execution), {})
    if step.path in journal:
        world.violations.append(f"step {step.path} of {record.execution} was recorded twice, at {record.sequence}")
    journal[step.path] = step
    _emit(world, record, step.events)


def _execution_completed(world: World, record: LogRecord) -> None:
    payload = _payload(record, payloads.ExecutionCompleted)
    if state := _open_execution(world, record):
        _emit(world, record, payload.events)
        _end(world, record, states.execution_completed(state, payload, _emitted(world, record)))


def _execution_failed(world: World, record: LogRecord) -> None:
    payload = _payload(record, payloads.ExecutionFailed)
    if state := _open_execution(world, record):
        _emit(world, record, payload.events)
        _end(world, record, states.execution_failed(state, payload, _emitted(world, record)))


def _end(world: World, record: LogRecord, state: ExecutionState) -> None:
    key = (record.tenant, record.execution)
    world.executions[key] = state
    world.journals.pop(key, None)
    world.emitted.pop(key, None)


def _open_execution(world: World, record: LogRecord) -> ExecutionState | None:
    state = world.executions.get((record.tenant, record.execution))
    if state is None:
        world.violations.append(f"{record.type} of unknown execution {record.execution}, at {record.sequence}")
    elif state.status.ended:
        world.violations.append(f"{record.type} of {record.execution}, which had ended, at {record.sequence}")
        return None
    elif record.type == "execution_started" and state.status is not Status.ACCEPTED:
        world.violations.append(f"execution {record.execution} was started twice, at {record.sequence}")
    return state


def _emit(world: World, record: LogRecord, events: list[payloads.Emitted]) -> None:
    key = (record.tenant, record.execution)
    for place, event in enumerate(events):
        expected = world.emitted.get(key, 0)
        if event.number != expected:
            world.violations.append(f"event {event.number} of {record.execution} is not the next, at {record.sequence}")
        world.emitted[key] = max(expected, event.number + 1)
        world.outbox[record.sequence * PLACES + place] = f"{record.execution}-{event.number}"


def _emitted(world: World, record: LogRecord) -> int:
    return world.emitted.get((record.tenant, record.execution), 0)


def _state_set(world: World, record: LogRecord) -> None:
    payload = _payload(record, payloads.StateSet)
    world.documents[record.tenant, payload.collection, payload.key] = bytes(payload.value)


def _event_published(world: World, record: LogRecord) -> None:
    payload = _payload(record, payloads.EventPublished)
    for first, last in payload.published:
        for position in range(first, last + 1):
            event = world.outbox.pop(position, None)
            if event is None:
                world.violations.append(f"position {position} was settled and was not pending, at {record.sequence}")
            else:
                world.published.append(event)
    if payload.dead:
        world.dead.extend(payload.dead)
        gone = set(payload.dead)
        world.outbox = {position: event for position, event in world.outbox.items() if event not in gone}


def _payload(record: LogRecord, type: type[P]) -> P:
    return msgspec.msgpack.decode(record.raw, type=type)


_FOLDS: Final[dict[str, Callable[[World, LogRecord], Any]]] = {
    "session_created": _session_created,
    "session_closed": _session_closed,
    "intent_received": _intent_received,
    "execution_started": _execution_started,
    "step_completed": _step_completed,
    "step_failed": _step_failed,
    "execution_completed": _execution_completed,
    "execution_failed": _execution_failed,
    "state_set": _state_set,
    "event_published": _event_published,
}
