"""No byte of what was erased is left: in the SQLite file, in any key of Redis, in the directory of files."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio
import pytest
import redis

from intendant import RelaySettings, Runtime, Shutdown
from intendant.domain.erasure import Scope
from intendant.supervisor import Backoff
from tests.erasure.planted import plant, refuse_some, secret, shop

pytestmark = pytest.mark.anyio
QUICK: dict[str, Any] = {
    "relay": RelaySettings(attempts=2, retry=Backoff(initial=0.001, maximum=0.001)),
    "shutdown": Shutdown(drain=0),
}
SCOPES = [Scope("acme"), Scope("acme", "s1")]

Eventually = Callable[[Callable[[], Awaitable[bool]]], Awaitable[None]]


@pytest.fixture(params=SCOPES, ids=["tenant", "session"])
def scope(request: pytest.FixtureRequest) -> Scope:
    found: Scope = request.param
    return found


async def live(runtime: Runtime, eventually: Eventually) -> None:
    """Fill two tenants, with changes that leave old versions behind, and something that has not ended."""
    for tenant in ("acme", "beta"):
        for session in ("s1", "s2"):
            handle = await plant(runtime, tenant, session, 8)
            word = secret(tenant, session)
            for number in range(20):
                await runtime.state.set_session(tenant, session, {"data": word * (20 - number)})
            await handle.submit("shop.hold", {"n": 1, "word": word, "seconds": 1000})

    async def at_rest() -> bool:
        return not any([(await runtime.outbox.pending(tenant)).items for tenant in ("acme", "beta")])

    await eventually(at_rest)


async def erase(runtime: Runtime, scope: Scope) -> None:
    if scope.session:
        await runtime.erase_session(scope.tenant, scope.session, drop_open=True)
    else:
        await runtime.erase_tenant(scope.tenant, drop_open=True)


def words(scope: Scope) -> tuple[list[bytes], list[bytes]]:
    """What must be gone, and what must be there."""
    every = [(tenant, session) for tenant in ("acme", "beta") for session in ("s1", "s2")]
    gone = [each for each in every if each[0] == scope.tenant and scope.session in ("", each[1])]
    return [secret(*each).encode() for each in gone], [secret(*each).encode() for each in every if each not in gone]


async def test_no_byte_is_left_in_a_file_of_sqlite_or_beside_it(
    tmp_path: Path, scope: Scope, eventually: Eventually
) -> None:
    def look() -> bytes:
        return b"".join(each.read_bytes() for each in tmp_path.rglob("*") if each.is_file())

    gone, there = words(scope)
    hot = f"sqlite:{tmp_path / 'work.db'}"
    async with Runtime([shop], hot=hot, publisher=refuse_some, **QUICK) as runtime:
        await live(runtime, eventually)
        assert all(word in look() for word in gone + there)
        await erase(runtime, scope)
        left = look()
        assert not any(word in left for word in gone), "while it runs"
        assert all(word in left for word in there)
    assert not any(word in look() for word in gone), "when it was left"
    async with Runtime([shop], hot=hot) as runtime:
        assert (await runtime.executions("beta")).items
    assert not any(word in look() for word in gone), "when it was opened again"


async def test_no_key_of_redis_tells_of_it(
    redis_url: str, tmp_path: Path, scope: Scope, eventually: Eventually
) -> None:
    def look() -> bytes:
        return read_all(redis_url) + b"".join(each.read_bytes() for each in tmp_path.rglob("*") if each.is_file())

    gone, there = words(scope)
    files = f"file:{tmp_path}"
    async with Runtime([shop], hot=redis_url, files=files, publisher=refuse_some, **QUICK) as runtime:
        await live(runtime, eventually)
        before = await anyio.to_thread.run_sync(look)
        assert all(word in before for word in gone + there)
        await erase(runtime, scope)
        left = await anyio.to_thread.run_sync(look)
        assert not any(word in left for word in gone)
        assert all(word in left for word in there)


def read_all(url: str) -> bytes:
    """Every key under the store's prefix, and all that its type's own command tells."""
    prefix = url.rpartition("prefix=")[2]
    driver: Any = redis  # not typed throughout
    client = driver.Redis.from_url(url.partition("?")[0])
    read: dict[bytes, Callable[[bytes], Any]] = {
        b"hash": client.hgetall,
        b"stream": client.xrange,
        b"zset": lambda key: client.zrange(key, 0, -1, withscores=True),
        b"list": lambda key: client.lrange(key, 0, -1),
        b"string": client.get,
        b"set": client.smembers,
        b"none": lambda _key: None,  # it has gone since it was found
    }
    found: list[bytes] = []
    for key in client.scan_iter(match=f"{{{prefix}:*", count=1000):
        found += [key, *_bytes_in(read[client.type(key)](key))]
    client.close()
    return b"\n".join(found)


def _bytes_in(value: Any) -> list[bytes]:
    if isinstance(value, bytes):
        return [value]
    items: list[Any] = []
    if isinstance(value, dict):
        items = list(value.items())  # pyright: ignore[reportUnknownArgumentType,reportUnknownVariableType]
    elif isinstance(value, list | tuple | set):
        items = list(value)  # pyright: ignore[reportUnknownArgumentType,reportUnknownVariableType]
    return [each for item in items for each in _bytes_in(item)]
