"""The stand-in's process: started, stopped, killed, paused, robbed of its power, and made to fail."""

from __future__ import annotations

import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Final

import msgspec

from tests.arango_standin.contract import VERSIONS
from tests.arango_standin.faults import CONTROL, Plan, State
from tests.infrastructure.ports import free_port
from tests.infrastructure.processes import OwnServer, ends_with_us

PATIENCE: Final = 60.0  # seconds: what has not answered by then does not answer
ROOT: Final = Path(__file__).parents[2]


class StandIn(OwnServer):
    """A server that can be started again over the same directory and port.

    The process is ended with this object, with this process, and with the thread that started it.
    """

    def __init__(self, version: str = VERSIONS[0]) -> None:
        super().__init__("arango-")
        self.version = version
        self.port = free_port()
        self.start()

    @property
    def url(self) -> str:
        """Where it is, without a database."""
        return f"arangodb://root:test@127.0.0.1:{self.port}"

    def start(self, *, power_lost: bool = False) -> None:
        """Start it, and wait until it serves: it has what was written, or with `power_lost` what was synced."""
        self.launch(power_lost=power_lost)
        self.wait()

    def launch(self, *, power_lost: bool = False) -> None:
        """The same, but do not wait; `wait` has to follow. Not from a thread that ends: the process ends with it."""
        words = ["--directory", str(self.directory), "--port", str(self.port), "--version", self.version]
        words += ["--power-lost"] * power_lost
        command = [*ends_with_us(), sys.executable, "-m", "tests.arango_standin", *words]
        self._started.append(subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE))

    def wait(self) -> None:
        """Wait until it serves. Raises RuntimeError if it does not come up."""
        assert self.process.stdout is not None
        with self.process.stdout as said:
            serves = said.readline()
        if not serves:
            raise RuntimeError(f"the stand-in did not come up (exit code {self.process.wait(PATIENCE)})")

    def plan(self, plan: Plan | None) -> State:
        """Let requests meet a fault from now on, or none; returns what was so far."""
        return self._ask(msgspec.json.encode(plan))

    def look(self) -> State:
        """What was since it was last asked."""
        return self._ask(None)

    def _ask(self, content: bytes | None) -> State:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{CONTROL}", content, PATIENCE) as answer:
            return msgspec.json.decode(answer.read(), type=State)
