"""The tutorial, done: its files are written, its commands are run one after the other, and print what it says."""

from __future__ import annotations

import re
import runpy
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from intendant.cli.app import main

TUTORIAL = Path(__file__).parents[1] / "docs" / "tutorial.md"
BLOCK = re.compile(r"(?:^`(?P<file>\w+\.py)`:\n\n)?^```(?P<language>\w+)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
ID = re.compile(r"\b01[0-9a-f]{30}\b")
LOOKS = re.compile(r"intendant (ps|executions list|outbox list)\b")
LOOK_SECONDS = 20.0
SERVING_LINES = 5


class Reader:
    """Does what somebody does who reads the tutorial in an empty directory."""

    def __init__(self, directory: Path, output: pytest.CaptureFixture[str]) -> None:
        self.directory = directory
        self.output = output
        self.ids: dict[str, str] = {}  # those that came here, by those that the tutorial shows
        self.served: subprocess.Popen[str] | None = None

    def do(self, command: str) -> str:
        """Run a command; what it prints."""
        for shown, here in self.ids.items():
            command = command.replace(shown, here)
        match shlex.split(command):
            case ["python", "-m", "pytest", *options]:
                call = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *options]
                return subprocess.run(call, cwd=self.directory, capture_output=True, text=True, check=True).stdout
            case ["python", file]:
                sys.modules.pop("shop", None)
                runpy.run_path(file, run_name="__main__")
            case ["intendant", "run", target, "&"]:
                return self.serve(target)
            case ["intendant", *words]:
                with pytest.raises(SystemExit, match=r"^0$"):
                    main(words)
            case _:
                pytest.fail(f"nobody knows how to run {command!r}")
        return self.output.readouterr().out

    def serve(self, target: str) -> str:
        call = [sys.executable, "-m", "intendant", "run", target]
        self.served = subprocess.Popen(call, cwd=self.directory, stderr=subprocess.PIPE, text=True)
        assert self.served.stderr is not None
        return "".join(self.served.stderr.readline() for _ in range(SERVING_LINES))

    def compare(self, command: str, shown: str) -> None:
        """Run it and compare; whoever looks at what another process does looks again until it has come so far."""
        printed = self.do(command)
        given_up = time.monotonic() + LOOK_SECONDS
        while LOOKS.match(command) and alike(printed) != alike(shown) and time.monotonic() < given_up:
            printed = self.do(command)
        assert alike(printed) == alike(shown)
        self.ids.update(zip(ID.findall(shown), ID.findall(printed), strict=True))


def alike(text: str) -> list[str]:
    """What does not depend on the machine and the hour."""
    text = re.sub(r"\b(01)?[0-9a-f]{28}([0-9a-f]{4})\b|\b[0-9a-f]{4}(?= shop)", "ID", text)
    text = re.sub(r"(pid|process) \d+", "PROCESS", text)
    text = re.sub(r"(?<=control  )\S+", "SOCKET", text)
    text = re.sub(r"\b(\d+h)?(\d+m)?[\d.]+m?s\b", "AGE", text)
    return [" ".join(line.split()) for line in text.splitlines()]


@pytest.fixture
def reader(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Reader]:
    with TemporaryDirectory(prefix="tutorial") as sockets:  # a socket's path must be short
        monkeypatch.setenv("XDG_RUNTIME_DIR", sockets)
        monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")  # ours take longer to load than the tests to run
        monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)  # what is meant for these tests, not for the reader's
        monkeypatch.setenv("COLUMNS", "120")
        monkeypatch.setenv("NO_COLOR", "1")
        monkeypatch.delenv("INTENDANT_HOT", raising=False)
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
        reader = Reader(tmp_path, capsys)
        yield reader
        sys.modules.pop("shop", None)
        if reader.served is not None:
            reader.served.terminate()
            reader.served.communicate(timeout=30)


def test_whoever_follows_it_sees_what_it_shows(reader: Reader) -> None:
    compared = 0
    for block in BLOCK.finditer(TUTORIAL.read_text()):
        if block["language"] == "python":
            assert block["file"], f"which file is this?\n{block['text']}"
            (reader.directory / block["file"]).write_text(block["text"])
        elif block["language"] == "console":
            for command, shown in re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", block["text"], re.MULTILINE):
                reader.compare(command, shown)
                compared += 1
    assert compared == len(re.findall(r"^\$ ", TUTORIAL.read_text(), re.MULTILINE))
