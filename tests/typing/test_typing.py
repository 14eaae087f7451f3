"""The types that callers see: right calls pass both checkers, wrong calls are found, each on its line."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parent.parent


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project of its own, because ours leaves the wrong calls out."""
    for name in ("right_calls.py", "wrong_calls.py"):
        shutil.copy(HERE / name, tmp_path)
    settings = {
        "include": ["*.py"],
        "typeCheckingMode": "strict",
        "pythonVersion": "3.11",
        "extraPaths": [str(ROOT)],
        "reportUnusedVariable": False,
    }
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(settings))
    lines = ["[mypy]", "strict = true", "python_version = 3.11", f"mypy_path = {ROOT}", "follow_imports = silent"]
    (tmp_path / "mypy.ini").write_text("\n".join([*lines, f"cache_dir = {ROOT / '.mypy_cache' / 'calls'}"]))
    return tmp_path


def marked() -> set[int]:
    lines = (HERE / "wrong_calls.py").read_text("utf-8").splitlines()
    return {number for number, line in enumerate(lines, 1) if line.endswith("# wrong")}


def mypy(project: Path) -> dict[str, set[int]]:
    command = [sys.executable, "-m", "mypy", "--no-pretty", "right_calls.py", "wrong_calls.py"]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)
    found: dict[str, set[int]] = {"right_calls.py": set(), "wrong_calls.py": set()}
    for line in done.stdout.splitlines():
        if match := re.match(r"(.*?):(\d+): error: ", line):
            found[Path(match[1]).name].add(int(match[2]))
    return found


def pyright(project: Path) -> dict[str, set[int]]:
    command = [sys.executable, "-m", "pyright", "--outputjson", "--pythonpath", sys.executable, "-p", str(project)]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)
    report = json.loads(done.stdout)
    assert report["summary"]["filesAnalyzed"] == 2
    found: dict[str, set[int]] = {"right_calls.py": set(), "wrong_calls.py": set()}
    for each in report["generalDiagnostics"]:
        if each["severity"] == "error":
            found[Path(each["file"]).name].add(each["range"]["start"]["line"] + 1)
    return found


@pytest.mark.parametrize("checker", [mypy, pyright], ids=["mypy", "pyright"])
def test_right_calls_pass_and_each_wrong_call_is_found(
    project: Path, checker: Callable[[Path], dict[str, set[int]]]
) -> None:
    found = checker(project)
    assert found["right_calls.py"] == set()
    assert found["wrong_calls.py"] == marked()
    assert len(marked()) >= 40
