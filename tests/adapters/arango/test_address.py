from __future__ import annotations

import pytest

from intendant.adapters.arango import ArangoColdStore
from intendant.adapters.arango.address import parse
from intendant.adapters.urls import open_cold
from intendant.domain.errors import InvalidValue

CANARY = "c4n4ry-password"


def test_everything_a_url_says() -> None:
    address = parse(
        "arangodb+tls://ada:p%40ss%2F%3F%23@db.example:9000/work_1"
        "?timeout=2.5&threads=8&replication=3&write_concern=2&ca=/etc/ca.pem"
    )
    assert (address.user, address.password) == ("ada", "p@ss/?#")
    assert (address.host, address.port, address.database, address.tls) == ("db.example", 9000, "work_1", True)
    assert (address.timeout, address.threads) == (2.5, 8)
    assert (address.replication, address.write_concern, address.ca) == (3, 2, "/etc/ca.pem")
    assert address.name == "arangodb+tls://db.example:9000/work_1"
    assert address.server == "https://db.example:9000"


def test_what_it_does_not_say() -> None:
    address = parse("arangodb://ada:pw@[::1]/work")
    assert (address.host, address.port, address.server) == ("::1", 8529, "http://[::1]:8529")
    assert (address.timeout, address.threads) == (10.0, 4)
    assert (address.replication, address.write_concern, address.ca) == (None, None, None)
    assert parse("arangodbs://ada:pw@h/d").tls


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("arangodb://root:@h/d", "password"),
        ("arangodb://root@h/d", "password"),
        ("arangodb://h/d", "password"),
        (f"arangodb://:{CANARY}@h/d", "user"),
        (f"arangodb://u:{CANARY}@h", "names no database"),
        (f"arangodb://u:{CANARY}@h/", "names no database"),
        (f"arangodb://u:{CANARY}@h/_system", "names no database"),
        (f"arangodb://u:{CANARY}@h/Work", "names no database"),
        (f"arangodb://u:{CANARY}@h/a/b", "names no database"),
        (f"arangodb://u:{CANARY}@h/a%2e%2e", "names no database"),
        (f"arangodb://u:{CANARY}@h/..", "names no database"),
        (f"arangodb://u:{CANARY}@h/" + "a" * 64, "names no database"),
        (f"arangodb://u:{CANARY}@/d", "is no URL"),
        (f"arangodb://u:{CANARY}@h:port/d", "is no URL"),
        (f"arangodb://u:{CANARY}@h:99999/d", "is no URL"),
        (f"arangodb://u:{CANARY}@h%0d%0a/d", "is no URL"),
        (f"arangodb://u:{CANARY}/x@h/d", "is no URL"),
        (f"arangodb://u:{CANARY}#x@h/d", "is no URL"),
        (f"arangodb://u:{CANARY}@[::1/d", "is no URL"),
        (f"arangodb://u:{CANARY}@h/d?retries=3", "has no option retries"),
        (f"arangodb://u:{CANARY}@h/d?timeout=0", "timeout="),
        (f"arangodb://u:{CANARY}@h/d?timeout=nan", "timeout="),
        (f"arangodb://u:{CANARY}@h/d?timeout=x", "timeout="),
        (f"arangodb://u:{CANARY}@h/d?threads=0", "threads="),
        (f"arangodb://u:{CANARY}@h/d?threads=2.5", "threads="),
        (f"arangodb://u:{CANARY}@h/d?write_concern=99", "write_concern="),
        (f"arangodb://u:{CANARY}@h/d?ca=/x", "TLS only"),
    ],
)
def test_what_is_refused_is_told_without_the_password(url: str, says: str) -> None:
    with pytest.raises(InvalidValue, match=says) as raised:
        ArangoColdStore(url)
    assert CANARY not in str(raised.value)
    assert raised.value.__cause__ is None


def test_the_password_is_not_shown() -> None:
    store = open_cold(f"arangodb://nora:{CANARY}@h/d")
    assert isinstance(store, ArangoColdStore)
    shown = f"{store.name} {store!r} {store} {parse(f'arangodb://nora:{CANARY}@h/d')!r}"
    assert CANARY not in shown
    assert "nora" not in shown


def test_no_other_url_is_taken_for_one() -> None:
    for url in (f"arango://ada:{CANARY}@h/d", f"http://ada:{CANARY}@h/d"):
        with pytest.raises(InvalidValue, match="arangodb://") as raised:
            open_cold(url)
        assert CANARY not in str(raised.value)
