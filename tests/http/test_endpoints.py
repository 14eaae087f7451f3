"""Each endpoint, and each way in which a request can be wrong."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from typing import Any

import anyio
import pytest

from intendant import Limits, TenantLimits
from intendant.http import HttpLimits, refusals
from tests.http.desk import held

pytestmark = pytest.mark.anyio


async def test_a_whole_life(opened: Any) -> None:
    async with opened() as desk, desk.client(desk.token("acme")) as client:
        made = await client.post("/v1/sessions", json={"id": "s", "user_id": "ada"})
        assert (made.status_code, made.headers["location"]) == (201, "/v1/sessions/s")
        assert (await client.post("/v1/sessions", json={"id": "s"})).json()["code"] == "session_exists"
        assert (await client.put("/v1/sessions/s", json={})).json()["user_id"] == "ada"
        assert (await client.get("/v1/sessions/s")).json()["id"] == "s"
        intent = {"type": "work.count", "parameters": {"text": "one two three"}}
        keyed = {"Idempotency-Key": "k1", "Prefer": "wait=10"}
        done = await client.post("/v1/sessions/s/intents", json=intent, headers=keyed)
        assert (done.status_code, done.json()["result"]) == (200, 3)
        again = await client.post("/v1/sessions/s/intents", json=intent, headers={"Idempotency-Key": "k1"})
        assert (again.status_code, again.json()["execution"]) == (202, done.json()["execution_id"])
        other = {"type": "work.count", "parameters": {"text": "x"}}
        conflict = await client.post("/v1/sessions/s/intents", json=other, headers=keyed)
        assert (conflict.status_code, conflict.json()["code"]) == (409, "idempotency_conflict")
        place = again.headers["location"]
        assert (await client.get(place)).json()["status"] == "completed"
        assert (await client.get(f"{place}/outcome")).json()["result"] == 3
        assert (await client.head(place)).status_code == 200
        page = (await client.get("/v1/executions", params={"status": "completed", "type": "work.count"})).json()
        assert [each["key"] for each in page["items"]] == ["k1"]
        assert [each["name"] for each in (await client.get("/v1/outbox/pending")).json()["items"]] == ["counted"]
        assert (await client.get("/v1/outbox/published")).json()["items"] == []
        assert (await client.get("/v1/outbox/dead-letters")).json()["items"] == []
        closed = await client.post("/v1/sessions/s/close")
        assert closed.json()["closed_at"]
        refused = await client.post("/v1/sessions/s/intents", json=other)
        assert (refused.status_code, refused.json()["code"]) == (409, "session_closed")


async def test_signal_query_and_cancel(opened: Any) -> None:
    async with opened() as desk, desk.client(desk.token("acme")) as client:
        id = await held(client)
        assert (await client.get(f"/v1/executions/{id}/queries/what")).json() == {"answer": "secret"}
        assert (await client.get(f"/v1/executions/{id}/queries/other")).json()["code"] == "unknown_query"
        assert (await client.get(f"/v1/executions/{id}/outcome")).status_code == 202
        for _ in range(2):
            sent = await client.post(
                f"/v1/executions/{id}/signals/go", json={"payload": "now"}, headers={"Idempotency-Key": "g"}
            )
            assert sent.status_code == 204
        end = await client.get(f"/v1/executions/{id}/outcome", headers={"Prefer": "respond-async, wait=10"})
        assert end.json()["result"] == "now"
        late = await client.post(f"/v1/executions/{id}/signals/go", json={})
        assert (late.status_code, late.json()["code"]) == (409, "execution_ended")
        other = await held(client)
        assert (await client.post(f"/v1/executions/{other}/cancel")).json()["result"] in ("requested", "cancelled")
        end = await client.get(f"/v1/executions/{other}/outcome", headers={"Prefer": "wait=10"})
        assert end.json()["status"] == "cancelled"


async def test_lists_go_on_by_cursor(opened: Any) -> None:
    async with opened() as desk, desk.client(desk.token("acme")) as client:
        for number in range(5):
            await client.put(f"/v1/sessions/s{number}", json={})
        for path, count in (("/v1/sessions", 5), ("/v1/wal?order=oldest", 5), ("/v1/wal", 5)):
            seen: list[Any] = []
            cursor: dict[str, str] = {}
            while True:
                page = (await client.get(path, params={**dict(_pairs(path)), "limit": "2", **cursor})).json()
                seen += page["items"]
                if page["cursor"] is None:
                    break
                cursor = {"cursor": page["cursor"]}
            assert len({json.dumps(each) for each in seen}) == len(seen) == count


def _pairs(path: str) -> list[tuple[str, str]]:
    return [("order", "oldest")] if "oldest" in path else []


@pytest.mark.parametrize(
    ("method", "path", "options", "status"),
    [
        ("GET", "/nowhere", {}, 404),
        ("DELETE", "/v1/sessions", {}, 405),
        ("GET", "/v1/sessions", {"headers": {"Accept": "text/html"}}, 406),
        ("POST", "/v1/sessions", {"content": "{}", "headers": {"Content-Type": "text/plain"}}, 415),
        ("POST", "/v1/sessions", {"content": "{}"}, 415),
        ("POST", "/v1/sessions", {"content": "{", "headers": {"Content-Type": "application/json"}}, 400),
        ("POST", "/v1/sessions", {"content": b"\xff", "headers": {"Content-Type": "application/json"}}, 400),
        ("POST", "/v1/sessions", {"json": {"unknown": 1}}, 400),
        ("POST", "/v1/sessions", {"json": {"id": "no spaces"}}, 400),
        ("POST", "/v1/sessions", {"json": {"metadata": {"a": "x" * 300_000}}}, 413),
        (
            "POST",
            "/v1/sessions",
            {"content": '{"metadata":' + '{"a":' * 5000, "headers": {"Content-Type": "application/json"}},
            400,
        ),
        ("POST", "/v1/sessions", {"json": {"metadata": {"a": json.loads("[" * 90 + "]" * 90)}}}, 400),
        ("GET", "/v1/sessions?limit=0", {}, 400),
        ("GET", "/v1/sessions?limit=5&limit=6", {}, 400),
        ("GET", "/v1/sessions?what=1", {}, 400),
        ("GET", "/v1/sessions?cursor=zzz", {}, 400),
        ("GET", "/v1/executions?since=2026-01-01T00:00:00", {}, 400),
        ("GET", "/v1/wal?type=nothing", {}, 400),
        ("GET", "/v1/sessions/none", {}, 404),
        ("GET", "/v1/executions/none", {}, 404),
        ("GET", "/v1/executions/none/outcome", {"headers": {"Prefer": "wait=1"}}, 404),
        ("GET", "/v1/executions/none/events", {}, 404),
        ("POST", "/v1/executions/none/cancel", {}, 404),
        ("POST", "/v1/sessions/none/intents", {"json": {"type": "work.count"}}, 400),
    ],
)
async def test_what_is_wrong_is_said(opened: Any, method: str, path: str, options: Any, status: int) -> None:
    async with opened() as desk, desk.client(desk.token("acme")) as client:
        answer = await client.request(method, path, **options)
        assert answer.status_code == status, answer.text
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["status"] == status
        assert answer.json()["code"]


async def test_too_many_at_a_time_are_refused_at_once(opened: Any) -> None:
    for limits, status in ((HttpLimits(requests=0), 503), (HttpLimits(requests_of_tenant=0), 429)):
        async with opened(limits) as desk, desk.client(desk.token("acme")) as client:
            answer = await client.get("/v1/sessions")
            assert (answer.status_code, answer.json()["code"]) == (status, "overloaded")
            assert answer.headers["retry-after"] == "1"
            assert (await client.get("/health")).status_code == 200


async def test_a_full_process_refuses_before_it_looks_who_asks_and_for_what(opened: Any) -> None:
    """Anybody, the same, without a look at tokens; what tells how the process fares is answered."""
    async with opened(HttpLimits(requests=0)) as desk:
        desk.tokens.path.mkdir()  # a token could not be checked
        asked: dict[str, Any] = {"content": "no JSON", "headers": {"Content-Type": "text/plain"}}
        async with desk.client() as nobody, desk.client("intendant_of_somebody") as other:
            answers = [
                await client.post(path, **asked)
                for client in (nobody, other)
                for path in ("/v1/sessions", "/v1/sessions/s/intents", "/nowhere")
            ]
            assert {(each.status_code, each.text) for each in answers} == {(503, answers[0].text)}
            assert answers[0].json()["code"] == "overloaded"
            assert all(each.headers["retry-after"] == "1" for each in answers)
            assert [(await nobody.get(path)).status_code for path in ("/health", "/ready")] == [200, 200]


async def test_that_a_tenant_has_too_many_is_told_to_its_tokens_only(opened: Any) -> None:
    async with opened(HttpLimits(requests_of_tenant=1)) as desk, desk.client(desk.token("acme")) as client:
        with desk.application.admission.admitted("acme", stream=False):
            asked: dict[str, Any] = {"content": "no JSON", "headers": {"Content-Type": "text/plain"}}
            refused = await client.post("/v1/sessions", **asked)  # of its body nothing is looked at
            assert (refused.status_code, refused.json()["code"]) == (429, "overloaded")
            async with desk.client(desk.token("globex")) as other, desk.client() as nobody:
                assert (await other.get("/v1/sessions")).status_code == 200
                assert (await nobody.get("/v1/sessions")).status_code == 401
        assert (await client.get("/v1/sessions")).status_code == 200


@pytest.mark.parametrize(
    ("within", "status"), [(Limits(open=1), 503), (Limits(tenants={"acme": TenantLimits(open=1)}), 429)]
)
async def test_a_full_runtime_is_unavailable_and_a_tenants_own_limit_too_many(
    opened: Any, within: Limits, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refusals, "_A_SECOND", 1)
    async with opened(None, within) as desk, desk.client(desk.token("acme")) as client:
        await held(client)
        intent = {"type": "work.hold", "parameters": {"text": "x"}}
        answer = await client.post("/v1/sessions/s/intents", json=intent)
        assert (answer.status_code, answer.json()["code"]) == (status, "overloaded")
        assert answer.headers["retry-after"] == "2"  # it counts among those of the second


async def test_a_drain_answers_waits_and_refuses_new_requests(opened: Any) -> None:
    async with opened() as desk, desk.client(desk.token("acme")) as client:
        id = await held(client)
        assert (await client.get("/ready")).json() == {"status": "ready"}
        got: list[int] = []

        async def wait() -> None:
            answer = await client.get(f"/v1/executions/{id}/outcome", headers={"Prefer": "wait=30"})
            got.append(answer.status_code)

        async with anyio.create_task_group() as group:
            group.start_soon(wait)
            await anyio.wait_all_tasks_blocked()
            desk.application.drain()
        assert got == [202]
        assert (await client.get("/ready")).status_code == 503
        assert (await client.get("/v1/sessions")).status_code == 503


async def test_a_body_without_length_is_cut_off_and_a_slow_one_is_not_waited_for(opened: Any) -> None:
    async def endless() -> AsyncGenerator[bytes]:
        while True:
            yield b" " * 1000

    async def slow() -> AsyncGenerator[bytes]:
        await anyio.sleep_forever()
        yield b""

    async with opened(HttpLimits(body_bytes=2_000, body_seconds=0.02)) as desk, desk.client(desk.token("a")) as client:
        for body, status in ((endless(), 413), (slow(), 408)):
            answer = await client.post("/v1/sessions", content=body, headers={"Content-Type": "application/json"})
            assert answer.status_code == status
            await body.aclose()


async def test_what_json_does_not_have_is_told_as_text(opened: Any) -> None:
    async with opened() as desk, desk.client(desk.token("acme")) as client:
        await client.put("/v1/sessions/s", json={})
        intent = {"type": "work.odd", "parameters": {"text": "x"}}
        done = await client.post("/v1/sessions/s/intents", json=intent, headers={"Prefer": "wait=10"})
        assert done.json()["result"] == {"1": "eA=="}
        assert (await client.get("/v1/wal", params={"type": "execution_completed"})).status_code == 200


async def test_a_body_that_is_wrong_is_told_what_it_may_have(opened: Any) -> None:
    async with opened() as desk, desk.client(desk.token("acme")) as client:
        answer = await client.post("/v1/executions/some/signals/paid", json="visa")
        assert answer.json()["detail"] == "Expected `object`, got `str`; the body is an object, which may have: payload"


def test_the_more_are_refused_the_later_they_are_to_come_again() -> None:
    counted = refusals.Refusals()
    told = [int(counted.later(now)["Retry-After"]) for now in (5.0, *[6.0] * 250, 7.5, 9.0)]
    assert (told[0], told[1], told[100], told[250], told[251], told[252]) == (1, 1, 2, 3, 3, 1)
