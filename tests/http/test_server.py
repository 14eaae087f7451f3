"""The application served alone, in another process."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from intendant import Runtime
from intendant.http import TokenFile, app, serve
from intendant.http.tokens import SCOPES, make_token

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("loop", ["asyncio", "trio"])
def test_a_server_answers_and_drains_on_sigterm(tmp_path: Path, loop: str) -> None:
    token, stored = make_token("acme", SCOPES, 0)
    TokenFile(tmp_path / "tokens").add(stored)
    command = [sys.executable, "-m", "tests.http.server_process", str(tmp_path / "work.db"), str(tmp_path / "tokens")]
    with subprocess.Popen([*command, loop], cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            address = process.stdout.readline().strip()
            with httpx.Client(base_url=address, headers={"Authorization": f"Bearer {token}"}, timeout=20) as client:
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
                    process.send_signal(signal.SIGTERM)
                    assert not any(line.startswith("event: completed") for line in lines)
            assert process.wait(15) == 0
            assert process.stdout.readline() == "drained\n"
        finally:
            process.kill()


@pytest.mark.anyio
async def test_without_authentication_only_loopback_is_served() -> None:
    application = app(Runtime([], hot="memory:"), anonymous="acme")
    for host in ("0.0.0.0", "", "192.0.2.1"):
        with pytest.raises(ValueError, match="loopback"):
            await serve(application, host, 0)
