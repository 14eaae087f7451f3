"""What becomes of calls when connections break, are cancelled, or meet a server that can't."""

from __future__ import annotations

import subprocess
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from msgspec.structs import replace

from intendant.adapters.process import current_owner
from intendant.adapters.redis import RedisStore
from intendant.adapters.redis.errors import Moved, translate
from intendant.adapters.redis.function_library import LIBRARY
from intendant.domain.commit import Batch, KeysTaken, PutDocument, Verdict
from intendant.domain.errors import InternalError, InvalidValue, PartitionOwned, StoreUnavailable
from intendant.domain.ports import Log, Owner
from intendant.testing.conformance.commits import all_of, one_of_everything
from intendant.testing.conformance.pen import Pen, commit, owner
from tests.infrastructure.proxy import Cut, Proxy
from tests.infrastructure.redis_server import RedisServer

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    """A server that these tests may mistreat."""
    with RedisServer() as server:
        yield server


@pytest.fixture
def proxy(server: RedisServer) -> Iterator[Proxy]:
    with Proxy(server.port) as proxy:
        yield proxy


@pytest.fixture
def url(server: RedisServer, fresh_prefix: Callable[[], str]) -> str:
    return f"{server.url}?timeout=2&prefix={fresh_prefix()}"


@asynccontextmanager
async def opened(url: str) -> AsyncGenerator[RedisStore]:
    store = RedisStore(url)
    await store.open()
    try:
        yield store
    finally:
        await store.close()


async def settled(log: Log, batch: Batch) -> Verdict | KeysTaken:
    """What the store says of a batch that is sent until it says something."""
    while True:
        try:
            return await log.commit(batch)
        except StoreUnavailable:
            await anyio.lowlevel.checkpoint()


async def test_a_lost_reply_at_any_byte(url: str, server: RedisServer, proxy: Proxy) -> None:
    async with opened(url.replace(str(server.port), str(proxy.port))) as store:
        log = store.log(0)
        pen = await Pen.take(log)
        verdicts: list[Verdict | KeysTaken] = []
        for number, (byte, reset) in enumerate((byte, reset) for byte in range(8) for reset in (False, True)):
            batch = pen.seal(one_of_everything(mark=str(number)))
            proxy.arm(Cut("reply", byte, reset=reset))
            with pytest.raises(StoreUnavailable):
                await log.commit(batch)
            verdicts.append(await settled(log, batch))
            pen.next = batch.first + batch.count
        assert set(verdicts) <= {Verdict.OK, Verdict.DUP}
        assert verdicts.count(Verdict.DUP) >= 8  # most were carried out
        found = await all_of(log)
        assert (len(found["documents"]), len(found["entries"]), len(found["outbox"])) == (16, 16, 16)
        assert [await log.journal("t", f"x{number}") for number in range(16)] == [[b"row"]] * 16


async def test_a_lost_request_at_any_byte(url: str, server: RedisServer, proxy: Proxy) -> None:
    async with opened(url.replace(str(server.port), str(proxy.port))) as store:
        log = store.log(0)
        pen = await Pen.take(log)
        for number, byte in enumerate((0, 1, 5, 20, 100, 500, 900)):
            batch = pen.seal(one_of_everything(mark=str(number)))
            proxy.arm(Cut("request", byte))
            with pytest.raises(StoreUnavailable):
                await log.commit(batch)
            assert await settled(log, batch) is Verdict.OK  # half a request is none
            pen.next = batch.first + batch.count


async def test_a_lost_reply_to_acquire_stands_in_nobodys_way(url: str, server: RedisServer, proxy: Proxy) -> None:
    async with opened(url.replace(str(server.port), str(proxy.port))) as store:
        log = store.log(0)
        await log.holder()  # so that functions are loaded, and the next reply that matters is that of acquire
        tenure = await log.acquire(owner(), timeout=0, lease=60)
        proxy.arm(Cut("reply", 20))  # behind the store's own key
        with pytest.raises(StoreUnavailable):
            await log.acquire(owner(), timeout=0, lease=60)
        again = await log.acquire(owner(), timeout=0, lease=60)
        assert again.epoch > tenure.epoch


async def test_a_server_that_does_not_answer_is_given_up(url: str, server: RedisServer) -> None:
    async with opened(url.replace("timeout=2", "timeout=0.7")) as store:
        log = store.log(0)
        pen = await Pen.take(log)
        batch = pen.seal(one_of_everything())
        server.pause()
        try:
            with pytest.raises(StoreUnavailable, match=r"no answer within 0.7 s; nothing was told"):
                await log.commit(batch)
            with pytest.raises(StoreUnavailable):
                await log.key("t", "k")
        finally:
            server.resume()
        assert await settled(log, batch) in (Verdict.OK, Verdict.DUP)


async def _cancelled_after(steps: int, call: Callable[[], Awaitable[Any]]) -> None:
    """Begin a call, cancel it after so many turns of the event loop, and wait until it has ended."""

    async def begin(scope: anyio.CancelScope) -> None:
        with scope:
            await call()

    async with anyio.create_task_group() as group:
        scope = anyio.CancelScope()
        group.start_soon(begin, scope)
        for _ in range(steps):
            await anyio.lowlevel.cancel_shielded_checkpoint()
        scope.cancel()


async def test_a_commit_may_be_cancelled_anywhere(url: str) -> None:
    async with opened(url) as store:
        log = store.log(0)
        pen = await Pen.take(log)
        verdicts: list[Verdict | KeysTaken] = []
        for steps in range(60):
            batch = pen.seal(one_of_everything(mark=str(steps)))
            await _cancelled_after(steps // 2, lambda batch=batch: log.commit(batch))  # type: ignore[misc]
            verdicts.append(await log.commit(batch))
            pen.next = batch.first + batch.count
            assert await log.journal("t", f"x{steps}") == [b"row"]
        assert set(verdicts) == {Verdict.OK, Verdict.DUP}
        assert len(await log.entries(None, limit=1000)) == len(await log.outbox()) == 60


async def test_no_read_gets_the_reply_of_a_cancelled_one(url: str) -> None:
    async with opened(url) as store:
        log = store.log(0)
        pen = await Pen.take(log)
        await pen.write(*(commit(f"t{n}", PutDocument("c", "k", b"of t%d" % n)) for n in range(40)))

        async def check(number: int) -> None:
            document = await log.document(f"t{number}", "c", "k")
            assert document is not None
            assert document.body == b"of t%d" % number

        for turn in range(40):
            async with anyio.create_task_group() as group:
                for number in range(8):
                    group.start_soon(_cancelled_after, (turn + number) // 2, lambda n=number: check(n))
                    group.start_soon(check, 39 - number)


async def test_an_acquire_may_be_cancelled_anywhere(url: str) -> None:
    async with opened(url) as first, opened(url) as second:
        for steps in range(30):
            await _cancelled_after(steps, lambda: first.log(0).acquire(owner("first"), timeout=9, lease=60))
            holder = await first.log(0).holder()
            if holder is not None:  # it had ended before the cancel came
                assert steps > 0
                break
            tenure = await second.log(0).acquire(owner("second"), timeout=0, lease=60)
            await second.log(0).release(tenure)


async def test_connections_that_died_in_the_meantime(url: str, server: RedisServer) -> None:
    async with opened(url) as store:
        log = store.log(0)
        pen = await Pen.take(log)
        await pen.write(one_of_everything())
        async with anyio.create_task_group() as group:
            for _ in range(4):
                group.start_soon(log.journal, "t", "x1")
        server.cli("CLIENT", "KILL", "TYPE", "normal")
        assert await log.journal("t", "x1") == [b"row"]  # a read finds another
        batch = pen.seal(one_of_everything(mark="2"))
        with pytest.raises(StoreUnavailable):  # a commit is sent once
            await log.commit(batch)
        assert await pen.send(batch) is Verdict.OK


async def test_functions_that_are_gone_are_loaded_again(url: str, server: RedisServer) -> None:
    async with opened(url) as store:
        log = store.log(0)
        pen = await Pen.take(log)
        server.cli("FUNCTION", "FLUSH")
        await pen.write(one_of_everything())
        server.cli("FUNCTION", "FLUSH")
        assert len(await log.entries("t")) == 1
        assert LIBRARY.name in str(server.cli("FUNCTION", "LIST"))


async def test_functions_of_another_make_are_replaced(url: str, server: RedisServer) -> None:
    server.cli("FUNCTION", "LOAD", "REPLACE", LIBRARY.code.replace("return 'OK'", "return 'GAP'"))
    async with opened(url) as store:
        await (await Pen.take(store.log(0))).write(one_of_everything())


async def test_a_server_that_was_emptied_has_lost_the_tenure(url: str, server: RedisServer) -> None:
    async with opened(url + "&partitions=2") as store:
        log = store.log(1)
        pen = await Pen.take(log)
        await pen.write(one_of_everything())
        server.flush()
        assert await log.commit(pen.seal(commit("t"))) is Verdict.LOST
        assert await log.renew(pen.tenure, pen.next) is Verdict.LOST
        tenure = await log.acquire(owner(), timeout=0, lease=60, above=pen.tenure.epoch)
        assert (tenure.epoch, tenure.next_sequence, tenure.partition) == (pen.tenure.epoch + 1, 1, 1)
        assert await log.renew(tenure, 2) is Verdict.GAP
    async with opened(url) as again:
        assert again.partitions == 2


async def test_a_full_server_refuses_before_it_writes(url: str, server: RedisServer) -> None:
    async with opened(url) as store:
        log = store.log(0)
        pen = await Pen.take(log)
        await pen.write(one_of_everything())
        found = await all_of(log)
        batch = pen.seal(one_of_everything(mark="2"))
        server.cli("CONFIG", "SET", "maxmemory", "1")
        try:
            with pytest.raises(StoreUnavailable, match="raise maxmemory"):
                await log.commit(batch)
            assert await all_of(log) == found
            assert (await store.usage()).share > 1
        finally:
            server.cli("CONFIG", "SET", "maxmemory", "0")
        assert await pen.send(batch) is Verdict.OK


async def test_a_primary_that_became_a_replica(url: str, server: RedisServer) -> None:
    async with opened(url) as store:
        log = store.log(0)
        pen = await Pen.take(log)
        batch = pen.seal(one_of_everything())
        server.cli("CONFIG", "SET", "min-replicas-to-write", "1")
        with pytest.raises(StoreUnavailable, match="min-replicas-to-write"):
            await log.commit(batch)
        server.cli("CONFIG", "SET", "min-replicas-to-write", "0")
        server.cli("REPLICAOF", "127.0.0.1", "1")
        try:
            with pytest.raises(StoreUnavailable, match="name the primary"):
                await log.commit(batch)
            with pytest.raises(StoreUnavailable, match="is a slave; name the primary"):
                await RedisStore(url).open()
        finally:
            server.cli("REPLICAOF", "NO", "ONE")
        assert await settled(log, batch) is Verdict.OK


def _dead() -> Owner:
    process = subprocess.Popen(["true"])
    process.wait()
    return replace(current_owner(), pid=process.pid)


async def test_an_owner_that_is_provably_dead_is_not_waited_for(url: str) -> None:
    dead = _dead()
    async with opened(url) as first, opened(url) as second:
        old = await first.log(0).acquire(dead, timeout=0, lease=60)
        new = await second.log(0).acquire(owner(), timeout=0, lease=60)
        assert await first.log(0).renew(old, 1) is Verdict.FENCED
        with pytest.raises(PartitionOwned, match="process 4711 on host-a"):  # which nobody here can prove dead
            await first.log(0).acquire(dead, timeout=0, lease=60)
        assert await second.log(0).renew(new, 1) is Verdict.OK


def test_a_store_serves_one_loop_after_another(url: str) -> None:
    store = RedisStore(url)

    async def write(mark: str) -> None:
        await store.open()
        await (await Pen.take(store.log(0))).write(one_of_everything(mark=mark))
        await store.close()

    for turn, backend in enumerate(("asyncio", "trio", "asyncio")):
        anyio.run(write, str(turn), backend=backend)


async def test_closing_gives_the_partition_back(url: str) -> None:
    async with opened(url) as first:
        await Pen.take(first.log(0))
        async with opened(url) as second:
            assert await second.log(0).holder() is not None
            await first.close()
            assert await second.log(0).holder() is None
            await Pen.take(second.log(0), timeout=0)


@pytest.mark.parametrize(
    ("message", "error"),
    [
        ("LOADING Redis is loading the dataset in memory", StoreUnavailable),
        ("MASTERDOWN Link with MASTER is down", StoreUnavailable),
        ("READONLY You can't write against a read only replica.", StoreUnavailable),
        ("MISCONF Errors writing to the AOF file: No space left on device", StoreUnavailable),
        ("OOM command not allowed when used memory > 'maxmemory'.", StoreUnavailable),
        (
            "ERR OOM command not allowed when used memory > 'maxmemory'. script: x, on @user_function:1.",
            StoreUnavailable,
        ),
        ("CLUSTERDOWN The cluster is down", Moved),
        ("TRYAGAIN Multiple keys request during rehashing of slot", StoreUnavailable),
        ("MOVED 3999 127.0.0.1:6381", Moved),
        ("ASK 3999 127.0.0.1:6381", StoreUnavailable),
        (
            "ERR Script attempted to access a non local key in a cluster node script: f, on @user_function:2.",
            StoreUnavailable,
        ),
        ("ERR SELECT is not allowed in cluster mode", InvalidValue),
        ("BUSY Redis is busy running a script.", StoreUnavailable),
        ("NOREPLICAS Not enough good replicas to write.", StoreUnavailable),
        ("NOAUTH Authentication required.", StoreUnavailable),
        ("WRONGPASS invalid username-password pair or user is disabled.", StoreUnavailable),
        ("NOPERM this user has no permissions to run the 'fcall' command", StoreUnavailable),
        ("ERR max number of clients reached", StoreUnavailable),
        ("WRONGTYPE Operation against a key holding the wrong kind of value", InternalError),
        ("ERR WRONGTYPE Operation against a key script: f, on @user_function:7.", InternalError),
        ("ERR something new", InternalError),
    ],
)
async def test_error_replies(message: str, error: type[Exception]) -> None:
    translated = translate(message, "redis://here")
    assert type(translated) is error
    assert "redis://here" in str(translated)
    assert message in str(translated)
