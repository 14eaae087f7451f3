"""The proxy: it carries, and it cuts exactly where it should."""

from __future__ import annotations

import random
import socket
from collections.abc import Iterator

import pytest

from tests.infrastructure.proxy import Cut, Proxy, random_cut
from tests.infrastructure.redis_server import RedisServer

SET = b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$3\r\nabc\r\n"
GET = b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n"
GOT = b"$3\r\nabc\r\n"


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@pytest.fixture
def proxy(server: RedisServer) -> Iterator[Proxy]:
    server.flush()
    with Proxy(server.port) as proxy:
        yield proxy


def connect(proxy: Proxy) -> socket.socket:
    return socket.create_connection(("127.0.0.1", proxy.port), timeout=10)


def read(connection: socket.socket) -> bytes:
    """What comes until the end."""
    data = b""
    while piece := connection.recv(100):
        data += piece
    return data


def test_it_carries(proxy: Proxy) -> None:
    with connect(proxy) as connection:
        connection.sendall(SET + GET)
        wanted = b"+OK\r\n" + GOT
        got = b""
        while len(got) < len(wanted):
            got += connection.recv(100)
        assert got == wanted
        assert proxy.cuts == 0


@pytest.mark.parametrize("at", range(len(GOT)))
def test_a_reply_is_cut_at_any_byte(proxy: Proxy, server: RedisServer, at: int) -> None:
    server.cli("SET", "k", "abc")
    proxy.arm(Cut("reply", at))
    with connect(proxy) as connection:
        connection.sendall(GET)
        assert read(connection) == GOT[:at]
    assert proxy.cuts == 1


def test_a_lost_reply_was_done_and_a_cut_request_was_not(proxy: Proxy, server: RedisServer) -> None:
    proxy.arm(Cut("request", len(SET) - 1))
    with connect(proxy) as connection:
        connection.sendall(SET)
        assert read(connection) == b""
    assert server.cli("GET", "k") is None
    proxy.arm(Cut("reply", 0, reset=True))
    with connect(proxy) as connection:
        connection.sendall(SET)
        with pytest.raises(ConnectionResetError):
            connection.recv(1)
    assert server.cli("GET", "k") == "abc"


def test_all_connections_are_cut_at_once(proxy: Proxy) -> None:
    with connect(proxy) as one, connect(proxy) as other:
        for connection in (one, other):
            connection.sendall(SET)
            assert connection.recv(100) == b"+OK\r\n"
        proxy.cut_all()
        assert (read(one), read(other)) == (b"", b"")


def test_a_server_that_is_gone_resets(server: RedisServer) -> None:
    with Proxy(1) as proxy, pytest.raises(ConnectionResetError), connect(proxy) as connection:  # at once, or then
        connection.recv(1)


def test_a_seed_gives_the_same_cuts() -> None:
    one, same, other = ([random_cut(chance) for _ in range(50)] for chance in map(random.Random, (7, 7, 8)))
    assert one == same
    assert one != other
    assert {cut.direction for cut in one} == {"request", "reply"}
