"""`intendant doctor`: what is wrong is named with its cure; with --kill it is proved by killing a process."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import anyio
import msgspec
import pytest
import redis

from intendant import Runtime
from intendant.adapters.arango.address import parse
from intendant.adapters.arango.driver import Client
from intendant.adapters.checkup import Check, check_directory
from intendant.adapters.redis.checkup import of_facts
from intendant.adapters.redis.server import Facts
from intendant.adapters.urls import open_store
from intendant.cli import kills
from intendant.cli.doctoring import variables
from intendant.cli.kill_work import Book, live
from intendant.domain.ports import Durability, Store, Usage

Run = Callable[..., tuple[int, str, str]]

GOOD = Facts((7, 2, 4), "master", False, 0, "noeviction", True,
             {"appendfsync": "always", "no-appendfsync-on-rewrite": "no"})  # fmt: skip


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """A store at rest, as a careful operator has it."""
    path = tmp_path / "work.db"

    async def make() -> None:
        async with Runtime(hot=f"sqlite:{path}") as runtime:
            await runtime.open_session("acme", "desk")

    anyio.run(make)
    path.chmod(0o600)
    return path


def wrong(checks: list[dict[str, str]]) -> dict[str, str]:
    return {each["name"]: each["change"] for each in checks if each["verdict"] != "ok"}


def test_a_store_in_order_is_said_to_be(run: Run, work: Path) -> None:
    code, out, err = run("doctor", "--hot", f"sqlite:{work}")
    assert (code, err) == (0, "")
    for name in ("SQLite", "synchronous", "fsync", "permissions", "content"):
        assert f"  ok {name}" in out
    code, out, _ = run("doctor", "--hot", f"sqlite:{work}", "--json")
    told = json.loads(out)
    assert (code, told["sound"], wrong(told["checks"][f"hot: sqlite:{work}"])) == (0, True, {})


def test_what_is_wrong_with_a_file_is_named_with_its_cure(run: Run, work: Path) -> None:
    work.chmod(0o646)
    code, out, _ = run("doctor", "--hot", f"sqlite:{work}?synchronous=normal", "--durability", "fsync", "--json")
    told = json.loads(out)
    found = wrong(told["checks"][f"hot: sqlite:{work}?synchronous=normal"])
    assert (code, told["sound"], set(found)) == (1, False, {"permissions", "synchronous", "durability"})
    assert "chmod" in found["permissions"]
    work.chmod(0o600)
    body = bytearray(work.read_bytes())
    body[4096:] = b"\xff" * (len(body) - 4096)
    work.write_bytes(body)
    code, out, _ = run("doctor", "--hot", f"sqlite:{work}")
    assert (code, "restore it from a copy" in out) == (1, True)
    code, out, _ = run("doctor", "--hot", "sqlite:/nowhere/work.db", "--kill")
    assert (code, "/nowhere does not exist" in out, "nothing was killed" in out) == (1, True, True)


def test_a_directory_in_memory_is_no_place_for_what_should_last(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for kind, verdict in (("ext4", "ok"), ("tmpfs", "warning"), ("nfs4", "wrong")):
        monkeypatch.setattr("intendant.adapters.checkup.file_system_of", Mock(return_value=kind))
        assert check_directory(tmp_path)[0].verdict == verdict


@pytest.mark.parametrize(
    ("change", "name", "said"),
    [
        ({"version": (6, 2)}, "version", "7.0 or newer"),
        ({"role": "slave"}, "role", "primary"),
        ({"policy": "allkeys-lru"}, "maxmemory-policy", "CONFIG SET maxmemory-policy noeviction"),
        ({"appends": False}, "appendonly", "CONFIG SET appendonly yes"),
        ({"settings": {"appendfsync": "no"}}, "appendfsync", "everysec"),
        ({"settings": {"no-appendfsync-on-rewrite": "yes"}}, "no-appendfsync-on-rewrite", "always is not always"),
        ({"version": (7, 0), "settings": {"appendfsync": "everysec"}}, "WAITAOF", "appendfsync always"),
    ],
)
def test_each_setting_of_redis_is_looked_at(change: dict[str, Any], name: str, said: str) -> None:
    def found(facts: Facts) -> dict[str, str]:
        checks = of_facts(facts, Usage(1, 100), Durability.FSYNC, None, "redis://x")
        return {each.name: each.change for each in checks if each.verdict == "wrong"}

    assert found(GOOD) == {}
    if "settings" in change:
        change = {**change, "settings": {**(GOOD.settings or {}), **change["settings"]}}
    told = found(msgspec.structs.replace(GOOD, **change))
    assert said in told.pop(name)
    assert set(told) <= {"durability"}


@pytest.mark.parametrize(("asked", "verdicts"), [(Durability.WRITTEN, []), (Durability.FSYNC, ["warning"])])
def test_where_commits_wait_for_the_next_sync_is_told(asked: Durability, verdicts: list[str]) -> None:
    everysec = {**(GOOD.settings or {}), "appendfsync": "everysec"}
    checks = of_facts(msgspec.structs.replace(GOOD, settings=everysec), Usage(1, 100), asked, None, "redis://x")
    assert [each.verdict for each in checks if each.name == "WAITAOF"] == verdicts
    assert {each.verdict for each in checks if each.name != "WAITAOF"} == {"ok"}


def test_variables_that_nobody_reads_are_told() -> None:
    assert variables({"INTENDANT_HOT": "x", "INTENDANT_SHOP_COLD": "x", "INTENDANT_TOKENS": "x", "PATH": "x"}) == []
    [check] = variables({"INTENDANT_DURABLITY": "x"})
    assert check == Check(
        "variable", "warning", "nobody reads INTENDANT_DURABLITY", "did you mean INTENDANT_DURABILITY?"
    )


def test_servers_are_looked_at(run: Run, redis_url: str, arango_url: str) -> None:
    client = Client(parse(arango_url))
    client.system.create_database(parse(arango_url).database)
    client.database.create_collection("sessions", sync=False)
    client.close()
    code, out, _ = run("doctor", "--hot", redis_url, "--cold", arango_url, "--json")
    checks = json.loads(out)["checks"]
    hot = wrong(next(found for name, found in checks.items() if name.startswith("hot:")))
    cold = wrong(next(found for name, found in checks.items() if name.startswith("cold:")))
    assert (code, set(hot), set(cold)) == (1, {"maxmemory"}, {"waitForSync of sessions"})
    assert "waitForSync: true" in cold["waitForSync of sessions"]
    driver: Any = redis
    assert (
        list(driver.Redis.from_url(redis_url.partition("?")[0]).scan_iter(f"*{redis_url.partition('prefix=')[2]}:*"))
        == []
    )


def test_servers_that_are_not_there_are_told_without_secrets(run: Run) -> None:
    stores = ("--hot", "redis://u:secret@127.0.0.1:1/0", "--cold", "arangodb://u:secret@127.0.0.1:1/work")
    code, out, err = run("doctor", *stores)
    assert (code, out.count("✗  server"), "secret" in out + err) == (1, 2, False)


@pytest.mark.parametrize("store", ["sqlite", "redis"])
def test_a_process_is_killed_and_nothing_is_lost(
    run: Run, work: Path, store: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    url = f"sqlite:{work}" if store == "sqlite" else str(request.getfixturevalue("redis_url"))
    before = work.read_bytes()
    code, out, _ = run("doctor", "--hot", url, "--kill", "--kills", "2", "--json")
    told = json.loads(out)["kill"]
    assert (code, told["sound"], told["findings"]) == (0, True, [])
    assert (told["kills"], told["places"] > 40, told["records"] > 50) == (2, True, True)
    assert work.read_bytes() == before
    assert [each.name for each in tmp_path.iterdir() if not each.name.startswith("work.db")] == []
    if store == "redis":
        driver: Any = redis
        assert list(driver.Redis.from_url(url.partition("?")[0]).scan_iter("*doctor-*")) == []


def test_a_store_that_forgets_is_found(run: Run, work: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    async def forgetful(store: Store, book: Book) -> None:
        """The second life finds nothing of what the first one was told."""
        forget()
        await live(store, book)

    def forget() -> None:
        for each in list(tmp_path.glob(".intendant-doctor-*/*.db*")):
            each.unlink()

    monkeypatch.setattr(kills, "live", forgetful)
    code, out, _ = run("doctor", "--hot", f"sqlite:{work}", "--kill", "--kills", "2", "--json")
    told = json.loads(out)["kill"]
    assert (code, told["sound"]) == (1, False)
    assert any("lost" in each or "was told to" in each for each in told["findings"])
    assert any("ran again after it was recorded" in each for each in told["findings"])
    assert Path(told["left"]).is_dir()


def test_a_store_in_memory_can_not_be_killed(run: Run) -> None:
    assert open_store("memory:").durability is Durability.MEMORY
    assert run("doctor", "--hot", "memory:")[0] == 0
    code, _, err = run("doctor", "--hot", "memory:", "--kill")
    assert (code, "outlives a process" in err) == (2, True)
