"""Children, as their parents' journals and documents have them: who holds which session, what is tried again."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from intendant.domain.children import (
    ChildIntent,
    ChildRequest,
    child_records,
    earliest,
    end_path,
    failure_of_child,
    key_of,
    parent_of,
)
from intendant.domain.journal import HANDLER, Journal
from intendant.domain.payloads import (
    NOTHING,
    ChildState,
    Failure,
    IntentReceived,
    Parent,
    StepCompleted,
    StepFailed,
    Submitted,
)
from intendant.domain.state import ExecutionState, Status, intent_received

NAMES = st.sampled_from(["a", "b", "c"])


def request(session: str = "", *, abandoned: bool = False) -> ChildRequest:
    return ChildRequest("submit(r.h)", ChildIntent("r.h", b"\x80", int), session, abandoned, None, 1)


def execution(session: str, parent: Parent | None = None) -> ExecutionState:
    payload = IntentReceived("i", "r.h", "default", "k", Raw(b"\x80"), {}, 1, parent=parent)
    return intent_received("acme", session, f"of-{session}", payload)


@given(st.lists(st.tuples(NAMES, st.booleans()), min_size=1, max_size=8))
def test_a_child_is_within_those_above_it_of_its_session_up_to_one_that_was_abandoned(
    chain: list[tuple[str, bool]],
) -> None:
    state, above = execution("a"), ["a"]
    for session, abandoned in chain:
        parent = parent_of(state, request(session, abandoned=abandoned), 7)
        assert parent.within == (not abandoned and session in above)
        assert parent.deadline == (0 if abandoned else 7)
        assert len(set(parent.held)) == len(parent.held)
        above = [session] if abandoned else [*above, session]
        state = execution(session, parent)
        assert msgspec.msgpack.decode(msgspec.msgpack.encode(state), type=ExecutionState) == state


@given(st.lists(st.integers(0, 9) | st.none()))
def test_the_earliest_time_is_one_that_comes(times: list[int | None]) -> None:
    comes = [time for time in times if time]
    assert earliest(*times) == (min(comes) if comes else 0)


def test_keys_and_digests_tell_calls_apart() -> None:
    assert len({key_of("p", "a", 1), key_of("p", "b", 1), key_of("p", "a", 2), key_of("q", "a", 1)}) == 4
    calls = [request(), request("t"), request(abandoned=True)]
    assert len({call.arguments for call in calls}) == 3


def test_another_attempt_knows_those_that_have_not_failed() -> None:
    journal = Journal()
    for number, ended in enumerate(("well", "badly", "not")):
        path = f"submit(r.h)[{number}]"
        assert journal.add(StepCompleted(path, NOTHING, 1, child=Submitted(f"e{number}", "s", "r.h")))
        if ended == "well":
            assert journal.add(StepCompleted(end_path(path), NOTHING, 2))
        elif ended == "badly":
            assert journal.add(StepFailed(end_path(path), Failure("x", ""), 2))
    assert journal.add(StepFailed(HANDLER, Failure("x", ""), 3, 1, final=False, next_at=4))
    assert set(journal.steps) == {"submit(r.h)[0]", "end(submit(r.h)[0])", "submit(r.h)[2]"}
    assert journal.add(StepCompleted("submit(r.h)[1]", NOTHING, 5, child=Submitted("e3", "s", "r.h")))
    assert list(journal.children) == ["e0", "e1", "e2", "e3"]


def test_what_becomes_of_children() -> None:
    states = [None, *(msgspec.structs.replace(execution("s"), status=status) for status in Status)]
    children = {f"e{number}": (f"p{number}", Submitted(f"e{number}", "s", "r.h")) for number in range(len(states))}
    found = {
        str(state and state.status): record.state
        for state, record in zip(states, child_records(children, states, ending=True), strict=True)
    }
    assert found["None"] is ChildState.GONE
    assert found["running"] is ChildState.CANCELLING
    assert [found[status] for status in ("completed", "failed", "cancelled")] == ["completed", "failed", "cancelled"]
    assert child_records(children, states, ending=False)[1].state is ChildState.OPEN
    assert failure_of_child(msgspec.structs.replace(execution("s"), status=Status.CANCELLED)).code == "cancelled"
