"""What a server gives is found out from its own settings, and a server that gives too little is refused."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import anyio.abc
import hiredis
import pytest
from msgspec.structs import replace

from intendant.adapters.redis import RedisStore
from intendant.adapters.redis.server import Facts, Guarantee, guarantee
from intendant.domain.commit import (
    PLACES,
    DeleteDocument,
    DropJournal,
    ReleaseKey,
    ReplaceEntry,
    SettleOutbox,
    TrimLog,
    Verdict,
)
from intendant.domain.errors import InternalError, InvalidValue, StoreUnavailable
from intendant.domain.ports import Durability, Usage
from intendant.domain.records import UnknownFormat
from intendant.testing.conformance.commits import all_of, one_of_everything
from intendant.testing.conformance.pen import Pen, commit
from tests.infrastructure.ports import free_port
from tests.infrastructure.redis_server import RedisServer

SETTINGS = {"appendfsync": "everysec", "no-appendfsync-on-rewrite": "no"}
FACTS = Facts(
    version=(7, 0, 15),
    role="master",
    loading=False,
    replicas=0,
    policy="noeviction",
    appends=True,
    settings=SETTINGS,
)
ALWAYS = replace(FACTS, settings={**SETTINGS, "appendfsync": "always"})
SYNCS_LESS = replace(ALWAYS, settings={**SETTINGS, "appendfsync": "always", "no-appendfsync-on-rewrite": "yes"})
NEVER = replace(FACTS, settings={**SETTINGS, "appendfsync": "no"})
HIDDEN = replace(FACTS, settings=None)
MEMORY, WRITTEN, FSYNC, REPLICATED = Durability
NEEDED = """
    +info +config|get +select +function|load +function|list +fcall +fcall_ro +time +exists +unlink +hset +hsetnx +hget
    +hmget +hdel +lrange +rpush +zadd +zrem +zremrangebyscore +zrangebylex +zrevrangebylex +zrangebyscore
    +zrevrangebyscore +xadd +xdel +xlen +xrange +xrevrange +xtrim
"""  # what a user must be allowed, on keys of the prefix; from 7.2 on +waitaof, too


@pytest.mark.parametrize(
    ("facts", "asked", "assume", "expected"),
    [
        (FACTS, WRITTEN, None, Guarantee(WRITTEN)),
        (FACTS, MEMORY, None, Guarantee(WRITTEN)),
        (ALWAYS, WRITTEN, None, Guarantee(FSYNC)),
        (ALWAYS, FSYNC, None, Guarantee(FSYNC)),
        (SYNCS_LESS, WRITTEN, None, Guarantee(WRITTEN)),
        (NEVER, MEMORY, None, Guarantee(MEMORY)),
        (replace(FACTS, appends=False), MEMORY, None, Guarantee(MEMORY)),
        (replace(FACTS, version=(7, 2, 0)), FSYNC, None, Guarantee(FSYNC, (1, 0))),
        (replace(FACTS, version=(8, 0, 0)), WRITTEN, None, Guarantee(WRITTEN)),
        (replace(ALWAYS, version=(7, 2, 4)), FSYNC, None, Guarantee(FSYNC)),
        (replace(FACTS, version=(7, 2, 4), replicas=1), REPLICATED, None, Guarantee(REPLICATED, (1, 1))),
        (HIDDEN, WRITTEN, WRITTEN, Guarantee(WRITTEN)),
        (HIDDEN, MEMORY, None, Guarantee(MEMORY)),
        (HIDDEN, FSYNC, FSYNC, Guarantee(FSYNC)),
        (replace(HIDDEN, version=(7, 2, 0)), FSYNC, WRITTEN, Guarantee(FSYNC, (1, 0))),
        (replace(HIDDEN, appends=None), WRITTEN, WRITTEN, Guarantee(WRITTEN)),
        (replace(ALWAYS, appends=None), WRITTEN, WRITTEN, Guarantee(WRITTEN)),
    ],
)
def test_what_is_given(facts: Facts, asked: Durability, assume: Durability | None, expected: Guarantee) -> None:
    given = guarantee(facts, asked, assume, "redis://here")
    assert given == expected
    assert given.loss_window == (0.0 if expected.durability >= FSYNC else 3.0)


@pytest.mark.parametrize(
    ("facts", "asked", "assume", "remedy"),
    [
        (replace(FACTS, appends=False), WRITTEN, None, "CONFIG SET appendonly yes"),
        (NEVER, WRITTEN, None, "CONFIG SET appendfsync everysec"),
        (FACTS, FSYNC, None, "CONFIG SET appendfsync always"),
        (SYNCS_LESS, FSYNC, None, "CONFIG SET no-appendfsync-on-rewrite no"),
        (replace(FACTS, policy="allkeys-lru"), MEMORY, None, "CONFIG SET maxmemory-policy noeviction"),
        (replace(FACTS, policy="volatile-ttl"), MEMORY, None, "CONFIG SET maxmemory-policy noeviction"),
        (replace(FACTS, role="slave"), MEMORY, None, "name the primary"),
        (replace(FACTS, loading=True), MEMORY, None, "loading"),
        (replace(FACTS, version=(6, 2, 1)), MEMORY, None, "use 7.0 or newer"),
        (replace(NEVER, version=(7, 2, 0)), FSYNC, None, "CONFIG SET appendfsync always"),
        (replace(NEVER, version=(7, 2, 0), replicas=1), REPLICATED, None, "appendfsync no, 1 replicas"),
        (HIDDEN, WRITTEN, None, "?assume=written"),
        (replace(ALWAYS, appends=None), FSYNC, None, "?assume=written"),
        (HIDDEN, FSYNC, WRITTEN, "CONFIG SET appendfsync always"),
        (replace(HIDDEN, appends=False), WRITTEN, WRITTEN, "CONFIG SET appendonly yes"),
        (ALWAYS, REPLICATED, None, "Redis 7.2"),
        (replace(ALWAYS, version=(7, 2, 0)), REPLICATED, None, "0 replicas"),
        (replace(ALWAYS, version=(7, 2, 0), replicas=2, appends=False), REPLICATED, None, "appendonly no"),
    ],
)
def test_what_is_refused(facts: Facts, asked: Durability, assume: Durability | None, remedy: str) -> None:
    with pytest.raises(StoreUnavailable, match=r"redis://here.*") as refused:
        guarantee(facts, asked, assume, "redis://here")
    assert remedy in str(refused.value)


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@pytest.fixture
def url(server: RedisServer, fresh_prefix: Callable[[], str]) -> Iterator[str]:
    """The settings that a test changes are put back."""
    names = ("appendonly", "appendfsync", "no-appendfsync-on-rewrite", "maxmemory", "maxmemory-policy")
    kept = {name: server.cli("CONFIG", "GET", name)[name] for name in names}
    yield f"{server.url}?prefix={fresh_prefix()}"
    for name, value in kept.items():
        server.cli("CONFIG", "SET", name, value)


@asynccontextmanager
async def opened(url: str, durability: Durability | None = None) -> AsyncGenerator[RedisStore]:
    store = RedisStore(url, durability=durability)
    await store.open()
    try:
        yield store
    finally:
        await store.close()


@pytest.mark.anyio
class TestSettings:
    async def test_levels(self, url: str, server: RedisServer) -> None:
        async with opened(url) as store:
            assert (store.durability, store.log(0).durability, store.loss_window) == (WRITTEN, WRITTEN, 3.0)
        if server.knows_waitaof:
            async with opened(url, FSYNC) as store:
                assert (store.durability, store.loss_window) == (FSYNC, 0.0)
        else:
            with pytest.raises(StoreUnavailable, match="CONFIG SET appendfsync always"):
                await RedisStore(url, durability=FSYNC).open()
        server.cli("CONFIG", "SET", "appendfsync", "always")
        async with opened(url, FSYNC) as store:
            assert (store.durability, store.loss_window) == (FSYNC, 0.0)
        server.cli("CONFIG", "SET", "no-appendfsync-on-rewrite", "yes")
        async with opened(url) as store:
            assert store.durability is WRITTEN
        server.cli("CONFIG", "SET", "appendonly", "no")
        with pytest.raises(StoreUnavailable, match="CONFIG SET appendonly yes"):
            await RedisStore(url).open()
        async with opened(url, MEMORY) as store:
            assert store.durability is MEMORY
            await (await Pen.take(store.log(0))).write(commit("t"))

    async def test_eviction_is_refused(self, url: str, server: RedisServer) -> None:
        server.cli("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
        for limit in ("0", "100mb"):
            server.cli("CONFIG", "SET", "maxmemory", limit)
            with pytest.raises(StoreUnavailable, match="CONFIG SET maxmemory-policy noeviction"):
                await RedisStore(url).open()

    async def test_hidden_settings(self, url: str, server: RedisServer) -> None:
        server.cli("ACL", "SETUSER", "app", "on", ">sesame", "~*", "+@all", "-config")
        hidden = url.replace("redis://", "redis://app:sesame@")
        with pytest.raises(StoreUnavailable, match=r"\?assume=written") as refused:
            await RedisStore(hidden).open()
        assert "sesame" not in str(refused.value)
        async with opened(f"{hidden}&assume=written") as store:
            assert store.durability is WRITTEN
        server.cli("ACL", "SETUSER", "app", "-fcall")
        async with opened(f"{hidden}&assume=written") as store:
            with pytest.raises(StoreUnavailable, match="ACL SETUSER"):
                await Pen.take(store.log(0))

    async def test_a_user_with_no_more_than_is_needed(self, url: str, server: RedisServer) -> None:
        prefix = url.partition("prefix=")[2]
        server.cli("ACL", "SETUSER", "lean", "on", ">sesame", "resetkeys", f"~{{{prefix}:*", "-@all", *NEEDED.split())
        lean = url.replace("redis://", "redis://lean:sesame@")
        async with opened(lean) as store:
            log = store.log(0)
            pen = await Pen.take(log)
            await pen.write(one_of_everything(), commit("t", records=2))
            await pen.write(commit("t", DropJournal("x1"), SettleOutbox((PLACES,)), ReleaseKey("k1")))
            await pen.write(commit("t", ReplaceEntry(1, b""), DeleteDocument("documents", "d1")))
            await pen.write(commit("t", TrimLog(4)), commit("", TrimLog(4)))
            await all_of(log)
            assert await log.tenants() == ["", "t"]
            assert await log.holder() is not None
            assert (await store.usage()).used > 0
            await log.release(pen.tenure)
        with pytest.raises(StoreUnavailable, match="ACL SETUSER"):
            await RedisStore(lean.replace(prefix, "another")).open()

    async def test_a_server_that_comes_back_with_less(self, url: str, server: RedisServer) -> None:
        async with opened(url) as store:
            pen = await Pen.take(store.log(0))
            batch = await pen.write(commit("t"))
            server.cli("CONFIG", "SET", "appendonly", "no")
            server.cli("CLIENT", "KILL", "TYPE", "normal")
            with pytest.raises(StoreUnavailable, match="nothing was told"):
                await pen.send(batch)
            for _ in range(2):
                with pytest.raises(StoreUnavailable, match="CONFIG SET appendonly yes"):
                    await pen.send(batch)
            server.cli("CONFIG", "SET", "appendonly", "yes")
            assert await pen.send(batch) is Verdict.DUP

    async def test_a_server_that_comes_back_with_more_promises_no_more(self, url: str, server: RedisServer) -> None:
        async with opened(url) as store:
            pen = await Pen.take(store.log(0))
            for setting in ("always", "everysec"):
                server.cli("CONFIG", "SET", "appendfsync", setting)
                server.cli("CLIENT", "KILL", "TYPE", "normal")
                batch = pen.seal(commit("t"))
                with pytest.raises(StoreUnavailable, match="nothing was told"):
                    await pen.send(batch)
                assert await pen.send(batch) is Verdict.OK
                assert store.durability is WRITTEN

    async def test_how_full_it_is(self, url: str, server: RedisServer) -> None:
        async with opened(url) as store:
            usage = await store.usage()
            assert usage.used > 500_000
            assert (usage.limit, usage.share) == (0, 0.0)
        async with opened(f"{url}&memory=2gb") as store:
            assert (await store.usage()).limit == 2 << 30
            server.cli("CONFIG", "SET", "maxmemory", "100mb")
            assert (await store.usage()).limit == 100 << 20
        async with opened(f"{url}&memory=50mb") as store:
            assert await store.usage() == Usage((await store.usage()).used, 50 << 20)

    async def test_the_number_of_partitions_is_fixed(self, url: str) -> None:
        async with opened(f"{url}&partitions=3") as store:
            assert store.partitions == 3
            for number in range(3):
                pen = await Pen.take(store.log(number))
                assert pen.tenure.partition == number
                await pen.write(*[commit("t")] * (number + 1))
            assert [await store.log(number).position_at(2**60) for number in range(3)] == [2, 3, 4]
            with pytest.raises(InternalError):
                store.log(3)
        async with opened(url) as store:
            assert store.partitions == 3
            assert store.log(2) is store.log(2)
        with pytest.raises(InvalidValue, match="made with 3 partitions, and partitions=2"):
            await RedisStore(f"{url}&partitions=2").open()

    async def test_a_newer_format_is_refused(self, url: str, server: RedisServer) -> None:
        prefix = url.partition("prefix=")[2]
        server.cli("HSET", f"{{{prefix}:0}}:store", "format", "2", "partitions", "1")
        with pytest.raises(UnknownFormat, match="format 2, this version reads 1"):
            await RedisStore(url).open()

    async def test_a_server_that_is_not_there(self) -> None:
        with pytest.raises(StoreUnavailable, match=r"redis://127.0.0.1:1/0.* can't be reached"):
            await RedisStore("redis://127.0.0.1:1/").open()
        with pytest.raises(StoreUnavailable, match="can't be reached"):
            await RedisStore("unix:///nowhere/redis.sock").open()
        with pytest.raises(StoreUnavailable, match="is not open"):
            await RedisStore("redis://127.0.0.1:1/").log(0).key("t", "k")


class Scripted:
    """A server of version 7.2 that grants WAITAOF late; it knows our functions only as far as a commit needs them."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.kept = [[0, 0], [0, 0], [1, 0], [1, 1]]  # what WAITAOF answers, in this order
        self.syncs = True  # else WAITAOF is refused
        self.cuts = 0  # how often it closes the connection instead of an answer to WAITAOF
        self.info = ["redis_version:7.2.5", "role:master", "aof_enabled:1", "connected_slaves:1"]
        self.settings = ["appendfsync", "everysec", "no-appendfsync-on-rewrite", "no"]

    async def serve(self, stream: anyio.abc.ByteStream) -> None:
        reader = hiredis.Reader()
        async with stream:
            while True:
                try:
                    reader.feed(await stream.receive())
                except (anyio.EndOfStream, anyio.BrokenResourceError):
                    return
                while (words := reader.gets()) is not False:
                    if words[0] == b"WAITAOF" and self.cuts:
                        self.cuts -= 1
                        return
                    await stream.send(self._reply([str(word, "latin-1") for word in words]))

    def _reply(self, words: list[str]) -> bytes:
        self.calls.append(" ".join(words[:2]) if words[0] == "FCALL" else words[0])
        match words:
            case ["INFO", *_]:
                return _bulk("\r\n".join([*self.info, ""]))
            case ["CONFIG", *_]:
                return b"*%d\r\n%b" % (len(self.settings), b"".join(map(_bulk, self.settings)))
            case ["HMGET", *_]:
                return b"*2\r\n$1\r\n1\r\n$1\r\n1\r\n"
            case ["FUNCTION", "LIST", *_]:
                return b"*0\r\n"
            case ["WAIT", *_]:
                return b":1\r\n"
            case ["WAITAOF", *_] if not self.syncs:
                return b"-ERR WAITAOF cannot be used when numlocal is set but appendonly is disabled.\r\n"
            case ["WAITAOF", *_]:
                kept = self.kept.pop(0) if len(self.kept) > 1 else self.kept[0]
                return b"*2\r\n:%d\r\n:%d\r\n" % tuple(kept)
            case ["FCALL", name, *_] if name.endswith("acquire"):
                return b"*6\r\n:1\r\n$1\r\n1\r\n$1\r\n1\r\n$1\r\n0\r\n$1\r\n0\r\n$0\r\n\r\n"
            case ["FCALL", *_]:
                return b"$2\r\nOK\r\n"
            case _:
                return b"+OK\r\n"


def _bulk(text: str) -> bytes:
    return b"$%d\r\n%b\r\n" % (len(text), text.encode())


@asynccontextmanager
async def scripted() -> AsyncGenerator[tuple[Scripted, str]]:
    server = Scripted()
    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener, anyio.create_task_group() as group:
        group.start_soon(listener.serve, server.serve)
        port = listener.extra(anyio.abc.SocketAttribute.local_port)
        yield server, f"redis://127.0.0.1:{port}/0"
        group.cancel_scope.cancel()


@pytest.mark.anyio
class TestWaiting:
    @pytest.mark.parametrize(("level", "waits"), [(FSYNC, 3 * ["WAITAOF"]), (REPLICATED, ["WAIT", *4 * ["WAITAOF"]])])
    async def test_a_commit_waits_for_the_disk_and_is_sent_once(self, level: Durability, waits: list[str]) -> None:
        async with scripted() as (server, url), opened(url, level) as store:
            assert (store.durability, store.loss_window) == (level, 0.0)
            kept, server.kept = server.kept, [[1, 1]]
            pen = await Pen.take(store.log(0))
            server.calls, server.kept = [], kept
            await pen.write(commit("t"))
            assert server.calls == ["FCALL intendant_v2_commit", *waits]

    async def test_a_disk_that_never_syncs_is_an_outage(self) -> None:
        async with scripted() as (server, url), opened(f"{url}?timeout=0.5", FSYNC) as store:
            kept, server.kept = [[0, 0]], [[1, 1]]
            pen = await Pen.take(store.log(0))
            server.calls, server.kept = [], kept
            with pytest.raises(StoreUnavailable, match="has not synced within"):
                await pen.write(commit("t"))
            assert [call for call in server.calls if call != "WAITAOF"] == ["FCALL intendant_v2_commit"]
            server.kept = [[1, 1]]

    async def test_what_was_written_on_a_lost_connection_is_written_again_before_it_is_waited_for(self) -> None:
        # WAITAOF speaks for what its own connection wrote: alone on a new one it would be answered at once.
        async with scripted() as (server, url), opened(url, FSYNC) as store:
            server.kept = [[1, 1]]
            pen = await Pen.take(store.log(0))
            batch = pen.seal(commit("t"))
            server.cuts = 1
            with pytest.raises(StoreUnavailable, match="nothing was told"):
                await pen.send(batch)
            server.calls = []
            assert await pen.send(batch) is Verdict.OK
            assert server.calls == ["INFO", "CONFIG", "FCALL intendant_v2_commit", "WAITAOF"]

    async def test_a_server_that_stops_syncing_is_an_outage(self) -> None:
        async with scripted() as (server, url), opened(url, FSYNC) as store:
            server.kept = [[1, 1]]
            pen = await Pen.take(store.log(0))
            server.syncs = False
            batch = pen.seal(commit("t"))
            with pytest.raises(StoreUnavailable, match="set appendonly yes"):
                await pen.send(batch)
            server.syncs = True
            assert await pen.send(batch) is Verdict.OK

    @pytest.mark.parametrize(
        ("settings", "info"),
        [
            ([], ["aof_enabled:1"]),
            (["appendfsync", "always"], ["aof_enabled:1"]),
            (["appendfsync", "always", "no-appendfsync-on-rewrite", "no"], []),
        ],
    )
    async def test_a_server_that_tells_less_than_it_is_asked(self, settings: list[str], info: list[str]) -> None:
        async with scripted() as (server, url):
            server.settings, server.info = settings, ["redis_version:7.0.1", "role:master", *info]
            with pytest.raises(StoreUnavailable, match=r"hides its settings .*\?assume=written"):
                await RedisStore(url).open()
            async with opened(f"{url}?assume=written") as store:
                assert store.durability is WRITTEN

    async def test_written_waits_for_nothing(self) -> None:
        async with scripted() as (server, url), opened(url, WRITTEN) as store:
            await (await Pen.take(store.log(0))).write(commit("t"))
            assert "WAITAOF" not in server.calls


@pytest.mark.anyio
class TestCluster:
    """On one loop: a cluster takes two seconds to come up."""

    @pytest.fixture
    def anyio_backend(self) -> str:
        return "asyncio"

    async def test_a_cluster_of_one_node(
        self, certificates: Path, eventually: Callable[[Callable[[], Awaitable[bool]]], Awaitable[None]]
    ) -> None:
        # Which refuses a call whose keys are not all in one slot, whatever a function makes of them.
        port = free_port()
        with RedisServer(cluster_enabled="yes", tls_cluster="yes", tls_port=port, **_tls(certificates)) as server:
            url = f"rediss://localhost:{port}/0?ssl_ca_certs={certificates / 'server.crt'}"
            with pytest.raises(StoreUnavailable, match="cluster does not serve"):
                await RedisStore(url).open()
            server.cli("CLUSTER", "ADDSLOTSRANGE", 0, 16383)

            async def serves() -> bool:
                return "cluster_state:ok" in str(server.cli("CLUSTER", "INFO"))

            await eventually(serves)
            async with opened(f"{url}&partitions=3") as store:
                for number in range(3):
                    log = store.log(number)
                    pen = await Pen.take(log)
                    await pen.write(one_of_everything("a:{b}"), commit("t", TrimLog(1), ReplaceEntry(1, b"")))
                    assert (await all_of(log, "a:{b}"))["journal"] == [b"row"]


@pytest.mark.anyio
class TestWaysIn:
    async def test_unix_socket(self, fresh_prefix: Callable[[], str]) -> None:
        with RedisServer(unixsocket="redis.sock") as server:
            path = server.directory / "redis.sock"
            async with opened(f"unix://{path}?prefix={fresh_prefix()}&db=3") as store:
                await (await Pen.take(store.log(0))).write(commit("t"))
            assert server.cli("DBSIZE") == 0
            assert "db3" in server.cli("INFO", "keyspace")

    async def test_tls(self, certificates: Path) -> None:
        with RedisServer(requirepass="sesame") as plain:
            port = free_port()
            plain.restart(tls_port=port, **_tls(certificates))
            url = f"rediss://:sesame@localhost:{port}/0?ssl_ca_certs={certificates / 'server.crt'}"
            async with opened(url) as store:
                await (await Pen.take(store.log(0))).write(commit("t"))
            for broken in (f"rediss://:sesame@localhost:{port}/0", url.replace("localhost", "127.0.0.1")):
                with pytest.raises(StoreUnavailable, match="certificate") as refused:
                    await RedisStore(broken).open()
                assert "sesame" not in str(refused.value)
            async with opened(f"rediss://:sesame@127.0.0.1:{port}/0?ssl_cert_reqs=none") as store:
                assert store.durability is WRITTEN
            with pytest.raises(StoreUnavailable, match="ssl_ca_certs"):
                await RedisStore(f"rediss://:sesame@localhost:{port}/0?ssl_ca_certs=/nowhere").open()

    async def test_passwords(self, server: RedisServer) -> None:
        server.cli("ACL", "SETUSER", "ada", "on", ">p@ss/w:rd", "~*", "+@all")
        right = server.url.replace("redis://", "redis://ada:p%40ss%2Fw%3Ard@")
        async with opened(right) as store:
            assert "ada" not in store.name
        with pytest.raises(StoreUnavailable, match="refuses the user or password"):
            await RedisStore(right.replace("%40", "")).open()
        with RedisServer(requirepass="sesame") as closed:
            with pytest.raises(StoreUnavailable, match="wants a password"):
                await RedisStore(f"redis://127.0.0.1:{closed.port}").open()
            async with opened(closed.url):
                pass


def _tls(certificates: Path) -> dict[str, object]:
    return {
        "tls_cert_file": certificates / "server.crt",
        "tls_key_file": certificates / "server.key",
        "tls_ca_cert_file": certificates / "server.crt",
        "tls_auth_clients": "no",
    }


@pytest.fixture
def certificates(tmp_path: Path) -> Path:
    import subprocess

    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-keyout", "server.key", "-out", "server.crt", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=DNS:localhost"],
        cwd=tmp_path, check=True, capture_output=True,
    )  # fmt: skip
    return tmp_path
