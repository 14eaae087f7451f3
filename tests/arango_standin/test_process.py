"""The stand-in itself: what survives which end, what it refuses, and faults that follow a seed."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from tests.arango_standin.contract import VERSIONS, Arango
from tests.arango_standin.data import Change
from tests.arango_standin.faults import Ending, FaultName, Faults, Plan
from tests.arango_standin.journal import Journal, load
from tests.arango_standin.messages import Reply, request_of
from tests.arango_standin.process import StandIn

AUTH = ("root", "test")


def ask(server: StandIn, method: str, path: str, body: Any = None) -> Any:
    url = f"http://127.0.0.1:{server.port}/_db/_system/_api/{path}"
    return httpx.request(method, url, json=body, auth=AUTH, timeout=20).json()


def keys(server: StandIn, collection: str) -> list[str]:
    found = ask(server, "PUT", f"document/{collection}?onlyget=1", ["a", "b", "c"])
    return [each["_key"] for each in found if "_key" in each]


def test_what_survives_which_end() -> None:
    with StandIn() as server:
        ask(server, "POST", "collection", {"name": "lazy"})
        ask(server, "POST", "collection", {"name": "removed"})
        ask(server, "POST", "index?collection=lazy", {"type": "persistent", "fields": ["x"]})
        ask(server, "POST", "document/lazy", {"_key": "a"})
        ask(server, "POST", "document/lazy?waitForSync=1", {"_key": "b"})
        ask(server, "DELETE", "collection/removed")
        revision = ask(server, "POST", "document/lazy", {"_key": "c"})["_rev"]
        ask(server, "DELETE", "document/lazy", ["b"])
        port = server.port
        server.kill()
        with pytest.raises(httpx.ConnectError):
            ask(server, "GET", "version")
        server.start()
        assert server.port == port
        assert keys(server, "lazy") == ["a", "c"], "the operating system has it"
        assert ask(server, "POST", "document/lazy", {"_key": "x"})["_rev"] > revision, "none is given twice"
        server.kill()
        server.start(power_lost=True)
        assert keys(server, "lazy") == ["a", "b"], "what came before the last write that waited for the disk"
        assert [each["name"] for each in ask(server, "GET", "collection")["result"]] == ["lazy"]
        assert ask(server, "POST", "index?collection=lazy", {"type": "persistent", "fields": ["x"]})["code"] == 200
        server.kill()
        server.start()
        assert keys(server, "lazy") == ["a", "b"], "what was lost does not come again"
        pid, directory = server.process.pid, server.directory
    assert not psutil.pid_exists(pid)
    assert not directory.exists()


def test_a_frame_that_was_cut_is_none(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    journal = Journal(path)
    for number in range(3):
        journal.keep(Change(f"d{number}"), synced=number == 0)
    journal.close()
    whole = path.read_bytes()
    for size in range(len(whole) + 1):
        path.write_bytes(whole[:size])
        found = load(path, power_lost=False)
        assert [each.database for each in found] == [f"d{n}" for n in range(3 * size // len(whole))]
        assert path.stat().st_size == len(found) * len(whole) // 3, "what comes next is read again"
    path.write_bytes(whole)
    assert [each.database for each in load(path, power_lost=True)] == ["d0"]


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "engine", None),
        ("PATCH", "document/c", []),
        ("HEAD", "document/c/a", None),
        ("PUT", "document/c/a", {}),
        ("POST", "document/c?silent=1", {}),
        ("POST", "document/c?returnNew=true", {}),
        ("POST", "document/c?overwriteMode=update", {}),
        ("POST", "document/c?keepNull=false", {}),
        ("POST", "import?collection=c", []),
        ("POST", "cursor", {"query": "RETURN 1"}),
        ("POST", "cursor", {"query": "FOR doc IN @@collection FILTER doc.partition == @partition RETURN doc"}),
        ("POST", "index?collection=c", {"type": "persistent", "fields": ["a"], "unique": True}),
        ("POST", "index?collection=c", {"type": "geo", "fields": ["a"]}),
        ("POST", "collection", {"name": "d", "schema": {}}),
        ("POST", "database", {"name": "d", "users": []}),
        ("POST", "transaction/begin", {}),
        ("POST", "cursor", {"query": "RETURN 1", "options": 7}),
    ],
)
def test_what_it_does_not_know_it_refuses_and_keeps(method: str, path: str, body: Any) -> None:
    arango = Arango()
    headers = {"authorization": "Basic cm9vdDp0ZXN0"}
    made = request_of("POST", "/_api/collection", b'{"name": "c"}', headers)
    assert arango.answer(made).status == 200
    reply = arango.answer(request_of(method, f"/_api/{path}", b"", headers).with_body(body))
    assert (reply.status, len(arango.strays)) == (501, 1)


def test_a_process_tells_what_was_astray() -> None:
    with StandIn() as server:
        url = f"http://127.0.0.1:{server.port}"
        assert httpx.get(f"{url}/_admin/status", auth=AUTH).status_code == 501
        assert ask(server, "GET", "engine")["code"] == 501
        assert server.look().strays == ["GET /_admin/status", "GET engine"]
        assert server.look().strays == []


def test_one_that_nobody_closes_ends_with_its_object() -> None:
    server = StandIn(VERSIONS[1])
    pid = server.process.pid
    del server
    gc.collect()
    assert not psutil.pid_exists(pid)


# --- faults


def met(plan: Plan, count: int = 40) -> list[tuple[Reply, Ending]]:
    faults = Faults(plan)
    request = request_of("POST", "/_api/document/c").with_body([{"_key": "a"}, {"_key": "b"}])
    return [faults.meet(request, lambda _: Reply(202, [{"_id": "c/a"}, {"_id": "c/b"}])) for _ in range(count)]


@pytest.mark.parametrize("fault", ["lost before", "lost after", "cut head", "cut body", "slow body", "closed after"])
def test_a_seed_says_who_meets_a_fault(fault: FaultName) -> None:
    ends = [ending for _, ending in met(Plan(fault, share=0.5, seed=3))]
    assert ends == [ending for _, ending in met(Plan(fault, share=0.5, seed=3))]
    assert ends != [ending for _, ending in met(Plan(fault, share=0.5, seed=4))]
    assert 10 < sum(ending is not Ending.WHOLE for ending in ends) < 30
    assert sum(ending is not Ending.WHOLE for _, ending in met(Plan(fault, times=2))) == 2


def test_a_leader_changes() -> None:
    statuses = [reply.status for reply, _ in met(Plan("leader", times=1), 5)]
    assert statuses == [421, 503, 202, 202, 202]


def test_an_answer_may_come_of_what_was_done() -> None:
    done: list[int] = []
    faults = Faults(Plan("answer", status=500, number=4, applied=0.5))
    request = request_of("POST", "/_api/document/c")

    def act(_: object) -> Reply:
        done.append(1)
        return Reply(202, {})

    replies = [faults.meet(request, act)[0] for _ in range(60)]
    assert {(reply.status, reply.body["errorNum"]) for reply in replies} == {(500, 4)}
    assert 10 < len(done) < 50
    assert faults.met == 60


def test_some_of_many_fail_and_the_others_are_written() -> None:
    arango = Arango()
    headers = {"authorization": "Basic cm9vdDp0ZXN0"}
    arango.answer(request_of("POST", "/_api/collection", b'{"name": "c"}', headers))
    documents = [{"_key": str(number)} for number in range(20)]
    write = request_of("POST", "/_api/document/c", b"", headers).with_body(documents)
    reply, _ = Faults(Plan("elements", number=1200, text="write-write conflict")).meet(write, arango.answer)
    assert [each["_key"] for each in reply.body if "_key" in each] == list(
        arango.data.collection("_system", "c").documents
    )
    failed = [each for each in reply.body if each.get("error")]
    assert 0 < len(failed) < 20
    assert reply.headers["x-arango-error-codes"] == f'{{"1200":{len(failed)}}}'


def test_other_requests_do_not_meet_it() -> None:
    faults = Faults(Plan("lost before", calls=("POST document",)))
    for method, path in (("GET", "document/c/a"), ("POST", "cursor"), ("POST", "collection")):
        assert faults.meet(request_of(method, f"/_api/{path}"), lambda _: Reply(200, {}))[1] is Ending.WHOLE
    assert faults.met == 0
