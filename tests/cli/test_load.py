"""`intendant load`: its figures are those of the run, its audit finds what is wrong, its ends are what it says."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from importlib.machinery import ModuleSpec
from itertools import count, pairwise
from pathlib import Path
from typing import Any, cast

import apsw
import pytest

from intendant.adapters.memory import MemoryStore
from intendant.adapters.sqlite.driver import Connection
from intendant.cli import loading
from intendant.cli.load import Plan
from intendant.domain.commit import Batch, KeysTaken, Verdict
from intendant.domain.errors import InternalError

ASKED_FOR = {
    "accepted", "completed", "failed", "lost", "duplicated", "per_second", "p50_ms", "p99_ms", "durability", "rss_mb",
    "restarts", "submit_p50_ms", "commits", "records", "backend", "hot", "python", "cpu_s_per_1000",
}  # fmt: skip
WAIT_SECONDS = 60.0

Run = Callable[..., tuple[int, str, str]]


def figures(out: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(out)
    return found


def change(path: Path, statement: str) -> None:
    """Change a store behind its back."""
    with contextlib.closing(cast("Connection", apsw.Connection(str(path)))) as connection:
        connection.execute(statement)


# --- in this process


@pytest.mark.parametrize("backend", ["asyncio", "uvloop", "trio"])
@pytest.mark.parametrize("hot", ["memory:", "sqlite:"])
def test_the_figures_are_those_of_the_run(run: Run, tmp_path: Path, hot: str, backend: str) -> None:
    url = hot if hot == "memory:" else f"sqlite:{tmp_path / 'new.db'}"
    plan = ("--intents", "60", "--sessions", "7", "--tenants", "3", "--callers", "8", "--steps", "2")
    code, out, err = run("load", *plan, "--fail-rate", "0.25", "--hot", url, "--backend", backend, "--json")
    found = figures(out)
    assert (code, err) == (0, "")
    assert found.keys() >= ASKED_FOR
    assert (found["accepted"], found["completed"], found["failed"], found["unfinished"]) == (60, 45, 15, 0)
    assert (found["lost"], found["duplicated"], found["sound"]) == (0, 0, True)
    assert found["records"] == 60 * (2 + 2 + 1)  # accepted and started, two steps, the end
    assert 0 < found["commits"] <= found["records"]
    assert 0 < found["submit_p50_ms"] <= found["p50_ms"] <= found["p99_ms"] <= found["max_ms"]
    assert found["per_second"] > 0
    assert found["cpu_s_per_1000"] > 0
    assert found["rss_mb"] > 10
    assert (found["hot"], found["backend"]) == (url, backend)
    assert found["durability"] == ("memory" if hot == "memory:" else "fsync")
    assert found["restarts"] == 0


def test_steps_in_threads_and_a_payload(run: Run) -> None:
    plan = ("--intents", "20", "--steps", "2", "--thread-steps", "--payload", "60000")
    code, out, _ = run("load", "--hot", "memory:", *plan, "--json")
    assert code == 0
    assert figures(out)["completed"] == 20


@pytest.mark.parametrize("size", [100, 100_000])
def test_steps_with_results_of_a_size(run: Run, tmp_path: Path, size: int) -> None:
    hot = f"sqlite:{tmp_path / 'load.db'}"
    code, out, _ = run("load", "--hot", hot, "--intents", "5", "--result", str(size), "--json")
    found = figures(out)
    assert code == 0
    assert (found["completed"], found["records"]) == (5, 5 * 4)  # accepted and started, the step, the end


def test_a_cold_store_is_followed(run: Run) -> None:
    code, out, _ = run("load", "--intents", "20", "--hot", "memory:", "--cold", "memory:", "--json")
    assert code == 0
    assert figures(out)["cold"] == "memory:"


def test_rounds_on_one_file_are_new_work_each_and_audited_together(run: Run, tmp_path: Path) -> None:
    hot = ("--hot", f"sqlite:{tmp_path / 'rounds.db'}", "--json")
    for rounds in (1, 2, 3):
        code, out, _ = run("load", "--intents", "10", *hot)
        found = figures(out)
        assert code == 0
        assert (found["accepted"], found["completed"], found["stored"]) == (10, 10, 10 * rounds)


def test_the_default_store_is_removed(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setenv("INTENDANT_HOT", "sqlite:of-an-application.db")
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    code, out, _ = run("load", "--intents", "5", "--json")
    assert code == 0
    assert figures(out)["durability"] == "fsync"
    assert [each for each in tmp_path.rglob("*") if not each.is_dir()] == []


def test_the_table_says_the_same(run: Run) -> None:
    code, out, err = run("load", "--intents", "12", "--hot", "memory:", "--fail-rate", "0.5")
    assert (code, err) == (0, "")
    for text in ("12 of 12", "6 completed, 6 failed", "0 lost, 0 duplicated", "memory"):
        assert text in out


def test_what_the_audit_finds_is_told_and_is_the_exit_code(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "spoilt.db"
    arguments = ("load", "--intents", "5", "--hot", f"sqlite:{path}")
    assert run(*arguments)[0] == 0
    change(path, "DELETE FROM keys WHERE key = (SELECT min(key) FROM keys)")
    code, out, err = run(*arguments, "--json")
    assert (code, err) == (1, "")
    found = figures(out)
    assert (found["sound"], found["diverged"]) == (False, 1)
    assert "is not claimed in the store" in found["findings"][0]
    code, out, _ = run(*arguments)
    assert code == 1
    assert "NOT SOUND" in out


@pytest.mark.parametrize(("rate", "intents", "failures"), [(0.29, 100, 29), (1.0, 7, 7), (0.0, 7, 0), (0.1, 25, 2)])
def test_the_fail_rate_is_exact_and_spread(rate: float, intents: int, failures: int) -> None:
    plan = Plan(intents=intents, sessions=1, callers=1, fail_rate=rate)
    failing = [number for number in range(intents) if plan.fails(number)]
    assert len(failing) == failures
    if 0 < failures < intents:
        assert max(after - before for before, after in pairwise(failing)) <= 1 / rate + 1


def test_a_store_that_fails_half_way_is_told_and_what_was_accepted_is_audited(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = MemoryStore()
    log = store.log(0)
    commit, commits = log.commit, count()

    async def commit_or_fail(batch: Batch) -> Verdict | KeysTaken:
        if next(commits) >= 20:
            raise InternalError("the disk is gone")
        return await commit(batch)

    monkeypatch.setattr(log, "commit", commit_or_fail)
    monkeypatch.setattr(loading, "open_store", {"memory:": store}.__getitem__)
    code, out, err = run("load", "--intents", "1000", "--callers", "4", "--sessions", "1", "--hot", "memory:", "--json")
    found = figures(out)
    assert (code, err) == (1, "")
    assert "the disk is gone" in found["error"]
    assert found["sound"]
    assert 0 < found["accepted"] == found["completed"] + found["failed"] + found["unfinished"]
    assert found["accepted"] < 1000


# --- wrong calls


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["load", "--intents", "0"], "--intents"),
        (["load", "--intents", "many"], "--intents"),
        (["load", "--steps", "-1"], "--steps"),
        (["load", "--fail-rate", "1.5"], "--fail-rate"),
        (["load", "--payload", "70000"], "--payload"),
        (["load", "--result", "-1"], "--result"),
        (["load", "--result", "100000", "--hot", "redis://127.0.0.1:1"], "--files"),
        (["load", "--backend", "twisted"], "'asyncio', 'uvloop', 'trio'"),
        (["load", "--tenants", "200"], "--sessions"),
        (["load", "--hot", "postgres://x"], "known are"),
        (["load", "--hot", "sqlite:"], "names no file"),
        (["load", "--hot", "sqlite:x.db?synchronous=off"], "synchronous"),
        (["load", "--cold", "sqlite://user:secret@host"], "known are"),
        (["load", "--bogus"], "--bogus"),
        (["load", "extra"], "extra"),
        (["lod"], "lod"),
    ],
)
def test_wrong_usage_is_one_line_that_names_it(run: Run, arguments: list[str], text: str) -> None:
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert err.startswith("intendant: ")
    assert err.count("\n") == 1
    assert text in err
    assert "secret" not in err


def test_a_store_that_can_not_be_opened_is_one_line(run: Run, tmp_path: Path) -> None:
    (tmp_path / "text.db").write_text("not a database, but long enough to be taken for one" * 100)
    for url in (f"sqlite:{tmp_path}", f"sqlite:{tmp_path / 'none' / 'x.db'}", f"sqlite:{tmp_path / 'text.db'}"):
        code, out, err = run("load", "--hot", url)
        assert (code, out) == (1, "")
        assert err.count("\n") == 1
        assert str(tmp_path) in err


@pytest.mark.parametrize("backend", ["uvloop", "trio"])
def test_a_backend_that_is_not_installed(run: Run, monkeypatch: pytest.MonkeyPatch, backend: str) -> None:
    find = importlib.util.find_spec

    def without(name: str) -> ModuleSpec | None:
        return None if name == backend else find(name)

    monkeypatch.setattr(importlib.util, "find_spec", without)
    code, _, err = run("load", "--backend", backend)
    assert code == 2
    assert f"pip install 'intendant[{backend}]'" in err


def test_a_store_with_open_work_of_others_is_refused_and_left_alone(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "shop.db"
    url = f"sqlite:{path}"
    assert run("load", "--intents", "1", "--hot", url)[0] == 0
    change(path, "INSERT INTO indexes VALUES('open', 0, 'acme', 'f00')")
    before = path.read_bytes()
    code, _, err = run("load", "--intents", "1", "--hot", url)
    assert code == 2
    assert "f00 of tenant acme" in err
    assert path.read_bytes() == before


def test_help_and_version(run: Run) -> None:
    for arguments in (["--help"], ["load", "-h"], ["demo", "--help"], []):
        code, out, err = run(*arguments)
        assert (code, err) == (0, "")
        assert "intendant" in out
    assert "Examples" in run("load", "--help")[1]
    assert run("--version")[1].startswith("intendant 0.")


def test_the_library_alone_does_not_import_the_command_line() -> None:
    code = "import sys, intendant; sys.exit(bool({'typer', 'rich', 'intendant.cli'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# --- processes


@contextlib.contextmanager
def started(path: Path, *arguments: str) -> Generator[subprocess.Popen[str]]:
    """A long load on a file, in a process of its own, past its first records."""
    command = [
        sys.executable,
        "-c",
        "from intendant.cli import loading, main; main()",
        "load",
        "--hot",
        f"sqlite:{path}",
    ]
    with subprocess.Popen(
        [*command, "--intents", "1000000", "--json", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            until(lambda: _size(path.with_name(path.name + "-wal")) > 400_000, process)
            yield process
        finally:
            process.kill()


def until(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)


def _size(path: Path) -> int:
    # Asked once: between a look and a second one SQLite may take the log away, when a connection
    # that only prepares the file closes.
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


@pytest.mark.parametrize("backend", ["asyncio", "uvloop", "trio"])
def test_interrupted_it_stops_audits_and_says_130(tmp_path: Path, backend: str) -> None:
    with started(tmp_path / "cut.db", "--steps", "1", "--backend", backend) as process:
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=WAIT_SECONDS)
    assert (process.returncode, err) == (130, "")
    found = figures(out)
    assert found["interrupted"]
    assert found["sound"]
    assert found["error"] is None
    assert 0 < found["accepted"] == found["completed"] + found["failed"] + found["unfinished"]


def test_killed_the_next_load_resumes_and_the_audit_is_sound(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "killed.db"
    with started(path, "--steps", "20") as process:
        process.kill()
        process.communicate()
    code, out, err = run("load", "--intents", "10", "--hot", f"sqlite:{path}", "--json")
    assert (code, err) == (0, "")
    found = figures(out)
    assert found["sound"]
    assert found["resumed"] > 0
    assert found["completed"] == 10


def test_two_at_once_on_one_file(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "shared.db"
    with started(path) as process:
        code, out, err = run("load", "--intents", "10", "--hot", f"sqlite:{path}")
        assert (code, out) == (1, "")
        assert err.count("\n") == 1
        assert f"in use by process {process.pid} on {os.uname().nodename}" in err
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=WAIT_SECONDS)
    assert figures(out)["sound"]  # it was not disturbed
