"""The package says what is public, and imports nothing of anybody else's."""

import ast
import sys
from pathlib import Path

import anyio.abc

import intendant.supervisor
from intendant.supervisor import Started


def test_all_is_sorted_and_there() -> None:
    names = intendant.supervisor.__all__
    assert list(names) == sorted(names, key=lambda name: name)
    assert all(hasattr(intendant.supervisor, name) for name in names)


def test_it_imports_only_the_standard_library_and_anyio() -> None:
    folder = Path(intendant.supervisor.__file__).parent
    allowed = {*sys.stdlib_module_names, "anyio"} - {"asyncio"}
    for file in folder.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                assert {alias.name.split(".")[0] for alias in node.names} <= allowed, file.name
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                assert str(node.module).split(".")[0] in allowed, file.name


def test_anyio_s_task_status_says_started() -> None:
    status: anyio.abc.TaskStatus[object] = anyio.TASK_STATUS_IGNORED
    fits: Started = status
    fits.started()
