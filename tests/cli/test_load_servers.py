"""`intendant load` on servers: what they cost, and how long cold state takes to follow."""

from __future__ import annotations

import json
import os
import socket
import time

import pytest

from intendant.cli import main
from intendant.cli.meters import server_cpu_seconds


def loaded(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit) as left:
        main(["load", "--intents", "100", "--sessions", "4", *arguments])
    assert left.value.code == 0
    return capsys.readouterr().out


def test_a_redis_servers_processor_time_is_told(capsys: pytest.CaptureFixture[str], redis_url: str) -> None:
    found = json.loads(loaded(capsys, "--hot", redis_url, "--cold", "memory:", "--json"))
    assert 0 < found["hot_server_cpu_s_per_1000"] < 100
    assert found["cold_server_cpu_s_per_1000"] is None
    assert found["lag"] >= 0
    assert 0 <= found["lag_s"] < 60
    assert found["sound"]


def test_both_are_in_the_table(capsys: pytest.CaptureFixture[str], redis_url: str) -> None:
    said = loaded(capsys, "--hot", redis_url, "--cold", "memory:")
    assert "hot server" in said
    assert "s of CPU per 1,000 executions" in said
    assert "records behind when the callers had ended, up to date" in said


def test_without_servers_nothing_is_told_of_them(capsys: pytest.CaptureFixture[str]) -> None:
    found = json.loads(loaded(capsys, "--hot", "memory:", "--json"))
    assert (found["hot_server_cpu_s_per_1000"], found["cold_server_cpu_s_per_1000"], found["lag_s"]) == (None,) * 3


def test_the_process_behind_a_local_port_is_found() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        before = time.process_time()
        found = server_cpu_seconds(f"arangodb://127.0.0.1:{port}/work")
    assert found is not None, os.name
    assert before - 0.1 <= found <= time.process_time() + 0.1
    assert server_cpu_seconds(f"arangodb://127.0.0.1:{port}/work") is None, "nobody listens any more"
    assert server_cpu_seconds("arangodb://example.org:8529/work") is None
