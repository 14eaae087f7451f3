"""Replay: the log folded into the state it must have led to. Pure; the measure of everything derived.

The hot store's documents, journals, keys and outbox change in the same commit as the records, so at any moment they
must equal this fold. `World.violations` collects what no correct log can hold: an audit reads it.

A log may have been trimmed. Then one rule holds for all that is missing: what `content_expired` names is gone, and what
lies below a tenant's floor is not expected. `World.floors` holds the floors; who folds a trimmed log sets them first.
Of an erased session the log has the places only: what stood there is not expected, and nothing is known of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Final, TypeVar

import msgspec
from msgspec import Struct, field

from intendant.domain import payloads
from intendant.domain import state as states
from intendant.domain.commit import PLACES
from intendant.domain.journal import HANDLER, Journal, Row, events_of
from intendant.domain.records import LogRecord
from intendant.domain.state import ExecutionState, SessionState, Status

Key = tuple[str, str]  # tenant and id
P = TypeVar("P", bound=Struct)


class World(Struct):
    """Everything that the log says, by tenant and id."""

    sessions: dict[Key, SessionState] = field(default_factory=dict[Key, SessionState])
    executions: dict[Key, ExecutionState] = field(default_factory=dict[Key, ExecutionState])
    journals: dict[Key, Journal] = field(default_factory=dict[Key, Journal])  # of open executions that have rows
    keys: dict[Key, str] = field(default_factory=dict[Key, str])
    outbox: dict[int, str] = field(default_factory=dict[int, str])  # event ids by position
    published: list[str] = field(default_factory=list[str])  # event ids, in the order they were settled
    dead: list[str] = field(default_factory=list[str])
    documents: dict[tuple[str, str, str], bytes] = field(default_factory=dict[tuple[str, str, str], bytes])
    emitted: dict[Key, int] = field(default_factory=dict[Key, int])
    floors: dict[str, int] = field(default_factory=dict[str, int])  # by tenant: what ends below may be missing
    erased: set[int] = field(default_factory=set[int])  # sequences of records whose content was erased
    newest: LogRecord | None = None
    records: int = 0
    last_sequence: int = 0
    last_time: int = 0
    violations: list[str] = field(default_factory=list[str])

    @property
    def open(self) -> set[Key]:
        """The executions that have not ended."""
        return {key for key, state in self.executions.items() if not state.status.ended}

    @property
    def timers(self) -> set[tuple[int, str, str]]:
        """What waits for its time: when it is due, its tenant, and how it stands in the index of timers."""
        waits = {
            (timer.due, tenant, states.timer_member(execution, timer.path))
            for (tenant, execution), journal in self.journals.items()
            for timer in journal.waits.open_timers()
        }
        idle = {(timer[0], tenant, timer[1]) for (tenant, _), state in self.sessions.items() if (timer := state.timer)}
        return waits | idle

    @property
    def floor(self) -> int:
        """Below this sequence records of somebody may be missing."""
        return max(self.floors.values(), default=0)

    def is_trimmed(self, tenant: str) -> bool:
        """Whether something of this tenant may be missing: a session or execution that began earlier."""
        return self.floors.get(tenant, 0) > 0


def replay(records: Iterable[LogRecord], world: World | None = None) -> World:
    """Fold records, oldest first, into `world` (a new one if none is given) and return it."""
    world = world or World()
    for record in records:
        _check_order(world, record)
        fold = _FOLDS.get(record.type)
        if fold is not None:
            fold(world, record)
        world.newest = record
    return world


def _check_order(world: World, record: LogRecord) -> None:
    missing = record.sequence - 1
    if world.records and missing != world.last_sequence and not world.last_sequence < missing < world.floor:
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
        world.sessions[key] = states.session_closed(state, _payload(record, payloads.SessionClosed))
    elif not world.is_trimmed(record.tenant):
        world.violations.append(f"session {record.session} was closed and never created, at {record.sequence}")


def _session_extended(world: World, record: LogRecord) -> None:
    key = (record.tenant, record.session)
    state = world.sessions.get(key)
    if state is not None and not state.closed and state.idle_timeout:
        world.sessions[key] = states.session_extended(state, _payload(record, payloads.SessionExtended))
    elif state is not None or not world.is_trimmed(record.tenant):
        world.violations.append(f"session {record.session} is not open, or never idle, at {record.sequence}")


def _intent_received(world: World, record: LogRecord) -> None:
    payload = _payload(record, payloads.IntentReceived)
    key = (record.tenant, record.execution)
    if key in world.executions:
        world.violations.append(f"execution {record.execution} was accepted twice, at {record.sequence}")
    if (record.tenant, payload.key) in world.keys:
        world.violations.append(f"key {payload.key} was claimed twice, at {record.sequence}")
    world.executions[key] = states.intent_received(record.tenant, record.session, record.execution, payload)
    if payload.parent is not None:
        _child(world, record, payload.parent)
    world.keys[record.tenant, payload.key] = record.execution


def _child(world: World, record: LogRecord, parent: payloads.Parent) -> None:
    """Its parent has recorded it just before, in the same commit."""
    key = (record.tenant, parent.execution)
    state, journal = world.executions.get(key), world.journals.get(key, Journal())
    if state is not None and record.execution not in journal.children:
        told = f"{record.execution} is no child that {parent.execution} knows"
        world.violations.append(f"{told}, at {record.sequence}")


def _execution_started(world: World, record: LogRecord) -> None:
    if state := _open_execution(world, record):
        at = _payload(record, payloads.ExecutionStarted).at
        world.executions[record.tenant, record.execution] = states.execution_started(state, at)


def _step_completed(world: World, record: LogRecord) -> None:
    _step(world, record, _payload(record, payloads.StepCompleted))


def _step_failed(world: World, record: LogRecord) -> None:
    step = _payload(record, payloads.StepFailed)
    journal = world.journals.get((record.tenant, record.execution))
    if step.path == HANDLER and journal is not None and journal.waits.cancelled is not None:
        world.violations.append(f"an attempt of {record.execution} is to follow a cancel, at {record.sequence}")
    _step(world, record, step)


def _step(world: World, record: LogRecord, step: payloads.StepCompleted | payloads.StepFailed) -> None:
    fault = "was recorded twice, or goes forward in a saga that is being undone, or is an undo out of turn"
    _row(world, record, step, f"step {step.path} of {record.execution} {fault}")


def _timer_set(world: World, record: LogRecord) -> None:
    timer = _payload(record, payloads.TimerSet)
    _row(world, record, timer, f"the wait {timer.path} of {record.execution} began twice")


def _timer_fired(world: World, record: LogRecord) -> None:
    fired = _payload(record, payloads.TimerFired)
    _row(world, record, fired, f"the wait {fired.path} of {record.execution} was over, and ended again")


def _signal_received(world: World, record: LogRecord) -> None:
    signal = _payload(record, payloads.SignalReceived)
    _row(world, record, signal, f"signal {signal.id} of {record.execution} was received twice")


def _saga_started(world: World, record: LogRecord) -> None:
    started = _payload(record, payloads.SagaStarted)
    fault = f"the undo of {started.step} of {record.execution} was noted twice, or too late"
    _row(world, record, started, fault)


def _saga_compensating(world: World, record: LogRecord) -> None:
    saga = _payload(record, payloads.SagaCompensating)
    _row(world, record, saga, f"the saga {saga.path} of {record.execution}, or one around it, was being undone before")


def _saga_compensated(world: World, record: LogRecord) -> None:
    saga = _payload(record, payloads.SagaCompensated)
    _row(world, record, saga, f"the saga {saga.path} of {record.execution} is not undone, or was before")


def _execution_resumed(world: World, record: LogRecord) -> None:
    _row(world, record, _payload(record, payloads.ExecutionResumed), "")


def _cancel_requested(world: World, record: LogRecord) -> None:
    request = _payload(record, payloads.CancelRequested)
    _row(world, record, request, f"the cancel of {record.execution} was recorded twice")


def _row(world: World, record: LogRecord, row: Row, fault: str) -> None:
    if _open_execution(world, record) is None:
        if _began_below(world, record):
            _emit(world, record, events_of(row))
        return
    journal = world.journals.setdefault((record.tenant, record.execution), Journal())
    if not journal.add(row):
        world.violations.append(f"{fault}, at {record.sequence}")
    _emit(world, record, events_of(row))


def _execution_ended(kind: type[states.End], world: World, record: LogRecord) -> None:
    payload = _payload(record, kind)
    state = _open_execution(world, record)
    if state or _began_below(world, record):
        _emit(world, record, payload.events)
    if state:
        _end(world, record, states.execution_ended(state, payload, _emitted(world, record)))


def _end(world: World, record: LogRecord, state: ExecutionState) -> None:
    key = (record.tenant, record.execution)
    journal = world.journals.get(key) or Journal()
    waits = journal.waits
    if (state.status is Status.CANCELLED) != (waits.cancelled is not None):
        asked = "was to be cancelled" if waits.cancelled else "was not to be cancelled"
        world.violations.append(f"{record.type} of {record.execution}, which {asked}, at {record.sequence}")
    if state.sagas != tuple(journal.sagas.records()):
        world.violations.append(f"the sagas of {record.execution} are not told as they were, at {record.sequence}")
    if (state.undelivered, state.undelivered_count) != (tuple(waits.undelivered()), waits.ready_count):
        told = f"{state.undelivered_count} undelivered signals of {record.execution}"
        world.violations.append(f"{told} were told where there were {waits.ready_count}, at {record.sequence}")
    _check_children(world, record, state, journal)
    world.executions[key] = state
    world.journals.pop(key, None)
    world.emitted.pop(key, None)


def _check_children(world: World, record: LogRecord, state: ExecutionState, journal: Journal) -> None:
    """An end leaves no child behind that is not to be cancelled, unless that was abandoned."""
    if state.children_count != len(journal.children):
        world.violations.append(f"the children of {record.execution} are not told as they were, at {record.sequence}")
    for child, (path, noted) in journal.children.items():
        found = world.executions.get((record.tenant, child))
        if noted.abandoned or found is None or found.status.ended:
            continue
        waits = world.journals.get((record.tenant, child), Journal()).waits
        if waits.cancelled is None:
            world.violations.append(f"{path} of {record.execution} was left behind, at {record.sequence}")


def _open_execution(world: World, record: LogRecord) -> ExecutionState | None:
    state = world.executions.get((record.tenant, record.execution))
    if state is None:
        if not _began_below(world, record):
            world.violations.append(f"{record.type} of unknown execution {record.execution}, at {record.sequence}")
    elif state.status.ended:
        world.violations.append(f"{record.type} of {record.execution}, which had ended, at {record.sequence}")
        return None
    elif record.type == "execution_started" and state.status is not Status.ACCEPTED:
        world.violations.append(f"execution {record.execution} was started twice, at {record.sequence}")
    return state


def _began_below(world: World, record: LogRecord) -> bool:
    """Whether the execution is one whose beginning was trimmed away."""
    return world.is_trimmed(record.tenant) and (record.tenant, record.execution) not in world.executions


def _emit(world: World, record: LogRecord, events: list[payloads.Emitted]) -> None:
    key = (record.tenant, record.execution)
    unknown = _began_below(world, record)  # and how many events it had before is not known
    for place, event in enumerate(events):
        expected = event.number if unknown else world.emitted.get(key, 0)
        if event.number != expected:
            world.violations.append(f"event {event.number} of {record.execution} is not the next, at {record.sequence}")
        if not unknown:
            world.emitted[key] = max(expected, event.number + 1)
        world.outbox[record.sequence * PLACES + place] = f"{record.execution}-{event.number}"


def _emitted(world: World, record: LogRecord) -> int:
    return world.emitted.get((record.tenant, record.execution), 0)


def _state_set(world: World, record: LogRecord) -> None:
    payload = _payload(record, payloads.StateSet)
    if payload.collection == states.SESSION_STATE and not _follows_completion(record, world.newest):
        world.violations.append(f"the state of session {payload.key} was not set by a completion, at {record.sequence}")
    world.documents[record.tenant, payload.collection, payload.key] = bytes(payload.value)


def _follows_completion(record: LogRecord, before: LogRecord | None) -> bool:
    """Whether the record before is the completion of its execution: both are of one commit then."""
    return (
        before is not None
        and (before.type, before.sequence + 1) == ("execution_completed", record.sequence)
        and (before.tenant, before.session, before.execution) == (record.tenant, record.session, record.execution)
    )


def _event_published(world: World, record: LogRecord) -> None:
    payload = _payload(record, payloads.EventPublished)
    for first, last in payload.published:
        for position in range(first, last + 1):
            event = world.outbox.pop(position, None)
            source = position // PLACES
            if event is None and source >= world.floor and source not in world.erased:
                world.violations.append(f"position {position} was settled and was not pending, at {record.sequence}")
            elif event is not None:
                world.published.append(event)
    if payload.dead:
        world.dead.extend(payload.dead)
        gone = set(payload.dead)
        world.outbox = {position: event for position, event in world.outbox.items() if event not in gone}
    for place, emitted in enumerate(payload.revived):
        event = f"{record.execution}-{emitted.number}"
        world.dead[:] = [each for each in world.dead if each != event]
        world.outbox[record.sequence * PLACES + place] = event


def _content_expired(world: World, record: LogRecord) -> None:
    """What left the hot store alone is still told by the log; what is gone is not."""
    payload = _payload(record, payloads.ContentExpired)
    tenant = record.tenant
    if payload.below:
        world.floors[tenant] = max(world.floors.get(tenant, 0), payload.below)
    if not payload.gone:
        return
    for execution in payload.executions:
        state = world.executions.pop((tenant, execution), None)
        if state is not None and not state.status.ended:
            world.violations.append(f"execution {execution} expired before it ended, at {record.sequence}")
        world.documents.pop((tenant, states.EXECUTION_DATA, execution), None)
    for session in payload.sessions:
        world.sessions.pop((tenant, session), None)
        world.documents.pop((tenant, states.SESSION_DATA, session), None)
        world.documents.pop((tenant, states.SESSION_STATE, session), None)
    for key in payload.keys:
        world.keys.pop((tenant, key), None)


def _content_erased(world: World, record: LogRecord) -> None:
    if not _payload(record, payloads.ContentErased).at:
        world.erased.add(record.sequence)


def _payload(record: LogRecord, type: type[P]) -> P:
    return msgspec.msgpack.decode(record.raw, type=type)


_FOLDS: Final[dict[str, Callable[[World, LogRecord], Any]]] = {
    "session_created": _session_created,
    "session_closed": _session_closed,
    "session_extended": _session_extended,
    "intent_received": _intent_received,
    "execution_started": _execution_started,
    "execution_resumed": _execution_resumed,
    "step_completed": _step_completed,
    "step_failed": _step_failed,
    "timer_set": _timer_set,
    "timer_fired": _timer_fired,
    "signal_received": _signal_received,
    "saga_started": _saga_started,
    "saga_compensating": _saga_compensating,
    "saga_compensated": _saga_compensated,
    "cancel_requested": _cancel_requested,
    **{type: partial(_execution_ended, kind) for kind, (type, _) in states.ENDS.items()},
    "state_set": _state_set,
    "event_published": _event_published,
    "content_expired": _content_expired,
    "content_erased": _content_erased,
}
