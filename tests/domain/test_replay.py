"""Replay: correct histories fold without a violation, in pieces as well as whole; planted faults are found."""

from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw, Struct

from intendant.domain import payloads
from intendant.domain.commit import PLACES
from intendant.domain.journal import HANDLER
from intendant.domain.payloads import Emitted, Failure
from intendant.domain.records import LogRecord
from intendant.domain.replay import World, replay
from intendant.domain.state import SESSION_STATE, Status


def raw(value: Any) -> Raw:
    return Raw(msgspec.msgpack.encode(value))


@dataclass
class History:
    """Writes a correct log, choice by choice."""

    records: list[LogRecord] = field(default_factory=list[LogRecord])
    sessions: set[tuple[str, str]] = field(default_factory=set[tuple[str, str]])
    running: dict[tuple[str, str], int] = field(default_factory=dict[tuple[str, str], int])
    cancelled: set[tuple[str, str]] = field(default_factory=set[tuple[str, str]])
    ended: dict[tuple[str, str], Status] = field(default_factory=dict[tuple[str, str], Status])
    pending: list[int] = field(default_factory=list[int])
    published: int = 0
    steps: int = 0

    def write(self, tenant: str, type: str, payload: Struct, session: str = "", execution: str = "") -> int:
        sequence = len(self.records) + 1
        self.records.append(
            LogRecord(sequence, 1_000 + sequence // 3, 1, tenant, type, session, execution, raw(payload))
        )
        return sequence

    def open_session(self, tenant: str, session: str) -> None:
        if (tenant, session) not in self.sessions:
            self.sessions.add((tenant, session))
            self.write(tenant, "session_created", payloads.SessionCreated("ada", "default", {}, 1), session)

    def accept(self, tenant: str, session: str) -> None:
        self.open_session(tenant, session)
        execution = f"run-{len(self.running) + len(self.ended)}"
        intent = payloads.IntentReceived(execution, "a.b", "default", execution, raw({}), {}, 1)
        self.write(tenant, "intent_received", intent, session, execution)
        self.write(tenant, "execution_started", payloads.ExecutionStarted(2), session, execution)
        self.running[tenant, execution] = 0

    def events(self, key: tuple[str, str], many: int) -> list[Emitted]:
        first = self.running[key]
        self.running[key] += many
        sequence = len(self.records) + 1
        self.pending += [sequence * PLACES + place for place in range(many)]
        return [Emitted(first + place, "event", raw(None)) for place in range(many)]

    def step(self, which: int, many: int, failed: bool) -> None:
        if not self.running:
            return
        tenant, execution = key = sorted(self.running)[which % len(self.running)]
        self.steps += 1
        path, events = f"step-{self.steps}", self.events(key, many)
        if failed:
            step: Struct = payloads.StepFailed(path, Failure("E", "no"), 3, events=events)
        else:
            step = payloads.StepCompleted(path, raw(self.steps), 3, events=events)
        self.write(tenant, "step_failed" if failed else "step_completed", step, "s", execution)

    def cancel(self, which: int) -> None:
        if not self.running:
            return
        tenant, execution = key = sorted(self.running)[which % len(self.running)]
        if key not in self.cancelled:
            self.cancelled.add(key)
            self.write(tenant, "cancel_requested", payloads.CancelRequested(3), "s", execution)

    def end(self, which: int, many: int, failed: bool) -> None:
        if not self.running:
            return
        tenant, execution = key = sorted(self.running)[which % len(self.running)]
        events, error = self.events(key, many), Failure("E", "no")
        if key in self.cancelled:
            status, payload = Status.CANCELLED, cancelled(error if failed else None, events)
        elif failed:
            status, payload = Status.FAILED, payloads.ExecutionFailed(error, 4, events=events)
        else:
            status, payload = Status.COMPLETED, payloads.ExecutionCompleted(raw("result"), 4, events=events)
        self.write(tenant, f"execution_{status}", payload, "s", execution)
        del self.running[key]
        self.ended[key] = status

    def publish(self) -> None:
        if self.pending:
            position = self.pending.pop(0)
            self.published += 1
            self.write("", "event_published", payloads.EventPublished([(position, position)], 5))


def cancelled(error: Failure | None, events: list[Emitted]) -> Struct:
    return payloads.ExecutionCancelled(4, error, events=events)


@st.composite
def histories(draw: st.DrawFn) -> History:
    history = History()
    for choice in draw(st.lists(st.sampled_from(["open", "accept", "step", "cancel", "end", "publish"]), max_size=30)):
        tenant, session = draw(st.sampled_from(["acme", "bolt"])), draw(st.sampled_from("st"))
        which, many, failed = draw(st.integers(0, 9)), draw(st.integers(0, 2)), draw(st.booleans())
        match choice:
            case "open":
                history.open_session(tenant, session)
            case "accept":
                history.accept(tenant, session)
            case "step":
                history.step(which, many, failed)
            case "cancel":
                history.cancel(which)
            case "end":
                history.end(which, many, failed)
            case _:
                history.publish()
    return history


@given(histories())
def test_correct_histories_fold_to_what_was_done(history: History) -> None:
    world = replay(history.records)
    assert world.violations == []
    assert set(world.sessions) == history.sessions
    assert world.open == set(history.running)
    assert {key: state.status for key, state in world.executions.items() if state.status.ended} == history.ended
    assert sorted(world.outbox) == history.pending
    assert len(world.published) == history.published
    assert (world.records, world.last_sequence) == (len(history.records), len(history.records))
    assert set(world.journals) <= world.open
    assert world.keys == {(tenant, id): id for tenant, id in world.executions}


@given(histories(), st.data())
def test_a_log_folds_in_pieces_as_it_does_whole(history: History, data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(history.records)))
    world = replay(history.records[:cut])
    assert world.violations == []
    assert replay(history.records[cut:], world) == replay(history.records)


@given(histories())
def test_every_prefix_is_a_history_of_its_own(history: History) -> None:
    world, step_by_step = World(), World()
    for end, record in enumerate(history.records, 1):
        step_by_step = replay([record], step_by_step)
        world = replay(history.records[:end])
        assert world == step_by_step


@given(histories(), st.data())
def test_a_record_that_is_missing_or_there_twice_is_found(history: History, data: st.DataObject) -> None:
    if len(history.records) < 3:
        return
    place = data.draw(st.integers(1, len(history.records) - 2))
    without = history.records[:place] + history.records[place + 1 :]
    twice = history.records[: place + 1] + history.records[place:]
    assert replay(without).violations != []
    assert replay(twice).violations != []


@given(histories(), st.data())
def test_a_record_that_was_written_again_is_found(history: History, data: st.DataObject) -> None:
    if not history.records:
        return
    again = data.draw(st.sampled_from(history.records))
    if again.type == "execution_started":
        return
    last = history.records[-1]
    copy = msgspec.structs.replace(again, sequence=last.sequence + 1, time=last.time)
    assert replay([*history.records, copy]).violations != []


@pytest.mark.parametrize("shift", [-1, 1])
def test_time_that_goes_back_is_found(shift: int) -> None:
    history = History()
    history.open_session("acme", "s")
    history.open_session("acme", "t")
    first, second = history.records
    moved = msgspec.structs.replace(second, time=first.time + shift)
    assert replay([first, moved]).violations == ([] if shift > 0 else ["time goes back at sequence 2"])


@pytest.mark.parametrize(
    ("type", "payload", "says"),
    [
        ("execution_started", payloads.ExecutionStarted(1), "unknown execution ghost"),
        ("step_completed", payloads.StepCompleted("a", raw(1), 1), "unknown execution ghost"),
        ("execution_completed", payloads.ExecutionCompleted(raw(1), 1), "unknown execution ghost"),
        ("execution_failed", payloads.ExecutionFailed(Failure("E", "no"), 1), "unknown execution ghost"),
        ("cancel_requested", payloads.CancelRequested(1), "unknown execution ghost"),
        ("execution_cancelled", payloads.ExecutionCancelled(1), "unknown execution ghost"),
        ("session_closed", payloads.SessionClosed(1), "never created"),
        ("event_published", payloads.EventPublished([(5, 5)], 1), "was not pending"),
    ],
)
def test_what_comes_from_nowhere_is_found(type: str, payload: Struct, says: str) -> None:
    history = History()
    history.write("acme", type, payload, "s", "ghost")
    (violation,) = replay(history.records).violations
    assert says in violation
    assert "at 1" in violation


def test_an_attempt_that_follows_a_cancel_is_found() -> None:
    history = History()
    history.accept("acme", "s")
    history.cancel(0)
    failed = payloads.StepFailed(HANDLER, Failure("E", "no"), 3, final=False, next_at=9)
    history.write("acme", "step_failed", failed, "s", "run-0")
    (violation,) = replay(history.records).violations
    assert violation == "an attempt of run-0 is to follow a cancel, at 5"


@pytest.mark.parametrize("asked", [False, True])
def test_an_end_that_is_not_what_was_asked_for_is_found(asked: bool) -> None:
    history = History()
    history.accept("acme", "s")
    if asked:
        history.cancel(0)
        history.write("acme", "execution_completed", payloads.ExecutionCompleted(raw(1), 4), "s", "run-0")
    else:
        history.write("acme", "execution_cancelled", payloads.ExecutionCancelled(4), "s", "run-0")
    (violation,) = replay(history.records).violations
    assert ("which was to be cancelled" if asked else "which was not to be cancelled") in violation


@pytest.mark.parametrize("between", [False, True])
def test_a_state_that_no_completion_has_set_is_found(between: bool) -> None:
    history = History()
    history.accept("acme", "s")
    history.write("acme", "execution_completed", payloads.ExecutionCompleted(raw(1), 4), "s", "run-0")
    if between:
        history.open_session("acme", "t")
    history.write("acme", "state_set", payloads.StateSet(SESSION_STATE, "s", raw({"n": 1})), "s", "run-0")
    violations = replay(history.records).violations
    assert violations == (["the state of session s was not set by a completion, at 6"] if between else [])


@pytest.mark.parametrize("idle", [0, 1_000])
def test_a_session_that_is_kept_open_and_is_not_idle_ever_is_found(idle: int) -> None:
    history = History()
    created = payloads.SessionCreated("ada", "default", {}, 1, idle_timeout=idle)
    history.write("acme", "session_created", created, "s")
    history.write("acme", "session_extended", payloads.SessionExtended(5, 2_000, active=True), "s")
    world = replay(history.records)
    assert bool(world.violations) == (not idle)
    assert world.timers == ({(2_000, "acme", "/s")} if idle else set())
    history.write("acme", "session_closed", payloads.SessionClosed(9, expired=True), "s")
    history.write("acme", "session_extended", payloads.SessionExtended(10, 3_000), "s")
    world = replay(history.records)
    assert "is not open" in world.violations[-1]
    assert world.timers == set()
