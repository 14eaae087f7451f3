"""What to send again to a store that went back in time: decided from places and batches alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from intendant.actors.ages import Ages
from intendant.actors.ring import Place, Ring, missing, place_behind
from intendant.domain.commit import Batch, Commit, MoveCheckpoint, PutDocument, seal
from intendant.domain.errors import AcknowledgedDataMissing
from intendant.domain.records import SYSTEM_TENANT, Record

BEGINNING = Place(1, 0, b"")


def batch(first: int, count: int, *, content: str = "") -> Batch:
    records = [Record("state_set", "s", content, {"number": number}) for number in range(count)]
    commit = Commit("acme", records, ()) if records else Commit(SYSTEM_TENANT, (), [MoveCheckpoint("cold", first)])
    return seal([commit], partition=0, epoch=3, token=b"t", first=first, time=1)[0]


@st.composite
def histories(draw: st.DrawFn) -> list[Batch]:
    """Batches that follow each other; those without records only move a checkpoint."""
    batches: list[Batch] = []
    first = 1
    for count in draw(st.lists(st.integers(0, 4), max_size=8)):
        batches.append(batch(first, count))
        first += count
    return batches


def places(batches: list[Batch]) -> list[Place]:
    return [BEGINNING, *(place_behind(each) for each in batches if each.count)]


@given(histories(), st.data())
def test_what_is_sent_again_makes_the_log_whole(history: list[Batch], data: st.DataObject) -> None:
    known = places(history)
    forgotten = data.draw(st.integers(0, len(known) - 1))  # that many batches with records left the ring
    before = known[forgotten]
    ring = [each for each in history if each.first >= before.next_sequence]
    tail = data.draw(st.sampled_from(known))
    if tail.next_sequence < before.next_sequence:
        with pytest.raises(AcknowledgedDataMissing, match=f" {tail.next_sequence} to {before.next_sequence - 1} are"):
            missing(tail, before, ring)
        return
    log = tail
    for each in missing(tail, before, ring):
        assert each.first == log.next_sequence
        log = place_behind(each) if each.count else log
    assert log == known[-1]


@given(histories(), st.data())
def test_a_log_that_ends_elsewhere_is_never_written(history: list[Batch], data: st.DataObject) -> None:
    known = places(history)
    tail = data.draw(st.builds(Place, st.integers(1, 40), st.integers(0, 40), st.sampled_from([b"", b"other"])))
    if tail not in known:
        with pytest.raises(AcknowledgedDataMissing, match="other records than were acknowledged"):
            missing(tail, BEGINNING, history)


def test_a_batch_in_flight_that_was_applied_misses_nothing() -> None:
    acknowledged, flying = batch(1, 2), batch(3, 1)
    assert missing(place_behind(flying), BEGINNING, [acknowledged], flying) == []
    assert missing(place_behind(acknowledged), BEGINNING, [acknowledged], flying) == []
    assert missing(BEGINNING, BEGINNING, [acknowledged], flying) == [acknowledged]
    with pytest.raises(AcknowledgedDataMissing):
        missing(place_behind(batch(3, 1, content="of somebody else")), BEGINNING, [acknowledged], flying)


def test_a_moved_checkpoint_alone_is_nothing_that_is_missing() -> None:
    assert missing(BEGINNING, BEGINNING, [batch(1, 0)]) == []


def test_a_ring_keeps_the_newest_batches_within_its_bytes() -> None:
    ring = Ring(limit=10_000)
    ring.begin(BEGINNING)
    batches = [batch(number, 1) for number in range(1, 21)]
    for each in batches:
        ring.add(each, 0)
    assert 1 < len(ring) < 20
    oldest = 21 - len(ring)
    assert ring.missing(place_behind(batches[oldest - 2])) == batches[oldest - 1 :]
    with pytest.raises(AcknowledgedDataMissing, match="not in this process's memory"):
        ring.missing(place_behind(batches[oldest - 3]))


def test_a_ring_counts_what_the_operations_hold() -> None:
    ring = Ring(limit=100_000)
    large = seal(
        [Commit("acme", [Record("state_set", "s", "", {})], [PutDocument("data", "k", b"x" * 60_000)])],
        partition=0,
        epoch=1,
        token=b"t",
        first=1,
        time=1,
    )[0]
    ring.add(large, 60_000)
    ring.add(batch(2, 1), 60_000)
    assert len(ring) == 1


def test_ages_tell_what_is_older_than_a_window() -> None:
    ages = Ages()
    ages.begin(10.0, 7)
    for step in range(1, 101):
        ages.add(10.0 + step, 7 + step)
    assert ages.settled(110.0) == 107
    assert ages.settled(105.5) == 102
    assert ages.settled(10.0) == 7
    assert ages.settled(9.9) == 0


def test_what_was_put_back_is_young_again() -> None:
    ages = Ages()
    ages.begin(0.0, 0)
    for step in range(1, 11):
        ages.add(float(step), step)
    ages.again(20.0, 6, 10)
    assert ages.settled(19.9) == 5
    assert ages.settled(20.0) == 10


@given(st.lists(st.floats(0, 1), max_size=60), st.floats(0, 30))
def test_nothing_is_told_older_than_it_is(gaps: list[float], window: float) -> None:
    ages = Ages()
    ages.begin(0.0, 0)
    committed = {0: 0.0}
    now = 0.0
    for sequence, gap in enumerate(gaps, 1):
        now += gap
        ages.add(now, sequence)
        committed[sequence] = now
    settled = ages.settled(now - window)
    assert committed[settled] <= now - window or settled == 0
    late = [sequence for sequence, time in committed.items() if time <= now - window - 0.1]
    assert settled >= max(late, default=0)
