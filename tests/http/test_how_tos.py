"""The programs of docs/http.md that serve, or are clients of what serves: each is run as it stands there."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from intendant.http import TokenFile, make_token
from tests.infrastructure.ports import free_port

PAGE: Final = Path(__file__).parents[2] / "docs" / "http.md"
PROGRAMS: Final = dict(re.findall(r"^`(\w+\.py)`:\n\n```python\n(.*?)```", PAGE.read_text(), re.DOTALL | re.MULTILINE))
TOKEN, STORED = make_token("acme", ("submit", "read"), 0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The programs, which find their tokens, and listen where nobody else does."""
    port = free_port()
    for name, program in PROGRAMS.items():
        (tmp_path / name).write_text(program.replace("8000", str(port)))
    TokenFile(tmp_path / "intendant-tokens.json").add(STORED)
    return tmp_path


def test_every_program_of_the_page_is_run_by_a_test() -> None:
    text = PAGE.read_text()
    printed = re.findall(r"```python\n(?:(?!```).)*```\n+```text\n", text, re.DOTALL)  # run by tests/test_documents.py
    assert set(PROGRAMS) == {"served.py", "client.py", "host.py"}
    assert text.count("```python\n") == len(PROGRAMS) + len(printed)


def test_the_client_gets_its_answer_from_a_server_that_starts_late(folder: Path) -> None:
    environment = {**os.environ, "TOKEN": TOKEN, "INTENDANT_HOT": "sqlite:work.db"}
    with run(folder, "client.py", environment) as client, run(folder, "served.py", environment) as served:
        told, problems = client.communicate(timeout=30)
        served.send_signal(signal.SIGTERM)
        assert (told, problems, client.returncode) == ("3\n", "", 0)
        assert served.communicate(timeout=30) == ("", "")
        assert served.returncode == 0


def run(folder: Path, program: str, environment: dict[str, str]) -> subprocess.Popen[str]:
    pipe = subprocess.PIPE
    return subprocess.Popen([sys.executable, program], cwd=folder, env=environment, stdout=pipe, stderr=pipe, text=True)


@pytest.mark.anyio
async def test_the_application_stands_in_another_one(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setenv("INTENDANT_HOT", "memory:")
    program: dict[str, Any] = {"__name__": "host"}
    exec(compile(PROGRAMS["host.py"], "host.py", "exec"), program)
    api, headers = program["api"], {"Authorization": f"Bearer {TOKEN}", "Prefer": "wait=10"}
    async with api.router.lifespan_context(api):
        transport = httpx.ASGITransport(api)
        async with httpx.AsyncClient(transport=transport, base_url="http://host", headers=headers) as client:
            assert (await client.put("/durable/v1/sessions/web", json={})).status_code == 200
            intent = {"type": "content.count_words", "parameters": {"text": "one two three"}}
            answer = await client.post("/durable/v1/sessions/web/intents", json=intent)
            assert answer.json()["result"] == 3
            assert answer.headers["location"].startswith("/durable/v1/executions/")
