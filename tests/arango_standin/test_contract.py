"""What is asked and what is answered, row by row, of the routes that the adapter uses.

On the stand-in of both versions; the newer one gives way to a real server where INTENDANT_TEST_ARANGO_URL names one, so
that each row is held against it as it stands. In paths and bodies $K is the key of a document of version 5 in both
collections, $N one that nobody has, $REV the document's revision. `synced` waits for the disk, `lazy` does not.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from intendant.adapters.arango.address import parse
from intendant.adapters.arango.driver import Client
from intendant.adapters.arango.queries import DOCUMENTS, TAIL
from tests.arango_standin.contract import VERSIONS
from tests.arango_standin.process import StandIn
from tests.infrastructure.servers import Infrastructure

Json = dict[str, Any]
Check = Callable[[Any], bool]
MARKS = {"_id", "_key", "_rev"}


@dataclass
class Place:
    """A server, a database of two collections on it, and the row's own keys."""

    http: httpx.Client
    database: str
    version: str
    key: str = ""
    revision: str = ""

    def ask(self, method: str, path: str, body: Any = None, database: str | None = None) -> httpx.Response:
        content = body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
        return self.http.request(method, f"/_db/{database or self.database}/_api/{path}", content=content)

    def named(self, text: str) -> str:
        return text.replace("$REV", self.revision).replace("$K", self.key).replace("$N", f"{self.key}-new")


@pytest.fixture(scope="module", params=VERSIONS)
def server(
    request: pytest.FixtureRequest, given_servers: Infrastructure, standins: Callable[[str], StandIn]
) -> Iterator[Place]:
    named = given_servers.arango if request.param == VERSIONS[0] else ""
    address = parse(f"{named or standins(request.param).url}/test-contract")
    client = Client(address)
    client.system.delete_database(address.database, ignore_missing=True)
    client.system.create_database(address.database)
    for name in ("synced", "lazy"):
        client.database.create_collection(name, sync=name == "synced")
        client.database.collection(name).add_index({"type": "persistent", "fields": ["partition", "last"]})
        client.database.collection(name).add_index({"type": "persistent", "fields": ["list", "gone", "place"]})
    with httpx.Client(base_url=address.server, auth=(address.user, address.password)) as http:
        yield Place(http, address.database, str(client.database.version()))
    client.system.delete_database(address.database)
    client.close()


@pytest.fixture
def place(server: Place, request: pytest.FixtureRequest) -> Place:
    server.key = f"k{abs(hash(request.node.name)):x}"
    for name in ("lazy", "synced"):
        answer = server.ask(
            "POST", f"document/{name}?overwriteMode=replace", {"_key": server.key, "version": 5, "x": 1}
        )
        server.revision = answer.json()["_rev"]
    return server


@dataclass
class Row:
    """One request, and what is expected: the status, errorNum (0: it says none), and what of the body is to hold."""

    method: str
    path: str
    body: Any
    status: int
    number: int = 0
    check: Check = lambda body: True
    elements: list[int] | None = None  # errorNum of each element of a bulk answer
    system: bool = False

    def __str__(self) -> str:
        said = self.body if isinstance(self.body, bytes) else json.dumps(self.body)[:50]
        return f"{self.method} {self.path} {said!s}"


def has(*names: str) -> Check:
    return lambda body: set(names) <= body.keys()


LONG = "x" * 254
COLLECTION = has("id", "name", "status", "type", "isSystem", "globallyUniqueId")
INDEX = has("id", "name", "type", "fields", "unique", "sparse")

SERVER = [
    Row("GET", "version", None, 200, check=has("server", "license", "version")),
    Row("GET", "version?details=0", None, 200, check=lambda body: body["server"] == "arango"),
    Row("GET", "database", None, 200, check=lambda body: "_system" in body["result"], system=True),
    Row("GET", "database", None, 403, 1230),
    Row("POST", "database", {"name": "test-other"}, 403, 1230),
    Row("POST", "database", {"name": "test-contract"}, 409, 1207, system=True),
    Row("POST", "database", {"name": ""}, 400, 1229, system=True),
    Row("POST", "database", {"name": "a/b"}, 400, 1229, system=True),
    Row("DELETE", "database/test-never", None, 404, 1228, system=True),
]
COLLECTIONS = [
    Row("GET", "collection", None, 200, check=lambda body: all(map(COLLECTION, body["result"]))),
    Row("GET", "collection", None, 200, check=lambda body: "synced" in {each["name"] for each in body["result"]}),
    Row("GET", "collection/synced/properties", None, 200, check=lambda body: COLLECTION(body) and body["waitForSync"]),
    Row("GET", "collection/lazy/properties", None, 200, check=lambda body: body["waitForSync"] is False),
    Row("GET", "collection/lazy/properties", None, 200, check=lambda body: body["type"] == 2 and body["status"] == 3),
    Row("GET", "collection/never/properties", None, 404, 1203),
    Row("POST", "collection", {"name": "lazy"}, 409, 1207),
    Row("POST", "collection", {"name": "lazy", "waitForSync": True}, 409, 1207),
    Row("POST", "collection", {"name": ""}, 400, 1208),
    Row("POST", "collection", {"name": "a/b"}, 400, 1208),
    Row("POST", "collection", {"name": 7}, 400, 1208),
    Row("POST", "collection", b"{", 400, 600),
    Row("DELETE", "collection/never", None, 404, 1203),
]
INDEXES = [
    Row("POST", "index?collection=lazy", {"type": "persistent", "fields": ["$K"]}, 201, check=INDEX),
    Row("POST", "index?collection=lazy", {"type": "persistent", "fields": ["list", "gone", "place"]}, 200, check=INDEX),
    Row(
        "POST",
        "index?collection=lazy",
        {"type": "persistent", "fields": ["partition", "last"], "unique": False, "name": "another"},
        200,
        check=lambda body: body["isNewlyCreated"] is False and body["name"] != "another",
    ),
    Row("POST", "index?collection=never", {"type": "persistent", "fields": ["a"]}, 404, 1203),
    Row("POST", "index?collection=lazy", {"type": "persistent", "fields": []}, 400, 10),
    Row("POST", "index?collection=lazy", {"type": "persistent"}, 400, 10),
]
GETS = [
    Row("GET", "document/lazy/$K", None, 200, check=lambda body: body.keys() > MARKS and body["version"] == 5),
    Row("GET", "document/lazy/$N", None, 404, 1202),
    Row("GET", "document/never/$K", None, 404, 1203),
    Row("GET", "document/lazy/$K%2e", None, 404, 1202),
    Row("PUT", "document/lazy?onlyget=1", ["$K", "$N", "$K"], 200, elements=[0, 1202, 0]),
    Row("PUT", "document/lazy?onlyget=true", ["$N"], 200, elements=[1202]),
    Row("PUT", "document/never?onlyget=1", ["$K"], 404, 1203),
    Row("PUT", "document/lazy?onlyget=1", b"[", 400, 600),
]
INSERTS = [
    Row("POST", "document/synced", {"_key": "$N"}, 201, check=lambda body: body.keys() == MARKS),
    Row("POST", "document/lazy", {"_key": "$N"}, 202, check=lambda body: body.keys() == MARKS),
    Row("POST", "document/lazy?waitForSync=1", {"_key": "$N"}, 201),
    Row("POST", "document/lazy?waitForSync=true", {"_key": "$N"}, 201),
    Row("POST", "document/synced?waitForSync=0", {"_key": "$N"}, 201),
    Row("POST", "document/lazy", {"x": 1}, 202, check=lambda body: body["_key"].isdigit()),
    Row("POST", "document/lazy?silent=0&returnNew=0&returnOld=0&overwrite=0", {"_key": "$N"}, 202),
    Row("POST", "document/synced", {"_key": "$K"}, 409, 1210),
    Row("POST", "document/synced?overwriteMode=conflict", {"_key": "$K"}, 409, 1210),
    Row("POST", "document/lazy?overwriteMode=ignore", {"_key": "$K"}, 202, check=has(*MARKS)),
    Row("POST", "document/lazy?overwriteMode=ignore", {"_key": "$N"}, 202, check=lambda body: body.keys() == MARKS),
    Row("POST", "document/lazy?overwriteMode=replace", {"_key": "$K"}, 202, check=has("_oldRev", *MARKS)),
    Row("POST", "document/lazy?overwriteMode=replace", {"_key": "$N"}, 202, check=lambda body: body.keys() == MARKS),
    Row("POST", "document/lazy?overwrite=1", {"_key": "$K"}, 202, check=has("_oldRev", *MARKS)),
    Row("POST", "document/never", {"_key": "$N"}, 404, 1203),
    Row("POST", "document/lazy", b'{"_key": ', 400, 600),
    Row("POST", "document/lazy", b"{1: 2}", 400, 600),
    Row("POST", "document/lazy", 5, 400, 1227),
    Row("POST", "document/lazy", "text", 400, 1227),
]
KEYS = [
    *(
        Row("POST", "document/lazy", {"_key": key}, 400, 1221)
        for key in (
            7,
            None,
            True,
            "",
            "a/b",
            "a b",
            "a#",
            "a?",
            "\u00e4",
            "a\0",
            "x" * 255,
            '"',
            "[a]",
            "{a}",
            "a\\",
            "~",
            "^",
        )
    ),
    *(
        Row(
            "POST",
            "document/lazy?overwriteMode=replace",
            {"_key": key},
            202,
            check=lambda body: body["_id"][5:] == body["_key"],
        )
        for key in (LONG, "_-:.@()+,=;$!*'%", "A", "a", "0", ".", "..", "%41")
    ),
]
BULK = [
    Row("POST", "document/synced", [{"_key": "$N"}, {"_key": "$N2"}], 201, elements=[0, 0]),
    Row("POST", "document/lazy", [{"_key": "$N"}, {"_key": "$N2"}], 202, elements=[0, 0]),
    Row("POST", "document/lazy?waitForSync=1", [{"_key": "$N"}], 201, elements=[0]),
    Row("POST", "document/synced", [{"_key": "$N"}, {"_key": "$K"}], 201, elements=[0, 1210]),
    Row("POST", "document/lazy", [{"_key": "$K"}, {"_key": "$N"}], 202, elements=[1210, 0]),
    Row("POST", "document/lazy", [{"_key": "$K"}, {"_key": "$K"}], 202, elements=[1210, 1210]),
    Row("POST", "document/lazy", [{"_key": 111}, {"_key": "$N"}], 202, elements=[1221, 0]),
    Row("POST", "document/lazy", [7, {"_key": "$N"}], 202, elements=[1227, 0]),
    Row("POST", "document/lazy", [{"_key": "$N"}, {"_key": "$N"}], 202, elements=[0, 1210]),
    Row("POST", "document/lazy?overwriteMode=replace", [{"_key": "$N"}, {"_key": "$N"}], 202, elements=[0, 0]),
    Row("POST", "document/lazy?overwriteMode=ignore", [{"_key": "$K"}, {"_key": "$N"}], 202, elements=[0, 0]),
    Row("POST", "document/never", [{"_key": "$N"}], 404, 1203),
    Row(
        "PUT",
        "document/synced",
        [{"_key": "$K"}],
        201,
        elements=[0],
        check=lambda body: has("_oldRev", *MARKS)(body[0]),
    ),
    Row("PUT", "document/lazy", [{"_key": "$K"}, {"_key": "$N"}], 202, elements=[0, 1202]),
    Row("PUT", "document/synced?ignoreRevs=0", [{"_key": "$K", "_rev": "$REV"}], 201, elements=[0]),
    Row(
        "PUT",
        "document/synced?ignoreRevs=0",
        [{"_key": "$K", "_rev": "_other"}, {"_key": "$K"}],
        201,
        elements=[1200, 0],
    ),
    Row("PUT", "document/lazy?ignoreRevs=1", [{"_key": "$K", "_rev": "_other"}], 202, elements=[0]),
    Row("PUT", "document/lazy", [{"_key": "$K", "_rev": "_other"}], 202, elements=[0]),
    Row("PUT", "document/never", [{"_key": "$K"}], 404, 1203),
    Row("DELETE", "document/synced", ["$K"], 200, elements=[0], check=lambda body: body[0].keys() >= MARKS),
    Row("DELETE", "document/lazy", ["$K"], 202, elements=[0]),
    Row("DELETE", "document/lazy?waitForSync=1", ["$K"], 200, elements=[0]),
    Row("DELETE", "document/synced", ["$N"], 202, elements=[1202]),
    Row("DELETE", "document/synced", ["$K", "$K"], 200, elements=[0, 1202]),
    Row("DELETE", "document/lazy", ["lazy/$K"], 202, elements=[0]),
    Row("DELETE", "document/lazy", ["synced/$K"], 202, elements=[1202]),
    Row("DELETE", "document/lazy", [{"_key": "$K"}], 202, elements=[0]),
    Row("DELETE", "document/lazy?ignoreRevs=0", [{"_key": "$K", "_rev": "_other"}], 202, elements=[1200]),
    Row("DELETE", "document/synced?ignoreRevs=0", [{"_key": "$K", "_rev": "$REV"}], 200, elements=[0]),
    Row("DELETE", "document/lazy?ignoreRevs=1", [{"_key": "$K", "_rev": "_other"}], 202, elements=[0]),
    Row("DELETE", "document/never", ["$K"], 404, 1203),
]
TAIL_BINDS = {"@collection": "lazy", "partition": 0}
QUERIES = [
    Row("POST", "cursor", {"query": TAIL, "bindVars": TAIL_BINDS}, 201, check=lambda body: body["result"] == []),
    Row("POST", "cursor", {"query": TAIL, "bindVars": TAIL_BINDS}, 201, check=lambda body: "id" not in body),
    Row("POST", "cursor", {"query": TAIL, "bindVars": TAIL_BINDS}, 201, check=lambda body: body["hasMore"] is False),
    Row("POST", "cursor", {"query": TAIL, "bindVars": {"@collection": "never", "partition": 0}}, 404, 1203),
    Row("POST", "cursor", {"query": TAIL, "bindVars": {"@collection": "lazy"}}, 400, 1551),
    Row("POST", "cursor", {"query": TAIL}, 400, 1551),
    Row("POST", "cursor", {"query": TAIL, "bindVars": {**TAIL_BINDS, "more": 1}}, 400, 1552),
    Row("POST", "cursor", {"query": ""}, 400, 1502),
    Row("POST", "cursor", {"query": None}, 400, 1502),
    Row("POST", "cursor", {"bindVars": {}}, 400, 600),
    Row("POST", "cursor/999999999", None, 404, 1600),
    Row("POST", "cursor/999999999/2", None, 404, 1600),
    Row("DELETE", "cursor/999999999", None, 404, 1600),
]
TABLE = [*SERVER, *COLLECTIONS, *INDEXES, *GETS, *INSERTS, *KEYS, *BULK, *QUERIES]


@pytest.mark.parametrize("row", TABLE, ids=str)
def test_row(row: Row, place: Place) -> None:
    body = row.body if isinstance(row.body, bytes) else json.loads(place.named(json.dumps(row.body)))
    asked = None if row.body is None else body
    answer = place.ask(row.method, place.named(row.path), asked, "_system" if row.system else None)
    told = answer.json()
    assert answer.status_code == row.status, told
    assert answer.headers["content-type"].startswith("application/json")
    assert int(answer.headers["content-length"]) == len(answer.content)
    if row.number or row.status >= 400:
        assert told["error"] is True
        assert (told["code"], told["errorNum"]) == (row.status, row.number)
        assert isinstance(told["errorMessage"], str)
    if row.elements is not None:
        _check_elements(answer, told, row.elements)
    assert row.check(told)


def _check_elements(answer: httpx.Response, told: list[Json], expected: list[int]) -> None:
    """HTTP API > Documents > Multiple document operations."""
    assert [each.get("errorNum", 0) for each in told] == expected
    for each, number in zip(told, expected, strict=True):
        assert each.get("error", False) is bool(number)
        assert bool(number) or each.keys() >= MARKS
    counts = {str(number): expected.count(number) for number in expected if number}
    assert json.loads(answer.headers.get("x-arango-error-codes", "{}")) == counts


# --- more than one request


@pytest.mark.parametrize("auth", [None, ("root", "wrong"), ("nobody", "test")])
def test_who_is_not_known(place: Place, auth: tuple[str, str] | None) -> None:
    answer = httpx.get(f"{place.http.base_url}/_db/{place.database}/_api/version", auth=auth)
    assert (answer.status_code, answer.json()["errorNum"]) == (401, 11)


def test_a_database_that_is_not_there(place: Place) -> None:
    for path in ("version", "collection", "document/lazy/K"):
        answer = place.ask("GET", path, database="test-never")
        assert (answer.status_code, answer.json()["errorNum"]) == (404, 1228)


def test_a_document_has_an_etag(place: Place) -> None:
    answer = place.ask("GET", f"document/synced/{place.key}")
    assert answer.headers["etag"] == f'"{answer.json()["_rev"]}"'
    made = place.ask("POST", "document/lazy", {"_key": f"{place.key}-etag"})
    assert made.headers["etag"] == f'"{made.json()["_rev"]}"'
    assert made.headers["location"] == f"/_db/{place.database}/_api/document/lazy/{place.key}-etag"


def test_what_is_ignored_changes_nothing(place: Place) -> None:
    before = place.ask("GET", f"document/synced/{place.key}").json()
    place.ask("POST", "document/synced?overwriteMode=ignore", {"_key": place.key, "version": 9})
    if place.version >= "3.12":
        for version in (5, 1):
            path = "document/synced?overwriteMode=replace&versionAttribute=version"
            place.ask("POST", path, [{"_key": place.key, "version": version, "x": 2}])
    assert place.ask("GET", f"document/synced/{place.key}").json() == before


@pytest.mark.parametrize(
    ("version", "is_newer"),
    [
        *((version, True) for version in (6, 2**53 - 1, -1, "4", None, True, [4])),
        *((version, False) for version in (5, 4, 0, 5.9)),
    ],
    ids=repr,
)
def test_the_newer_version_wins_from_3_12_on(place: Place, version: Any, is_newer: bool) -> None:
    """HTTP API > Documents > Create a document > versionAttribute. What is no number from 0 on is not compared."""
    path = "document/synced?overwriteMode=replace&versionAttribute=version"
    for body in ({"_key": place.key, "version": version}, [{"_key": place.key, "version": version}]):
        place.ask("PUT", "document/synced", [{"_key": place.key, "version": 5, "old": True}])
        answer = place.ask("POST", path, body)
        told = answer.json()[0] if isinstance(body, list) else answer.json()
        replaced = is_newer or place.version < "3.12"
        assert answer.status_code == 201
        assert (told["_rev"] != told["_oldRev"]) is replaced
        assert ("old" not in place.ask("GET", f"document/synced/{place.key}").json()) is replaced


def test_each_write_has_a_revision_of_its_own(place: Place) -> None:
    body = [{"_key": place.key, "n": n} for n in range(3)]
    told = place.ask("POST", "document/lazy?overwriteMode=replace", body).json()
    assert len({each["_rev"] for each in told}) == 3
    assert [each["_oldRev"] for each in told[1:]] == [each["_rev"] for each in told[:-1]]
    found = place.ask("GET", f"document/lazy/{place.key}").json()
    assert (found["n"], found["_rev"]) == (2, told[2]["_rev"])
    assert found["_id"] == f"lazy/{place.key}"


def test_what_is_replaced_loses_its_other_attributes(place: Place) -> None:
    place.ask("PUT", "document/lazy", [{"_key": place.key, "y": 2}])
    assert place.ask("GET", f"document/lazy/{place.key}").json().keys() == {*MARKS, "y"}


def test_what_is_made_goes_again(place: Place) -> None:
    name = f"made-{place.key}"
    made = place.ask("POST", "collection", {"name": name, "waitForSync": True, "type": 2})
    assert (made.status_code, made.json()["waitForSync"], made.json()["name"]) == (200, True, name)
    place.ask("POST", f"document/{name}", {"_key": "a"})
    assert place.ask("DELETE", f"collection/{name}").status_code == 200
    assert place.ask("GET", f"document/{name}/a").json()["errorNum"] == 1203


def filled(place: Place, count: int, **more: Any) -> Json:
    """A query that has so many results."""
    documents = [{"list": place.key, "gone": False, "place": f"{n:02}"} for n in range(count)]
    place.ask("POST", "document/lazy", documents)
    binds = {"@collection": "lazy", "list": place.key, "after": "", "limit": 1000}
    return {"query": DOCUMENTS, "bindVars": binds, "batchSize": 2, **more}


def places(told: Json) -> list[str]:
    return [each["place"] for each in told["result"]]


def test_a_long_answer_comes_in_parts(place: Place) -> None:
    first = place.ask("POST", "cursor", filled(place, 5))
    told = first.json()
    assert (first.status_code, places(told), told["hasMore"], told["nextBatchId"]) == (201, ["00", "01"], True, "2")
    path = f"cursor/{told['id']}"
    second = place.ask("POST", path)
    assert (second.status_code, places(second.json()), second.json()["nextBatchId"]) == (200, ["02", "03"], "3")
    third = place.ask("POST", path).json()
    assert (places(third), third["hasMore"], "nextBatchId" in third) == (["04"], False, False)
    assert place.ask("POST", path).json()["errorNum"] == 1600, "the server has forgotten it by itself"


def test_a_part_can_be_asked_for_again(place: Place) -> None:
    told = place.ask("POST", "cursor", filled(place, 5, options={"allowRetry": True})).json()
    path = f"cursor/{told['id']}"
    for number, expected in ((2, ["02", "03"]), (2, ["02", "03"]), (3, ["04"]), (3, ["04"])):
        answer = place.ask("POST", f"{path}/{number}")
        assert (answer.status_code, places(answer.json())) == (200, expected)
    assert place.ask("POST", f"{path}/1").status_code == 404, "only the latest, and the next"
    closed = place.ask("DELETE", path)
    assert (closed.status_code, closed.json()["id"]) == (202, told["id"])
    assert place.ask("DELETE", path).json()["errorNum"] == 1600


def test_a_cursor_is_of_its_database(place: Place) -> None:
    told = place.ask("POST", "cursor", filled(place, 5)).json()
    answer = place.ask("POST", f"cursor/{told['id']}", database="_system")
    assert (answer.status_code, answer.json()["errorNum"]) == (404, 1600)
    assert place.ask("DELETE", f"cursor/{told['id']}").status_code == 202


def test_a_result_is_of_the_moment_it_was_asked(place: Place) -> None:
    told = place.ask("POST", "cursor", filled(place, 3)).json()
    place.ask("POST", "document/lazy", {"list": place.key, "gone": False, "place": "03"})
    assert places(place.ask("POST", f"cursor/{told['id']}").json()) == ["02"]
