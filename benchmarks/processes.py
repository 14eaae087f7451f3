"""Processes that are measured, and their servers: none outlives this one."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import threading
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, Final

import psutil

from tests.infrastructure.processes import ends_with_us

PATIENCE: Final = 60.0  # seconds for a process to come up; beyond its time, for an answer
ENDING: Final = 5.0  # seconds to end by itself


class Broken(Exception):
    """A process that did not do what it was started for, with the end of what it said."""


@contextmanager
def running(
    command: Sequence[str | Path],
    log: Path,
    *,
    folder: Path | None = None,
    user: str | None = None,
    environment: Mapping[str, str] | None = None,
    ending: signal.Signals | None = None,
) -> Generator[subprocess.Popen[str]]:
    """A process with its descendants, in a session of its own: a Ctrl-C is for us, and we end it.

    `log` gets its standard error. It is ended by the end of its input, or by a signal.
    """
    with log.open("w") as told:
        process = subprocess.Popen(
            [*ends_with_us(), *map(str, command)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=told,
            text=True,
            cwd=folder,
            user=user,
            extra_groups=None if user is None else [],
            env={**os.environ, **(environment or {})},
            start_new_session=True,
        )
    try:
        yield process
    finally:
        _end(process, ending)


class Conversation:
    """Lines to a process and its answers, as `rivals/protocol.py` tells them."""

    def __init__(self, process: subprocess.Popen[str], log: Path) -> None:
        self._process = process
        self._log = log
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()  # "" at the end
        assert process.stdin is not None
        assert process.stdout is not None
        self._input: IO[str] = process.stdin
        threading.Thread(target=self._read, args=[process.stdout], daemon=True).start()
        if (said := self._answer(PATIENCE)) != "ready":
            raise Broken(f"instead of being ready it said {said!r}")

    def ask(self, words: str, seconds: float) -> dict[str, Any]:
        """What it answers; `seconds` is how long it should take. Raises Broken."""
        self.begin(words)
        return self.answer(seconds)

    def begin(self, words: str) -> None:
        """Ask, and go on: what it answers is to be taken later."""
        self._input.write(words + "\n")
        self._input.flush()

    def answer(self, seconds: float) -> dict[str, Any]:
        """What it answers to what was asked."""
        answer: dict[str, Any] = json.loads(self._answer(PATIENCE + seconds))
        return answer

    def _answer(self, seconds: float) -> str:
        try:
            line = self._lines.get(timeout=seconds)
        except queue.Empty:
            raise Broken(f"no answer within {seconds:.0f} s: {last_line(self._log)}") from None
        if not line:
            raise Broken(f"it ended, with {self._process.wait(ENDING)}: {last_line(self._log)}")
        return line.strip()

    def _read(self, output: IO[str]) -> None:
        with suppress(ValueError):  # closed meanwhile
            for line in output:
                self._lines.put(line)
        self._lines.put("")


def last_line(log: Path) -> str:
    """The last that a process said on its standard error."""
    lines = log.read_text(errors="replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "(it said nothing)")


def _end(process: subprocess.Popen[str], ending: signal.Signals | None) -> None:
    """Let it end, then kill what is left of it and of its descendants."""
    family = _descendants(process.pid)
    if process.stdin is not None:
        with suppress(BrokenPipeError):
            process.stdin.close()
    try:
        if ending is not None:
            process.send_signal(ending)
        process.wait(ENDING)
    except subprocess.TimeoutExpired:
        pass
    finally:
        for member in {*family, *_descendants(process.pid)}:
            with suppress(psutil.Error):
                member.kill()
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def _descendants(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []
