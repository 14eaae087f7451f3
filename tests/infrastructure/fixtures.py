"""The servers as fixtures; tests/conftest.py takes them over."""

from __future__ import annotations

import itertools
import os
import secrets
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis

from intendant.adapters.arango.address import parse
from intendant.adapters.arango.driver import Client
from tests.arango_standin.contract import VERSIONS
from tests.arango_standin.process import StandIn
from tests.infrastructure.redis_cluster import RedisCluster
from tests.infrastructure.redis_server import RedisServer
from tests.infrastructure.servers import ARANGO_URL, REDIS_URL, Infrastructure, find, require_redis

FOUND = pytest.StashKey[Infrastructure]()


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):  # workers of pytest-xdist inherit the environment
        config.stash[FOUND] = find()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    terminalreporter.write_line(str(config.stash[FOUND]))


@pytest.fixture(scope="session")
def given_servers() -> Infrastructure:
    """What this run was given; empty where servers of our own are started."""
    return Infrastructure(os.environ.get(REDIS_URL, ""), os.environ.get(ARANGO_URL, ""), "the environment")


@pytest.fixture(scope="session")
def test_infrastructure(given_servers: Infrastructure, test_redis: str, test_arango: str) -> Infrastructure:
    """Both servers by their URLs, whoever started them."""
    return Infrastructure(test_redis, test_arango, given_servers.source)


# --- Redis


@pytest.fixture(scope="session")
def test_redis(given_servers: Infrastructure) -> Iterator[str]:
    """The URL of a Redis that keeps an AOF; tests keep apart by `?prefix=`, see `redis_url`."""
    if given_servers.redis:
        yield given_servers.redis
        return
    require_redis()
    with RedisServer() as server:
        yield server.url


@pytest.fixture(scope="session")
def fresh_prefix(given_servers: Infrastructure, test_redis: str) -> Iterator[Callable[[], str]]:
    """Prefixes that nobody else uses; what lies under them goes with the session."""
    session = f"test-{secrets.token_hex(4)}"
    numbers = itertools.count(1)
    yield lambda: f"{session}-{next(numbers)}"
    if given_servers.redis:  # ours goes as a whole
        _remove(test_redis, f"*{session}-*")


@pytest.fixture(scope="session")
def redis_cluster() -> Iterator[RedisCluster]:
    """A cluster of three nodes, of which each keeps an AOF. Tests that take a node away bring it back."""
    require_redis()
    with RedisCluster() as cluster:
        yield cluster


@pytest.fixture
def redis_url(test_redis: str, fresh_prefix: Callable[[], str]) -> str:
    """A hot store on Redis that is this test's alone."""
    return f"{test_redis}{'&' if '?' in test_redis else '?'}prefix={fresh_prefix()}"


# --- ArangoDB


@pytest.fixture(scope="session")
def standins() -> Iterator[Callable[[str], StandIn]]:
    """The stand-in of a version, started when it is first asked for; tests share it, and leave it running."""
    started: dict[str, StandIn] = {}

    def of(version: str) -> StandIn:
        if version not in started:
            started[version] = StandIn(version)
        return started[version]

    yield of
    for each in started.values():
        each.close()


@pytest.fixture(scope="session")
def test_arango(given_servers: Infrastructure, standins: Callable[[str], StandIn]) -> str:
    """The URL of an ArangoDB, without a database; tests keep apart by databases, see `arango_url`."""
    return given_servers.arango or standins(VERSIONS[0]).url


@pytest.fixture
def fresh_database() -> Iterator[Callable[[str], str]]:
    """The URL of a database of this test's alone, on the server of a URL; it is removed afterwards."""
    made: list[str] = []

    def name(server: str) -> str:
        made.append(f"{server}/test-{secrets.token_hex(8)}")
        return made[-1]

    yield name
    for url in made:
        address = parse(url)
        client = Client(address)
        client.system.delete_database(address.database, ignore_missing=True)
        client.close()


@pytest.fixture
def standin(standins: Callable[[str], StandIn], fresh_database: Callable[[str], str]) -> Iterator[Callable[[str], str]]:
    """The URL of a database on the stand-in of a version. Whoever asks it for what it does not know fails."""
    asked: set[str] = set()

    def url(version: str) -> str:
        asked.add(version)
        return fresh_database(standins(version).url)

    yield url
    for version in asked:
        state = standins(version).plan(None)
        assert not state.strays, "asked the stand-in for what it does not know, see tests/arango_standin/README.md"


@pytest.fixture
def arango_url(given_servers: Infrastructure, request: pytest.FixtureRequest) -> str:
    """A cold store on ArangoDB that is this test's alone."""
    if given_servers.arango:
        return str(request.getfixturevalue("fresh_database")(given_servers.arango))
    return str(request.getfixturevalue("standin")(VERSIONS[0]))


@pytest.fixture(params=VERSIONS)
def any_arango_url(request: pytest.FixtureRequest) -> str:
    """The same on each version: the one that is named where it is new, the stand-in where it is old."""
    if request.param == VERSIONS[0]:
        return str(request.getfixturevalue("arango_url"))
    return str(request.getfixturevalue("standin")(request.param))


def _remove(url: str, pattern: str) -> None:
    driver: Any = redis  # not typed throughout
    client = driver.Redis.from_url(url)
    keys = list(client.scan_iter(match=pattern, count=1000))
    for start in range(0, len(keys), 1000):
        client.unlink(*keys[start : start + 1000])
    client.close()
