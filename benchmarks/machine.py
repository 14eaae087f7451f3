"""The machine that is measured on: what it is, how fast it is just now, and what else it does meanwhile."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import psutil
from msgspec import Struct

from intendant.adapters.mounts import VOLATILE, file_system_of

LOAD_AVERAGE_MAX: Final = 0.5
TURNS: Final = 300_000  # of the loop that tells the speed: about 15 ms
BUSY: Final = ("user", "nice", "system", "irq", "softirq")


class Meanwhile(Struct, frozen=True):
    """What happened beside a measurement, in cores: 1.0 is one core all the time."""

    foreign: float  # work of processes that are not ours
    stolen: float  # taken by the host of a virtual machine


class Watch:
    """Counts processor time from its making on. Ours is this process and all that it started."""

    def __init__(self) -> None:
        self._began = self._look()

    def look(self) -> Meanwhile:
        """What happened since it was made."""
        seconds, all_of_it, ours, stolen = (now - then for now, then in zip(self._look(), self._began, strict=True))
        return Meanwhile(foreign=max(0.0, (all_of_it - ours) / seconds), stolen=stolen / seconds)

    @staticmethod
    def _look() -> tuple[float, float, float, float]:
        times = psutil.cpu_times()
        busy = sum(getattr(times, name, 0.0) for name in BUSY)
        return time.perf_counter(), busy, _ours(), getattr(times, "steal", 0.0)


def _ours() -> float:
    """Processor time of this process and its descendants, with that of those that have ended."""
    this = psutil.Process()
    total = 0.0
    for process in [this, *this.children(recursive=True)]:
        try:
            total += sum(process.cpu_times()[:4])  # user and system, its own and of its ended children
        except psutil.Error:
            continue  # it has just ended: its parent has its time now
    return total


def speed() -> float:
    """How fast one core is just now: million turns a second of a fixed loop, the best of three."""
    return max(_turns_per_second() for _ in range(3)) / 1e6


def _turns_per_second() -> float:
    began, total = time.perf_counter(), 0
    for turn in range(TURNS):
        total += turn & 7
    return TURNS / (time.perf_counter() - began)


def machine() -> dict[str, Any]:
    """Where it was measured."""
    models = [line for line in _cpuinfo() if line.startswith("model name")]
    return {
        "cpu": models[0].partition(":")[2].strip() if models else platform.processor(),
        "cores": os.cpu_count(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "load_average": os.getloadavg()[0],
        "commit": _commit(),
    }


def _commit() -> str | None:
    """What is measured; None where no git tells it."""
    if shutil.which("git") is None:
        return None
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    ran = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=False)
    return ran.stdout.strip() or None


def refuse_a_disk_in_memory() -> None:
    """Raise SystemExit where new stores would lie in memory: a flush costs nothing there, and means nothing."""
    folder = Path(tempfile.gettempdir())
    if (kind := file_system_of(folder)) in VOLATILE:
        sys.exit(f"{folder} is in memory ({kind}): say TMPDIR=/some/folder/on/a/disk, where stores are to lie")


def idle_machine(*, force: bool) -> dict[str, Any]:
    """Where it is measured. Raises SystemExit when it does something else, unless that is to be so."""
    refuse_a_disk_in_memory()
    here = machine()
    if here["load_average"] > LOAD_AVERAGE_MAX and not force:
        sys.exit(f"the machine is busy (load average {here['load_average']:.2f}): wait, or say --force")
    return here


def _cpuinfo() -> Iterator[str]:
    path = Path("/proc/cpuinfo")
    return iter(path.read_text().splitlines() if path.exists() else [])
