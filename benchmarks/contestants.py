"""Who is measured, at what: ours and the rivals, each set up in the fastest way that we found, on an equal footing.

One execution: accept one request durably, run a trivial handler that returns a small dict, record the result durably,
hand it to the caller. With 3 steps: the same with three durable trivial steps.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Final, TypeAlias

from msgspec import Struct

from benchmarks import environments, servers
from benchmarks.environments import RIVALS
from tests.arango_standin.process import StandIn
from tests.infrastructure.redis_server import RedisServer

Command: TypeAlias = Sequence[str | Path]
Start: TypeAlias = Callable[[], AbstractContextManager[Command]]
"""Brings up what a contestant needs, new and empty, and tells the command of its process; takes it away afterwards."""


class Case(Struct, frozen=True):
    """One thing to measure."""

    measure: str
    callers: int
    steps: int = 0

    def __str__(self) -> str:
        if self.measure != "executions":
            return self.measure if self.callers == 1 else f"{self.measure}, {self.callers} callers"
        return f"{self.callers} caller{'s'[: self.callers > 1]}, {self.steps or 'no'} steps"


NO_STEPS: Final = (Case("executions", 1), Case("executions", 64))
WITH_STEPS: Final = (Case("executions", 1, 3), Case("executions", 64, 3))
MESSAGES: Final = (Case("tell", 1), Case("ask", 64))
RESTARTS: Final = (Case("restarts", 1),)
CASES: Final = (*NO_STEPS, *WITH_STEPS, *MESSAGES, *RESTARTS)


class Contestant(Struct, frozen=True):
    """Ours has no `against`; a rival is compared with the one of ours that it names."""

    key: str
    name: str
    durability: str  # what a result that was told means: `fsync` on disk, `written` to the kernel, `memory`
    cases: tuple[Case, ...]
    prepare: Callable[[], Start]  # raises Missing
    against: str | None = None


def _start(command: Command) -> Start:
    @contextmanager
    def start() -> Generator[Command]:
        yield command

    return start


def _ours(*arguments: str) -> Command:
    return [sys.executable, "-m", "benchmarks.ours", *arguments]


def _bare() -> Command:
    return [sys.executable, "-m", "benchmarks.bare"]


def _rival(rival: str, script: str) -> Command:
    return [environments.python_of(rival), RIVALS / script]


@contextmanager
def _file(name: str) -> Generator[Path]:
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        yield Path(folder) / name


def _on_file(command: Command, scheme: str) -> Start:
    @contextmanager
    def start() -> Generator[Command]:
        with _file("bench.db") as path:
            yield [*command, f"{scheme}{path}"]

    return start


def _on_redis(command: Command, appendfsync: str) -> Start:
    environments.need_redis()

    @contextmanager
    def start() -> Generator[Command]:
        with RedisServer(appendfsync=appendfsync) as server:
            yield [*command, server.url]

    return start


def _ours_with_a_cold_store() -> Start:
    environments.need_redis()

    @contextmanager
    def start() -> Generator[Command]:
        with RedisServer(appendfsync="everysec") as server, StandIn() as cold:
            yield [*_ours("cold", f"{cold.url}/bench"), server.url]

    return start


def _dbos_on_postgres() -> Start:
    command, binaries = _rival("dbos", "dbos_workflow.py"), environments.postgres_binaries()

    @contextmanager
    def start() -> Generator[Command]:
        with servers.postgres(binaries) as url:
            yield [*command, f"{url}/bench"]

    return start


def _restate() -> Start:
    command, binary = _rival("restate", "restate_service.py"), environments.restate_server()

    @contextmanager
    def start() -> Generator[Command]:
        with servers.restate(binary, Path(command[0])) as server:
            yield [*command, server.ingress, json.dumps(server.settings)]

    return start


def _otp() -> Start:
    return _start(["erl", "-noshell", "-pa", environments.compiled_erlang(), "-s", "otp_server", "main"])


CONTESTANTS: Final = (
    Contestant(
        key="ours-sqlite",
        name="Intendant on SQLite",
        durability="fsync",
        cases=NO_STEPS + WITH_STEPS,
        prepare=lambda: _on_file(_ours(), "sqlite:"),
    ),
    Contestant(
        key="ours-sqlite-pure",
        name="Intendant on SQLite, pure",
        durability="fsync",
        cases=NO_STEPS,
        prepare=lambda: _on_file(_ours("pure"), "sqlite:"),
        against="ours-sqlite",
    ),
    Contestant(
        key="dbos-sqlite",
        name="DBOS on SQLite",
        durability="fsync",
        cases=NO_STEPS + WITH_STEPS,
        prepare=lambda: _on_file(_rival("dbos", "dbos_workflow.py"), "sqlite:///"),
        against="ours-sqlite",
    ),
    Contestant(
        key="dbos-sqlite-wal",
        name="DBOS on SQLite, WAL",
        durability="fsync",
        cases=NO_STEPS + WITH_STEPS,
        prepare=lambda: _on_file([*_rival("dbos", "dbos_workflow.py"), "wal"], "sqlite:///"),
        against="ours-sqlite",
    ),
    Contestant(
        key="bare-sqlite",
        name="bare group commit, SQLite",
        durability="fsync",
        cases=NO_STEPS + WITH_STEPS,
        prepare=lambda: _on_file(_bare(), "sqlite:"),
        against="ours-sqlite",
    ),
    Contestant(
        key="ours-redis-always",
        name="Intendant on Redis, always",
        durability="fsync",
        cases=NO_STEPS + WITH_STEPS,
        prepare=lambda: _on_redis(_ours(), "always"),
    ),
    Contestant(
        key="ours-redis-always-pure",
        name="Intendant on Redis, pure",
        durability="fsync",
        cases=NO_STEPS,
        prepare=lambda: _on_redis(_ours("pure"), "always"),
        against="ours-redis-always",
    ),
    Contestant(
        key="ours-redis-always-http",
        name="Intendant over HTTP, Redis",
        durability="fsync",
        cases=NO_STEPS + WITH_STEPS,
        prepare=lambda: _on_redis([sys.executable, "-m", "benchmarks.ours_http"], "always"),
        against="ours-redis-always",
    ),
    Contestant(
        key="dbos-postgres",
        name="DBOS on PostgreSQL",
        durability="fsync",
        cases=NO_STEPS + WITH_STEPS,
        prepare=_dbos_on_postgres,
        against="ours-redis-always",
    ),
    Contestant(
        key="restate",
        name="Restate",
        durability="fsync",
        cases=NO_STEPS + WITH_STEPS,
        prepare=_restate,
        against="ours-redis-always",
    ),
    Contestant(
        key="taskiq-always",
        name="taskiq on Redis, always",
        durability="fsync",
        cases=NO_STEPS,  # it has no durable steps
        prepare=lambda: _on_redis(_rival("taskiq", "taskiq_queue.py"), "always"),
        against="ours-redis-always",
    ),
    Contestant(
        key="bare-redis-always",
        name="bare group commit, Redis",
        durability="fsync",
        cases=NO_STEPS + WITH_STEPS,
        prepare=lambda: _on_redis(_bare(), "always"),
        against="ours-redis-always",
    ),
    Contestant(
        key="ours-redis-everysec",
        name="Intendant on Redis, everysec",
        durability="written",
        cases=NO_STEPS + WITH_STEPS,
        prepare=lambda: _on_redis(_ours(), "everysec"),
    ),
    Contestant(
        key="bare-redis-everysec",
        name="bare group commit, Redis",
        durability="written",
        cases=NO_STEPS + WITH_STEPS,
        prepare=lambda: _on_redis(_bare(), "everysec"),
        against="ours-redis-everysec",
    ),
    Contestant(
        key="ours-redis-everysec-cold",
        name="Intendant, Redis + cold store",
        durability="written",
        cases=NO_STEPS[1:] + WITH_STEPS[1:],
        prepare=_ours_with_a_cold_store,
        against="ours-redis-everysec",
    ),
    Contestant(
        key="taskiq-everysec",
        name="taskiq on Redis, everysec",
        durability="written",
        cases=NO_STEPS,
        prepare=lambda: _on_redis(_rival("taskiq", "taskiq_queue.py"), "everysec"),
        against="ours-redis-everysec",
    ),
    Contestant(
        key="ours-actors",
        name="Intendant",
        durability="memory",
        cases=MESSAGES + RESTARTS,
        prepare=lambda: _start(_ours("actors")),
    ),
    Contestant(
        key="pykka",
        name="Pykka",
        durability="memory",
        cases=MESSAGES,
        prepare=lambda: _start(_rival("pykka", "pykka_actor.py")),
        against="ours-actors",
    ),
    Contestant(
        key="thespian",
        name="Thespian",
        durability="memory",
        cases=MESSAGES,
        prepare=lambda: _start(_rival("thespian", "thespian_actor.py")),
        against="ours-actors",
    ),
    Contestant(
        key="otp",
        name="Erlang/OTP",
        durability="memory",
        cases=MESSAGES + RESTARTS,
        prepare=_otp,
        against="ours-actors",
    ),
)
