"""The application served alone, in another process."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from intendant import Runtime
from intendant.http import app, serve
from tests.http.served import Served


@pytest.mark.parametrize("loop", ["asyncio", "trio"])
def test_a_server_answers_and_drains_on_sigterm(tmp_path: Path, loop: str) -> None:
    with Served(tmp_path, f"sqlite:{tmp_path / 'work.db'}", loop) as served:
        with served.client(served.token("acme")) as client:
            assert client.get("/ready").status_code == 200
            client.put("/v1/sessions/s", json={})
            hold = {"type": "work.hold", "parameters": {"text": "x"}}
            held = client.post("/v1/sessions/s/intents", json=hold).json()["execution"]
            count = {"type": "work.count", "parameters": {"text": "a b"}}
            done = client.post("/v1/sessions/s/intents", json=count, headers={"Prefer": "wait=10"})
            assert done.json()["result"] == 2
            assert client.post("/v1/sessions", content=b"x" * 300_000).status_code == 415
            with client.stream("GET", f"/v1/executions/{held}/events") as stream:
                lines = stream.iter_lines()
                assert next(lines).startswith("id: ")
                served.process.send_signal(signal.SIGTERM)
                assert not any('"completed"' in line for line in lines)
        assert served.process.wait(15) == 0
        assert served.said.readline() == "drained\n"


@pytest.mark.anyio
async def test_without_authentication_only_loopback_is_served() -> None:
    application = app(Runtime([], hot="memory:"), anonymous="acme")
    for host in ("0.0.0.0", "", "192.0.2.1"):
        with pytest.raises(ValueError, match="loopback"):
            await serve(application, host, 0)
