"""Which servers a test run uses: what decides, in which order."""

from __future__ import annotations

import shutil
import subprocess
from typing import Any

import pytest

from tests.infrastructure import servers
from tests.infrastructure.servers import ARANGO_URL, DOCKER, REDIS_URL


@pytest.fixture(autouse=True)
def nothing_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (REDIS_URL, ARANGO_URL, DOCKER, "DOCKER_HOST"):
        monkeypatch.setenv(name, "")  # so that it is as before afterwards
    monkeypatch.setattr(shutil, "which", docker)


def docker(_name: str) -> str:
    return "/usr/bin/docker"


def answer(monkeypatch: pytest.MonkeyPatch, output: str) -> list[list[str]]:
    """Be `docker`; returns the words that it is called with."""
    calls: list[list[str]] = []

    def run(command: list[str], **_options: Any) -> subprocess.CompletedProcess[str]:
        calls.append(command[4:])
        return subprocess.CompletedProcess(command, 0, output)

    monkeypatch.setattr(subprocess, "run", run)
    return calls


def test_the_environment_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = answer(monkeypatch, "redis\narangodb\n")
    monkeypatch.setenv(REDIS_URL, "redis://there")
    monkeypatch.setenv(DOCKER, "1")
    assert servers.find().redis == "redis://there"
    assert servers.find().arango == ""
    assert calls == []


def test_a_stack_that_runs_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:1")
    monkeypatch.setenv("INTENDANT_TEST_ARANGO_PASSWORD", "other")
    calls = answer(monkeypatch, "redis\narangodb\n")
    found = servers.find()
    assert (found.redis, found.arango) == (servers.COMPOSE_REDIS, "arangodb://root:other@127.0.0.1:8530")
    assert calls == [["ps", "--services", "--status", "running"]]
    assert "Docker Compose" in str(found)


def test_a_stack_that_does_not_run_is_started_only_when_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:1")
    calls = answer(monkeypatch, "")
    assert servers.find() == servers.Infrastructure("", "", "")
    monkeypatch.setenv(DOCKER, "1")
    assert servers.find().redis == servers.COMPOSE_REDIS
    assert calls[-1] == ["up", "--detach", "--wait"]


def test_a_docker_that_fails_is_no_docker(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(command: list[str], **_options: Any) -> None:
        raise subprocess.CalledProcessError(125, command)

    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:1")
    monkeypatch.setattr(subprocess, "run", fail)
    assert servers.find() == servers.Infrastructure("", "", "")


def test_no_server_at_all_is_an_error_that_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers, "installed", lambda: False)
    with pytest.raises(RuntimeError, match="apt-get install redis-server"):
        servers.require_redis()
