"""Real processes to be killed, forked by one that has imported everything."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
PATIENCE = 60.0  # seconds: what a process does not do in that time it does not do
STILL_RUNNING = 1000  # instead of an exit code
WAIT_MAX = 900.0  # seconds, of a process that has much to do


class Stable:
    """The process that forks the others: it has imported everything, so that a life begins in milliseconds."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.child"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._living: set[int] = set()

    def start(self, do: str, hot: str, book: Path, life: int, **more: Any) -> int:
        """Fork a child over the store of this URL; returns its process id."""
        order = {"do": do, "hot": hot, "book": str(book), "life": life, "backend": "asyncio", **more}
        pid = self._ask(order)
        self._living.add(pid)
        return pid

    def wait(self, pid: int, *, patience: float = WAIT_MAX) -> int:
        """Wait for a child's end; returns its exit code, or minus the signal that ended it."""
        code = self._ask({"do": "wait", "pid": pid, "patience": patience})
        assert code != STILL_RUNNING, f"process {pid} has not ended within {patience} s"
        self._living.discard(pid)
        return code

    def kill(self, pid: int) -> None:
        """SIGKILL, and wait until it is gone."""
        os.kill(pid, signal.SIGKILL)
        assert self.wait(pid) == -signal.SIGKILL

    def close(self) -> None:
        """End all that were started here."""
        for pid in list(self._living):
            os.kill(pid, signal.SIGKILL)
            self.wait(pid)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(PATIENCE)
        self._process.stdout.close()

    def _ask(self, order: dict[str, Any]) -> int:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())


@pytest.fixture(scope="module")
def stable() -> Iterator[Stable]:
    stable = Stable()
    yield stable
    stable.close()
