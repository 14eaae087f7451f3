"""A primary is gone for good under load, with its disk: its replica takes over, and nothing that was told is lost.

A process that lives on finds the new one at the address that it knows, as behind a name that moves, and goes on by
itself; until the new one has a replica as well it is refused, because it can't give what was asked for. And the process
may be gone at the same moment: then nobody remembers what was told but the replica.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.faults.redis.trial import Trial
from tests.faults.stable import Stable
from tests.infrastructure.proxy import Proxy
from tests.infrastructure.redis_server import RedisServer, ValkeyServer
from tests.infrastructure.tier import full


class Pair:
    """A primary, its replica, and the address where the primary is found."""

    def __init__(self) -> None:
        self.primary: RedisServer = ValkeyServer(appendfsync="always")
        self.replica = self._follower()
        self.address = Proxy(self.primary.port)

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.address.port}/0"

    def kill(self) -> None:
        """The primary's process, whose disk nobody sees again."""
        self.primary.close()

    def fail_over(self) -> None:
        """The replica is the primary from now on, and gets a replica of its own."""
        self.replica.cli("REPLICAOF", "NO", "ONE")
        self.primary = self.replica
        self.address.target = self.primary.port
        self.replica = self._follower()

    def close(self) -> None:
        self.address.close()
        self.primary.close()
        self.replica.close()

    def _follower(self) -> RedisServer:
        replica = ValkeyServer(appendfsync="always")
        replica.follow(self.primary)
        return replica


@pytest.fixture
def pair() -> Iterator[Pair]:
    pair = Pair()
    yield pair
    pair.close()


def fail_over(times: int, pair: Pair, trial: Callable[..., Trial]) -> None:
    tried = trial(pair.url, durability="replicated")
    tried.endure(times, pair.kill, pair.fail_over)
    tried.report("failovers to a replica", tried.audit())


def lose_machines(times: int, stable: Stable, pair: Pair, tried: Trial, *, every: int, deaf: bool = False) -> None:
    """The process and the primary end together; `deaf`: the replica has heard nothing for a while before."""
    for kill in range(1, times + 1):
        tried.load()
        tried.ripen()
        if deaf:
            pair.replica.cli("REPLICAOF", "NO", "ONE")
            tried.is_told_more(lambda: True)
        stable.kill(tried.pid)
        pair.kill()
        tried.struck()
        pair.fail_over()
        tried.starts_over()
        if kill % every == 0:
            tried.look_into()
    tried.finish()
    tried.report("machines lost with the process and the primary", tried.audit())


def test_two_failovers(pair: Pair, trial: Callable[..., Trial]) -> None:
    fail_over(2, pair, trial)


@pytest.mark.stress
def test_a_hundred_failovers(pair: Pair, trial: Callable[..., Trial]) -> None:
    fail_over(full(100), pair, trial)


def test_two_machines_lost(stable: Stable, pair: Pair, trial: Callable[..., Trial]) -> None:
    lose_machines(2, stable, pair, trial(pair.url, durability="replicated"), every=1)


@pytest.mark.stress
def test_a_hundred_machines_lost(stable: Stable, pair: Pair, trial: Callable[..., Trial]) -> None:
    lose_machines(full(100), stable, pair, trial(pair.url, durability="replicated"), every=20)


def test_what_was_told_before_a_replica_had_it_is_found(
    stable: Stable, pair: Pair, trial: Callable[..., Trial]
) -> None:
    with pytest.raises(AssertionError) as found:
        lose_machines(1, stable, pair, trial(pair.url, durability="fsync"), every=1, deaf=True)
    print(f"\nfsync instead of replicated: {str(found.value)[:300]}")
