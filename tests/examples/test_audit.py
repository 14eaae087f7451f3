"""The audit can find what it looks for."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from examples.realms.audit import Books, audit, flaws
from examples.realms.tally import Body
from intendant import LogRecord


def record(sequence: int, type_: str, execution: str = "e1", **payload: Any) -> LogRecord:
    raw = msgspec.Raw(msgspec.msgpack.encode(payload))
    return LogRecord(sequence, 1000 + sequence, 1, "t", type_, "s", execution, raw)


def received(sequence: int, execution: str = "e1") -> LogRecord:
    return record(sequence, "intent_received", execution, type="x.y", parameters={})


def good() -> list[LogRecord]:
    return [
        received(1),
        record(2, "step_completed", path="a", result=None, events=[{"number": 0, "name": "n", "payload": None}]),
        record(3, "execution_completed", result=None),
    ]


def books_of(records: list[LogRecord], since: int = 0) -> Books:
    books = Books(since)
    for each in records:
        books.enter(each)
    return books


def test_good_books_have_no_flaw() -> None:
    assert flaws(books_of(good()), [Body(1001, "e1", "a")], {"e1-0"}) == []


@pytest.mark.parametrize(
    ("records", "flaw"),
    [
        (good()[:2], "e1 was accepted and has no end."),
        ([*good(), record(4, "execution_failed")], "e1 has 2 ends."),
        ([*good(), record(4, "execution_completed", "e2")], "e2 ended and was never accepted."),
        ([*good(), record(4, "step_completed", path="a")], "Step a of e1 was recorded 2 times."),
    ],
)
def test_planted_flaws_are_found(records: list[LogRecord], flaw: str) -> None:
    assert flaws(books_of(records), [], {"e1-0"}) == [flaw]


def test_a_recorded_step_that_ran_again_is_found() -> None:
    bodies = [Body(1001, "e1", "a"), Body(1005, "e1", "a")]
    assert flaws(books_of(good()), bodies, {"e1-0"}) == ["Step a of e1 ran again after it had been recorded."]


def test_an_event_that_did_not_arrive_is_found() -> None:
    assert flaws(books_of(good()), [], set()) == ["1 events were emitted and 0 arrived."]


def test_only_what_this_run_did_counts_for_it() -> None:
    records = [*good(), received(10, "e2"), record(12, "execution_completed", "e2")]
    figures = audit(books_of(records, since=1009), [], set(), submitted=2)
    assert (figures.executions, figures.records, figures.steps, figures.known) == (1, 2, 0, 1)
    assert figures.flaws == []


def test_a_body_that_was_cut_off_counts_as_run_again() -> None:
    bodies = [Body(900, "e1", "a"), Body(1001, "e1", "a")]
    assert audit(books_of(good()), bodies, {"e1-0"}, submitted=1).again == 1
