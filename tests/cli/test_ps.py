"""`intendant ps`: finds the runtime, shows its tree, and says what is wrong when it can't."""

from __future__ import annotations

import io
import json
import os
import re
import socket
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import anyio
import pytest
from rich.console import Console

from intendant import ActorCrash, Context, Intent, Limits, LoopBlock, Realm, Runtime, Shutdown, TreeNode
from intendant.cli import asking
from intendant.cli.tree_table import duration, show
from intendant.runtime.control import Answer

Run = Callable[..., tuple[int, str, str]]
shop = Realm("shop")


@shop.handler
async def charge(ctx: Context, nothing: dict[str, Any]) -> None:
    await ctx.step("card", anyio.sleep_forever)


@pytest.fixture
def place() -> Iterator[Path]:
    with TemporaryDirectory(prefix="ctl", dir="/tmp") as made:
        yield Path(made)


@pytest.fixture(autouse=True)
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("NO_COLOR", "1")


def busy(place: Path, **options: Any) -> Runtime:
    quick = Shutdown(drain=0.0)
    return Runtime([shop], hot="memory:", control=place, limits=Limits(running=2), shutdown=quick, **options)


@pytest.fixture
async def running(place: Path) -> Any:
    """Two running of `acme`, and one of `bolt` that waits for its turn."""
    async with busy(place) as runtime:
        for tenant, count in (("acme", 2), ("bolt", 1)):
            session = await runtime.open_session(tenant, "desk-1")
            await session.submit_many([Intent("shop.charge", {}) for _ in range(count)])
        with anyio.fail_after(10):
            while "card" not in str(await runtime.tree()):  # noqa: ASYNC110  nobody announces it
                await anyio.sleep(0.001)
        yield runtime


async def in_thread(run: Run, *arguments: object) -> tuple[int, str, str]:
    return await anyio.to_thread.run_sync(partial(run, "ps", *map(str, arguments)))


@pytest.mark.anyio
async def test_it_shows_the_tree_of_the_only_runtime(run: Run, running: Runtime, place: Path) -> None:
    code, out, err = await in_thread(run, "--at", place)
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == f"default  pid {os.getpid()}  3 open, 2 running, 2 sessions, 0 restarts"
    assert max(map(len, lines)) <= 80
    (first, *_) = [line for line in lines if "card" in line]
    assert "shop.charge" in first
    assert "running" in first
    where = {line.index("running") for line in lines[3:] if "wal-writer" in line}
    assert where == {first.index("running")}  # the columns stand
    assert [line.strip(" │├└") for line in lines if "/desk-1" in line] == ["acme/desk-1", "bolt/desk-1"]
    code, out, _ = await in_thread(run, "--at", place, "--tenant", "bolt", str(os.getpid()))
    assert (code, "acme" in out, "bolt/desk-1" in out) == (0, False, True)


@pytest.mark.anyio
async def test_it_folds_and_limits_and_tells_programs(run: Run, running: Runtime, place: Path) -> None:
    _, out, _ = await in_thread(run, "--at", place, "--fold", "tenant")
    assert [line.split()[-2:] for line in out.splitlines() if "acme" in line] == [["2", "running"]]
    _, out, _ = await in_thread(run, "--at", place, "--limit", "1")
    assert "… 2 more" in out
    code, out, _ = await in_thread(run, "--at", place, "--json")
    told = json.loads(out)
    assert (code, told["stats"]["open"], told["tree"]["path"]) == (0, 3, "intendant")


@pytest.mark.anyio
async def test_it_watches_until_interrupted(
    run: Run, running: Runtime, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 3:
            raise KeyboardInterrupt

    assert (await in_thread(run, "--at", place, "--watch"))[0] == 2  # no terminal
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setattr("intendant.cli.watching.time.sleep", sleep)
    code, out, err = await in_thread(run, "--at", place, "--watch")
    assert (code, err, slept) == (130, "", [1.0, 1.0, 1.0])
    assert out.count("wal-writer") == 3


@pytest.mark.anyio
async def test_several_runtimes_are_named(run: Run, running: Runtime, place: Path) -> None:
    async with busy(place, name="other"):
        code, _, err = await in_thread(run, "--at", place)
        pid = os.getpid()
        assert (code, f"default {pid}, other {pid}" in err) == (2, True)
        code, out, _ = await in_thread(run, "--at", place, "other")
        assert (code, out.startswith("other  pid")) == (0, True)


def test_it_says_why_it_can_not(run: Run, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code, _, err = run("ps", "--at", str(place))
    assert (code, "no runtime with a control socket runs" in err, "control=True" in err) == (1, True, True)
    path = place / "default-1.sock"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    code, _, err = run("ps", "--at", str(place))
    assert (code, "runs no more" in err, str(path) in err) == (1, True, True)
    path.unlink()
    monkeypatch.setattr(asking, "SECONDS", 0.02)
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(path))
        silent.listen()
        code, _, err = run("ps", "--at", str(place))
        assert (code, "did not answer" in err, "event loop" in err) == (1, True, True)
    code, _, err = run("ps", "--at", str(place), "--tenant", "a/b")
    assert code == 1
    assert "tenant" in err

    def forbidden(path: Path) -> Any:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(asking, "find", forbidden)
    assert "belongs to another user" in run("ps", "--at", str(place))[2]


def test_a_hostile_tree_keeps_the_table_in_shape() -> None:
    crashed = ActorCrash("ValueError('" + "x\n[bold]" * 90 + "')", datetime(2026, 1, 1, tzinfo=UTC))
    leaf = TreeNode(
        path="a/" + "9" * 32, kind="execution", state="running", tenant="t" * 128, session="s" * 128,
        type="realm." + "h" * 90, age=9e9, depth=99_999, restarts=12_345, last_crash=crashed,
    )  # fmt: skip
    root = TreeNode(path="intendant", kind="supervisor", state="running", counts={"running": 5}, children=(leaf,))
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(show(Answer(tree=root, name="x"), 80))
    text = console.export_text()
    assert max(map(len, text.splitlines())) <= 80
    assert "ValueError" in text
    assert "… 4 more" in text
    console.print(show(Answer(tree=root, name="x"), 80, 6))
    assert len(console.export_text().rstrip().splitlines()) <= 6


def test_a_narrow_terminal_has_the_tree_and_what_there_is_to_say() -> None:
    """An id is shortened in its middle: those of one kind begin alike."""
    desks = [
        node(f"a/{number}", "session", "busy", tenant="acme", session=f"order-2026-11-28-{number}", depth=3)
        for number in range(3)
    ]
    sums = node("intendant/executions", "supervisor", "running", *desks, counts={"waiting": 30})
    root = node("intendant", "supervisor", "running", sums)

    def lines(width: int) -> list[str]:
        console = Console(width=width, record=True, file=io.StringIO(), no_color=True)
        console.print(show(Answer(tree=root, name="x"), width))
        return console.export_text().splitlines()

    for width in (50, 69, 80, 140):
        shown = lines(width)
        assert max(map(len, shown)) <= width
        assert "30 waiting" in "\n".join(shown)
        assert [title in shown[2] for title in ("age", "mail", "restarts")] == [True, width >= 70, width >= 70]
        names = [re.search(r"acme/\S+(\d) +busy", line) for line in shown]
        assert [found[1] for found in names if found] == ["0", "1", "2"]


def node(path: str, kind: str, state: str, *children: TreeNode, **fields: Any) -> TreeNode:
    return TreeNode(path=path, kind=kind, state=state, children=children, **fields)


def test_where_all_does_not_fit_trouble_comes_first_and_what_is_well_is_counted() -> None:
    when = datetime(2026, 1, 1, tzinfo=UTC)
    crash = ActorCrash("ValueError('no paper')", when)
    calm = [node(f"intendant/projections/{name}", "worker", "running") for name in ("eraser[0]", "hot-gauge")]
    down = node("intendant/projections/state-writer[0]", "worker", "restarting", restarts=3, last_crash=crash)
    work = [
        node(f"intendant/executions/{number:032x}", "execution", state, tenant="acme", session=session, type=type)
        for number, (session, state, type) in enumerate(
            [("desk-1", "running", "shop.a"), ("desk-2", "running", "shop.b"), ("desk-2", "restarting", "shop.c")]
        )
    ]
    root = node(
        "intendant", "supervisor", "running",
        node("intendant/projections", "supervisor", "running", *calm, down),
        node("intendant/executions", "supervisor", "running", *work, counts={"running": 2, "restarting": 1}),
        blocked=LoopBlock(when, 1.5, "", "acme", work[0].name, "shop.a"),
    )  # fmt: skip

    def text(height: int) -> str:
        console = Console(width=120, record=True, file=io.StringIO())
        console.print(show(Answer(tree=root, name="x"), 120, height))
        return console.export_text()

    assert [name in text(50) for name in ("hot-gauge", "shop.a held the loop 1.5s at", "all well")] == [
        True,
        True,
        False,
    ]
    crowded = text(12)
    assert [name in crowded for name in ("hot-gauge", "2 workers, all well", "no paper")] == [False, True, True]
    order = [crowded.index(name) for name in ("state-writer", "acme/desk-2", "shop.c", "shop.b", "acme/desk-1")]
    assert order == sorted(order)
    assert len(crowded.rstrip().splitlines()) <= 12


@pytest.mark.anyio
async def test_it_goes_on_watching_what_does_not_answer(
    run: Run, running: Runtime, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right, asked = asking.ask, 0

    def ask(*arguments: Any) -> Answer:
        nonlocal asked
        asked += 1
        if asked == 2:
            raise asking.Silent("runtime 'default' did not answer within 5 s")
        if asked == 4:
            raise KeyboardInterrupt
        return right(*arguments)

    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setattr("intendant.cli.watching.ask", ask)
    monkeypatch.setattr("intendant.cli.watching.REFRESH_SECONDS", 0.0)
    code, out, err = await in_thread(run, "--at", place, "--watch")
    assert (code, err, out.count("no answer for")) == (130, "", 1)
    assert out.count("wal-writer") == 3  # the second time as it was before


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0.04, "0.0s"), (9.99, "10.0s"), (59.4, "59s"), (61, "1m01s"), (3_700, "1h01m"), (9e4, "1d01h")],
)
def test_durations_are_short(seconds: float, shown: str) -> None:
    assert duration(seconds) == shown
