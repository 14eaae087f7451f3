"""Servers as processes of this machine that do not outlive the tests."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import weakref
from pathlib import Path
from types import TracebackType
from typing import Final, Self

PATIENCE: Final = 20.0  # seconds: what has not come up, or gone, by then does not


def ends_with_us() -> list[str]:
    """Words before a command: Linux ends it even when this process is killed."""
    return ["setpriv", "--pdeathsig", "KILL"] if shutil.which("setpriv") else []


def end(started: list[subprocess.Popen[bytes]], directory: Path) -> None:
    """Kill those that live, and remove their directory."""
    for process in started:
        if process.poll() is None:
            process.kill()
            process.wait()
    shutil.rmtree(directory, ignore_errors=True)


class OwnServer:
    """A server of ours over a directory of its own: its process may end and be started again.

    The process is ended with this object, with this process, and with the thread that started it.
    """

    def __init__(self, prefix: str) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix=prefix))
        self._started: list[subprocess.Popen[bytes]] = []
        self._end = weakref.finalize(self, end, self._started, self.directory)

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The process last started."""
        return self._started[-1]

    @property
    def running(self) -> bool:
        """Whether the process lives."""
        return self.process.poll() is None

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone; from then on its port is closed."""
        self._signal(signal.SIGKILL)
        self.process.wait(PATIENCE)

    def pause(self) -> None:
        """SIGSTOP, and wait until it has stopped: connections stay and new ones come, and nothing answers."""
        self._signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self.process.pid, os.WSTOPPED)  # a signal takes its time

    def resume(self) -> None:
        """SIGCONT."""
        self._signal(signal.SIGCONT)

    def close(self) -> None:
        """End it, and remove its directory."""
        self._end()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _signal(self, number: signal.Signals) -> None:
        if self.running:
            self.process.send_signal(number)
