"""`intendant run`: serves what a module names until it is told to stop, and says what it can't serve."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import anyio
import pytest

from intendant import Runtime
from tests.cli.live import Live
from tests.cli.served import shop

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def place() -> Iterator[Path]:
    with TemporaryDirectory(prefix="ctl", dir="/tmp") as made:
        yield Path(made)


@pytest.fixture
def hot(tmp_path: Path) -> str:
    return f"sqlite:{tmp_path / 'work.db'}"


def submit(hot: str, *types: str) -> None:
    async def work() -> None:
        async with Runtime([shop], hot=hot) as runtime:
            session = await runtime.open_session("acme", "desk")
            for each in types:
                await session.submit(each, {})

    anyio.run(work)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_serves_until_told_to_stop_and_says_what(run: Run, place: Path, hot: str, number: int) -> None:
    submit(hot, "shop.hold")
    with Live(place, hot, "tests.cli.served:make_later", "--backend", "trio") as live:
        told = live.told
        assert (told["serving"], told["hot"], told["durability"]) == ("default", hot, "fsync")
        assert (told["pid"], told["handlers"]) == (live.process.pid, ["shop.hold", "shop.refuse", "shop.sell"])
        code, out, _ = run("ps", "--at", str(place), "--json")
        assert (code, json.loads(out)["stats"]["open"]) == (0, 1)
        code, out, err = live.stop(number)
        assert (code, json.loads(out), err) == (0, {"stopped": True, "open": 1}, "")
    assert not list(place.iterdir())


def test_a_second_signal_ends_it_at_once(place: Path, hot: str) -> None:
    with Live(place, hot, "tests.cli.served:stubborn") as live:
        live.process.send_signal(signal.SIGTERM)
        assert live.process.stdout is not None
        assert live.process.stdout.readline() == "leaving\n"
        code, _, err = live.stop()
        assert (code, "ended at once" in err) == (130, True)


def test_one_that_does_not_serve_yet_is_stopped_as_well(place: Path, hot: str) -> None:
    with Live(place, hot, "tests.cli.served:standing_by") as live:
        code, out, err = live.stop()
        assert (code, json.loads(out), err) == (0, {"stopped": True}, "")


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("tests.cli.served", "say module:name"),
        ("tests.cli.serve:runtime", "no module 'tests.cli.serve'"),
        ("tests/cli/served.py:runtime", "named as a module: tests.cli.served"),
        ("tests.cli.served:runtim", "did you mean 'runtime'?"),
        ("tests.cli.served:shop", "runtime = Runtime(shop)"),
        ("tests.cli.served:nothing", "is int, and neither a Runtime nor a function"),
        ("tests.cli.served:Runtime", "is the class Runtime"),
        ("tests.cli.served:make_of", "can't be called without arguments"),
        ("tests.cli.broken:runtime", "ZeroDivisionError: division by zero (broken.py, line 3)"),
    ],
)
def test_what_can_not_be_served_is_said_in_a_line(
    run: Run, target: str, said: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "broken.py").write_text('"""Can\'t be imported."""\n\nprint(1 / 0)\n')
    monkeypatch.delitem(sys.modules, "broken", raising=False)
    code, out, err = run("run", target.replace("tests.cli.broken", "broken"))
    assert (code, out) == (2, "")
    assert said in err
    assert len(err.splitlines()) == 1


def test_a_store_that_is_in_use_is_said(run: Run, place: Path, hot: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with Live(place, hot) as live:
        monkeypatch.setenv("INTENDANT_HOT", hot)
        monkeypatch.setattr("intendant.adapters.sqlite.store.POLL_S", 0.01)
        code, _, err = run("run", "tests.cli.served:impatient")
        assert (code, f"in use by process {live.process.pid} on {os.uname().nodename}" in err) == (1, True)


def test_a_runtime_that_gives_up_is_said_and_ends_the_process(run: Run) -> None:
    code, out, err = run("run", "tests.cli.served:broken", "--no-control", "--json")
    assert (code, json.loads(out.splitlines()[-1])) == (1, {"failed": "as planned"})
    code, _, err = run("run", "tests.cli.served:broken", "--no-control")
    assert (code, "runtime 'default' gave up: as planned" in err) == (1, True)
