"""The server that tests start: what survives its ends, and that none is left behind."""

from __future__ import annotations

import gc
from pathlib import Path

import psutil
import pytest
import redis

from tests.infrastructure import redis_server
from tests.infrastructure.ports import CLUSTER_BUS, free_port
from tests.infrastructure.redis_server import RedisServer


def test_what_was_written_survives_a_kill_and_a_restart() -> None:
    with RedisServer(appendfsync="always") as server:
        server.cli("SET", "a", "1")
        server.kill()
        with pytest.raises(redis.ConnectionError):
            server.cli("PING")
        server.restart()
        assert server.cli("GET", "a") == "1"
        server.restart(maxmemory="20mb")
        assert server.cli("GET", "a") == "1"
        assert server.cli("CONFIG", "GET", "maxmemory") == {"maxmemory": str(20 * 2**20)}
        pid, directory = server.process.pid, server.directory
    assert not psutil.pid_exists(pid)
    assert not directory.exists()


def test_it_loses_what_was_written_last() -> None:
    with RedisServer(appendfsync="always") as server:  # else a write may wait for the sync of the one before
        server.cli("SET", "a", "1")
        written = server.written
        server.cli("SET", "a", "2")
        server.kill()
        assert server.lose(written) > 0
        server.restart()
        assert server.cli("GET", "a") == "1"


def test_a_paused_server_goes_on() -> None:
    with RedisServer() as server:
        server.pause()
        assert psutil.Process(server.process.pid).status() == psutil.STATUS_STOPPED
        server.resume()
        assert server.cli("PING")
        server.pause()
        server.stop()
        assert not server.running


def test_one_that_nobody_closes_ends_with_its_object() -> None:
    server = RedisServer()
    pid = server.process.pid
    del server
    gc.collect()
    assert not psutil.pid_exists(pid)


def test_a_wrong_option_is_told_with_the_log() -> None:
    with pytest.raises(RuntimeError, match="did not come up"):
        RedisServer(appendfsync="perhaps")


def test_no_connection_gets_the_port_of_a_server_that_is_down() -> None:
    lowest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    assert all(1024 < free_port() < lowest - CLUSTER_BUS for _ in range(100))


def test_a_server_of_somebody_else_is_not_taken_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    with RedisServer() as server:
        monkeypatch.setattr(redis_server, "free_port", lambda: server.port)
        with pytest.raises(RuntimeError, match="did not come up"):
            RedisServer()
