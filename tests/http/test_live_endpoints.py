"""Each endpoint of a server in another process, on SQLite and on Redis."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from intendant.http.openapi import document
from intendant.http.routes import ENDPOINTS
from intendant.http.tokens import METRICS, SCOPES
from intendant.realm import Repertoire
from tests.http.desk import work
from tests.http.served import Served
from tests.http.test_events import parsed

COUNT = {"type": "work.count", "parameters": {"text": "a b"}}
HOLD = {"type": "work.hold", "parameters": {"text": "x"}}


class Site:
    """One client of a server, and what has happened there."""

    def __init__(self, client: httpx.Client) -> None:
        self.client = client
        self.client.put("/v1/sessions/s", json={})
        self.done = str(self.submit(COUNT, Prefer="wait=10")["execution_id"])
        dead = {"type": "work.count", "parameters": {"text": "dead"}}
        self.dead = str(self.submit(dead, Prefer="wait=10")["execution_id"])

    def submit(self, intent: Any, **headers: str) -> Any:
        answer = self.client.post("/v1/sessions/s/intents", json=intent, headers=headers)
        assert answer.status_code in (200, 202), answer.text
        return answer.json()

    def get(self, path: str) -> Any:
        answer = self.client.get(path)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def ids_of(self, path: str) -> list[str]:
        return [each["id"] for each in self.get(path)["items"]]


@pytest.fixture(scope="module", params=[("sqlite", "asyncio"), ("redis", "trio")], ids=lambda each: each[0])
def site(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """One process for all endpoints."""
    store, loop = request.param
    directory: Path = tmp_path_factory.mktemp("served")
    hot = f"sqlite:{directory / 'work.db'}"
    if store == "redis":
        hot = f"{request.getfixturevalue('test_redis')}?prefix={request.getfixturevalue('fresh_prefix')()}"
    with Served(directory, hot, loop) as served, served.client(served.token("acme", (*SCOPES, METRICS))) as client:
        yield Site(client)
        assert served.stop() == (0, "drained\n")


def list_sessions(site: Site) -> None:
    assert "s" in site.ids_of("/v1/sessions?limit=100")


def create_session(site: Site) -> None:
    made = site.client.post("/v1/sessions", json={"user_id": "ada"})
    assert (made.status_code, site.get(made.headers["location"])["user_id"]) == (201, "ada")


def show_session(site: Site) -> None:
    assert site.get("/v1/sessions/s")["id"] == "s"


def open_session(site: Site) -> None:
    assert [site.client.put("/v1/sessions/opened", json={}).status_code for _ in range(2)] == [200, 200]


def close_session(site: Site) -> None:
    site.client.put("/v1/sessions/closed", json={})
    assert site.client.post("/v1/sessions/closed/close").json()["closed_at"]
    assert site.client.post("/v1/sessions/closed/intents", json=COUNT).status_code == 409


def submit(site: Site) -> None:
    first = site.submit(COUNT, **{"Idempotency-Key": "k"})
    assert site.submit(COUNT, **{"Idempotency-Key": "k", "Prefer": "wait=10"})["execution_id"] == first["execution"]


def list_executions(site: Site) -> None:
    assert site.done in site.ids_of("/v1/executions?type=work.count&status=completed")


def show_execution(site: Site) -> None:
    assert site.get(f"/v1/executions/{site.done}")["result"] == 2


def outcome(site: Site) -> None:
    assert site.get(f"/v1/executions/{site.done}/outcome")["result"] == 2


def signal(site: Site) -> None:
    place = f"/v1/executions/{site.submit(HOLD)['execution']}"
    assert site.client.post(f"{place}/signals/go", json={"payload": "now"}).status_code == 204
    assert site.client.get(f"{place}/outcome", headers={"Prefer": "wait=10"}).json()["result"] == "now"


def query(site: Site) -> None:
    assert site.get(f"/v1/executions/{site.submit(HOLD)['execution']}/queries/what") == {"answer": "x"}


def cancel(site: Site) -> None:
    place = f"/v1/executions/{site.submit(HOLD)['execution']}"
    assert site.client.post(f"{place}/cancel").status_code == 200
    assert site.client.get(f"{place}/outcome", headers={"Prefer": "wait=10"}).json()["status"] == "cancelled"


def events(site: Site) -> None:
    told = site.client.get(f"/v1/executions/{site.done}/events").text
    assert [each["name"] for each in parsed(told)] == ["accepted", "running", "counted", "completed"]


def wal(site: Site) -> None:
    assert {each["execution"] for each in site.get(f"/v1/wal?execution={site.done}")["items"]} == {site.done}


def pending(site: Site) -> None:
    assert site.client.get("/v1/outbox/pending").status_code == 200


def published(site: Site) -> None:
    _until(lambda: f"{site.done}-0" in site.ids_of("/v1/outbox/published?limit=100"))


def dead_letters(site: Site) -> None:
    _until(lambda: [each["event"]["id"] for each in site.get("/v1/outbox/dead-letters")["items"]] == [f"{site.dead}-0"])


def _until(condition: Callable[[], bool]) -> None:
    give_up = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < give_up
        time.sleep(0.005)  # nobody announces it


def health(site: Site) -> None:
    assert site.get("/health") == {"status": "alive"}


def ready(site: Site) -> None:
    assert site.get("/ready") == {"status": "ready"}


def metrics(site: Site) -> None:
    told = site.client.get("/metrics")
    assert (told.status_code, "intendant_" in told.text) == (200, True)


def openapi(site: Site) -> None:
    assert _operations(site.get("/openapi.json")) == CHECKS.keys()


CHECKS: dict[str, Callable[[Site], None]] = {
    "GET /v1/sessions": list_sessions,
    "POST /v1/sessions": create_session,
    "GET /v1/sessions/{session}": show_session,
    "PUT /v1/sessions/{session}": open_session,
    "POST /v1/sessions/{session}/close": close_session,
    "POST /v1/sessions/{session}/intents": submit,
    "GET /v1/executions": list_executions,
    "GET /v1/executions/{execution}": show_execution,
    "GET /v1/executions/{execution}/outcome": outcome,
    "POST /v1/executions/{execution}/signals/{name}": signal,
    "GET /v1/executions/{execution}/queries/{name}": query,
    "POST /v1/executions/{execution}/cancel": cancel,
    "GET /v1/executions/{execution}/events": events,
    "GET /v1/wal": wal,
    "GET /v1/outbox/pending": pending,
    "GET /v1/outbox/published": published,
    "GET /v1/outbox/dead-letters": dead_letters,
    "GET /health": health,
    "GET /ready": ready,
    "GET /metrics": metrics,
    "GET /openapi.json": openapi,
}


def _operations(told: Any) -> set[str]:
    return {f"{method.upper()} {path}" for path, methods in told["paths"].items() for method in methods}


def test_each_endpoint_is_tried() -> None:
    assert _operations(document(ENDPOINTS, Repertoire([work]))) == CHECKS.keys()


@pytest.mark.parametrize("endpoint", CHECKS)
def test_an_endpoint_of_a_server_in_another_process(site: Site, endpoint: str) -> None:
    CHECKS[endpoint](site)
