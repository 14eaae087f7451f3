"""`intendant replay --all-open`: which open executions new code can't continue, said without running anything."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import anyio
import pytest

from intendant import Context, Realm, Runtime, Status

Run = Callable[..., tuple[int, str, str]]

OLD = Realm("shop")

CODE = """
from msgspec import Struct
from intendant import Context, Realm

class Order(Struct):
    item: {item}

realm = Realm("shop")

def fail(*_arguments):
    raise AssertionError("a step ran")

@realm.handler(version={version})
async def place(ctx: Context, order: Order) -> str:
    {first}
    with ctx.scope("in"):
        await ctx.step("pack", fail, "{argument}")
    async with ctx.saga("trip") as trip:
        await trip.step("book", fail, undo=fail)
    await ctx.wait_signal("go")
    return await ctx.step("send", fail)

{more}
realms = [realm]
"""
OTHER = '@realm.handler(name="other")\nasync def other(ctx: Context, order: dict) -> None: ...'


@OLD.handler
async def place(ctx: Context, order: dict[str, str]) -> str:
    with ctx.scope("in"):
        await ctx.step("pack", str, "tea")
    async with ctx.saga("trip") as trip:
        await trip.step("book", str, undo=lambda _step, _booked: None)
    await ctx.wait_signal("go")
    return "sent"


@OLD.handler
async def other(ctx: Context, order: dict[str, str]) -> None:
    await ctx.wait_signal("go")


@pytest.fixture
def store(tmp_path: Path) -> str:
    """A store with two open executions that wait."""
    url = f"sqlite:{tmp_path / 'work.db'}"

    async def begin() -> None:
        async with Runtime([OLD], hot=url) as runtime:
            session = await runtime.open_session("acme", "desk")
            for type in ("shop.place", "shop.other"):
                execution = await session.submit(type, {"item": "tea"})
                while (await execution.view()).status is not Status.WAITING:  # noqa: ASYNC110  a status has no event
                    await anyio.sleep(0.001)

    anyio.run(begin)
    return url


def code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, **given: str) -> str:
    filled = {"item": "str", "version": "1", "first": "pass", "argument": "tea", "more": OTHER, **given}
    (tmp_path / f"{name}.py").write_text(CODE.format(**filled))
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    return f"{name}:realms"


CASES: dict[str, tuple[dict[str, str], str]] = {
    "same": ({}, "continues"),
    "added": ({"first": 'ctx.emit("new")'}, "continues"),
    "versioned": ({"version": "2"}, "version missing"),
    "typed": ({"item": "int"}, "parameters do not decode"),
    "argued": ({"argument": "coffee"}, "journal mismatch"),
}


@pytest.mark.parametrize("case", CASES)
def test_what_new_code_can_not_continue_is_told(
    run: Run, store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    given, verdict = CASES[case]
    app = code(tmp_path, monkeypatch, f"shop_{case}", **given)
    exit, out, _ = run("replay", "--all-open", "--app", app, "--hot", store, "--json")
    told = json.loads(out)
    assert (exit, told["continue"]) == ((0, True) if verdict == "continues" else (1, False))
    found = {each["type"]: each for each in told["executions"]}
    assert found["shop.other"]["verdict"] == "continues"
    assert found["shop.place"]["verdict"] == verdict
    if case == "argued":
        assert found["shop.place"]["recorded_steps"] == ["in/pack", "trip/book"]
        assert found["shop.place"]["called_steps"] == ["in/", "in/pack"]
    if case == "same":
        assert found["shop.place"]["detail"] == "goes on at signal(go)"


def test_a_type_without_a_handler_is_told_for_people(
    run: Run, store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = code(tmp_path, monkeypatch, "shop_fewer", more="")
    exit, out, _ = run("replay", "--all-open", "--app", app, "--hot", store)
    assert exit == 1
    assert "shop.other version 1: no handler: no realm of this runtime has a handler for 'shop.other'" in out
    assert "2 open: 1 would continue, 1 would not" in out


def test_it_reads_beside_a_runtime_and_what_is_wrong_is_said(run: Run, store: str) -> None:
    exit, _, error = run("replay", "--all-open", "--app", "no_such:realms", "--hot", store)
    assert (exit, error.startswith("intendant: --app: there is no module 'no_such'")) == (2, True)
    exit, _, error = run("replay", "--app", "x:y", "--hot", store)
    assert (exit, "say what to replay: --all-open" in error) == (2, True)
