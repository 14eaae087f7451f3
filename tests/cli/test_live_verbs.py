"""Each verb while a runtime works in another process, on SQLite and on Redis: it is asked, or left alone."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import anyio
import pytest

from intendant import RelaySettings, Runtime, Shutdown
from intendant.supervisor import Backoff
from tests.cli.live import Live
from tests.cli.served import publish, shop
from tests.cli.test_documentation import verbs
from tests.http.served import Served

Run = Callable[..., tuple[int, str, str]]


@dataclass
class Shop:
    """A runtime at work in another process, and what it has done for `acme`."""

    url: str
    live: Live
    directory: Path
    ids: dict[str, str]
    run: Run

    def told(self, *words: str) -> Any:
        code, out, err = self.run(*words, "--json")
        assert (code, err) == (0, "")
        return json.loads(out)

    def items(self, *words: str) -> list[Any]:
        return list(self.told(*words)["items"])

    def is_left_alone(self, *words: str) -> None:
        """A verb that needs the store for itself says who works on it, and does nothing."""
        code, out, err = self.run(*words)
        assert (code, out) == (1, "")
        assert f"in use by process {self.live.process.pid}" in err


async def fill(url: str) -> dict[str, str]:
    relay = RelaySettings(attempts=1, retry=Backoff(initial=0.001, maximum=0.001))
    ids: dict[str, str] = {}
    async with Runtime([shop], hot=url, publisher=publish, relay=relay, shutdown=Shutdown(drain=0)) as runtime:
        await runtime.open_session("acme", "desk-2")
        desk = await runtime.open_session("acme", "desk-1")
        orders: dict[str, Any] = {"sell": {"item": "tea"}, "dead": {"item": "milk", "dead": "/nowhere"}, "refuse": {}}
        for name, order in orders.items():
            execution = await desk.submit("shop.refuse" if name == "refuse" else "shop.sell", order)
            await execution.outcome()
            ids[name] = execution.id
        for name in ("signalled", "cancelled"):
            ids[name] = (await desk.submit("shop.hold", {})).id
        with anyio.fail_after(10):
            while not len(await runtime.outbox.dead_letters("acme")):  # noqa: ASYNC110  nobody announces it
                await anyio.sleep(0.001)
    return ids


@pytest.fixture(scope="module", params=["sqlite", "redis"])
def begun(request: pytest.FixtureRequest) -> Iterator[tuple[str, Live, Path, dict[str, str]]]:
    """One process for all verbs; commands find it by their environment."""
    with TemporaryDirectory(prefix="ctl", dir="/tmp") as made, pytest.MonkeyPatch.context() as patch:
        directory = Path(made)
        url = f"sqlite:{directory / 'work.db'}"
        if request.param == "redis":
            prefix = request.getfixturevalue("fresh_prefix")()
            url = f"{request.getfixturevalue('test_redis')}?prefix={prefix}"
        ids = anyio.run(fill, url)
        control = directory / "control"
        patch.setenv("INTENDANT_CONTROL", str(control))
        patch.setenv("INTENDANT_HOT", url)
        with Live(control, url) as live:
            yield url, live, directory, ids


@pytest.fixture
def store(begun: tuple[str, Live, Path, dict[str, str]], run: Run) -> Shop:
    url, live, directory, ids = begun
    return Shop(url, live, directory, ids, run)


def running(store: Shop) -> None:
    assert (store.live.told["serving"], store.live.told["pid"]) == ("default", store.live.process.pid)


def ps(store: Shop) -> None:
    assert store.told("ps")["pid"] == store.live.process.pid


def tenants_list(store: Shop) -> None:
    assert [each["id"] for each in store.items("tenants", "list")] == ["acme"]


def sessions_list(store: Shop) -> None:
    assert [each["id"] for each in store.items("sessions", "list", "acme")] == ["desk-1", "desk-2"]


def sessions_show(store: Shop) -> None:
    assert store.told("sessions", "show", "acme", "desk-1")["id"] == "desk-1"


def sessions_close(store: Shop) -> None:
    assert store.told("sessions", "close", "acme", "desk-2")["closed_at"]


def executions_list(store: Shop) -> None:
    assert store.ids["sell"] in [each["id"] for each in store.items("executions", "list", "acme")]


def executions_show(store: Shop) -> None:
    assert store.told("executions", "show", "acme", store.ids["sell"])["execution"]["result"]["price"] == 7


def executions_cancel(store: Shop) -> None:
    told = store.told("executions", "cancel", "acme", store.ids["cancelled"])
    assert told["result"] in ("requested", "cancelled")


def executions_retry(store: Shop) -> None:
    assert store.told("executions", "retry", "acme", store.ids["refuse"])["origin"] == store.ids["refuse"]


def executions_fork(store: Shop) -> None:
    assert store.told("executions", "fork", "acme", store.ids["sell"], "price")["origin"] == store.ids["sell"]


def executions_signal(store: Shop) -> None:
    id = store.ids["signalled"]
    store.told("executions", "signal", "acme", id, "go", '{"by": "ada"}')
    tail = ("wal", "tail", "acme", "--after", "0", "--type", "execution_completed", "--execution", id, "--count", "1")
    assert store.run(*tail)[0] == 0
    assert store.told("executions", "show", "acme", id)["execution"]["result"] == {"by": "ada"}


def wal_query(store: Shop) -> None:
    assert store.items("wal", "query", "acme", "--execution", store.ids["sell"])


def wal_tail(store: Shop) -> None:
    code, out, _ = store.run("wal", "tail", "acme", "--after", "0", "--count", "2", "--json")
    assert (code, [json.loads(line)["type"] for line in out.splitlines()]) == (0, ["session_created"] * 2)


def wal_replay(store: Shop) -> None:
    assert store.told("wal", "replay", "acme")["violations"] == []


def outbox_list(store: Shop) -> None:
    assert [each["id"] for each in store.items("outbox", "list", "acme", "--published")][-1] == f"{store.ids['sell']}-0"


def outbox_retry(store: Shop) -> None:
    id = f"{store.ids['dead']}-0"
    assert store.told("outbox", "retry", "acme", id)["events"] == [id]


def config_show(store: Shop) -> None:
    assert store.told("config", "show")["handlers"] == ["shop.hold", "shop.refuse", "shop.sell"]


def doctor(store: Shop) -> None:
    code, out, _ = store.run("doctor", "--hot", store.url, "--json")
    assert (code, json.loads(out)["hot"].partition("?")[0]) in ((each, store.url.partition("?")[0]) for each in (0, 1))
    assert store.told("ps")["stats"]["open"] >= 0  # it was not disturbed


def backup(store: Shop) -> None:
    copy = store.directory / "copy.db"
    code, out, _ = store.run("backup", str(copy), "--hot", store.url)
    if store.url.startswith("sqlite:"):
        listed = store.items("sessions", "list", "acme", "--hot", f"sqlite:{copy}")
        assert (code, [each["id"] for each in listed]) == (0, ["desk-1", "desk-2"])
    else:
        assert (code, copy.exists(), "redis-cli" in out) == (1, False, True)


def archive_verify(store: Shop) -> None:
    assert store.told("archive", "verify", "--hot", store.url, "--cold", "memory:")["sound"]


def replay(store: Shop) -> None:
    assert store.told("replay", "--all-open", "--app", "tests.cli.served:shop", "--hot", store.url)["continue"]


def migrate(store: Shop) -> None:
    store.is_left_alone("migrate", "--from", store.url, "--to", f"sqlite:{store.directory / 'other.db'}")


def load(store: Shop) -> None:
    """It works on no store in use, and on none with open work of others: whichever it sees first."""
    code, out, err = store.run("load", "--hot", store.url, "--intents", "1")
    assert (code, out) in ((1, ""), (2, ""))
    assert f"in use by process {store.live.process.pid}" in err or "open" in err


def tenants_erase(store: Shop) -> None:
    store.is_left_alone("tenants", "erase", "acme", "--yes", "--hot", store.url)


def sessions_erase(store: Shop) -> None:
    store.is_left_alone("sessions", "erase", "acme", "desk-2", "--yes", "--hot", store.url)


def demo(store: Shop) -> None:
    """Its worker is killed in the middle."""
    (store.directory / "folder").mkdir()
    (store.directory / "folder" / "read.md").write_text("# Read\n")
    code, out, _ = store.run("demo", str(store.directory / "folder"), "--out", str(store.directory / "report"))
    assert (code, "the books are right" in out) == (0, True)


CHECKS: dict[str, Callable[[Shop], None]] = {
    "run": running, "ps": ps, "config show": config_show, "doctor": doctor, "backup": backup,
    "tenants list": tenants_list, "tenants erase": tenants_erase,
    "sessions list": sessions_list, "sessions show": sessions_show, "sessions close": sessions_close,
    "sessions erase": sessions_erase,
    "executions list": executions_list, "executions show": executions_show, "executions cancel": executions_cancel,
    "executions retry": executions_retry, "executions fork": executions_fork, "executions signal": executions_signal,
    "wal query": wal_query, "wal tail": wal_tail, "wal replay": wal_replay,
    "outbox list": outbox_list, "outbox retry": outbox_retry,
    "migrate": migrate, "archive verify": archive_verify, "replay": replay, "load": load,
    "demo": demo,
}  # fmt: skip
SLOW = {"demo": pytest.mark.stress}
OF_TOKENS = {"tokens create", "tokens list", "tokens revoke"}  # they know no store, only a file


def test_each_verb_is_tried() -> None:
    assert {" ".join(words) for words in verbs()} == CHECKS.keys() | OF_TOKENS


@pytest.mark.parametrize("name", [pytest.param(name, marks=SLOW.get(name, ())) for name in CHECKS])
def test_a_verb_beside_a_runtime_in_another_process(store: Shop, name: str) -> None:
    CHECKS[name](store)


def test_a_server_in_another_process_sees_tokens_at_the_next_request(run: Run, tmp_path: Path) -> None:
    with Served(tmp_path, "memory:") as served:
        file = ("--file", str(served.tokens.path), "--json")
        made = json.loads(run("tokens", "create", "acme", *file)[1])
        with served.client(made["token"]) as client:
            assert client.get("/v1/sessions").status_code == 200
            assert [each["id"] for each in json.loads(run("tokens", "list", *file)[1])] == [made["id"]]
            assert run("tokens", "revoke", made["id"], "--file", str(served.tokens.path))[0] == 0
            assert client.get("/v1/sessions").status_code == 401
