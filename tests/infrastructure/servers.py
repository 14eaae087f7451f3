"""Which servers a test run uses: those that the environment names, else those of Docker Compose, else our own.

    INTENDANT_TEST_REDIS_URL    redis://127.0.0.1:6379/0                   a server that tests may write to
    INTENDANT_TEST_ARANGO_URL   arangodb://root:password@127.0.0.1:8529    the same; tests make databases of their own
    INTENDANT_TEST_DOCKER=1     start docker-compose.test.yml if it does not run yet

Without any of them a stack of docker-compose.test.yml is used if it runs already; then Redis is a redis-server of this
machine, one for each process of the test run, and ArangoDB is the stand-in of tests/arango_standin.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from tests.infrastructure.redis_server import installed

REDIS_URL: Final = "INTENDANT_TEST_REDIS_URL"
ARANGO_URL: Final = "INTENDANT_TEST_ARANGO_URL"
DOCKER: Final = "INTENDANT_TEST_DOCKER"
COMPOSE_FILE: Final = Path(__file__).parents[2] / "docker-compose.test.yml"
COMPOSE_REDIS: Final = "redis://127.0.0.1:6380/0"
UP_MAX: Final = 300.0  # seconds: images may have to be fetched


@dataclass(frozen=True)
class Infrastructure:
    """The servers of a test run. An empty URL: one of our own is to be started."""

    redis: str
    arango: str
    source: str  # of what was named or found

    def __str__(self) -> str:
        redis = self.source if self.redis else f"{_redis_version()}, one for each test process"
        arango = self.source if self.arango else "the stand-in of tests/arango_standin"
        return f"Redis: {redis}; ArangoDB: {arango}"


def find() -> Infrastructure:
    """Look once, in the process that starts the others; they find it in the environment."""
    redis, arango = os.environ.get(REDIS_URL, ""), os.environ.get(ARANGO_URL, "")
    if redis or arango:
        return Infrastructure(redis, arango, "as the environment names it")
    if os.environ.get(DOCKER):
        _compose("up", "--detach", "--wait", seconds=UP_MAX)
    elif not _runs():
        return Infrastructure("", "", "")
    password = os.environ.get("INTENDANT_TEST_ARANGO_PASSWORD", "test")
    os.environ[REDIS_URL] = COMPOSE_REDIS
    os.environ[ARANGO_URL] = f"arangodb://root:{password}@127.0.0.1:8530"
    return Infrastructure(os.environ[REDIS_URL], os.environ[ARANGO_URL], "Docker Compose")


def require_redis() -> None:
    """Tests on Redis are never skipped: say what to do instead."""
    if not installed():
        raise RuntimeError(
            f"no redis-server: install one (on Debian: apt-get install redis-server), or name a server in {REDIS_URL}"
        )


def _runs() -> bool:
    if shutil.which("docker") is None or not (os.environ.get("DOCKER_HOST") or Path("/var/run/docker.sock").exists()):
        return False
    try:
        running = _compose("ps", "--services", "--status", "running", seconds=10.0).split()
    except (subprocess.SubprocessError, OSError):
        return False
    return {"redis", "arangodb"} <= set(running)


def _compose(*words: str, seconds: float) -> str:
    command = ["docker", "compose", "--file", str(COMPOSE_FILE), *words]
    return subprocess.run(command, check=True, text=True, timeout=seconds, stdout=subprocess.PIPE).stdout


@cache
def _redis_version() -> str:
    if not installed():
        return "none, and no redis-server is installed"
    told = subprocess.run(["redis-server", "--version"], check=True, text=True, stdout=subprocess.PIPE).stdout
    return "redis-server " + next((word[2:] for word in told.split() if word.startswith("v=")), "")
