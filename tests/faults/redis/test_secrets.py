"""A password in the stores' URLs is nowhere to be seen, whatever goes wrong: not in logs, errors, nor in any repr."""

from __future__ import annotations

import gc
import logging
import traceback
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from typing import Any

import anyio
import pytest

from intendant import Context, IntendantError, Realm, Runtime, Shutdown
from intendant.cli import app
from intendant.runtime.config import resolve
from tests.adapters.arango.recorder import Recorder, recorder
from tests.arango_standin.messages import failed
from tests.infrastructure.redis_server import RedisServer

pytestmark = pytest.mark.anyio
CANARY = "c4n4ry-pa55word"
PATIENCE = 20.0
NOTHING: dict[str, Any] = {}
shop = Realm("shop")
Trouble = Callable[[RedisServer, Recorder], Any]


@shop.handler
async def sell(ctx: Context, order: dict[str, Any]) -> None:
    """Nothing to do."""


@contextmanager
def refused(server: RedisServer, _cold: Recorder) -> Generator[None]:
    """Somebody changed the password, and the connections are gone."""
    server.cli("ACL", "SETUSER", "app", "resetpass", ">another")
    server.cli("CLIENT", "KILL", "USER", "app")
    yield
    server.cli("ACL", "SETUSER", "app", "resetpass", f">{CANARY}")


@contextmanager
def forbidden(server: RedisServer, _cold: Recorder) -> Generator[None]:
    server.cli("ACL", "SETUSER", "app", "-@all")
    yield
    server.cli("ACL", "SETUSER", "app", "+@all")


@contextmanager
def full(server: RedisServer, _cold: Recorder) -> Generator[None]:
    server.cli("CONFIG", "SET", "maxmemory", "1mb")
    yield
    server.cli("CONFIG", "SET", "maxmemory", "0")


@contextmanager
def weaker(server: RedisServer, _cold: Recorder) -> Generator[None]:
    """It comes back and gives less than it gave."""
    server.cli("CONFIG", "SET", "appendfsync", "no")
    server.cli("CLIENT", "KILL", "USER", "app")
    yield
    server.cli("CONFIG", "SET", "appendfsync", "always")


@contextmanager
def stopped(server: RedisServer, _cold: Recorder) -> Generator[None]:
    server.pause()
    yield
    server.resume()


@contextmanager
def gone(server: RedisServer, _cold: Recorder) -> Generator[None]:
    server.kill()
    yield
    server.restart()
    server.cli("ACL", "SETUSER", "app", "on", f">{CANARY}", "~*", "+@all")


def answering(status: int, number: int) -> Trouble:
    """Cold state answers everything like this."""

    @contextmanager
    def trouble(_server: RedisServer, cold: Recorder) -> Generator[None]:
        cold.rules.append(lambda _request: failed(status, number, "planned"))
        yield
        cold.rules.clear()

    return trouble


TROUBLES: list[Trouble] = [refused, forbidden, full, weaker, stopped, gone, answering(401, 11), answering(503, 30)]


@pytest.fixture
def server(servers: Callable[..., RedisServer]) -> RedisServer:
    server = servers(appendfsync="always")
    server.cli("ACL", "SETUSER", "app", "on", f">{CANARY}", "~*", "+@all")
    return server


def url_of(server: RedisServer, **options: object) -> str:
    query = "&".join(f"{name}={value}" for name, value in {"timeout": 1, **options}.items())
    return f"redis://app:{CANARY}@127.0.0.1:{server.port}/0?{query}"


async def fails(call: Callable[[], Awaitable[object]], told: list[BaseException]) -> bool:
    try:
        await call()
    except (IntendantError, ValueError, TimeoutError) as error:
        told.append(error)
        return True
    return False


def shown(told: list[BaseException]) -> str:
    """All that anybody may print of errors and of our objects."""
    errors = ["".join(traceback.format_exception(error)) + repr(error) + repr(error.args) for error in told]
    ours = [each for each in gc.get_objects() if str(type(each).__module__).startswith("intendant.")]
    return "\n".join([*errors, *map(_shown, ours)])


def _shown(thing: object) -> str:
    try:
        return f"{thing!r} {thing}"
    except AttributeError:  # its constructor raised
        return ""


async def test_whatever_goes_wrong_with_a_runtime(server: RedisServer, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    told: list[BaseException] = []
    with recorder(password=CANARY) as cold:
        options: dict[str, Any] = {"hot": url_of(server), "cold": cold.url}
        options |= {"timeout": 0.3, "durability": "fsync", "shutdown": Shutdown(drain=0.0)}
        async with Runtime([shop], lease=3.0, **options) as runtime:
            session = await runtime.open_session("acme", "desk-1", timeout=PATIENCE)
            for number, trouble in enumerate(TROUBLES):
                with trouble(server, cold):
                    calls = [lambda: session.submit(sell, NOTHING), lambda: runtime.state.session("acme", "nobody")]
                    assert True in [await fails(call, told) for call in calls], TROUBLES[number]
                    assert CANARY not in shown(told)
                with anyio.fail_after(PATIENCE):
                    while await fails(lambda: session.submit(sell, NOTHING), told):  # noqa: ASYNC110  nobody tells
                        await anyio.sleep(0.02)
            other = Runtime([shop], name="other", takeover_timeout=0.0, **options)
            assert await fails(other.__aenter__, told)
            assert CANARY not in shown(told) + repr(other)
    assert len(caplog.records) > len(TROUBLES)
    assert CANARY not in caplog.text + "".join(repr(vars(record)) for record in caplog.records)


@pytest.mark.parametrize("options", [{"partitions": 7}, {"prefix": "a:b"}, {"assume": "much"}, {"nothing": 1}])
async def test_a_runtime_that_is_not_even_entered(server: RedisServer, options: dict[str, Any]) -> None:
    told: list[BaseException] = []
    async with Runtime(hot=url_of(server)):
        pass
    assert await fails(Runtime(hot=url_of(server, **options)).__aenter__, told)
    for hot, cold in (
        (f"redis://app:{CANARY}/x@h", None),
        (f"mysql://app:{CANARY}@h/db", None),
        (url_of(server), f"arangodb://root:{CANARY}@h"),
        (url_of(server), f"couchdb://root:{CANARY}@h/db"),
    ):
        assert await fails(Runtime(hot=hot, cold=cold).__aenter__, told)
    settled = resolve("default", url_of(server), f"arangodb://root:{CANARY}@h/db", None)
    assert CANARY not in shown(told) + repr(settled)


async def test_a_load_that_finds_its_store_in_use(server: RedisServer, capsys: pytest.CaptureFixture[str]) -> None:
    def load() -> str:
        with pytest.raises(SystemExit):
            app.main(["load", "--intents", "1", "--hot", url_of(server)])
        out, err = capsys.readouterr()
        assert CANARY not in out + err
        return err

    async with Runtime([shop], hot=url_of(server), shutdown=Shutdown(drain=0.0)) as runtime:
        await runtime.open_session("acme", "desk-1")
        assert f"redis://***@127.0.0.1:{server.port}" in await anyio.to_thread.run_sync(load)
