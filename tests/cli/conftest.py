"""Commands, run in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache

import pytest
import typer.main

from intendant.cli import main


@pytest.fixture(scope="session", autouse=True)
def built_once() -> Iterator[None]:
    """The commands with all their options: a process builds them once, and this one calls hundreds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(typer.main, "get_command", cache(typer.main.get_command))
        yield


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """The command in this process: its exit code, stdout and stderr."""

    def call(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as left:
            main(list(arguments))
        said = capsys.readouterr()
        assert isinstance(left.value.code, int)
        return left.value.code, said.out, said.err

    return call
