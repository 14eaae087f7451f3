"""The service under uvicorn, in a process of its own: it gives up, is told to stop in the middle, is reloaded."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import anyio
import httpx
import pytest

from tests.examples.test_service import LETTER, serving, stream
from tests.infrastructure.ports import free_port

ROOT: Final = Path(__file__).parents[2]
HELD: Final = "tests.examples.held_service:app"
SECONDS: Final = 30.0

Start = Callable[..., "Server"]


class Server:
    """uvicorn, in a folder in which a test makes files."""

    def __init__(self, folder: Path, *words: str, **environment: str) -> None:
        self.port = free_port()
        self.folder = folder
        command = [sys.executable, "-m", "uvicorn", *words, "--port", str(self.port), "--lifespan", "on"]
        self.log = (folder / "log").open("w+")
        self.process = subprocess.Popen(
            command,
            cwd=folder,
            env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{folder}", **environment},
            stderr=self.log,
            stdout=self.log,
            start_new_session=True,  # a reloader has a child
        )

    @asynccontextmanager
    async def client(self) -> AsyncGenerator[httpx.AsyncClient]:
        """One that asks it, once it serves."""
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{self.port}", timeout=SECONDS) as client:
            while not await serves(client):
                assert self.process.poll() is None, self.told()
                await anyio.sleep(0.02)
            yield client

    async def ended(self) -> int:
        """How it ended, as a server that has closed its port."""
        return await anyio.to_thread.run_sync(lambda: self.process.wait(SECONDS))

    def told(self) -> str:
        """Its log."""
        return (self.folder / "log").read_text()


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"  # as uvicorn; the test itself only asks


@pytest.fixture
def start(tmp_path: Path) -> Generator[Start]:
    servers: list[Server] = []

    def make(*words: str, **environment: str) -> Server:
        servers.append(Server(tmp_path, *words, **environment))
        return servers[-1]

    yield make
    for server in servers:
        server.log.close()
        try:
            os.killpg(server.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
        server.process.wait()


async def post(client: httpx.AsyncClient, key: str, wait: str = "") -> dict[str, Any]:
    answer = await client.post(f"/documents{wait}", json=LETTER, headers={"Idempotency-Key": key})
    assert answer.is_success, answer.text
    told: dict[str, Any] = answer.json()
    return told


@pytest.mark.anyio
async def test_a_runtime_that_gives_up_ends_the_process(start: Start, tmp_path: Path) -> None:
    (tmp_path / "release").touch()
    server = start(HELD, HELD_IN_MEMORY="1")
    async with server.client() as client:
        assert (await post(client, "kept", "?wait=30"))["status"] == "completed"
        (tmp_path / "spoil").touch()
        assert (await client.post("/documents", json=LETTER)).status_code == 503
        assert await server.ended() == -signal.SIGTERM
    assert "the runtime has given up, and so does this process: the disk is gone" in server.told()
    assert "Application shutdown failed" in server.told()


@pytest.mark.anyio
async def test_sigterm_in_the_middle_of_work_loses_nothing(start: Start, tmp_path: Path) -> None:
    keys = [f"letter-{number}" for number in range(20)]  # more than run at a time
    server = start(HELD)
    async with server.client() as client:
        before = [(await post(client, key))["execution"] for key in keys]
        server.process.terminate()
        assert await server.ended() == -signal.SIGTERM
    assert "Application shutdown complete" in server.told()
    async with serving(f"sqlite:{tmp_path / 'work.db'}") as (_, client):  # the next start, nothing holds it back
        after = [await post(client, key, "?wait=30") for key in keys]
        assert [each["execution"] for each in after] == before
        assert {each["status"] for each in after} == {"completed"}
        names = [name for _, name in await stream(client, f"{after[0]['place']}/events", "")]
        assert names == ["accepted", "running", "count", "fingerprint", "summarized", "completed"]


@pytest.mark.anyio
async def test_what_is_open_goes_on_when_a_changed_file_reloads_the_server(start: Start, tmp_path: Path) -> None:
    program = tmp_path / "reloaded.py"
    program.write_text(f"from {HELD.replace(':', ' import ')}\napp.version = '1'\n")
    server = start("reloaded:app", "--reload", "--reload-dir", str(tmp_path), "--reload-delay", "0.1")
    async with server.client() as client:
        begun = await post(client, "open")
        assert await version(client) == "1"
        program.write_text(program.read_text().replace("'1'", "'22'"))
        with anyio.fail_after(SECONDS):
            while await version(client) != "22":  # noqa: ASYNC110  of another process
                await anyio.sleep(0.02)
        assert (await client.get(begun["place"])).json()["status"] == "running"
        (tmp_path / "release").touch()
        ended = await post(client, "open", "?wait=30")
        assert (ended["execution"], ended["status"]) == (begun["execution"], "completed")
    server.process.terminate()
    await server.ended()


async def serves(client: httpx.AsyncClient) -> bool:
    try:
        return (await client.get("/health")).is_success
    except httpx.TransportError:
        return False


async def version(client: httpx.AsyncClient) -> str:
    try:
        return str((await client.get("/openapi.json")).json()["info"]["version"])
    except httpx.TransportError:
        return ""  # its connection ended with the old process
