"""Tenants, sessions, executions, the log and the outbox: of a runtime in another process, and of a store at rest."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import anyio
import pytest

from intendant import RelaySettings, Runtime, Shutdown
from intendant.supervisor import Backoff
from tests.cli.live import Live
from tests.cli.served import publish, shop

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def place(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where control sockets lie, for commands that are not told; nothing of this machine's."""
    with TemporaryDirectory(prefix="ctl", dir="/tmp") as made:
        monkeypatch.setenv("INTENDANT_CONTROL", made)
        monkeypatch.setenv("COLUMNS", "80")
        yield Path(made)


@pytest.fixture(params=["sqlite", "redis"])
def filled(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, dict[str, str], Path]:
    """A store at rest, the executions of `acme` in it by what they do, and the file that lets things succeed."""
    url = f"sqlite:{tmp_path / 'work.db'}" if request.param == "sqlite" else request.getfixturevalue("redis_url")
    repaired = tmp_path / "repaired"
    return url, anyio.run(fill, url, str(repaired)), repaired


async def fill(url: str, repaired: str) -> dict[str, str]:
    ids: dict[str, str] = {}
    relay = RelaySettings(attempts=2, retry=Backoff(initial=0.001, maximum=0.001))
    async with Runtime([shop], hot=url, publisher=publish, relay=relay, shutdown=Shutdown(drain=0)) as runtime:
        for tenant in ("bolt", "acme"):
            desk = await runtime.open_session(tenant, "desk-1", user_id="ada", metadata={"shop": "north"})
            orders = {
                "sell": {"item": "tea"},
                "dead": {"item": "milk", "dead": repaired},
                "refuse": {"unless": repaired},
            }
            for name, order in orders.items():
                execution = await desk.submit("shop.sell" if "item" in order else "shop.refuse", order)
                await execution.outcome()
                ids[name] = execution.id
            ids["hold"] = (await desk.submit("shop.hold", {})).id
            ids["left"] = (await desk.submit("shop.hold", {})).id
        with anyio.fail_after(10):
            while not len(await runtime.outbox.dead_letters("acme")):  # noqa: ASYNC110  nobody announces it
                await anyio.sleep(0.001)
    return ids


def told(run: Run, *arguments: str) -> Any:
    code, out, err = run(*arguments, "--json")
    assert (code, err) == (0, "")
    return json.loads(out)


def ids_of(page: dict[str, Any]) -> list[str]:
    return [each["id"] for each in page["items"]]


def look(run: Run, ids: dict[str, str]) -> None:
    """What is the same of a runtime and of a store at rest."""
    assert ids_of(told(run, "tenants", "list")) == ["acme", "bolt"]
    first = told(run, "tenants", "list", "--limit", "1")
    assert ids_of(told(run, "tenants", "list", "--cursor", first["cursor"])) == ["bolt"]
    assert ids_of(told(run, "sessions", "list", "acme")) == ["desk-1"]
    session = told(run, "sessions", "show", "acme", "desk-1")
    assert (session["user_id"], session["metadata"], session["closed_at"]) == ("ada", {"shop": "north"}, None)
    listed = told(run, "executions", "list", "acme")
    assert ids_of(listed) == [ids[each] for each in ("left", "hold", "refuse", "dead", "sell")]
    page = told(run, "executions", "list", "acme", "--limit", "2", "--since", "1h")
    assert ids_of(told(run, "executions", "list", "acme", "--cursor", page["cursor"])) == ids_of(listed)[2:]
    assert ids_of(told(run, "executions", "list", "acme", "--status", "failed")) == [ids["refuse"]]
    assert ids_of(told(run, "executions", "list", "acme", "--type", "shop.sell", "--session", "desk-1")) == [
        ids["dead"], ids["sell"],
    ]  # fmt: skip
    report = told(run, "executions", "show", "acme", ids["refuse"])
    assert report["execution"]["error"]["code"] == "LookupError"
    assert [each["type"] for each in report["records"]] == [
        "intent_received", "execution_started", "step_completed", "execution_failed",
    ]  # fmt: skip
    records = told(run, "wal", "query", "acme", "--execution", ids["sell"], "--oldest-first")["items"]
    assert [each["payload"].get("path") for each in records if each["type"] == "step_completed"] == ["price"]
    code, out, _ = run("wal", "tail", "acme", "--after", "0", "--execution", ids["sell"], "--count", "2", "--json")
    assert (code, [json.loads(line) for line in out.splitlines()]) == (0, records[:2])
    folded = told(run, "wal", "replay", "acme")
    assert (folded["sessions"], folded["violations"], folded["dead"]) == (1, [], 1)
    assert told(run, "wal", "replay", "acme", "--execution", ids["sell"])["execution"]["status"] == "completed"
    dead = told(run, "outbox", "list", "acme", "--dead")["items"]
    assert [each["event"]["id"] for each in dead] == [f"{ids['dead']}-0"]
    assert ids_of(told(run, "outbox", "list", "acme", "--published")) == [f"{ids['sell']}-0"]
    assert told(run, "outbox", "retry", "acme", "--all", "--dry-run") == {
        "dry_run": True, "events": [f"{ids['dead']}-0"],
    }  # fmt: skip


def test_a_runtime_in_another_process_is_asked_and_told(
    run: Run, place: Path, filled: tuple[str, dict[str, str], Path]
) -> None:
    url, ids, repaired = filled
    with Live(place, url) as live:
        look(run, ids)
        code, out, err = run("executions", "list", "acme", "--status", "waiting")
        assert (code, [line.split()[0] for line in out.splitlines()[1:]]) == (0, [ids["left"], ids["hold"]])
        assert f"from runtime default, process {live.process.pid}" in err
        signalled = told(run, "executions", "signal", "acme", ids["hold"], "go", '{"by": "ada"}', "--id", "s-1")
        assert signalled == {"execution": ids["hold"], "name": "go"}
        run("wal", "tail", "acme", "--after", "0", "--type", "execution_completed", "--count", "3")  # it has ended
        assert told(run, "executions", "show", "acme", ids["hold"])["execution"]["result"] == {"by": "ada"}
        assert told(run, "executions", "cancel", "acme", ids["left"])["result"] in ("requested", "cancelled")
        code, out, err = run("executions", "cancel", "acme", "none", ids["sell"], "no")
        assert (code, out) == (1, f"{ids['sell']} had ended before: completed\n")
        assert "'none' does not exist, and 1 more were refused" in err
        repaired.touch()
        again = told(run, "executions", "retry", "acme", ids["refuse"])
        assert again == told(run, "executions", "retry", "acme", ids["refuse"])
        assert again["origin"] == ids["refuse"]
        code, out, _ = run("executions", "fork", "acme", ids["sell"], "price")
        assert (code, len(out.strip())) == (0, 32)
        assert told(run, "outbox", "retry", "acme", f"{ids['dead']}-0")["events"] == [f"{ids['dead']}-0"]
        assert told(run, "outbox", "list", "acme", "--dead")["items"] == []
        assert told(run, "sessions", "close", "acme", "desk-1")["closed_at"]
        for arguments, code, said in (
            (("executions", "show", "acme", "none"), 1, "execution 'none' does not exist"),
            (("executions", "show", "bolt", ids["sell"]), 1, f"execution '{ids['sell']}' does not exist"),
            (("executions", "retry", "acme", ids["sell"]), 2, "submit its intent anew"),
            (("executions", "fork", "acme", ids["sell"], "no-step"), 2, "no-step"),
            (("executions", "signal", "acme", ids["sell"], "go"), 1, "has ended"),
            (("sessions", "close", "acme", "none"), 1, "session 'none' does not exist"),
            (("outbox", "retry", "acme", "none"), 2, "no dead letter"),
            (("wal", "query", "acme", "--type", "none"), 2, "is no record type"),
            (("wal", "query", "acme", "--cursor", "x"), 2, "cursor"),
        ):
            found = run(*arguments)
            assert (found[0], said in found[2], found[1]) == (code, True, ""), found


def test_a_store_at_rest_is_read_and_not_worked_on(
    run: Run, filled: tuple[str, dict[str, str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    url, ids, _ = filled
    monkeypatch.setenv("INTENDANT_HOT", url)
    look(run, ids)
    assert ids_of(told(run, "executions", "list", "acme", "--status", "running", "--hot", url)) == [
        ids["left"], ids["hold"],
    ]  # fmt: skip
    for arguments in (
        ("sessions", "close", "acme", "desk-1"),
        ("executions", "cancel", "acme", ids["hold"]),
        ("executions", "retry", "acme", ids["refuse"]),
        ("executions", "fork", "acme", ids["sell"], "price"),
        ("executions", "signal", "acme", ids["hold"], "go"),
    ):
        code, out, err = run(*arguments)
        assert (code, out, "start it with `intendant run" in err) == (1, "", True)
    assert told(run, "outbox", "retry", "acme", "--all")["events"] == [f"{ids['dead']}-0"]
    assert ids_of(told(run, "outbox", "list", "acme")) == [f"{ids['dead']}-0"]
    assert told(run, "outbox", "list", "acme", "--dead")["items"] == []
    code, _, err = run("executions", "show", "acme", "none")
    assert (code, "execution 'none' does not exist" in err) == (1, True)


def test_a_store_that_somebody_works_on_is_read_and_names_him(
    run: Run, filled: tuple[str, dict[str, str], Path]
) -> None:
    url, ids, _ = filled

    async def meanwhile() -> None:
        async with Runtime([shop], hot=url, shutdown=Shutdown(drain=0), control=False):
            listed = await anyio.to_thread.run_sync(told, run, "tenants", "list", "--hot", url)
            assert ids_of(listed) == ["acme", "bolt"]
            for arguments in (("executions", "cancel", "acme", ids["hold"]), ("outbox", "retry", "acme", "--all")):
                code, _, err = await anyio.to_thread.run_sync(run, *arguments, "--hot", url)
                assert (code, f"process {os.getpid()} on" in err, "nothing was changed" in err) == (1, True, True)

    anyio.run(meanwhile)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("tenants", "list", "--hot", "memory:"), "a store in memory"),
        (("tenants", "list", "--hot", "sqlite:/nowhere/x.db"), "there is no store sqlite:/nowhere/x.db"),
        (("tenants", "list", "--hot", "mysql:x"), "--hot: 'mysql:x' is not a store"),
        (("tenants", "list", "--hot", "sqlite:x.db", "--runtime", "shop"), "say one of them"),
        (("executions", "list", "acme", "--since", "yesterday"), "'yesterday' is no time"),
        (("executions", "signal", "acme", "x", "go", "text"), "'\"text\"'"),
        (("outbox", "list", "acme", "--dead", "--published"), "say one of them"),
        (("outbox", "retry", "acme"), "--all"),
        (("tenants", "list", "--limit", "501"), "--limit"),
        (("executions", "show"), "TENANT"),
    ],
)
def test_wrong_usage_is_told_in_a_line(run: Run, arguments: tuple[str, ...], said: str) -> None:
    code, out, err = run(*arguments)
    assert (code, out, len(err.splitlines())) == (2, "", 1)
    assert said in err


def test_where_nothing_runs_and_nothing_is_stored_it_says_what_to_do(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("INTENDANT_HOT", raising=False)
    code, _, err = run("tenants", "list")
    assert (code, "no runtime with a control socket runs" in err, "intendant run" in err) == (2, True, True)


def test_tables_keep_to_the_terminal_and_nothing_in_them_moves_the_cursor(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"sqlite:{tmp_path / 'work.db'}"

    async def work() -> None:
        async with Runtime([shop], hot=url) as runtime:
            desk = await runtime.open_session("acme", "desk-" + "1" * 100, metadata={"evil": "\x1b[2J\x07"})
            execution = await desk.submit("shop.sell", {"item": "\x1b[31mred"})
            await execution.result()

    anyio.run(work)
    for columns in ("80", "120"):
        monkeypatch.setenv("COLUMNS", columns)
        for words in (("executions", "list"), ("wal", "query"), ("outbox", "list")):
            code, out, _ = run(*words, "acme", "--hot", url)
            assert code == 0
            assert "\x1b" not in out
            assert max(map(len, out.splitlines())) <= int(columns)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_is_offered_what_can_follow(shell: str) -> None:
    environment = {**os.environ, "_INTENDANT_COMPLETE": f"complete_{shell}", "COMP_WORDS": "intendant executions s"}
    environment |= {"COMP_CWORD": "2", "_TYPER_COMPLETE_ARGS": "intendant executions s"}
    environment |= {"_TYPER_COMPLETE_FISH_ACTION": "get-args"}
    command = [Path(sys.executable).with_name("intendant")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert {"show", "signal"} <= set(done.stdout.replace('"', " ").replace("\t", " ").split())
    assert "cancel" not in done.stdout.split()


def test_what_is_not_there_is_not_made(run: Run, redis_url: str) -> None:
    for _ in range(2):  # the first one has made nothing
        code, _, err = run("tenants", "list", "--hot", redis_url)
        assert (code, "there is no store redis://" in err) == (2, True)
    code, _, err = run("tenants", "list", "--hot", "redis://u:secret@127.0.0.1:1")
    assert (code, "secret" in err, "127.0.0.1:1" in err) == (1, False, True)
