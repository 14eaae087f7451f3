"""The service example: what was accepted stays accepted, whoever leaves; a dead runtime is seen at once."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import anyio
import anyio.lowlevel
import httpx
import msgspec
import pytest
import uvicorn

from examples.service.app import build, documents
from intendant import Runtime, RuntimeStopped
from intendant.adapters.memory import MemoryStore
from intendant.runtime.audit import audit
from tests.examples.spoilt import Spoilt

Call = Callable[[Any, Any, Any], Awaitable[None]]
LETTER = {"tenant": "acme", "title": "A letter", "text": "to be or not to be"}
DEADLINE = 20.0


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


class Held:
    """The service's second step, which begins and then waits to be released."""

    def __init__(self) -> None:
        self.begun = anyio.Event()
        self.release = anyio.Event()

    async def fingerprint(self, text: str) -> str:
        self.begun.set()
        await self.release.wait()
        return text[:1]


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Held:
    held = Held()
    monkeypatch.setattr("examples.service.app.fingerprint", held.fingerprint)
    return held


@asynccontextmanager
async def serving(store: MemoryStore | str) -> AsyncGenerator[tuple[Call, httpx.AsyncClient]]:
    """The service without a server: its lifespan is entered and left as a server does."""
    app = build(Runtime([documents], hot=store), give_up=lambda: None)
    async with app.router.lifespan_context(app) as state:

        async def call(scope: Any, receive: Any, send: Any) -> None:
            await app({**scope, "state": dict(state or {})}, receive, send)

        transport = httpx.ASGITransport(call)
        async with httpx.AsyncClient(transport=transport, base_url="http://service", timeout=DEADLINE) as client:
            yield call, client


async def accepted(store: MemoryStore) -> Counter[str]:
    """The executions in the log by key, after an audit of the store."""
    await store.open()
    try:
        found = await audit(store.log(0))
        assert found.sound, found.findings
        keys = [document.body for document in await store.log(0).documents("acme", "executions", limit=10_000)]
    finally:
        await store.close()
    return Counter(msgspec.msgpack.decode(body)["key"] for body in keys)


# --- answers


@pytest.mark.anyio
async def test_submit_ask_and_wait() -> None:
    async with serving(MemoryStore()) as (_, client):
        first = await client.post("/documents", json=LETTER, headers={"Idempotency-Key": "letter-1"})
        assert first.status_code == 202
        waited = await client.post("/documents?wait=5", json=LETTER, headers={"Idempotency-Key": "letter-1"})
        assert waited.status_code == 200
        assert waited.json()["execution"] == first.json()["execution"]
        assert waited.json()["result"]["frequent"][:2] == ["be", "to"]
        view = await client.get(first.headers["location"])
        assert (view.status_code, view.json()["status"]) == (200, "completed")
        assert view.json()["result"]["words"] == 6


@pytest.mark.anyio
async def test_a_wait_that_is_too_short_is_an_acceptance(held: Held) -> None:
    async with serving(MemoryStore()) as (_, client):
        answer = await client.post("/documents?wait=0.01", json=LETTER)
        assert (answer.status_code, answer.json()["status"]) == (202, "accepted")
        held.release.set()
        view = await client.post("/documents?wait=10", json=LETTER)
        assert view.json()["status"] == "completed"


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("body", "query", "text"),
    [
        (b"{", "", "truncated"),
        (b"[]", "", "Expected `object`"),
        (b'{"tenant": "acme", "title": "x"}', "", "text"),
        (b'{"tenant": "no spaces", "title": "x", "text": ""}', "", "no spaces"),
        (msgspec.json.encode(LETTER | {"text": "x" * 70_000}), "", "limit is 65,536"),
        (msgspec.json.encode(LETTER), "?wait=soon", "'soon'"),
        (msgspec.json.encode(LETTER), "?wait=nan", "'nan'"),
        (msgspec.json.encode(LETTER), "?wait=1000", "'1000'"),
    ],
)
async def test_what_is_wrong_is_named(body: bytes, query: str, text: str) -> None:
    store = MemoryStore()
    async with serving(store) as (_, client):
        answer = await client.post(f"/documents{query}", content=body)
        assert answer.status_code == 400
        assert text in answer.json()["message"]
    assert not await accepted(store)


@pytest.mark.anyio
async def test_a_body_is_not_read_beyond_its_limit() -> None:
    async def receive() -> Any:
        read.append(50_000)
        return {"type": "http.request", "body": b"x" * 50_000, "more_body": True}

    async def send(message: Any) -> None:
        sent.append(message)

    read: list[int] = []
    sent: list[Any] = []
    async with serving(MemoryStore()) as (app, _):
        await app(post("/documents", "", "endless"), receive, send)
    assert sent[0]["status"] == 400
    assert b"131,072" in sent[1]["body"]
    assert len(read) == 3


@pytest.mark.anyio
async def test_a_key_holds_for_one_document_of_one_tenant() -> None:
    store = MemoryStore()
    async with serving(store) as (_, client):
        key = {"Idempotency-Key": "letter-1"}
        first = await client.post("/documents", json=LETTER, headers=key)
        other = await client.post("/documents", json=LETTER | {"text": "or not"}, headers=key)
        assert (other.status_code, other.json()["error"]) == (409, "idempotency_conflict")
        foreign = await client.post("/documents", json=LETTER | {"tenant": "other"}, headers=key)
        assert foreign.json()["execution"] != first.json()["execution"]
        hidden = await client.get(f"/executions/other/{first.json()['execution']}")
        missing = await client.get(f"/executions/other/{'0' * 32}")
        assert (hidden.status_code, missing.status_code) == (404, 404)


@pytest.mark.anyio
async def test_many_at_once_with_one_key_are_one_execution() -> None:
    store = MemoryStore()
    answers: list[httpx.Response] = []
    async with serving(store) as (_, client):

        async def send() -> None:
            answers.append(
                await client.post("/documents?wait=10", json=LETTER, headers={"Idempotency-Key": "letter-1"})
            )

        async with anyio.create_task_group() as group:
            for _ in range(100):
                group.start_soon(send)
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.json()["execution"] for answer in answers}) == 1
    assert await accepted(store) == {"letter-1": 1}


# --- streams


@pytest.mark.anyio
async def test_a_stream_goes_on_where_it_was_left(held: Held, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("examples.service.app.STREAM_SECONDS", 0.05)
    async with serving(MemoryStore()) as (_, client):
        place = (await client.post("/documents", json=LETTER)).json()["place"] + "/events"
        await held.begun.wait()
        first = await stream(client, place, "")
        assert [name for _, name in first] == ["accepted", "running", "count"]
        held.release.set()
        rest: list[tuple[str, str]] = []
        while "completed" not in [name for _, name in rest]:
            rest += await stream(client, place, (first + rest)[-1][0])
        assert [name for _, name in rest] == ["fingerprint", "summarized", "completed"]
        assert await stream(client, place, first[1][0]) == first[2:] + rest
        nothing = await client.get(place, headers={"Last-Event-ID": rest[-1][0]})
        assert nothing.status_code == 204


@pytest.mark.anyio
async def test_a_stream_that_is_none_is_refused() -> None:
    async with serving(MemoryStore()) as (_, client):
        place = (await client.post("/documents?wait=10", json=LETTER)).json()["place"] + "/events"
        assert (await client.get(place, headers={"Last-Event-ID": "none"})).status_code == 400
        assert (await client.get(place.replace("acme", "other"))).status_code == 404


async def stream(client: httpx.AsyncClient, place: str, after: str) -> list[tuple[str, str]]:
    """Ids and names of what comes before the stream ends."""
    text = (await client.get(place, headers={"Last-Event-ID": after} if after else {})).text
    parts = [dict(line.split(": ", 1) for line in part.splitlines()) for part in text.split("\n\n")[:-1]]
    return [(part["id"], msgspec.json.decode(part["data"])["name"]) for part in parts]


# --- clients that leave


@pytest.mark.anyio
@pytest.mark.parametrize("wait", ["", "?wait=30"])
async def test_a_request_cut_off_at_any_await_loses_nothing(wait: str) -> None:
    """Cancelled after every number of turns of the loop; then sent again, whatever became of it."""
    store = MemoryStore()
    async with serving(store) as (_, client):
        turns, answered = -1, False
        while not answered:
            turns += 1
            headers = {"Idempotency-Key": f"letter-{turns}"}
            answered = await _cut_off(client, f"/documents{wait}", headers, turns)
            again = await client.post("/documents?wait=30", json=LETTER, headers=headers)
            assert (again.status_code, again.json()["status"]) == (200, "completed")
        assert turns >= 3
    assert await accepted(store) == {f"letter-{number}": 1 for number in range(turns + 1)}


async def _cut_off(client: httpx.AsyncClient, path: str, headers: dict[str, str], turns: int) -> bool:
    """Send, and cancel after some turns of the loop; whether the answer was faster."""
    answers: list[httpx.Response] = []

    async def send() -> None:
        answers.append(await client.post(path, json=LETTER, headers=headers))

    async with anyio.create_task_group() as group:
        group.start_soon(send)
        for _ in range(turns):
            await anyio.lowlevel.checkpoint()
        group.cancel_scope.cancel()
    return bool(answers)


@pytest.mark.anyio
async def test_waiting_ends_when_the_client_leaves(held: Held) -> None:
    """`http.disconnect` comes while the handler runs: the request ends, the work does not."""
    store = MemoryStore()
    messages = iter([{"type": "http.request", "body": msgspec.json.encode(LETTER), "more_body": False}])

    async def receive() -> Any:
        for message in messages:
            return message
        await held.begun.wait()
        return {"type": "http.disconnect"}

    async def send(_: Any) -> None:
        pass

    async with serving(store) as (app, client):
        with anyio.fail_after(DEADLINE):
            await app(post("/documents", "wait=60", "held"), receive, send)
        held.release.set()
        again = await client.post("/documents?wait=10", json=LETTER, headers={"Idempotency-Key": "held"})
        assert again.json()["status"] == "completed"
    assert await accepted(store) == {"held": 1}


def post(path: str, query: str, key: str) -> dict[str, Any]:
    headers = [(b"idempotency-key", key.encode())]
    scope = {"type": "http", "method": "POST", "path": path, "headers": headers}
    return {**scope, "query_string": query.encode(), "root_path": "", "http_version": "1.1", "scheme": "http"}


# --- the runtime gives up


@pytest.mark.anyio
async def test_another_owner_is_seen_at_once() -> None:
    async def steal(client: httpx.AsyncClient) -> None:
        assert (await client.get("/health")).json()["status"] == "serving"
        store.log(0).shared.partition.ownership.token = b"somebody else's"
        refused = await client.post("/documents", json=LETTER)
        assert refused.status_code == 503
        await seen(client, "Fenced")

    store = MemoryStore()
    await given_up(store, steal)


@pytest.mark.anyio
async def test_a_store_that_fails_is_seen_at_once() -> None:
    key = {"Idempotency-Key": "kept"}

    async def spoil(client: httpx.AsyncClient) -> None:
        assert (await client.post("/documents?wait=10", json=LETTER, headers=key)).status_code == 200
        store.spoilt = True
        refused = await client.post("/documents", json=LETTER)
        assert refused.status_code == 503
        await seen(client, "the disk is gone")

    store = Spoilt()
    await given_up(store, spoil)
    store.spoilt = False
    async with serving(store) as (_, client):  # restarted, on a store that works again
        assert (await client.get("/health")).status_code == 200
        assert (await client.post("/documents?wait=10", json=LETTER, headers=key)).json()["status"] == "completed"
    assert (await accepted(store))["kept"] == 1


async def given_up(store: MemoryStore, scenario: Callable[[httpx.AsyncClient], Awaitable[None]]) -> None:
    """Serve a scenario in which the runtime gives up: leaving it raises, so the server's exit is no clean one."""
    service = serving(store)
    _, client = await service.__aenter__()
    await scenario(client)
    with pytest.raises(RuntimeStopped, match="gave up"):
        await service.__aexit__(None, None, None)


async def seen(client: httpx.AsyncClient, cause: str) -> None:
    """/health tells the cause, and every other call is refused, without waiting for anything."""
    answer = await client.get("/health")
    assert answer.status_code == 503
    assert cause in answer.json()["cause"]
    for _ in range(3):
        with anyio.fail_after(1.0):
            assert (await client.post("/documents", json=LETTER)).status_code == 503
            assert (await client.get(f"/executions/acme/{'0' * 32}")).status_code == 503


# --- a real server and real sockets


@asynccontextmanager
async def listening(store: MemoryStore) -> AsyncGenerator[int]:
    """The service under uvicorn, on a free port of this machine; yields the port."""
    server = uvicorn.Server(
        uvicorn.Config(
            build(Runtime([documents], hot=store), give_up=lambda: None),
            port=0,
            log_level="critical",
            ws="none",
            lifespan="on",
        )
    )
    serving = asyncio.create_task(server.serve())
    try:
        while not server.started:
            assert not serving.done(), serving.result()
            await asyncio.sleep(0.01)
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        await serving


def test_closed_sockets_lose_nothing() -> None:
    """The connection is closed after every part of the request, and while the answer is awaited."""

    async def scenario() -> None:
        store = MemoryStore()
        async with listening(store) as port:
            address = f"http://127.0.0.1:{port}"
            async with httpx.AsyncClient(base_url=address, timeout=DEADLINE) as client:
                for number, part in enumerate((0.1, 0.5, 0.8, 0.95, 1.0, 1.0, 1.0)):
                    await _leave(port, f"letter-{number}", part, after=0.0 if number < 5 else 0.002 * number)
                    answer = await client.post(
                        "/documents?wait=30", json=LETTER, headers={"Idempotency-Key": f"letter-{number}"}
                    )
                    assert (answer.status_code, answer.json()["status"]) == (200, "completed")
                assert (await client.get("/health")).json()["stats"]["open"] == 0
        assert await accepted(store) == {f"letter-{number}": 1 for number in range(7)}

    asyncio.run(scenario())


async def _leave(port: int, key: str, part: float, after: float) -> None:
    """Send a part of a request, then close the connection without a goodbye."""
    body = msgspec.json.encode(LETTER)
    head = (
        f"POST /documents?wait=30 HTTP/1.1\r\nHost: service\r\nIdempotency-Key: {key}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    request = head.encode() + body
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.write(request[: int(len(request) * part)])
    await writer.drain()
    await asyncio.sleep(after)
    writer.transport.abort()
    with suppress(ConnectionError):
        await writer.wait_closed()
    assert not await reader.read() or part == 1.0


def test_a_dead_runtime_is_seen_through_a_real_server() -> None:
    async def scenario() -> None:
        store = MemoryStore()
        async with listening(store) as port, httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
            assert (await client.get("/health")).status_code == 200
            store.log(0).shared.partition.ownership.token = b"somebody else's"
            assert (await client.post("/documents", json=LETTER)).status_code == 503
            health = await client.get("/health")
            assert (health.status_code, health.json()["status"]) == (503, "failed")

    asyncio.run(scenario())
