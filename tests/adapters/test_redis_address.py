"""What a Redis URL says, and that nothing ever shows its secrets."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from intendant.adapters.redis import RedisStore
from intendant.adapters.redis.address import Address, Tls, parse
from intendant.adapters.urls import open_store
from intendant.domain.errors import InvalidValue, StoreUnavailable
from intendant.domain.ports import Durability
from tests.infrastructure.redis_server import RedisServer

CANARY = "c4n4ry"


@pytest.mark.parametrize(
    ("url", "name", "fields"),
    [
        ("redis://", "redis://localhost:6379/0?prefix=intendant", {"host": "localhost", "port": 6379, "tls": None}),
        ("redis://h:1/2?prefix=a-b_C", "redis://h:1/2?prefix=a-b_C", {"port": 1, "database": 2, "prefix": "a-b_C"}),
        ("redis://u:p%40%2f@h", "redis://h:6379/0?prefix=intendant", {"credentials": ("u", "p@/")}),
        ("redis://:p@h", "redis://h:6379/0?prefix=intendant", {"credentials": ("p",)}),
        ("redis://u@h", "redis://h:6379/0?prefix=intendant", {"credentials": ()}),
        ("redis://[::1]:7/", "redis://[::1]:7/0?prefix=intendant", {"host": "::1"}),
        ("REDIS://h", "redis://h:6379/0?prefix=intendant", {"host": "h"}),
        ("unix:///a%20b/r.sock?db=4", "unix:///a%20b/r.sock?prefix=intendant&db=4", {"path": "/a b/r.sock"}),
        ("unix://u:p@/r.sock", "unix:///r.sock?prefix=intendant", {"credentials": ("u", "p"), "path": "/r.sock"}),
        ("rediss://h", "rediss://h:6379/0?prefix=intendant", {"tls": Tls()}),
        (
            "rediss://h?ssl_ca_certs=/c&ssl_certfile=/f&ssl_keyfile=/k&ssl_check_hostname=no&ssl_cert_reqs=none",
            "rediss://h:6379/0?prefix=intendant",
            {"tls": Tls(ca_certs="/c", certfile="/f", keyfile="/k", check_hostname=False, verify=False)},
        ),
        (
            "redis://h?partitions=8&timeout=0.5&memory=2gb&assume=fsync",
            "redis://h:6379/0?prefix=intendant",
            {"partitions": 8, "timeout": 0.5, "memory": 2 << 30, "assume": Durability.FSYNC},
        ),
        ("redis://h?memory=100", "redis://h:6379/0?prefix=intendant", {"memory": 100}),
        ("redis://h?memory=5M", "redis://h:6379/0?prefix=intendant", {"memory": 5 << 20}),
    ],
)
def test_urls(url: str, name: str, fields: dict[str, object]) -> None:
    address = parse(url)
    assert address.name == name
    assert {field: getattr(address, field) for field in fields} == fields
    assert parse(name).name == name


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("http://h", "begins with redis://"),
        ("redis://h?prefx=a", "has no option prefx; it has assume, memory, partitions, prefix, timeout"),
        ("redis://h?ssl_ca_certs=/c", "has no option ssl_ca_certs"),
        ("redis://h?prefix=a:b", "letters, digits"),
        ("redis://h?prefix=", "letters, digits"),
        ("redis://h?prefix={a}", "letters, digits"),
        ("redis://h/x", "whole number"),
        ("redis://h/-1", "whole number"),
        ("redis://h:99999", "can't be read"),
        ("redis://h:port", "can't be read"),
        ("redis://h?partitions=0", "from 1 to 4096"),
        ("redis://h?partitions=many", "from 1 to 4096"),
        ("redis://h?timeout=0", "more than 0"),
        ("redis://h?timeout=nan", "more than 0"),
        ("redis://h?timeout=soon", "more than 0"),
        ("redis://h?memory=lots", "memory=2gb"),
        ("redis://h?memory=0", "memory=2gb"),
        ("redis://h?assume=replicated", "written or fsync"),
        ("rediss://h?ssl_check_hostname=maybe", "yes or no"),
        ("rediss://h?ssl_cert_reqs=optional", "required or none"),
        ("unix://", "three slashes"),
        ("unix://a/b.sock", "three slashes"),
        ("redis://h#part", "can't be read"),
    ],
)
def test_urls_that_are_wrong(url: str, problem: str) -> None:
    with pytest.raises(InvalidValue, match=r"^hot: ") as refused:
        RedisStore(url)
    assert problem in str(refused.value)


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with RedisServer(requirepass="another") as server:
        yield server


class TestSecrets:
    @pytest.mark.parametrize(
        "url",
        [
            f"redis://u:{CANARY}@h:port",
            f"redis://u:{CANARY}/x@h",
            f"redis://u:{CANARY}?x@h",
            f"redis://u:x?{CANARY}=y@h",
            f"redis://u:{CANARY}#x@h",
            f"redis://u:x#{CANARY}@h",
            f"redis://u:x@{CANARY}@h:port",
            f"redis://u:[{CANARY}@h",
            f"redis://u:{CANARY}]@h",
            f"redis://u:{CANARY}@h?nothing=1",
            f"redis://u:{CANARY}@h?prefix=",
            f"redis://u:{CANARY}@h/x",
            f"http://u:{CANARY}@h",
            f"unix://u:{CANARY}@h/x",
        ],
    )
    def test_urls_that_are_wrong_do_not_show_them(self, url: str) -> None:
        for parser in (RedisStore, open_store):
            with pytest.raises(InvalidValue) as refused:
                parser(url)
            assert CANARY not in _everything_of(refused.value)

    def test_names_do_not_show_them(self) -> None:
        store = open_store(f"redis://{CANARY}:{CANARY}@h:1/2?prefix=p")
        address: Address = parse(f"redis://{CANARY}:{CANARY}@h:1/2?prefix=p")
        for shown in (store.name, repr(store), str(store), repr(address), str(address)):
            assert CANARY not in shown

    @pytest.mark.anyio
    async def test_errors_and_logs_do_not_show_them(
        self, server: RedisServer, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.DEBUG)
        for where in (f"127.0.0.1:{server.port}", "127.0.0.1:1", f"127.0.0.1:{server.port}/99999"):
            for user in ("", CANARY):
                with pytest.raises(StoreUnavailable) as refused:
                    await RedisStore(f"redis://{user}:{CANARY}@{where}").open()
                assert CANARY not in _everything_of(refused.value)
        assert CANARY not in caplog.text


def _everything_of(error: BaseException | None) -> str:
    shown = ""
    while error is not None:
        shown += f"{error} {error!r} {error.args}"
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return shown
