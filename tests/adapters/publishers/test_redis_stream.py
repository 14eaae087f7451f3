"""Events in a Redis stream, as another client reads them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest
import redis

from intendant.adapters.publishers import redis_stream
from intendant.domain.errors import InvalidValue, TargetUnavailable
from intendant.domain.state import Event
from tests.infrastructure.redis_cluster import RedisCluster
from tests.infrastructure.redis_server import RedisServer

pytestmark = pytest.mark.anyio

EVENT = Event("01ab-0", "acme", "desk-1", "01ab", "order.paid", {"note": "ö", "n": 2**60}, 7, 1_700_000_000_123_456)


@pytest.fixture
def client(test_redis: str) -> Iterator[Any]:
    driver: Any = redis  # not typed throughout
    made = driver.Redis.from_url(test_redis, decode_responses=True)
    yield made
    made.close()


async def test_an_event_is_an_entry_and_the_same_each_time(
    test_redis: str, client: Any, fresh_prefix: Callable[[], str]
) -> None:
    stream = fresh_prefix()
    publisher = redis_stream(test_redis, stream=stream)
    await publisher.publish(EVENT)
    await publisher.aclose()
    await publisher.publish(EVENT)  # it opens anew
    await publisher.aclose()
    first, second = (fields for _, fields in client.xrange(stream))
    assert first == second
    payload = first.pop("payload")
    assert msgspec.json.decode(payload) == EVENT.payload
    assert first == {
        "id": "01ab-0",
        "tenant": "acme",
        "session": "desk-1",
        "execution": "01ab",
        "name": "order.paid",
        "position": "7",
        "time": "1700000000123456",
    }


async def test_a_key_that_holds_no_stream(test_redis: str, client: Any, fresh_prefix: Callable[[], str]) -> None:
    stream = fresh_prefix()
    client.set(stream, "text")
    publisher = redis_stream(test_redis, stream=stream)
    with pytest.raises(InvalidValue, match=f"{stream} holds no stream; choose another"):
        await publisher.publish(EVENT)
    await publisher.aclose()


async def test_a_server_that_is_away_is_an_outage_and_comes_back() -> None:
    with RedisServer() as server:
        publisher = redis_stream(server.url, stream="events")
        await publisher.publish(EVENT)
        server.stop()
        for _ in range(2):
            with pytest.raises(TargetUnavailable, match="redis stream events"):
                await publisher.publish(EVENT)
        server.restart()
        await publisher.publish(EVENT)
        await publisher.aclose()


async def test_in_a_cluster_the_node_that_has_the_stream_is_found(redis_cluster: RedisCluster) -> None:
    for stream in ("a", "b", "c", "d"):  # more than one node has them all
        publisher = redis_stream(redis_cluster.url, stream=f"events-{stream}")
        await publisher.publish(EVENT)
        await publisher.publish(EVENT)
        await publisher.aclose()


@pytest.mark.parametrize(
    ("url", "stream", "problem"),
    [
        ("http://user:hidden@host/", "events", "begins with redis://"),
        ("redis://:hidden@host/0?what=1", "events", "no option what"),
        ("redis://host/0", "", "1 to 512 bytes"),
        ("redis://host/0", "ä" * 300, "1 to 512 bytes"),
    ],
)
def test_settings_that_can_not_be(url: str, stream: str, problem: str) -> None:
    with pytest.raises(InvalidValue, match=f"redis_stream: .*{problem}") as raised:
        redis_stream(url, stream=stream)
    assert "hidden" not in str(raised.value)


def test_it_shows_no_password() -> None:
    assert repr(redis_stream("redis://:hidden@host:1/2", stream="e")) == "<redis stream e on redis://host:1/2>"
