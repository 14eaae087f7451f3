"""The driver's traps, each sprung by a server that answers wrongly; tests/arango_standin/README.md has the list."""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import anyio
import pytest

from intendant.adapters.arango.address import parse
from intendant.adapters.arango.documents import document_item
from intendant.adapters.arango.driver import Client, Clients
from intendant.adapters.arango.errors import ColdStoreMisconfigured, Fate, Fault
from intendant.adapters.arango.reads import ask, get
from intendant.adapters.arango.writes import remove, write
from intendant.domain.errors import StoreUnavailable
from intendant.domain.ports import ColdDocument
from tests.adapters.arango.scripted import Answer, cut, ended, failed, said, scripted

pytestmark = pytest.mark.anyio

VERSION = {"server": "arango", "license": "community", "version": "3.12.5"}
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 64\r\n"


def version(client: Client) -> object:
    return client.database.version()


async def run(url: str, work: Callable[[Client], object] = version, times: int = 1) -> object:
    clients = Clients(parse(url))
    try:
        for _ in range(times - 1):
            await clients.run(work)
        return await clients.run(work)
    finally:
        await clients.close()


def read(client: Client) -> object:
    return get("sessions", "t__sessions__k", client)


def insert(client: Client) -> object:
    return write("sessions", [document_item(ColdDocument("t", "sessions", "k", 1, b"body")).fields()], client)


@pytest.mark.parametrize("work", [version, read, insert])
@pytest.mark.parametrize(
    "answer",
    [
        cut(b""),
        cut(b"HTTP/1.1 200 OK\r\nContent-"),
        cut(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"),
        ended(b"HTTP/1.1 200 OK\r\nContent-"),
        ended(b'HTTP/1.1 200 OK\r\n\r\n{"version": "3.12"}'),
        cut(HEAD + b"\r\n"),
        cut(HEAD + b'\r\n{"version": "3.12'),
        failed(503, 503),
        failed(503, 1465),
        failed(421, 1491),
        failed(500, 4),
        said(502, b"<html>proxy</html>"),
        said(200, b'{"version": "3.'),
        said(200, b""),
        said(200, b'"3.12"'),
        said(302, b"", "Location: http://127.0.0.1:1/elsewhere\r\n"),
        said(200, b"\xff\xfe"),
    ],
)
async def test_nothing_is_sent_twice(answer: Answer, work: Callable[[Client], object]) -> None:
    with scripted(answer) as server:
        fault = await run(server.url, work)
        assert isinstance(fault, Fault)
        assert fault.fate is Fate.UNKNOWN
        assert isinstance(fault.error("x"), StoreUnavailable)
        assert len(server.requests) == 1


async def test_what_was_lost_is_told_in_plain_words() -> None:
    with scripted(cut(b"")) as server:
        fault = await run(server.url)
        assert isinstance(fault, Fault)
        assert "no answer" in fault.text
        assert "127.0.0.1" not in fault.text  # the store's name says it already


async def test_a_silent_server_holds_a_thread_no_longer_than_the_time_out() -> None:
    with scripted(lambda _: None) as server:
        started = time.monotonic()
        fault = await run(server.url + "?timeout=0.2")
        assert isinstance(fault, Fault)
        assert "no answer within 0.2 s" in fault.text
        assert time.monotonic() - started < 5


async def test_an_answer_that_drips_ends_with_the_time_out() -> None:
    over = threading.Event()

    def drip(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
        while not over.wait(0.02):
            connection.sendall(b" ")

    with scripted(drip) as server:
        fault = await run(server.url + "?timeout=0.2")
        over.set()
        assert isinstance(fault, Fault)
        assert "no answer within" in fault.text


async def test_cancelling_ends_with_the_request() -> None:
    with scripted(lambda _: None) as server:
        clients = Clients(parse(server.url + "?timeout=0.3&threads=1"))
        before = threading.active_count()
        for _ in range(3):  # no thread is left behind, however often that happens
            with anyio.move_on_after(0.01):
                await clients.run(version)
            assert threading.active_count() <= before + 1 + server.connections  # the worker, and the server's own
        await clients.close()


async def test_a_client_is_used_by_one_thread_at_a_time() -> None:
    together = threading.Barrier(3, timeout=10)
    used: list[int] = []

    def work(client: Client) -> None:
        used.append(id(client))
        together.wait()

    clients = Clients(parse("arangodb://u:pw@127.0.0.1:1/d?threads=3"))
    async with anyio.create_task_group() as group:
        for _ in range(6):
            group.start_soon(clients.run, work)
    assert len(set(used)) == len(set(used[:3])) == 3  # made once, used again
    await clients.close()
    with pytest.raises(StoreUnavailable, match="not open"):
        await clients.run(work)


async def test_closing_lets_go_of_what_was_in_use() -> None:
    clients = Clients(parse("arangodb://u:pw@127.0.0.1:1/d"))
    begun, go_on = threading.Event(), threading.Event()

    def work(_: Client) -> str:
        begun.set()
        go_on.wait(10)
        return "done"

    results: list[object] = []

    async with anyio.create_task_group() as group:

        async def use() -> None:
            results.append(await clients.run(work))

        group.start_soon(use)
        while not begun.is_set():  # noqa: ASYNC110  a thread says so
            await anyio.sleep(0.001)
        await clients.close()
        go_on.set()
    assert results == ["done"]


async def test_the_environment_changes_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login eve password stolen\n")
    monkeypatch.setenv("NETRC", str(netrc))
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/nowhere")
    with scripted(said(200, VERSION)) as server:
        assert await run(server.url) == "3.12.5"
        assert b"Authorization: Basic cm9vdDp0ZXN0\r\n" in server.requests[0]  # root:test


async def test_a_connection_is_kept() -> None:
    with scripted(said(200, VERSION)) as server:
        assert await run(server.url, times=5) == "3.12.5"
        assert (server.connections, len(server.requests)) == (1, 5)


async def test_a_connection_that_was_closed_while_idle_is_replaced() -> None:
    def once(connection: socket.socket) -> None:
        said(200, VERSION)(connection)
        connection.close()

    with scripted(once) as server:
        clients = Clients(parse(server.url))
        assert await clients.run(version) == "3.12.5"
        await anyio.sleep(0.05)  # the end of the connection arrives
        assert await clients.run(version) == "3.12.5"
        await clients.close()


async def test_a_broken_answer_is_never_read_as_the_next_one() -> None:
    """What is left of an answer that was given up must not be taken for the answer to something else."""
    with scripted(lambda _: None, said(200, VERSION)) as server:
        clients = Clients(parse(server.url + "?timeout=0.2&threads=1"))
        assert isinstance(await clients.run(version), Fault)
        assert await clients.run(version) == "3.12.5"
        assert server.connections == 2
        await clients.close()


@pytest.mark.parametrize("length", [0, 1, 3])
async def test_an_answer_that_does_not_tell_of_each_document(length: int) -> None:
    body = [{"_id": f"wal/{n}", "_key": str(n), "_rev": "r"} for n in range(length)]
    with scripted(said(202, body)) as server:
        fault = await run(server.url, partial(remove, "wal", ["a", "b"]))
        assert isinstance(fault, Fault)
        assert fault.fate is Fate.UNKNOWN


async def test_a_success_that_is_none() -> None:
    conflict = {"error": True, "errorNum": 1200, "errorMessage": "write-write conflict"}
    done = {"_id": "wal/b", "_key": "b", "_rev": "r"}
    for first in (conflict, {**conflict, "_id": "wal/a", "_key": "a", "_rev": "r"}):
        with scripted(said(202, [first, done])) as server:
            clients = Clients(parse(server.url))
            faults = await clients.run(partial(remove, "wal", ["a", "b"]))
            await clients.close()
            assert not isinstance(faults, Fault)
            assert [fault and fault.fate for fault in faults] == [Fate.AGAIN, None]
    with scripted(said(200, {"error": True, "errorNum": 1203, "errorMessage": "gone"})) as server:
        fault = await run(server.url, partial(remove, "wal", ["a", "b"]))
        assert isinstance(fault, Fault)


async def test_a_lost_batch_is_not_skipped() -> None:
    """Each part is asked for by its number; the driver's own way would ask for the next one, whichever that is."""
    first = {"result": [1, 2], "hasMore": True, "id": "17", "nextBatchId": "2", "cached": False}
    rest = {"result": [3], "hasMore": False, "id": "17", "cached": False}
    with scripted(said(201, first), said(200, rest), said(202, {"id": "17"})) as server:
        found = await run(server.url, partial(ask, "FOR ...", "wal", 2, {}))
        assert found == [1, 2, 3]
        assert server.lines[1:] == [
            "POST /_db/d/_api/cursor/17/2 HTTP/1.1",
            "DELETE /_db/d/_api/cursor/17 HTTP/1.1",
        ]
        assert b'"allowRetry":true' in server.requests[0]
    with scripted(said(201, first), cut(b"")) as server:
        fault = await run(server.url, partial(ask, "FOR ...", "wal", 2, {}))
        assert isinstance(fault, Fault)  # not the first part alone
    with scripted(said(201, first), said(200, rest), failed(404, 1600)) as server:
        assert await run(server.url, partial(ask, "FOR ...", "wal", 2, {})) == [1, 2, 3]


@pytest.fixture
def everything_logged(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    with caplog.at_level(logging.DEBUG):
        yield caplog


@pytest.mark.parametrize(
    "answer", [cut(b""), failed(401, 11, "not authorized"), failed(400, 600), said(200, b"}"), said(200, VERSION)]
)
async def test_the_password_goes_nowhere_else(answer: Answer, everything_logged: pytest.LogCaptureFixture) -> None:
    canary, basic = "c4n4ry", "cm9vdDpjNG40cnk="
    with scripted(answer) as server:
        result = await run(server.url.replace("test", canary))
        assert basic.encode() in server.requests[0]
    shown = repr(result)
    if isinstance(result, Fault):
        error = result.error("store")
        assert error.__context__ is None
        assert error.__cause__ is None
        shown += f"{error} {error!r} {vars(error)}"
    shown += "".join(f"{record.getMessage()} {record.args}" for record in everything_logged.records)
    assert canary not in shown
    assert basic not in shown


async def test_a_certificate_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ColdStoreMisconfigured, match="no such file"):
        await run(f"arangodb+tls://u:pw@127.0.0.1:1/d?ca={tmp_path}/ca.pem")


async def test_no_tls_where_it_is_asked_for() -> None:
    def serve(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(65536)
            connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=(listener,))
        thread.start()
        fault = await run(f"arangodb+tls://u:pw@127.0.0.1:{listener.getsockname()[1]}/d")
        thread.join()
    assert isinstance(fault, Fault)
    assert fault.fate is Fate.MISCONFIGURED
