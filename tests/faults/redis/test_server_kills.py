"""`kill -9` of a redis-server under load: the runtime goes on by itself, and nothing that was told is lost."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from tests.faults.redis.trial import AUDIT_EVERY, Trial
from tests.infrastructure.redis_server import RedisServer
from tests.infrastructure.tier import full

LOSS_MAX = 0.3  # seconds of writes that a server forgets
Servers = Callable[..., RedisServer]


def kill_synced(kills: int, servers: Servers, trial: Callable[..., Trial]) -> None:
    """A server that syncs before it answers loses nothing."""
    server = servers(appendfsync="always")
    tried = trial(server.url, durability="fsync")
    tried.endure(kills, server.kill, server.restart)
    tried.report("kills of a server with appendfsync always", tried.audit())


def kill_losing(kills: int, servers: Servers, trial: Callable[..., Trial]) -> None:
    """A server that syncs each second loses what it wrote last; the process that was told of it puts it back."""
    server = servers(appendfsync="everysec")
    tried = trial(server.url, durability="written")
    tried.load()
    lost_bytes: list[int] = []
    for kill in range(1, kills + 1):
        tried.ripen()
        written = server.written
        time.sleep(tried.chance.random() * LOSS_MAX)

        def wrote_more(written: int = written) -> bool:
            return server.written > written

        tried.is_told_more(wrote_more)
        server.kill()
        moment = time.monotonic()
        tried.struck()
        lost_bytes.append(server.lose(written))
        server.restart()
        tried.goes_on(moment)
        if kill % AUDIT_EVERY == 0 and kill < kills:
            tried.drain()
            tried.audit()
            tried.load()
    tried.drain()
    restored = sum(int(words[0]) for kind, _, words in tried.reader.notes if kind == "restored")
    tried.report(
        "kills of a server with appendfsync everysec, which forgot what it wrote last",
        tried.audit(),
        bytes_forgotten=sum(lost_bytes),
        records_restored=restored,
    )
    assert min(lost_bytes) > 0
    assert restored >= kills


def test_two_kills_of_a_server_that_syncs(servers: Servers, trial: Callable[..., Trial]) -> None:
    kill_synced(2, servers, trial)


@pytest.mark.stress
def test_a_hundred_kills_of_a_server_that_syncs(servers: Servers, trial: Callable[..., Trial]) -> None:
    kill_synced(full(100), servers, trial)


def test_two_kills_of_a_server_that_forgets(servers: Servers, trial: Callable[..., Trial]) -> None:
    kill_losing(2, servers, trial)


@pytest.mark.stress
def test_a_hundred_kills_of_a_server_that_forgets(servers: Servers, trial: Callable[..., Trial]) -> None:
    kill_losing(full(100), servers, trial)
