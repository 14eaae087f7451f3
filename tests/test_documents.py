"""What the documents say is so: the README's program runs, promises name tests that exist, links lead somewhere."""

from __future__ import annotations

import functools
import inspect
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import intendant
from intendant import actors, http, supervisor, testing
from intendant.cli.config import VARIABLES
from tests.mutants.mutant import promises

ROOT = Path(__file__).parents[1]
EXAMPLES = sorted((ROOT / "examples").glob("*/README.md"))
PAGES = sorted((ROOT / "docs").rglob("*.md"))
FENCED = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
REFERENCE = [page for page in PAGES if page.parent.name == "api"]
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *EXAMPLES, *PAGES]


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


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(document: Path) -> None:
    for target, anchor in re.findall(r"\]\(([^)#\s]*)#?([^)\s]*)\)", prose(document)):
        if "://" in target:
            continue
        page = document.parent / target if target else document
        assert page.exists(), target
        assert not anchor or anchor in anchors(page), f"{target}#{anchor}"


def prose(document: Path) -> str:
    """What is no code."""
    return re.sub(r"`[^`\n]*`", "`code`", FENCED.sub("", document.read_text()))


@functools.cache
def anchors(page: Path) -> set[str]:
    """Of a page's headings, as GitHub and the site make them."""
    headings = re.findall(r"^#+ (.+)$", FENCED.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_indexes_list_every_page() -> None:
    indexes = [page for page in PAGES if page.name == "index.md"]
    listed = [
        (index.parent / target).resolve()
        for index in indexes
        for target in re.findall(r"^- \[.+?\]\((\S+?)\): ", index.read_text(), re.MULTILINE)
    ]
    assert len(listed) == len(set(listed))
    assert set(DOCUMENTS) - set(listed) == {ROOT / "docs" / "index.md"}


@pytest.mark.parametrize("package", [intendant, actors, http, supervisor, testing], ids=lambda each: each.__name__)
def test_the_reference_has_every_public_name(package: ModuleType) -> None:
    texts = [page.read_text() for page in REFERENCE]
    told = {name for text in texts for name in re.findall(r"^\.\. auto\w+:: (?:[\w.]+\.)?(\w+)", text, re.MULTILINE)}
    assert set(package.__all__) <= told


def test_settings_and_numbers_that_are_named_exist() -> None:
    settings = (
        intendant.Limits,
        intendant.TenantLimits,
        intendant.Retention,
        intendant.RelaySettings,
        intendant.Shutdown,
    )
    known = {rf"\b{each.__name__}[.(](\w+)": set(inspect.signature(each).parameters) for each in settings}
    known[r"stats\(\)\.(\w+)"] = set(inspect.signature(intendant.Stats).parameters)
    known[r"\bINTENDANT_(?!TEST_)([A-Z]+)\b"] = {*VARIABLES, "TOKENS"}
    for document in DOCUMENTS:
        for pattern, names in known.items():
            assert set(re.findall(pattern, document.read_text())) <= names, f"{document.name}: {pattern}"


def test_each_promise_names_tests_that_exist() -> None:
    found = promises()
    assert [number for number, _ in found] == list(range(1, len(found) + 1))
    for number, named in found:
        assert named, f"no test is named for promise {number}"
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
