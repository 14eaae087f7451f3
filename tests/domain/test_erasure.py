"""What is left of a log entry when a session's content is erased from it."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from intendant.domain import state as states
from intendant.domain.codec import encode
from intendant.domain.erasure import Content, Scope, without_old
from intendant.domain.payloads import ContentErased, ContentExpired, ErasureStarted, StateSet
from intendant.domain.records import LogRecord, Record, decode_entry, encode_entry
from intendant.domain.replay import replay
from intendant.domain.state import FileReference

SESSIONS = st.sampled_from(["mine", "other", "third"])
SECRET = b"secret"


def intent(session: str, execution: str, key: str) -> Record:
    payload = {
        "intent_id": key, "type": "shop.sell", "solution": "default", "key": key, "metadata": {"of": session}, "at": 1,
        "parameters": {"word": "secret" if session == "mine" else "plain"},
    }  # fmt: skip
    return Record("intent_received", session, execution, payload)


def set_data(session: str, execution: str, collection: str, key: str, value: Any) -> Record:
    return Record("state_set", session, execution, StateSet(collection, key, Raw(encode(value))))


def reference(session: str, name: str, word: str) -> Record:
    return set_data(session, "", states.FILES, name, FileReference(name, "acme", session, word, word))


def entry(*records: Record, first: int = 1) -> bytes:
    return encode_entry(3, first, 1_000_000, "acme", list(records))


def seen(*entries: bytes, session: str = "mine") -> Content:
    content = Content(Scope("acme", session))
    for each in entries:
        for record in decode_entry(each):
            content.see_record(record, ())
    return content


def rewritten(content: Content, data: bytes) -> list[LogRecord]:
    new = content.rewritten(data)
    assert new is not None
    assert content.rewritten(new) is None, "once is enough"
    return decode_entry(new)


@given(st.lists(st.tuples(SESSIONS, st.booleans()), min_size=1, max_size=30))
def test_its_records_keep_their_places_and_all_others_everything(history: list[tuple[str, bool]]) -> None:
    records: list[Record] = []
    for number, (session, with_data) in enumerate(history):
        execution = f"e{number}"
        records.append(intent(session, execution, f"{'secret' if session == 'mine' else 'plain'}-{number}"))
        if with_data:
            word = "secret" if session == "mine" else "plain"
            records.append(set_data("", execution, states.EXECUTION_DATA, execution, {"word": word}))
    data = entry(*records)
    content = seen(data)
    old = decode_entry(data)
    if not any(session == "mine" for session, _ in history):
        assert content.rewritten(data) is None
        return
    new = rewritten(content, data)
    assert SECRET not in msgspec.msgpack.encode([bytes(each.raw) for each in new])
    assert [(n.sequence, n.time, n.epoch, n.session, n.execution) for n in new] == [
        (o.sequence, o.time, o.epoch, o.session, o.execution) for o in old
    ]
    mine = {f"e{number}" for number, (session, _) in enumerate(history) if session == "mine"}
    for before, after in zip(old, new, strict=True):
        if before.execution in mine:
            assert (after.type, after.payload) == ("content_erased", {})
        else:
            assert after == before
    world = replay(new)
    assert not world.violations
    assert {execution for _, execution in world.executions} == {f"e{n}" for n in range(len(history))} - mine


def test_what_retention_told_names_it_no_more() -> None:
    gone = ContentExpired(
        5,
        gone=True,
        executions=["e1", "e2"],
        sessions=["mine", "other"],
        keys=["mine-1", "other-1", "long-gone", "both"],
    )
    told = entry(Record("content_expired", "", "", gone), first=10)
    before = entry(intent("mine", "e1", "mine-1"), intent("other", "e2", "other-1"))
    both = entry(intent("mine", "e3", "both"), intent("other", "e4", "both"), first=5)
    content = seen(before, both, told)
    (left,) = rewritten(content, told)
    assert left.type == "content_expired"
    assert msgspec.msgpack.decode(left.raw, type=ContentExpired) == ContentExpired(
        5, gone=True, executions=["e2"], sessions=["other"], keys=["other-1", "both"]
    )


def test_a_reference_that_is_its_own_now_goes_with_what_it_was_before() -> None:
    older = entry(reference("other", "shared", "plain"), reference("other", "kept", "plain"))
    newer = entry(reference("mine", "shared", "secret"), reference("mine", "kept", "secret"), first=5)
    newest = entry(reference("other", "kept", "plain"), first=9)
    content = seen(older, newer, newest)
    assert [each.type for each in rewritten(content, older)] == ["content_erased", "state_set"]
    assert [each.type for each in rewritten(content, newer)] == ["content_erased", "content_erased"]
    assert content.rewritten(newest) is None


def test_what_says_that_it_was_erased_stays() -> None:
    marks = entry(
        Record("erasure_started", "mine", "", ErasureStarted(1)),
        Record("content_erased", "mine", "e1", ContentErased()),
        Record("content_erased", "mine", "", ContentErased(at=1, done=True)),
    )
    data = set_data("", "e1", states.EXECUTION_DATA, "e1", {"word": "secret"})
    content = seen(marks, entry(data, first=9))
    assert content.records == 1
    assert content.rewritten(marks) is None
    assert [each.type for each in rewritten(content, entry(data, first=9))] == ["content_erased"]


def test_of_a_tenant_only_what_is_newer_stays() -> None:
    entries = [entry(intent("mine", "e1", "k"), first=1), entry(intent("mine", "e2", "l"), first=2)]
    assert without_old(entries, 2) == entries[1:]
    assert without_old(entries, 3) == []
