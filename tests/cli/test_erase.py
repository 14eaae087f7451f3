"""`intendant tenants erase`, `intendant sessions erase`: on a store at rest, and only there."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import anyio
import pytest

from intendant import Runtime, Shutdown
from intendant.domain.state import Status
from tests.erasure.planted import plant, secret, shop

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def hot(tmp_path: Path) -> str:
    """A store at rest, of two tenants; in one session something has not ended."""
    url = f"sqlite:{tmp_path / 'work.db'}"

    async def fill() -> None:
        async with Runtime([shop], hot=url, shutdown=Shutdown(drain=0)) as runtime:
            for tenant in ("acme", "beta"):
                for session in ("s1", "s2"):
                    await plant(runtime, tenant, session)
            order = {"n": 0, "word": secret("beta", "s2"), "seconds": 1000}
            await runtime.session("beta", "s2").submit("shop.hold", order)

    anyio.run(fill)
    return url


def holds(tmp_path: Path, word: str) -> bool:
    return any(word.encode() in each.read_bytes() for each in tmp_path.rglob("*") if each.is_file())


def statuses(url: str, tenant: str) -> list[Status | None]:
    async def look() -> list[Status | None]:
        async with Runtime([shop], hot=url, shutdown=Shutdown(drain=0)) as runtime:
            return [each.status for each in (await runtime.executions(tenant)).items]

    return anyio.run(look)


def test_a_tenant_is_erased_and_nothing_that_is_open_runs(run: Run, hot: str, tmp_path: Path) -> None:
    code, out, err = run("tenants", "erase", "acme", "--hot", hot, "--dry-run")
    assert (code, err) == (0, "")
    assert "of tenant 'acme' would be erased: 6 executions" in out
    assert holds(tmp_path, secret("acme", "s1"))
    code, out, _ = run("tenants", "erase", "acme", "--hot", hot, "--yes", "--json")
    told = json.loads(out)
    assert (code, told["hot"], told["dry_run"]) == (0, hot, False)
    assert (told["erased"]["executions"], told["erased"]["open"]) == (6, 0)
    assert not holds(tmp_path, secret("acme", "s1"))
    assert not holds(tmp_path, secret("acme", "s2"))
    assert holds(tmp_path, secret("beta", "s1"))
    assert statuses(hot, "acme") == []
    assert statuses(hot, "beta")[0] is Status.RUNNING, "what is open of others stays open"
    code, out, _ = run("tenants", "erase", "acme", "--hot", hot, "--yes")
    assert (code, "nothing to erase" in out) == (0, True)


def test_a_session_that_has_something_open_is_refused_without_drop_open(run: Run, hot: str, tmp_path: Path) -> None:
    code, out, err = run("sessions", "erase", "beta", "s2", "--hot", hot, "--yes")
    assert (code, out) == (1, "")
    assert "session 's2' of tenant 'beta' has 1 not ended" in err
    assert "--drop-open" in err
    code, out, _ = run("sessions", "erase", "beta", "s2", "--hot", hot, "--yes", "--drop-open")
    assert code == 0
    assert "1 of the executions have not ended" in out
    assert not holds(tmp_path, secret("beta", "s2"))
    assert holds(tmp_path, secret("beta", "s1"))
    assert len(statuses(hot, "beta")) == 3


def test_who_can_not_be_asked_must_say_yes(run: Run, hot: str, monkeypatch: pytest.MonkeyPatch) -> None:
    code, _, err = run("tenants", "erase", "acme", "--hot", hot)
    assert code == 2
    assert "say --yes" in err
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    for answer, expected in ((False, 1), (True, 0)):
        monkeypatch.setattr("typer.confirm", _answering(answer))
        code, _, err = run("tenants", "erase", "acme", "--hot", hot)
        assert code == expected
        assert "would be erased" in err
    assert len(statuses(hot, "acme")) == 0


def _answering(answer: bool) -> Callable[..., bool]:
    def confirm(_question: str, *, err: bool) -> bool:
        assert err, "stdout is for results"
        return answer

    return confirm


def test_a_store_that_somebody_works_on_is_left_alone(run: Run, hot: str, tmp_path: Path) -> None:
    async def meanwhile() -> tuple[int, str, str]:
        async with Runtime([shop], hot=hot, shutdown=Shutdown(drain=0)):
            return await anyio.to_thread.run_sync(run, "tenants", "erase", "acme", "--hot", hot, "--yes")

    code, _, err = anyio.run(meanwhile)
    assert code == 1
    assert "is in use by process" in err
    assert "runtime.erase_tenant" in err
    assert holds(tmp_path, secret("acme", "s1"))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("tenants", "erase", "a b", "--yes"), "tenant: 'a b'"),
        (("sessions", "erase", "acme", "*", "--yes"), "session: '*'"),
        (("tenants", "erase", "acme", "--hot", "memory:", "--yes"), "memory"),
        (("tenants", "erase", "acme", "--hot", "sqlite:/nowhere/x.db", "--yes"), "there is no store"),
        (("tenants", "erase", "acme", "--hot", "mysql:x", "--yes"), "mysql"),
        (("tenants", "erase", "--yes"), "ID"),
        (("sessions", "erase", "acme", "--yes"), "SESSION"),
    ],
)
def test_wrong_usage_is_told(run: Run, arguments: tuple[str, ...], said: str) -> None:
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert said in err
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize("command", ["tenants", "sessions"])
def test_help_shows_examples_and_exit_codes(run: Run, command: str) -> None:
    code, out, _ = run(command, "erase", "--help")
    assert code == 0
    assert f"intendant {command} erase acme" in out
    assert "Exit codes" in out
