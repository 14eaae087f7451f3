"""Servers that rivals need, each over a folder of its own that goes with it, on free ports of the loopback.

(Redis is `tests.infrastructure.redis_server`.)
"""

from __future__ import annotations

import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import tomllib
import urllib.request
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from msgspec import Struct

from benchmarks.environments import RIVALS
from benchmarks.processes import PATIENCE, Broken, last_line, running
from tests.infrastructure.ports import free_port

PARTITIONS: Final = 1  # of Restate: of its default of 24 each has a log of its own, which two cores only lose by
ANSWER_SECONDS: Final = 5.0
CONFIGURATION: Final = """\
base-dir = "{folder}"
node-name = "bench"
listen-mode = "tcp"
bind-ip = "127.0.0.1"
bind-port = {node}
default-num-partitions = {partitions}
disable-telemetry = true
log-filter = "warn"
[admin]
bind-port = {admin}
[ingress]
bind-port = {ingress}
"""


@contextmanager
def postgres(binaries: Path) -> Generator[str]:
    """A new cluster with the defaults of PostgreSQL; the URL of its server.

    PostgreSQL refuses to run as root: then it runs as `postgres`, or as `nobody`.
    """
    port, user = free_port(), _unprivileged()
    with _folder("postgres-") as folder:
        if user is not None:
            shutil.chown(folder, user)
        data, log = folder / "data", folder / "log"
        words = [
            binaries / "initdb",
            "-D",
            data,
            "-U",
            "postgres",
            "--auth",
            "trust",
            "--encoding",
            "UTF8",
            "--no-sync",
        ]
        made = subprocess.run(
            list(map(str, words)),
            capture_output=True,
            text=True,
            user=user,
            extra_groups=None if user is None else [],
            cwd=folder,
            check=False,
        )
        if made.returncode:
            raise Broken(f"initdb: {made.stderr}")
        server: list[str | Path] = [binaries / "postgres", "-D", data, "-p", str(port), "-h", "127.0.0.1", "-k", ""]
        with running(server, log, folder=folder, user=user, ending=signal.SIGQUIT) as process:
            asked = [str(binaries / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(port)]
            _wait(process, log, lambda: subprocess.run(asked, check=False).returncode == 0)
            yield f"postgresql://postgres@127.0.0.1:{port}"


def _unprivileged() -> str | None:
    if os.geteuid():
        return None
    users = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in users else "nobody"


class Restate(Struct, frozen=True):
    """A server that is up, with our service registered."""

    ingress: str
    settings: dict[str, Any]


@contextmanager
def restate(binary: Path, python: Path) -> Generator[Restate]:
    """A new Restate server, and granian beside it that serves the app in the rival's environment."""
    node, admin, ingress, app = (free_port() for _ in range(4))
    with _folder("restate-") as folder:
        configuration = folder / "restate.toml"
        configuration.write_text(
            CONFIGURATION.format(folder=folder / "data", node=node, admin=admin, ingress=ingress, partitions=PARTITIONS)
        )
        log, app_log = folder / "log", folder / "app-log"
        server: list[str | Path] = [binary, "--config-file", configuration, "--no-logo"]
        granian: list[str | Path] = [
            python.parent / "granian",
            "--interface",
            "asgi",
            "--http",
            "2",
            "--loop",
            "uvloop",
            "--no-ws",
        ]
        granian += ["--workers", "1", "--host", "127.0.0.1", "--port", str(app), "restate_service:app"]
        with (
            running(server, log, folder=folder, ending=signal.SIGTERM) as process,
            running(granian, app_log, folder=RIVALS, ending=signal.SIGTERM) as serving,
        ):
            _wait(serving, app_log, lambda: _listens(app))
            deployment = {"uri": f"http://127.0.0.1:{app}"}
            _wait(process, log, lambda: _posts(f"http://127.0.0.1:{admin}/deployments", deployment))
            call = f"http://127.0.0.1:{ingress}/Session/first/three_steps"
            _wait(process, log, lambda: _posts(call, {"number": 1}))
            yield Restate(f"127.0.0.1:{ingress}", _settings(server))


def _settings(server: Sequence[str | Path]) -> dict[str, Any]:
    """What the server says it does with our configuration."""
    version = subprocess.run([server[0], "--version"], capture_output=True, text=True, check=True).stdout.strip()
    told = subprocess.run([*server, "--dump-config"], capture_output=True, text=True, check=True).stdout
    read = tomllib.loads(told)
    log = read["log-server"]
    synced = not log["rocksdb-disable-wal-fsync"] and not log.get("rocksdb-disable-wal", False)
    return {
        "version": version,
        "durability": "fsync" if synced else "written",
        "rocksdb-disable-wal-fsync": log["rocksdb-disable-wal-fsync"],
        "default-num-partitions": read["default-num-partitions"],
        "default-replication": read["default-replication"],
    }


def _posts(url: str, body: object) -> bool:
    request = urllib.request.Request(url, json.dumps(body).encode(), {"content-type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=ANSWER_SECONDS) as answer:
            return bool(answer.read() or True)
    except OSError:
        return False


def _listens(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def _wait(process: subprocess.Popen[str], log: Path, is_up: Callable[[], bool]) -> None:
    give_up = time.monotonic() + PATIENCE
    while not is_up():
        if process.poll() is not None or time.monotonic() > give_up:
            raise Broken(f"a server did not come up: {last_line(log)}")
        time.sleep(0.05)


@contextmanager
def _folder(prefix: str) -> Generator[Path]:
    folder = Path(tempfile.mkdtemp(prefix=f"bench-{prefix}"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
