"""Event streams: resumed where a reader was, kept alive, and left when nobody reads."""

from __future__ import annotations

import json
from typing import Any

import anyio
import pytest

from intendant.http import HttpLimits
from tests.http.desk import Desk, held

pytestmark = pytest.mark.anyio


def parsed(text: str) -> list[dict[str, Any]]:
    return [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: ")]


async def test_a_stream_goes_on_behind_any_event_and_ends_with_204(opened: Any) -> None:
    async with opened() as desk, desk.client(desk.token("acme")) as client:
        await client.put("/v1/sessions/s", json={})
        intent = {"type": "work.count", "parameters": {"text": "a"}}
        done = await client.post("/v1/sessions/s/intents", json=intent, headers={"Prefer": "wait=10"})
        path = f"/v1/executions/{done.json()['execution_id']}/events"
        whole = await client.get(path)
        assert whole.headers["content-type"].startswith("text/event-stream")
        events = parsed(whole.text)
        assert [each["name"] for each in events] == ["accepted", "running", "counted", "completed"]
        for place, event in enumerate(events[:-1], 1):
            rest = await client.get(path, headers={"Last-Event-ID": event["cursor"]})
            assert parsed(rest.text) == events[place:]
        over = await client.get(path, headers={"Last-Event-ID": events[-1]["cursor"]})
        assert over.status_code == 204
        assert (await client.get(path, headers={"Last-Event-ID": "1.1"})).status_code == 400
        again = await client.post("/v1/sessions/s/intents", json=intent, headers={"Prefer": "wait=10"})
        other = f"/v1/executions/{again.json()['execution_id']}/events"
        assert (await client.get(other, headers={"Last-Event-ID": events[0]["cursor"]})).status_code == 400


async def read(desk: Desk, token: str, id: str, send: Any) -> None:
    """A reader that the server sees."""
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "path": f"/v1/executions/{id}/events",
        "raw_path": b"",
        "query_string": b"",
        "root_path": "",
        "scheme": "http",
        "server": ("desk", 80),
        "client": ("reader", 1),
        "headers": [(b"authorization", f"Bearer {token}".encode())],
    }
    asked = False

    async def receive() -> dict[str, Any]:
        nonlocal asked
        if not asked:
            asked = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await anyio.sleep_forever()
        raise AssertionError

    await desk.application(scope, receive, send)


async def test_a_quiet_stream_is_kept_alive_until_its_token_is_revoked(opened: Any) -> None:
    async with opened(HttpLimits(keep_alive_seconds=0.01)) as desk:
        token = desk.token("acme")
        async with desk.client(token) as client:
            id = await held(client)
        parts: list[bytes] = []

        async def send(message: Any) -> None:
            parts.append(message.get("body", b""))
            if parts[-1] == b": still here\n\n":
                desk.tokens.revoke(token.split("_")[1])

        with anyio.fail_after(5):
            await read(desk, token, id, send)
        assert parts.count(b": still here\n\n") == 1


async def test_who_does_not_read_is_left(opened: Any) -> None:
    async with opened(HttpLimits(send_seconds=0.02)) as desk:
        token = desk.token("acme")
        async with desk.client(token) as client:
            id = await held(client)

        async def send(message: Any) -> None:
            if message["type"] == "http.response.body":
                await anyio.sleep_forever()

        with anyio.fail_after(5):
            await read(desk, token, id, send)


async def test_a_drain_ends_streams(opened: Any) -> None:
    async with opened() as desk:
        token = desk.token("acme")
        async with desk.client(token) as client:
            id = await held(client)

        async def send(message: Any) -> None:
            if b"running" in message.get("body", b""):
                desk.application.drain()

        with anyio.fail_after(5):
            await read(desk, token, id, send)
