"""The orders example as it is used: a shop in a process of its own that is killed, and a customer who goes on."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import AsyncGenerator, Generator
from contextlib import aclosing
from pathlib import Path
from typing import Final

import anyio
import httpx
import msgspec
import pytest

from examples.orders.customer import Shop, buy
from examples.orders.world import Entry
from tests.infrastructure.ports import free_port

ROOT: Final = Path(__file__).parents[2]


class Server:
    """A shop that is opened, killed, and opened again, at one address."""

    def __init__(self, folder: Path, backend: str) -> None:
        self.folder, self.backend, self.port = folder, backend, free_port()
        self.process: subprocess.Popen[str] | None = None

    def open(self) -> None:
        told = [str(self.folder), "--port", str(self.port), "--backend", self.backend]
        command = [sys.executable, "-m", "examples.orders.shop", *told]
        self.process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        while not (line := self.process.stdout.readline()).startswith("open at "):
            assert line, f"the shop did not open: {self.process.wait()}"

    def end(self, by: signal.Signals) -> int:
        assert self.process is not None
        self.process.send_signal(by)
        self.process.communicate(timeout=20)
        return self.process.returncode

    def done(self, order: str) -> list[str]:
        lines = (self.folder / "ledger.jsonl").read_bytes().splitlines()
        entries = [msgspec.json.decode(line, type=Entry) for line in lines]
        return [entry.what for entry in entries if entry.order == order]


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def server(anyio_backend: str, tmp_path: Path) -> Generator[Server]:
    server = Server(tmp_path, anyio_backend)
    server.open()
    yield server
    assert server.process is not None
    if server.process.poll() is None:
        server.end(signal.SIGKILL)


@pytest.fixture
async def client(server: Server) -> AsyncGenerator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.port}", timeout=20) as client:
        yield client


@pytest.mark.anyio
async def test_an_order_goes_on_through_a_kill(client: httpx.AsyncClient, server: Server) -> None:
    shop, seen = Shop(client, "ada"), list[str]()
    place = await shop.place("order-1", "tea", 2)
    async with aclosing(shop.events(place)) as events:
        async for event in events:
            seen.append(event["name"])
            if event["name"] == "order/reserve":
                assert await shop.stage(place) == "waiting for payment"
                await shop.tell(place, "paid", card="visa")
                server.end(signal.SIGKILL)  # wherever it is by now
                server.open()
                assert await shop.place("order-1", "tea", 2) == place
                await shop.tell(place, "paid", card="visa")
            if event["name"] == "order/pack":
                await shop.tell(place, "picked_up")
    assert seen == ["accepted", "running", "order/reserve", "order/charge", "order/pack", "order.shipped", "completed"]
    assert (await shop.outcome(place))["result"] == {"order": "order-1", "state": "shipped", "euros": 8}
    while (await client.get("/v1/outbox/pending")).json()["items"]:  # noqa: ASYNC110  of another process
        await anyio.sleep(0.01)
    assert server.end(signal.SIGTERM) == 0
    assert server.done("order-1") == ["reserved", "charged", "packed", "mailed order.shipped"]


@pytest.mark.in_turn
@pytest.mark.anyio
async def test_the_journeys_of_the_readme(client: httpx.AsyncClient, capsys: pytest.CaptureFixture[str]) -> None:
    shop = Shop(client, "ada")
    outcome = await buy(shop, "tea", 3, "visa", withdraw=True, pause=0)
    assert outcome["result"]["state"] == "withdrawn"
    assert "undo(order/charge)" in capsys.readouterr().out
    assert (await buy(shop, "tea", 6, "visa", withdraw=False, pause=0))["result"]["state"] == "sold_out"
    assert (await buy(shop, "tea", 5, "visa", withdraw=False, pause=0))["result"]["state"] == "shipped"
