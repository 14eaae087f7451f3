"""The servers as tests get them: both are there, and each test has a place of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import redis

from intendant.adapters.arango.address import parse
from intendant.adapters.arango.driver import Client
from tests.arango_standin.contract import VERSIONS
from tests.arango_standin.process import StandIn
from tests.infrastructure.servers import Infrastructure


def databases(url: str) -> list[str]:
    client = Client(parse(url))
    try:
        found: Any = client.system.databases()
        return list(found)
    finally:
        client.close()


def test_both_servers_are_there(test_infrastructure: Infrastructure, test_redis: str, test_arango: str) -> None:
    driver: Any = redis
    assert (test_infrastructure.redis, test_infrastructure.arango) == (test_redis, test_arango)
    client = driver.Redis.from_url(test_redis)
    assert client.ping()
    client.close()
    assert "_system" in databases(f"{test_arango}/any")


def test_databases_are_each_test_s_alone(arango_url: str, fresh_database: Callable[[str], str]) -> None:
    server, name = arango_url.rsplit("/", 1)
    others = [fresh_database(server).rsplit("/", 1)[1] for _ in range(2)]
    assert len({name, *others}) == 3
    assert not {name, *others} & set(databases(arango_url)), "whoever opens a store makes its database"


@pytest.mark.parametrize("version", VERSIONS)
def test_stand_ins_are_shared(version: str, standins: Callable[[str], StandIn]) -> None:
    server = standins(version)
    assert standins(version) is server
    client = Client(parse(f"{server.url}/work"))
    assert client.system.version() == version
    client.close()
