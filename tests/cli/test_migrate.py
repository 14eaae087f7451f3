"""`intendant migrate`: what it says, what it refuses, and what real kills leave."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest

from intendant import Runtime, Shutdown, UnfinishedMigration
from intendant.adapters.process import current_owner
from intendant.adapters.sqlite import SqliteStore
from intendant.adapters.urls import open_store
from intendant.cli import main
from intendant.domain.state import COLLECTIONS, MIGRATION
from intendant.runtime.migration import Side
from tests.infrastructure.tier import scaled
from tests.runtime.author import Author

ROOT = Path(__file__).parent.parent.parent
PATIENCE = 60.0  # seconds, for one command
BATCHES = 150
COLD: tuple[tuple[str, ...], ...] = ((),)  # options that name cold stores of processes: `--to-cold URL` belongs here

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """The command in this process: its exit code, stdout and stderr."""

    def call(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as left:
            main(["migrate", *arguments])
        said = capsys.readouterr()
        assert isinstance(left.value.code, int)
        return left.value.code, said.out, said.err

    return call


def source_of(tmp_path: Path, batches: int = BATCHES) -> str:
    """A store with something of everything."""

    async def write() -> None:
        store = SqliteStore(tmp_path / "source.db")
        await store.open()
        author = Author(random.Random(batches), 0, 1, archives=False)
        await author.write(Side(store), batches)
        await store.close()

    anyio.run(write)
    return f"sqlite:{tmp_path / 'source.db'}"


def content_of(url: str) -> dict[str, Any]:
    """What is read through the port, in no way that a migration reads it."""

    async def read() -> dict[str, Any]:
        store = open_store(url)
        await store.open()
        log, found = store.log(0), dict[str, Any]()
        try:
            found["all"] = await log.entries(None, limit=10**6)
            found["outbox"] = await log.outbox(limit=10**6)
            found["open"] = await log.index("open", limit=10**6)
            found["unfinished"] = await log.checkpoint(MIGRATION)
            for tenant in await log.tenants():
                found[f"entries of {tenant}"] = await log.entries(tenant, limit=10**6)
                found[f"keys of {tenant}"] = await log.keys(tenant, limit=10**6)
                for name in COLLECTIONS:
                    found[f"{name} of {tenant}"] = await log.documents(tenant, name, limit=10**6)
            for member in found["open"]:
                found[f"journal of {member.member}"] = await log.journal(member.tenant, member.member)
        finally:
            await store.close()
        return found

    return anyio.run(read)


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    code = "from intendant.cli import main; main()"
    return completed("-c", code, "migrate", *arguments)


def cut_off(what: signal.Signals, batch: int, seconds: float, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command, which gets the signal so many seconds after its n-th batch has begun."""
    return completed("-m", "tests.cli.cut_off", what.name, str(batch), str(seconds), "migrate", *arguments)


def completed(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *words], cwd=ROOT, capture_output=True, text=True, check=False, timeout=PATIENCE
    )


@pytest.mark.parametrize(("serving", "reason"), [(True, "in use by process"), (False, "holds no records")])
def test_refused_because_of_its_source_it_leaves_no_target(tmp_path: Path, serving: bool, reason: str) -> None:
    source, target = tmp_path / "source.db", tmp_path / "target.db"

    async def ask() -> subprocess.CompletedProcess[str]:
        store = SqliteStore(source)
        await store.open()
        if serving:
            await store.log(0).acquire(current_owner(), timeout=0, lease=60.0)
        try:
            return await anyio.to_thread.run_sync(command, "--from", f"sqlite:{source}", "--to", f"sqlite:{target}")
        finally:
            await store.close()

    refused = anyio.run(ask)
    assert refused.returncode != 0
    assert reason in refused.stderr
    assert not target.exists()


def test_the_table_and_the_object_say_the_same(run: Run, tmp_path: Path) -> None:
    source, target = source_of(tmp_path, 20), f"sqlite:{tmp_path / 'target.db'}"
    code, out, err = run("--from", source, "--to", target)
    assert (code, err) == (0, "")
    assert "may be used" in out
    assert "differs" not in out
    code, told, err = run("--from", source, "--to", target, "--json")
    found = json.loads(told)
    assert (code, err, found["finished"], found["from"], found["to"]) == (0, "", True, source, target)
    assert {each["tenant"] for each in found["tenants"]} == {"", "acme", "beta", "a:b", "z"}
    for each in found["tenants"]:
        assert each["digest"] == each["target_digest"]
        assert each["digest"][:7] in out
        assert each["differs"] == []
    assert content_of(source) == content_of(target)


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("--from", "sqlite:{}/none.db", "--to", "sqlite:{}/b.db"), 2, "--from: there is no file"),
        (("--from", "memory:", "--to", "sqlite:{}/b.db"), 2, "--from: memory: holds nothing of another process"),
        (("--from", "mysql://x", "--to", "sqlite:{}/b.db"), 2, "--from: 'mysql://x' is not a store"),
        (("--from", "sqlite:{}/source.db", "--to", "oops"), 2, "--to: 'oops' is not a store"),
        (("--from", "sqlite:{}/source.db", "--to", "memory:", "--to-cold", "x:"), 2, "--to-cold: 'x:' is not a store"),
        (("--from", "sqlite:{}/source.db", "--to", "memory:", "--to-files", "x:"), 2, "--to-files: 'x:' is not a"),
        (("--from", "sqlite:{}/source.db", "--to", "redis://localhost:1/0"), 1, "redis://localhost:1/0"),
        (("--from", "sqlite:{}/source.db"), 2, "Missing option '--to'; see intendant migrate --help"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(
    run: Run, tmp_path: Path, arguments: tuple[str, ...], code: int, says: str
) -> None:
    source_of(tmp_path, 2)
    found, out, err = run(*(each.format(tmp_path) for each in arguments))
    assert (found, out) == (code, "")
    assert err.startswith(f"intendant: {says}")
    assert err.count("\n") == 1


def test_a_store_in_use_and_one_that_is_full_are_refused(run: Run, tmp_path: Path) -> None:
    source, target = source_of(tmp_path, 5), tmp_path / "target.db"
    other = tmp_path / "other"
    other.mkdir()
    full = source_of(other, 7)
    code, _, err = run("--from", source, "--to", full)
    assert code == 2
    assert "--to: " in err
    assert "name an empty store" in err
    assert command("--from", source, "--to", f"sqlite:{target}").returncode == 0


@pytest.mark.anyio
async def test_control_c_leaves_what_can_be_gone_on_with(tmp_path: Path) -> None:
    source = await anyio.to_thread.run_sync(source_of, tmp_path)
    target = f"sqlite:{tmp_path / 'target.db'}"
    call = ("--from", source, "--to", target)
    left = await anyio.to_thread.run_sync(cut_off, signal.SIGINT, 30, 0.0, *call)
    assert left.returncode == 130
    assert "the same command goes on" in left.stderr
    with pytest.raises(UnfinishedMigration):
        async with Runtime([], hot=target):
            pass
    done = await anyio.to_thread.run_sync(command, *call)
    assert (done.returncode, done.stderr) == (0, "")
    async with Runtime([], hot=target, shutdown=Shutdown(drain=0)):
        pass


def kill_loop(source: str, target: str, kills: int, options: tuple[str, ...]) -> None:
    """Kill at random moments, each time some batches later; then let it end. (The first batch says: unfinished.)"""
    call = ("--from", source, "--to", target, *options, "--json")
    chance = random.Random(kills)
    for _ in range(kills):
        killed = cut_off(signal.SIGKILL, chance.randrange(2, 7), chance.random() / 1000, *call)
        assert killed.returncode == -signal.SIGKILL, killed.stderr
        assert content_of(target)["unfinished"]
    done = command(*call)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["finished"]
    assert content_of(target) == content_of(source)
    print(f"\n{kills} kills left an unfinished target, and it was finished")


@pytest.mark.parametrize("options", COLD)
@pytest.mark.parametrize("to", ["sqlite", "redis"])
@pytest.mark.scaled
def test_killed_at_random_moments_it_goes_on(
    request: pytest.FixtureRequest, tmp_path: Path, to: str, options: tuple[str, ...]
) -> None:
    source = source_of(tmp_path, scaled(4 * BATCHES, few=BATCHES))  # more than all the kills come to
    for number in range(scaled(1, few=1)):
        target = f"sqlite:{tmp_path / f'{number}.db'}"
        if to == "redis":
            prefix = request.getfixturevalue("fresh_prefix")()
            target = f"{request.getfixturevalue('test_redis')}?prefix={prefix}"
        kill_loop(source, target, scaled(10, few=2), options)
