"""What the documents say is so: the README's program runs, promises name tests that exist, links lead somewhere."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]


def test_the_first_program_of_the_readme_runs_and_runs_nothing_twice(tmp_path: Path) -> None:
    readme = (ROOT / "README.md").read_text()
    program = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)[0]
    (tmp_path / "first.py").write_text(program)
    (tmp_path / "README.md").write_text("one two three")
    for words in ("one two three", "one two three four"):
        (tmp_path / "README.md").write_text(words)
        done = subprocess.run(
            [sys.executable, "first.py"], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
        )
        assert (done.stdout, done.stderr) == ("3\n", "")


def programs(document: Path) -> list[tuple[str, str]]:
    """Programs that are followed by what they print."""
    return re.findall(r"```python\n((?:(?!```).)*)```\n+```text\n(.*?)```", document.read_text(), re.DOTALL)


@pytest.mark.parametrize("document", [each for each in DOCUMENTS if programs(each)], ids=lambda path: path.name)
def test_the_programs_of_chapters_print_what_they_say(document: Path, tmp_path: Path) -> None:
    for program, printed in programs(document):
        (tmp_path / "program.py").write_text(program)
        done = subprocess.run(
            [sys.executable, "program.py"], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
        )
        assert (done.stdout, done.stderr) == (printed, "")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document: Path) -> None:
    targets = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", document.read_text())
    missing = [target for target in targets if "://" not in target and not (document.parent / target).exists()]
    assert not missing


def test_each_promise_names_tests_that_exist() -> None:
    text = (ROOT / "docs" / "semantics.md").read_text()
    promises = re.split(r"^## ", text, flags=re.MULTILINE)[1:]
    assert [int(promise.split(".")[0]) for promise in promises] == list(range(1, len(promises) + 1))
    for promise in promises:
        named = re.findall(r"`((?:tests|intendant/testing)/[\w/]+\.py)::(\w+)`", promise)
        assert named, f"no test is named for: {promise.splitlines()[0]}"
        for file, test in named:
            assert re.search(rf"^(async )?def {test}\(", (ROOT / file).read_text(), re.MULTILINE), f"{file}::{test}"


def test_each_rule_of_supervision_names_tests_that_exist() -> None:
    text = (ROOT / "docs" / "supervision.md").read_text()
    rows = [line for line in text.splitlines() if line.startswith("| ") and "left out" not in line][1:]
    assert rows
    for row in rows:
        assert re.search(r"`tests/[\w/]+\.py::\w+` \|$", row), f"no test is named for: {row}"
    for file, test in re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", text):
        assert re.search(rf"^(async )?def {test}\(", (ROOT / file).read_text(), re.MULTILINE), f"{file}::{test}"


def test_nothing_is_imported_through_the_root_links() -> None:
    for link in ("actors", "supervisor", "adapters"):
        assert (ROOT / link).is_symlink()
        assert (ROOT / link).resolve() == ROOT / "intendant" / link
        assert link not in sys.modules
