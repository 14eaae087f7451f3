"""docs/cli.md tells of every verb, with an example; --help of every verb has examples and exit codes."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from intendant.cli.app import app

Run = Callable[..., tuple[int, str, str]]
DOCUMENTS = Path(__file__).parents[2] / "docs"


def verbs(command: Any = None, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Each verb by its words."""
    command = command or typer.main.get_command(app)
    for name, each in getattr(command, "commands", {}).items():
        yield from verbs(each, (*path, name))
    if path and not hasattr(command, "commands"):
        yield path


@pytest.mark.parametrize("words", list(verbs()), ids=" ".join)
def test_each_verb_is_told_with_an_example(words: tuple[str, ...]) -> None:
    text = (DOCUMENTS / "cli.md").read_text()
    verb = " ".join(words)
    assert re.search(rf"^\|.*`{verb}`", text, re.MULTILINE), f"{verb} is not in the table"
    assert re.search(rf"^\$ intendant {verb}\b", text, re.MULTILINE), f"{verb} has no example"


@pytest.mark.parametrize("words", list(verbs()), ids=" ".join)
def test_each_verb_shows_examples_and_exit_codes(run: Run, words: tuple[str, ...], monkeypatch: Any) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    code, out, _ = run(*words, "--help")
    assert code == 0
    assert f"intendant {' '.join(words)}" in out.partition("Examples")[2]
    assert "Exit codes" in out


def test_the_table_of_exit_codes_has_those_that_there_are() -> None:
    text = (DOCUMENTS / "cli.md").read_text().partition("## Exit codes")[2].partition("\n## ")[0]
    assert re.findall(r"^\| (\d+) \|", text, re.MULTILINE) == ["0", "1", "2", "130"]


def test_commands_that_documents_name_exist_with_their_options() -> None:
    commands = dict(every_command())
    for document in (*DOCUMENTS.glob("*.md"), DOCUMENTS.parent / "README.md"):
        for call in re.findall(r"(?:`|^\$ )intendant ([a-z][^`#\n|]*)", document.read_text(), re.MULTILINE):
            words = call.split()
            verb = next((tuple(words[:n]) for n in (2, 1) if tuple(words[:n]) in commands), None)
            assert verb is not None, f"{document.name}: intendant {call}"
            known = {option for parameter in commands[verb].params for option in parameter.opts}
            unknown = set(re.findall(r"(?<!\S)--[a-z][a-z-]*", call)) - known
            assert not unknown, f"{document.name}: intendant {call}: {unknown}"


def every_command(command: Any = None, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Each verb and group with its command."""
    command = command or typer.main.get_command(app)
    yield path, command
    for name, each in getattr(command, "commands", {}).items():
        yield from every_command(each, (*path, name))
