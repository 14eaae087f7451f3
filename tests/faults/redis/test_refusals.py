"""A server that takes no writes: callers get the documented errors, and work goes on by itself when it does again."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

import anyio
import msgspec
import pytest

from intendant import (
    AcknowledgedDataMissing,
    Context,
    Execution,
    OutcomeUnknown,
    Realm,
    Retryable,
    Runtime,
    RuntimeStopped,
    Session,
)
from intendant.adapters.redis import RedisStore
from intendant.runtime.audit import Told, audit
from tests.infrastructure.redis_server import RedisServer

pytestmark = pytest.mark.anyio

TIMEOUT = 0.25  # seconds of a call
PATIENCE = 20.0  # seconds until work must have gone on


class Number(msgspec.Struct):
    value: int


realm = Realm("sums")


@realm.handler
async def double(ctx: Context, number: Number) -> int:
    async def body() -> int:
        return number.value * 2

    return await ctx.step("double", body)


@contextmanager
def full(server: RedisServer) -> Generator[None]:
    """No memory is left."""
    server.cli("CONFIG", "SET", "maxmemory", "1mb")
    yield
    server.cli("CONFIG", "SET", "maxmemory", "0")


@contextmanager
def without_replicas(server: RedisServer) -> Generator[None]:
    server.cli("CONFIG", "SET", "min-replicas-to-write", "1")
    yield
    server.cli("CONFIG", "SET", "min-replicas-to-write", "0")


@contextmanager
def replica(server: RedisServer) -> Generator[None]:
    """Somebody made it a replica of a server that is not there."""
    server.cli("REPLICAOF", "127.0.0.1", "1")
    yield
    server.cli("REPLICAOF", "NO", "ONE")


@contextmanager
def unable_to_save(server: RedisServer) -> Generator[None]:
    """Its snapshots fail, so that it refuses writes."""
    in_the_way = server.directory / "dump.rdb" / "entry"
    in_the_way.mkdir(parents=True)
    server.cli("CONFIG", "SET", "save", "3600 1")
    server.cli("BGSAVE")
    while server.cli("INFO", "persistence")["rdb_last_bgsave_status"] == "ok":
        pass
    yield
    server.cli("CONFIG", "SET", "save", "")


@contextmanager
def stopped(server: RedisServer) -> Generator[None]:
    """It does not answer at all."""
    server.pause()
    yield
    server.resume()


@contextmanager
def gone(server: RedisServer) -> Generator[None]:
    server.kill()
    yield
    server.restart()


def runtime_over(server: RedisServer) -> Runtime:
    return Runtime([realm], hot=f"{server.url}?timeout=1", timeout=TIMEOUT, lease=3.0, durability="fsync")


async def submit(session: Session, value: int, told: Told) -> Execution[Any]:
    execution = await session.submit("sums.double", {"value": value}, idempotency_key=f"k{value}")
    told.accept("acme", execution.id, f"k{value}")
    return execution


async def surely(session: Session, value: int, told: Told) -> int:
    """Submit, and ask for the result, until both are told."""
    with anyio.fail_after(PATIENCE):
        while True:
            try:
                return int(await (await submit(session, value, told)).result())
            except (Retryable, OutcomeUnknown, TimeoutError):
                await anyio.sleep(0.02)


async def check(server: RedisServer, told: Told) -> None:
    store = RedisStore(server.url)
    await store.open()
    found = await audit(store.log(0), told, all_ended=True)
    await store.close()
    assert found.sound, found.findings
    assert found.executions == {"completed": len(told.accepted)}


@pytest.mark.parametrize("trouble", [full, without_replicas, replica, unable_to_save, stopped, gone])
async def test_work_goes_on_after(trouble: Callable[..., Any], servers: Callable[..., RedisServer]) -> None:
    server, told = servers(appendfsync="always"), Told()
    async with runtime_over(server) as runtime:
        session = await runtime.open_session("acme", "desk-1", timeout=PATIENCE)
        assert await surely(session, 1, told) == 2
        with trouble(server), pytest.raises((Retryable, OutcomeUnknown)):
            await submit(session, 2, told)
        assert [await surely(session, value, told) for value in (2, 3)] == [4, 6]
        assert runtime.ready
    await check(server, told)


async def test_a_full_server_is_told_at_the_door(servers: Callable[..., RedisServer]) -> None:
    server, told = servers(appendfsync="always"), Told()
    async with runtime_over(server) as runtime:
        session = await runtime.open_session("acme", "desk-1", timeout=PATIENCE)
        with full(server), anyio.fail_after(PATIENCE):
            code = ""
            while code != "overloaded":
                try:
                    await submit(session, 1, told)
                except (Retryable, OutcomeUnknown) as error:
                    code = error.code
        assert await surely(session, 1, told) == 2
    await check(server, told)


async def test_a_server_that_was_emptied_gets_back_what_this_process_wrote(
    servers: Callable[..., RedisServer],
) -> None:
    server, told = servers(appendfsync="always"), Told()
    async with runtime_over(server) as runtime:
        session = await runtime.open_session("acme", "desk-1", timeout=PATIENCE)
        assert await surely(session, 1, told) == 2
        server.flush()
        assert await surely(session, 2, told) == 4
        assert runtime.stats().restored > 0
    await check(server, told)


async def test_a_server_that_lost_more_than_this_process_knows_is_told(servers: Callable[..., RedisServer]) -> None:
    server, told = servers(appendfsync="always"), Told()
    async with runtime_over(server) as runtime:
        await runtime.open_session("acme", "desk-1", timeout=PATIENCE)
    runtime = runtime_over(server)
    try:
        async with runtime:
            session = await runtime.open_session("acme", "desk-1", timeout=PATIENCE)
            server.flush()
            with pytest.raises(AcknowledgedDataMissing):
                await surely(session, 2, told)
    except RuntimeStopped:
        assert isinstance(runtime.failed, AcknowledgedDataMissing)
    else:
        raise AssertionError("leaving raises")
