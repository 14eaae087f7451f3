"""A runtime in another process, served by `intendant run`."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any, Self

ROOT = Path(__file__).parents[2]
PATIENCE = 30.0


class Live:
    """`intendant run TARGET --json`; it is told to stop when this is left."""

    def __init__(self, control: Path, hot: str, target: str = "tests.cli.served:runtime", *options: str) -> None:
        environment = {**os.environ, "INTENDANT_CONTROL": str(control), "INTENDANT_HOT": hot}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "intendant", "run", target, "--json", *options],
            cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise AssertionError(self.process.communicate()[1])
        self.told: dict[str, Any] = json.loads(line)

    def stop(self, number: int = signal.SIGTERM) -> tuple[int, str, str]:
        """Its exit code, and what it said after the first line."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        out, err = self.process.communicate(timeout=PATIENCE)
        return self.process.returncode, out, err

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop(signal.SIGKILL)
