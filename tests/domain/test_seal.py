"""Sealing: numbers without gaps, tenants brought together, receipts in order, the last word on each key."""

from itertools import groupby, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from intendant import InvalidValue
from intendant.domain.codec import COMMIT_BYTES_MAX
from intendant.domain.commit import (
    PLACES,
    RECORDS_MAX,
    AddToIndex,
    AddToOutbox,
    AppendJournal,
    Batch,
    ClaimKey,
    Commit,
    DeleteDocument,
    DropJournal,
    MoveCheckpoint,
    Operation,
    PutDocument,
    Receipt,
    ReleaseKey,
    RemoveFromIndex,
    SettleOutbox,
    check_commit,
    seal,
)
from intendant.domain.records import Record, decode_entry

few = st.sampled_from("abc")
bodies = st.binary(max_size=8)
operations: st.SearchStrategy[Operation] = st.one_of(
    st.builds(PutDocument, few, few, bodies, st.integers(0, 3)),
    st.builds(DeleteDocument, few, few),
    st.builds(AppendJournal, few, bodies),
    st.builds(DropJournal, few),
    st.builds(AddToIndex, few, few, st.integers(0, 1)),
    st.builds(RemoveFromIndex, few, few, st.integers(0, 1)),
    st.builds(ClaimKey, few, bodies),
    st.builds(ReleaseKey, few),
    st.builds(AddToOutbox, few, bodies),
    st.builds(SettleOutbox, st.lists(st.integers(0, 9), max_size=3).map(tuple)),
    st.builds(MoveCheckpoint, few, st.integers(0, 9)),
)
written = st.builds(Record, st.sampled_from(["state_set", "step_completed"]), few, few, st.just({"a": 1}))
commits = st.lists(
    st.builds(
        Commit,
        st.sampled_from(["", "acme", "bolt"]),
        st.lists(written, min_size=1, max_size=4),
        st.lists(operations, max_size=5),
    ),
    min_size=1,
    max_size=8,
)
FIRST, TIME = 101, 7


def sealed(gathered: list[Commit]) -> tuple[Batch, list[Receipt]]:
    return seal(gathered, partition=0, epoch=3, token=b"t", first=FIRST, time=TIME)


@given(commits)
def test_sequences_have_no_gap_and_belong_to_the_commits_in_order(gathered: list[Commit]) -> None:
    batch, receipts = sealed(gathered)
    total = sum(len(commit.records) for commit in gathered)
    assert (batch.first, batch.count) == (FIRST, total)
    assert len(receipts) == len(gathered)
    taken = sorted(
        sequence
        for commit, receipt in zip(gathered, receipts, strict=True)
        for sequence in range(receipt.first, receipt.first + len(commit.records))
    )
    assert taken == list(range(FIRST, FIRST + total))
    assert {receipt.time for receipt in receipts} == {TIME}


@given(commits)
def test_each_receipt_names_the_records_of_its_commit(gathered: list[Commit]) -> None:
    batch, receipts = sealed(gathered)
    stored = {record.sequence: record for entry in batch.entries for record in decode_entry(entry[3])}
    for commit, receipt in zip(gathered, receipts, strict=True):
        for place, record in enumerate(commit.records):
            found = stored[receipt.first + place]
            assert (found.tenant, found.type, found.session) == (commit.tenant, record.type, record.session)
            assert (found.time, found.epoch) == (TIME, 3)


@given(commits)
def test_each_tenant_has_one_entry_of_contiguous_sequences(gathered: list[Commit]) -> None:
    batch, _ = sealed(gathered)
    assert [entry[0] for entry in batch.entries] == sorted({commit.tenant for commit in gathered})
    for tenant, first, count, entry in batch.entries:
        records = decode_entry(entry)
        assert [record.sequence for record in records] == list(range(first, first + count))
        assert {record.tenant for record in records} == {tenant}
    assert all(one[1] + one[2] == other[1] for one, other in pairwise(batch.entries))


@given(commits)
def test_commits_of_one_tenant_keep_their_order(gathered: list[Commit]) -> None:
    _, receipts = sealed(gathered)
    for tenant in {commit.tenant for commit in gathered}:
        firsts = [each.first for commit, each in zip(gathered, receipts, strict=True) if commit.tenant == tenant]
        assert firsts == sorted(firsts)


@given(commits)
def test_documents_and_indexes_hold_the_last_word(gathered: list[Commit]) -> None:
    batch, receipts = sealed(gathered)
    documents: dict[tuple[str, str, str], bytes | None] = {}
    index: dict[tuple[str, int, str, str], bool] = {}
    for commit in sorted(gathered, key=lambda commit: commit.tenant):
        for operation in commit.operations:
            match operation:
                case PutDocument(collection, key, body):
                    documents[commit.tenant, collection, key] = body
                case DeleteDocument(collection, key):
                    documents[commit.tenant, collection, key] = None
                case AddToIndex(name, member, score):
                    index[name, score, commit.tenant, member] = True
                case RemoveFromIndex(name, member, score):
                    index[name, score, commit.tenant, member] = False
                case _:
                    pass
    assert {put[:3]: put[5] for put in batch.puts} | dict.fromkeys(batch.deletes) == documents
    assert len(batch.puts) + len(batch.deletes) == len(documents)
    assert set(batch.index_adds) == {key for key, present in index.items() if present}
    assert set(batch.index_removes) == {key for key, present in index.items() if not present}
    assert len(receipts) == len(gathered)


@given(commits)
def test_positions_of_journal_rows_and_events_are_unique_and_follow_the_log(gathered: list[Commit]) -> None:
    batch, receipts = sealed(gathered)
    outbox = [each[0] for each in batch.outbox_adds]
    assert outbox == sorted(set(outbox))
    by_execution = groupby(sorted(batch.journal, key=lambda row: row[:2]), key=lambda row: row[:2])
    for _, rows in by_execution:
        positions = [row[2] for row in rows]
        assert positions == sorted(set(positions))
    starts = {receipt.first for receipt in receipts}
    assert {position // PLACES for position in outbox} <= starts


@given(commits)
def test_same_commits_give_the_same_batch_and_others_another_digest(gathered: list[Commit]) -> None:
    assert sealed(gathered) == sealed(gathered)
    other, _ = seal(gathered, partition=0, epoch=4, token=b"t", first=FIRST, time=TIME)
    assert other.digest != sealed(gathered)[0].digest


@given(commits)
def test_nothing_that_was_asked_for_is_left_out(gathered: list[Commit]) -> None:
    batch, _ = sealed(gathered)
    asked = [operation for commit in gathered for operation in commit.operations]
    assert len(batch.claims) == sum(isinstance(each, ClaimKey) for each in asked)
    assert len(batch.releases) == sum(isinstance(each, ReleaseKey) for each in asked)
    assert len(batch.journal) == sum(isinstance(each, AppendJournal) for each in asked)
    assert len(batch.drops) == sum(isinstance(each, DropJournal) for each in asked)
    assert len(batch.outbox_adds) == sum(isinstance(each, AddToOutbox) for each in asked)
    assert len(batch.outbox_settles) == sum(len(each.positions) for each in asked if isinstance(each, SettleOutbox))


def test_checkpoint_alone_needs_no_record() -> None:
    batch, receipts = sealed([Commit("", (), [MoveCheckpoint("cold", 7)])])
    assert (batch.count, batch.entries, batch.checkpoints) == (0, (), {"cold": 7})
    assert receipts == [Receipt(FIRST, TIME)]


def test_commit_that_fits_into_no_batch_is_refused_with_the_limit() -> None:
    record = Record("state_set", "", "", {})
    check_commit(Commit("acme", [record] * RECORDS_MAX, ()))
    with pytest.raises(InvalidValue, match=f"{RECORDS_MAX + 1} records, the limit is {RECORDS_MAX}"):
        check_commit(Commit("acme", [record] * (RECORDS_MAX + 1), ()))
    with pytest.raises(InvalidValue, match=f"{COMMIT_BYTES_MAX:,}"):
        check_commit(Commit("acme", [record], [PutDocument("a", "b", bytes(COMMIT_BYTES_MAX))]))
