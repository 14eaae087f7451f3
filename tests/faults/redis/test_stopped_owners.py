"""An owner that is stopped past its lease while another one takes over, and then goes on, writes nothing more."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable

import pytest

from tests.faults.reader import Reader, examine
from tests.faults.stable import Stable
from tests.infrastructure.redis_server import RedisServer
from tests.infrastructure.tier import full

LEASE = 0.5  # seconds
SERVED_MIN = 5  # intents accepted of each owner, before it is stopped
PATIENCE = 10.0  # seconds until one that was stopped must have left
BACKENDS = ("asyncio", "trio", "uvloop")


class Owners:
    """One after another, each stopped when the next one waits."""

    def __init__(self, stable: Stable, reader: Reader, hot: str, bug: str) -> None:
        self._bug = bug
        self._stable = stable
        self._reader = reader
        self._hot = hot
        self._life = 0
        self._pid = self._start()
        self._served(self._life)

    def round(self) -> float:
        """Stop the owner, let another one take over, let the first go on; returns seconds until the other served."""
        reader, first, pid = self._reader, self._life, self._pid
        second = self._start()
        os.kill(pid, signal.SIGSTOP)
        stopped = time.monotonic()
        said = reader.wait_for(lambda: reader.said("serving", self._life), "the next to take over")
        self._served(self._life)
        told = self._accepted(first)
        os.kill(pid, signal.SIGCONT)
        assert self._stable.wait(pid, patience=PATIENCE) == 4
        reader.look()
        assert reader.said("refused", first) == ["fenced"], "its callers are told"
        assert reader.said("failed", first) == ["Fenced", "RuntimeStopped"], "and so is its host"
        assert self._accepted(first) - told <= 1, "only what was taken before, and its caller not yet been told"
        self._pid = second
        return float(said[1]) - stopped

    def end(self) -> None:
        """The last one leaves."""
        os.kill(self._pid, signal.SIGTERM)
        assert self._stable.wait(self._pid) == 0

    def _start(self) -> int:
        self._life += 1
        order = {"takeover": 60.0, "lease": LEASE, "backend": BACKENDS[self._life % 3], "bug": self._bug}
        return self._stable.start("serve", self._hot, self._reader.path, self._life, **order)

    def _served(self, life: int) -> None:
        self._reader.wait_for(lambda: self._accepted(life) >= SERVED_MIN, f"life {life} to serve")

    def _accepted(self, life: int) -> int:
        return sum(key.startswith(f"L{life}-") for _, key in self._reader.accepted)


def stop_owners(rounds: int, stable: Stable, reader: Reader, hot: str, bug: str = "") -> None:
    owners = Owners(stable, reader, hot, bug)
    took = [owners.round() for _ in range(rounds)]
    owners.end()
    verdict = examine(hot, reader)
    verdict.check(reader)
    assert len(verdict.epochs) == rounds + 1
    assert all(len(epochs) == 1 for epochs in verdict.epochs.values()), "no duel: each opens the log once"
    print(
        f"\n{rounds} owners stopped past their lease of {LEASE} s: the next one served after {min(took):.3f} to "
        f"{max(took):.3f} s; {len(reader.accepted)} acknowledged, lost {verdict.audit.lost}, written when fenced "
        f"{verdict.audit.broken}, duplicated {verdict.audit.duplicated}"
    )


def test_one_stopped_owner(stable: Stable, reader: Reader, servers: Callable[..., RedisServer]) -> None:
    stop_owners(1, stable, reader, servers().url)


@pytest.mark.stress
def test_fifty_stopped_owners(stable: Stable, reader: Reader, servers: Callable[..., RedisServer]) -> None:
    stop_owners(full(50), stable, reader, servers().url)


def test_owners_without_a_fence_are_noticed(
    stable: Stable, reader: Reader, servers: Callable[..., RedisServer]
) -> None:
    with pytest.raises(AssertionError) as found:
        stop_owners(1, stable, reader, servers().url, "no_fence")
    print(f"\nno fence: {found.value}")
