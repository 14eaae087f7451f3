"""Where the rivals live: each in an environment of its own under `.bench/`, made once, with pinned versions.

What can't be made raises Missing with the reason; nothing of the system is installed.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parent.parent
HOME: Final = ROOT / ".bench"
RIVALS: Final = Path(__file__).parent / "rivals"
SECONDS_MAX: Final = 600  # for one installation

PACKAGES: Final = {
    "dbos": ("dbos==3.4.0", "sqlalchemy==2.1.9", "psycopg[binary]==3.3.9"),
    "restate": ("restate-sdk==1.3.0", "granian==2.8.7", "uvloop==0.23.0"),
    "taskiq": ("taskiq==0.13.0", "taskiq-redis==1.2.4", "redis==8.1.0", "hiredis==3.5.0", "uvloop==0.23.0"),
    "pykka": ("pykka==4.5.0",),
    "thespian": ("thespian==4.0.1",),
}
RESTATE_SERVER: Final = "@restatedev/restate-server@1.7.12"


class Missing(Exception):
    """What is not there, and how to get it."""


def python_of(rival: str) -> Path:
    """The Python of a rival's environment, which is made if need be."""
    packages = PACKAGES[rival]
    folder = HOME / rival
    python = folder / "bin" / "python"
    if not _is_ready(folder, packages):
        shutil.rmtree(folder, ignore_errors=True)
        _run(f"no environment for {rival}", [sys.executable, "-m", "venv", str(folder)])
        pip = [str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
        _run(f"pip can't install {' '.join(packages)}", [*pip, *packages])
        _ready(folder, packages)
    return python


def restate_server() -> Path:
    """Restate's server, which its npm package carries."""
    folder = HOME / "restate-server"
    if not _is_ready(folder, [RESTATE_SERVER]):
        if shutil.which("npm") is None:
            raise Missing("npm is missing, from which Restate's server comes; on Debian: apt-get install npm")
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        options = ["--prefix", str(folder), "--no-fund", "--no-audit", "--ignore-scripts"]
        _run(f"npm can't install {RESTATE_SERVER}", ["npm", "install", *options, RESTATE_SERVER])
        _ready(folder, [RESTATE_SERVER])
    for binary in sorted(folder.glob("node_modules/@restatedev/*/bin/restate-server")):
        if os.access(binary, os.X_OK):
            return binary
    raise Missing(f"{RESTATE_SERVER} has no server for this machine")


def compiled_erlang() -> Path:
    """The folder with our compiled module."""
    for tool in ("erl", "erlc"):
        if shutil.which(tool) is None:
            raise Missing(f"{tool} is missing; on Debian: apt-get install erlang-base")
    folder = HOME / "otp"
    folder.mkdir(parents=True, exist_ok=True)
    _run("otp_server.erl can't be compiled", ["erlc", "-o", str(folder), str(RIVALS / "otp_server.erl")])
    return folder


def postgres_binaries() -> Path:
    """The folder with PostgreSQL's server; Debian keeps it out of the path."""
    found = shutil.which("postgres")
    folders = [Path(found).resolve().parent] if found else []
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    for folder in folders:
        if all((folder / tool).exists() for tool in ("postgres", "initdb", "pg_isready")):
            return folder
    raise Missing("PostgreSQL's server is missing; on Debian: apt-get install postgresql")


def need_redis() -> None:
    """Raise Missing without a redis-server."""
    if shutil.which("redis-server") is None:
        raise Missing("redis-server is missing; on Debian: apt-get install redis-server")


def _run(problem: str, command: list[str]) -> None:
    try:
        ran = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS_MAX, check=False)
    except subprocess.TimeoutExpired:
        raise Missing(f"{problem} within {SECONDS_MAX} s") from None
    if ran.returncode:
        told = (ran.stderr or ran.stdout).strip().splitlines()
        raise Missing(f"{problem}: {told[-1] if told else f'exit code {ran.returncode}'}")


def _is_ready(folder: Path, pins: Sequence[str]) -> bool:
    stamp = folder / ".ready"
    return stamp.exists() and stamp.read_text() == _digest(pins)


def _ready(folder: Path, pins: Sequence[str]) -> None:
    (folder / ".ready").write_text(_digest(pins))


def _digest(pins: Sequence[str]) -> str:
    return hashlib.sha256(" ".join([sys.version, *pins]).encode()).hexdigest()
