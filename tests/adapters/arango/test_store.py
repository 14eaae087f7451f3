"""What the store sends, and what it makes of each answer."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from intendant.adapters.arango import ArangoColdStore, ColdStoreMisconfigured, schema
from intendant.adapters.arango.bodies import to_bytes
from intendant.adapters.arango.documents import Item
from intendant.adapters.arango.store import ATTEMPTS
from intendant.domain.codec import encode
from intendant.domain.errors import InternalError, StoreUnavailable
from intendant.domain.ports import Chunk, ColdDocument
from intendant.domain.records import UnknownFormat
from intendant.domain.refused import REFUSED, read_refused
from tests.adapters.arango.recorder import Recorder, Rule, recorder
from tests.arango_standin.messages import Reply, Request, failed
from tests.infrastructure.turns import Turns

pytestmark = pytest.mark.anyio

DOCUMENT = ColdDocument("t", "sessions", "k", 7, encode({"id": "k"}))
INSERT = "POST document/sessions"


@pytest.fixture(params=["3.12.5", "3.11.13"])
def server(request: pytest.FixtureRequest) -> Generator[Recorder]:
    with recorder(request.param) as kept:
        yield kept


@pytest.fixture
def newest() -> Generator[Recorder]:
    with recorder() as kept:
        yield kept


@asynccontextmanager
async def opened(server: Recorder, options: str = "") -> AsyncGenerator[ArangoColdStore]:
    store = ArangoColdStore(server.url + options)
    await store.open()
    server.requests.clear()
    try:
        yield store
    finally:
        await store.close()


def times(count: int, call: str, *replies: Reply) -> Rule:
    """Answer the first `count` requests of this kind so, in turn."""
    left = [replies[number % len(replies)] for number in range(count)]
    return lambda request: left.pop(0) if left and request.call == call else None


def elements(call: str, wrong: Callable[[int, Any], Reply | None]) -> Rule:
    """Do as asked, and tell of some elements that they failed: those that `wrong` names are not written."""

    def rule(request: Request) -> Reply | None:
        if request.call != call:
            return None
        replies = [wrong(at, each) for at, each in enumerate(request.body)]
        if not any(replies):
            return None
        return Reply(202, [reply.body if reply else {"_id": "x/1", "_key": "1", "_rev": "1"} for reply in replies])

    return rule


# --- opening


async def test_opening_makes_what_is_missing(server: Recorder) -> None:
    async with opened(server):
        pass
    assert set(server.collections) == set(schema.COLLECTIONS)
    assert all(each.properties["waitForSync"] for each in server.collections.values())
    made = {(name, fields) for name, collection in server.collections.items() for fields in collection.indexes}
    assert made == {(name, fields) for name, indexes in schema.INDEXES.items() for fields in indexes}
    assert server.documents("intendant")[0]["format"] == schema.FORMAT


async def test_two_that_make_it_at_once(server: Recorder) -> None:
    server.rules = [lambda request: Reply(200, {"result": []}) if request.call == "GET collection" else None]
    async with anyio.create_task_group() as group:
        for _ in range(4):
            group.start_soon(ArangoColdStore(server.url).open)
    assert set(server.collections) == set(schema.COLLECTIONS)


async def test_copies_are_asked_for(newest: Recorder) -> None:
    async with opened(newest, "?replication=3&write_concern=2"):
        pass
    assert newest.collections
    with recorder() as server:
        store = ArangoColdStore(server.url + "?replication=3&write_concern=2")
        await store.open()
        made = [request.body for request in server.requests if request.call == "POST collection"]
        assert {(each["replicationFactor"], each["writeConcern"]) for each in made} == {(3, 2)}
        server.collections["wal"].properties |= {"replicationFactor": 2, "writeConcern": 1}
        await store.close()
        with pytest.raises(ColdStoreMisconfigured, match=r"wal has replication_factor 2, asked was 3.*write_concern 1"):
            await store.open()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"waitForSync": False}, "set its waitForSync to true"),
        ({"type": 3}, "is of edges"),
    ],
)
async def test_a_collection_that_can_not_be_used(newest: Recorder, change: dict[str, Any], says: str) -> None:
    async with opened(newest) as store:
        pass
    newest.collections["executions"].properties |= change
    with pytest.raises(ColdStoreMisconfigured, match=f"executions .*{says}"):
        await store.open()


@pytest.mark.parametrize("version", ["3.10.14", "2.8", "none"])
async def test_servers_that_are_too_old(version: str) -> None:
    with recorder(version) as server:
        with pytest.raises(ColdStoreMisconfigured, match=r"3\.11 or newer"):
            await ArangoColdStore(server.url).open()
        assert server.collections == {}


async def test_a_format_of_a_newer_version(newest: Recorder) -> None:
    async with opened(newest) as store:
        pass
    newest.change("intendant", format=2)
    with pytest.raises(UnknownFormat, match="newer"):
        await store.open()


@pytest.mark.parametrize(("status", "number"), [(401, 11), (403, 11), (403, 1230)])
async def test_a_user_without_rights(newest: Recorder, status: int, number: int) -> None:
    newest.rules = [lambda _: failed(status, number, "not authorized")]
    store = ArangoColdStore(newest.url)
    with pytest.raises(ColdStoreMisconfigured, match="grant the user"):
        await store.open()
    newest.rules = []
    await store.open()  # the same one, once that was seen to
    await store.close()


async def test_a_server_that_starts_is_waited_for_a_moment(newest: Recorder) -> None:
    newest.rules = [times(2, "GET version", failed(503, 38, "starting up"))]
    async with opened(newest) as store:
        assert await store.tail(0) == 0


async def test_a_start_does_not_need_it(newest: Recorder) -> None:
    """What can't be reached now is prepared when it can, by whatever asks first."""
    newest.rules = [lambda _: failed(500, 4, "not now")]
    store = ArangoColdStore(newest.url)
    await store.open()
    with pytest.raises(StoreUnavailable, match="not now"):
        await store.tail(0)
    newest.rules = []
    async with anyio.create_task_group() as group:
        for _ in range(4):
            group.start_soon(store.put, [DOCUMENT])
    assert await store.document("t", "sessions", "k") == DOCUMENT
    await store.close()


async def test_what_is_not_open_refuses() -> None:
    with pytest.raises(StoreUnavailable, match="not open"):
        await ArangoColdStore("arangodb://u:pw@127.0.0.1:1/d").put([])


# --- writing


async def test_one_write_is_one_request_that_waits_for_the_disk(newest: Recorder) -> None:
    async with opened(newest) as store:
        await store.put([DOCUMENT])
        (request,) = newest.requests
        assert request.options["overwriteMode"] == "replace"
        assert request.options["versionAttribute"] == "version"
        assert request.options["waitForSync"] == "1"
        assert request.options["silent"] == "0"
        (kept,) = newest.documents("sessions")
        assert kept["data"] == {"id": "k"}
        assert (kept["tenant"], kept["collection"], kept["key"], kept["version"]) == ("t", "sessions", "k", 7)


async def test_every_change_waits_for_the_disk(server: Recorder) -> None:
    """So that none that was acknowledged is lost when the server's machine loses power."""
    store = ArangoColdStore(server.url)
    await store.open()
    for version in (1, 2):
        await store.put([ColdDocument("t", "sessions", "k", version, b"x")])
        await store.archive(0, [Chunk("t", 1, 2, version + 1, [b"x"])])
    server.rules = [elements(INSERT, lambda _, __: failed(400, 1620, "schema violation"))]
    await store.put([ColdDocument("t", "sessions", "new", 1, b"x")])
    await store.remove([("t", "sessions", "k")])
    await store.trim(0, "t", below=99)
    await store.close()
    changes = [request for request in server.requests if request.place[0] == "document" and request.method != "GET"]
    changes = [request for request in changes if not request.options.get("onlyget")]
    assert {request.method for request in changes} >= {"POST", "DELETE"}
    assert all(request.options["waitForSync"] == "1" for request in changes)
    assert not any(request.options.get("silent") == "1" for request in changes)


async def test_what_was_not_applied_is_sent_again_and_nothing_else(newest: Recorder) -> None:
    failed_once: set[str] = set()

    def wrong(_: int, document: Any) -> Reply | None:
        if document["key"] in "bd" and document["key"] not in failed_once:
            failed_once.add(document["key"])
            return failed(409, 1200, "write-write conflict")
        return None

    async with opened(newest) as store:
        newest.rules = [elements(INSERT, wrong)]
        await store.put([ColdDocument("t", "sessions", key, 1, b"x") for key in "abcd"])
        sent = ["".join(each["key"] for each in request.body) for request in newest.requests]
        assert sent == ["abcd", "bd"]


@pytest.mark.parametrize(
    "reply",
    [failed(503, 21003, "because"), failed(403, 1429, "because"), failed(500, 28, "because"), failed(409, 1200, "w")],
)
async def test_a_whole_request_that_was_not_applied(server: Recorder, reply: Reply) -> None:
    async with opened(server) as store:
        server.rules = [times(2, INSERT, reply)]
        await store.put([DOCUMENT])
        assert await store.document("t", "sessions", "k") == DOCUMENT
        assert server.calls.count(INSERT) == 3


async def test_it_is_not_tried_for_ever(newest: Recorder) -> None:
    async with opened(newest) as store:
        newest.rules = [times(99, INSERT, failed(409, 1200, "write-write conflict"))]
        with pytest.raises(StoreUnavailable, match="write-write conflict"):
            await store.put([DOCUMENT])
        assert newest.calls.count(INSERT) == ATTEMPTS


async def test_an_unknown_outcome_is_told_at_once(server: Recorder) -> None:
    async with opened(server) as store:
        server.rules = [times(1, INSERT, failed(500, 4, "because"))]
        with pytest.raises(StoreUnavailable, match="may or may not"):
            await store.put([DOCUMENT])
        assert server.calls.count(INSERT) == 1
        await store.put([DOCUMENT])
        assert await store.document("t", "sessions", "k") == DOCUMENT


@pytest.mark.parametrize("reply", [failed(404, 1203, "collection not found"), failed(403, 11, "forbidden")])
async def test_what_somebody_has_to_change_is_told_at_once(server: Recorder, reply: Reply) -> None:
    async with opened(server) as store:
        server.rules = [times(1, INSERT, reply)]
        with pytest.raises(ColdStoreMisconfigured):
            await store.put([DOCUMENT])
        await store.put([DOCUMENT])  # it was changed: the same store serves on


async def test_one_refused_document_does_not_hold_up_the_others(
    server: Recorder, caplog: pytest.LogCaptureFixture
) -> None:
    def wrong(_: int, document: Any) -> Reply | None:
        return failed(400, 1620, "schema violation") if document["key"] == "b" else None

    documents = [ColdDocument("t", "sessions", key, 3, encode({"secret": "c4n4ry"})) for key in "abc"]
    async with opened(server) as store:
        server.rules = [elements(INSERT, wrong)]
        with caplog.at_level(logging.ERROR):
            await store.put(documents)
            await store.put(documents)
    (letter,) = server.documents("dead_letters")
    assert (letter["of"], letter["version"], letter["number"]) == ("sessions", 3, 1620)
    assert letter["reason"] == "schema violation"
    assert read_refused(ColdDocument("t", REFUSED, "", 3, to_bytes(letter["body"]))).source == documents[1]
    assert letter["_key"] in caplog.text
    assert "c4n4ry" not in caplog.text


@pytest.mark.parametrize("reply", [failed(413, 413, "too large"), failed(400, 600, "invalid JSON")])
async def test_a_request_that_is_refused_as_a_whole_is_taken_apart(newest: Recorder, reply: Reply) -> None:
    def rule(request: Request) -> Reply | None:
        return reply if request.call == INSERT and any(each["key"] == "5" for each in request.body) else None

    async with opened(newest) as store:
        newest.rules = [rule]
        await store.put([ColdDocument("t", "sessions", str(n), 1, b"x") for n in range(8)])
        assert [document.key for document in await store.documents("t", "sessions")] == list("0123467")
        assert len(newest.documents("dead_letters")) == 1


async def test_a_dead_letter_that_is_too_large_keeps_the_reason(newest: Recorder) -> None:
    def rule(request: Request) -> Reply | None:
        wal = request.call == "POST document/wal"
        letter = request.call == "POST document/dead_letters" and "body" in request.body[0]
        return (
            failed(400, 1216, "too large") if wal else Reply(202, [failed(400, 1216, "too").body]) if letter else None
        )

    async with opened(newest) as store:
        newest.rules = [rule]
        await store.archive(0, [Chunk("t", 1, 2, 2, [b"x"])])
        (letter,) = newest.documents("dead_letters")
        assert (letter["of"], letter["reason"], "body" in letter) == ("wal", "too large", False)
        newest.rules = [rule, elements("POST document/dead_letters", lambda _, __: failed(400, 1216, "too"))]
        with pytest.raises(StoreUnavailable, match="dead letter"):
            await store.archive(0, [Chunk("t", 5, 6, 6, [b"x"])])


async def test_an_old_server_never_lets_an_older_version_win() -> None:
    """Another writer comes between the look and the write, with a newer version."""
    with recorder("3.11.13") as server:
        async with opened(server) as store:
            await store.put([ColdDocument("t", "sessions", "there", 1, b"old")])
            for call, key in (("PUT document/sessions", "there"), (INSERT, "new")):
                server.rules = [rival(server, call)]
                await store.put([ColdDocument("t", "sessions", key, 3, b"ours")])
                found = await store.document("t", "sessions", key)
                assert found is not None
                assert found.version == 8


async def test_others_get_turns_while_documents_are_taken_apart(
    newest: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    fields, turns = Item.fields, Turns(monkeypatch)
    taken_apart: Counter[int] = Counter()  # documents, in each turn

    def noting(item: Item) -> dict[str, Any]:
        taken_apart[turns.given] += 1
        return fields(item)

    monkeypatch.setattr(Item, "fields", noting)
    async with opened(newest) as store:
        await store.put([ColdDocument("t", "sessions", f"{number}", 1, b"x") for number in range(300)])
    assert taken_apart.total() == 300
    assert max(taken_apart.values()) <= 64


def rival(server: Recorder, call: str) -> Rule:
    """Somebody who once, just before this write, writes the same documents with higher versions."""
    done: list[bool] = []

    def rule(request: Request) -> None:
        if request.call == call and not request.options.get("onlyget") and not done:
            done.append(True)
            for document in request.body:
                newer = {**document, "version": document["version"] + 5}
                server.collections["sessions"].insert(newer, mode="replace", version=None)

    return rule


# --- removing


async def test_removing_looks_at_each_element(newest: Recorder) -> None:
    call = "DELETE document/sessions"
    async with opened(newest) as store:
        await store.put([ColdDocument("t", "sessions", key, 1, b"x") for key in "ab"])
        tries: list[int] = []

        def rule(request: Request) -> Reply | None:
            if request.call != call:
                return None
            tries.append(len(request.body))
            first = failed(409, 1200, "write-write conflict").body
            return (
                Reply(202, [first, *[failed(404, 1202, "because").body] * (len(request.body) - 1)])
                if len(tries) == 1
                else None
            )

        newest.rules = [rule]
        await store.remove([("t", "sessions", "a"), ("t", "sessions", "gone")])
        assert tries == [2, 1]
        assert [document.key for document in await store.documents("t", "sessions")] == ["b"]
        newest.rules = [elements(call, lambda _, __: failed(403, 11, "forbidden"))]
        with pytest.raises(ColdStoreMisconfigured):
            await store.remove([("t", "sessions", "b")])


async def test_removing_is_bounded_and_by_collection(newest: Recorder) -> None:
    async with opened(newest) as store:
        places = [("t", name, str(n)) for name in ("sessions", "files") for n in range(1001)]
        await store.remove(places)
        assert [(request.place[-1], len(request.body)) for request in newest.requests] == [
            ("sessions", 1000),
            ("sessions", 1),
            ("dead_letters", 1000),
            ("dead_letters", 1000),
            ("dead_letters", 2),
            ("files", 1000),
            ("files", 1),
        ]


# --- reading


async def test_what_another_wrote_in_its_place_is_not_shown(newest: Recorder) -> None:
    async with opened(newest) as store:
        await store.put([DOCUMENT])
        newest.change("sessions", tenant="u")
        with pytest.raises(InternalError, match="not the one"):
            await store.document("t", "sessions", "k")
        with pytest.raises(InternalError, match="not the one"):
            await store.documents("t", "sessions")


async def test_a_read_is_repeated_only_when_the_server_says_so(newest: Recorder) -> None:
    async with opened(newest) as store:
        newest.rules = [times(2, "POST cursor", failed(503, 21003, "because"))]
        assert await store.tail(0) == 0
        newest.rules = [times(1, "POST cursor", failed(503, 1465, "because"))]
        with pytest.raises(StoreUnavailable):
            await store.tail(0)


async def test_a_fault_of_ours_is_told_as_one(newest: Recorder) -> None:
    async with opened(newest) as store:
        newest.rules = [times(1, "POST cursor", failed(400, 1501, "syntax error"))]
        with pytest.raises(InternalError, match="report"):
            await store.tail(0)
