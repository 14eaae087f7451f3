"""What a load costs besides our own process: the servers' processor time, and how long cold state takes to follow."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Final, Protocol, runtime_checkable
from urllib.parse import urlsplit

import anyio

from intendant.domain.ports import ColdStore, Store
from intendant.runtime.runtime import Runtime

LOOK_SECONDS: Final = 0.02
_LOCAL: Final = ("localhost", "127.0.0.1", "::1")
_LISTENING: Final = "0A"
_PROXIES: Final = ("docker-proxy", "rootlesskit")  # whose time is not the server's


@runtime_checkable
class Metered(Protocol):
    """A store whose server tells its processor time."""

    async def cpu_seconds(self) -> float:
        """Since the server began."""
        ...


class Meters:
    """Seconds of processor time of the stores' servers during a load, None where they are not known."""

    def __init__(self, hot: Store, cold: ColdStore | None) -> None:
        self.hot_seconds: float | None = None
        self.cold_seconds: float | None = None
        self.lag: int | None = None  # records that cold state was behind when the callers had ended
        self.lag_seconds: float | None = None  # until it was not any more; None if it did not come to that
        self._hot = hot
        self._cold = cold
        self._began: tuple[float | None, float | None] = (None, None)

    async def begin(self) -> None:
        """The callers begin."""
        self._began = (await self._hot_now(), self._cold_now())

    async def end(self, runtime: Runtime, timeout: float) -> None:
        """The callers have ended: read what it cost, and wait until cold state has followed, `timeout` seconds at most.

        The cold server's time runs until then.
        """
        self.hot_seconds = _between(self._began[0], await self._hot_now())
        self.lag = runtime.stats().lag
        if self._cold is None:
            return
        began = time.perf_counter()
        with anyio.move_on_after(timeout):
            while runtime.stats().lag:  # noqa: ASYNC110  nobody announces it
                await anyio.sleep(LOOK_SECONDS)
            self.lag_seconds = round(time.perf_counter() - began, 3)
        self.cold_seconds = _between(self._began[1], self._cold_now())

    async def _hot_now(self) -> float | None:
        return await self._hot.cpu_seconds() if isinstance(self._hot, Metered) else None

    def _cold_now(self) -> float | None:
        return None if self._cold is None else server_cpu_seconds(self._cold.name)


def _between(before: float | None, after: float | None) -> float | None:
    return None if before is None or after is None else max(after - before, 0.0)


def server_cpu_seconds(url: str) -> float | None:
    """The processor time of the process on this machine that listens where a URL says; None if it is not known."""
    place = urlsplit(url)
    if place.hostname not in _LOCAL or place.port is None:
        return None
    try:
        pid = _listener(place.port)
        if pid is None or (Path("/proc") / pid / "comm").read_text().strip() in _PROXIES:
            return None
        words = (Path("/proc") / pid / "stat").read_text().rpartition(")")[2].split()
        return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError):
        return None  # not Linux, not ours to see, or gone


def _listener(port: int) -> str | None:
    """The process that listens on a port, as Linux tells it."""
    wanted: set[str] = set()
    for table in ("tcp", "tcp6"):
        for line in (Path("/proc/net") / table).read_text().splitlines()[1:]:
            words = line.split()
            if words[3] == _LISTENING and int(words[1].rpartition(":")[2], 16) == port:
                wanted.add(f"socket:[{words[9]}]")
    for process in Path("/proc").iterdir():
        if process.name.isdigit() and _holds(process, wanted):
            return process.name
    return None


def _holds(process: Path, sockets: set[str]) -> bool:
    try:
        return any(str(each.readlink()) in sockets for each in (process / "fd").iterdir())
    except OSError:
        return False  # another user's, or gone
