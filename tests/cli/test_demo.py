"""`intendant demo` finds the example, hands it what was asked for, and says in one line what is missing."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import intendant
from intendant.cli import main, showing


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What a stand-in for the example is called with."""
    called: list[Any] = []

    def example(folder: Path | None, *, crash: bool, out: Path) -> int:
        called.append((folder, crash, out))
        return 1 if folder == Path("nowhere") else 0

    module = ModuleType(showing.EXAMPLE)
    module.main = example  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, showing.EXAMPLE, module)
    return called


def code_of(*arguments: str) -> Any:
    with pytest.raises(SystemExit) as left:
        main(list(arguments))
    return left.value.code


def test_it_hands_on_what_was_asked_for(calls: list[Any], tmp_path: Path) -> None:
    assert code_of("demo") == 0
    assert code_of("demo", str(tmp_path), "--no-crash", "--out", "here") == 0
    assert calls == [(None, True, Path("demo-report")), (tmp_path, False, Path("here"))]


def test_its_exit_code_is_the_examples(calls: list[Any]) -> None:
    assert code_of("demo", "nowhere") == 1
    assert len(calls) == 1


def test_without_a_checkout_it_says_where_to_get_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(intendant, "__file__", str(tmp_path / "site-packages" / "intendant" / "__init__.py"))
    monkeypatch.setattr(showing, "EXAMPLE", "examples_of_nobody.realms.demo")
    assert code_of("demo") == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "clone the repository" in said


def test_without_what_it_needs_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def missing(_: str) -> ModuleType:
        raise ModuleNotFoundError("No module named 'networkx'", name="networkx")

    monkeypatch.setattr("importlib.import_module", missing)
    assert code_of("demo") == 1
    assert "networkx" in (said := capsys.readouterr().err)
    assert "pip install 'intendant[demo]'" in said
