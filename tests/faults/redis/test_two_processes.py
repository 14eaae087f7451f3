"""Two processes over one server: they relieve each other, or each serves its own partitions."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable

import pytest

from intendant.domain.ids import partition_of
from tests.faults.redis.trial import Trial
from tests.faults.stable import Stable
from tests.infrastructure.redis_server import RedisServer
from tests.infrastructure.tier import full

PARTITIONS = 4
HALVES = ([0, 1], [2, 3])
SERVED_MIN = 20  # intents accepted by a process before the next kill


def roll(rounds: int, servers: Callable[..., RedisServer], trial: Callable[..., Trial]) -> None:
    """A rolling restart: the next process stands by, the owner is told to leave with everything open."""
    tried = trial(servers(appendfsync="always").url, durability="fsync", takeover_timeout=60.0)
    tried.load(leave=True)
    reader = tried.reader
    for _ in range(rounds):
        owner = tried.pid
        standby = tried.start(leave=True)
        tried.ripen(at_most=0.1)
        assert reader.said("serving", tried.life) is None, "the standby waits while the owner serves"
        tried.struck()
        moment = time.monotonic()
        tried.leave(owner)
        reader.wait_for(lambda: reader.said("serving", tried.life), "the standby to serve")
        tried.goes_on(moment)
        assert tried.pid == standby
    tried.leave()
    tried.finish()
    tried.report("relieved owners in a rolling restart", tried.audit())


def test_two_rolling_restarts(servers: Callable[..., RedisServer], trial: Callable[..., Trial]) -> None:
    roll(2, servers, trial)


@pytest.mark.stress
@pytest.mark.alone
def test_fifty_rolling_restarts(servers: Callable[..., RedisServer], trial: Callable[..., Trial]) -> None:
    roll(full(50), servers, trial)


def tenants_of(own: list[int]) -> list[str]:
    """Two tenants for each of these partitions."""
    names = [f"tenant-{number}" for number in range(100)]
    return [
        name
        for partition in own
        for name in [each for each in names if partition_of(each, PARTITIONS) == partition][:2]
    ]


class Halves:
    """Two processes, each with half of the partitions and tenants of its own."""

    def __init__(self, tried: Trial) -> None:
        self.tried = tried
        self.lives = [0, 0]
        self.pids = [0, 0]

    def start(self, half: int) -> list[str]:
        """Start one; returns where it is told that a tenant of the other lives."""
        tenants, foreign = tenants_of(HALVES[half]), tenants_of(HALVES[1 - half])[0]
        mine = [each for each in self.tried.reader.open if each[0] in tenants]
        doubt = [each for each in self.tried.reader.doubt if each[0] in tenants]
        self.pids[half] = self.tried.start(
            options={"own": HALVES[half]}, tenants=tenants, foreign=foreign, open=mine, doubt=doubt
        )
        self.lives[half] = self.tried.life
        return self.tried.wait_for("elsewhere")

    def acknowledged(self, half: int) -> int:
        """How much the half's newest life was told."""
        return sum(key.startswith(f"L{self.lives[half]}-") for _, key in self.tried.reader.accepted)

    def serves(self, half: int) -> None:
        """Wait until the half is told more."""
        before = self.acknowledged(half)
        self.tried.reader.wait_for(lambda: self.acknowledged(half) >= before + SERVED_MIN, f"half {half} to serve")


def half_and_half(kills: int, stable: Stable, servers: Callable[..., RedisServer], trial: Callable[..., Trial]) -> None:
    """One of the two is killed, again and again; the other goes on, and each is told where the other's tenants live."""
    tried = trial(f"{servers(appendfsync='always').url}?partitions={PARTITIONS}", durability="fsync")
    halves = Halves(tried)
    halves.start(0)
    halves.start(1)
    for kill in range(kills):
        half, other = kill % 2, 1 - kill % 2
        halves.serves(half)
        stable.kill(halves.pids[half])
        halves.serves(other)
        told = halves.start(half)
        assert int(told[0]) in HALVES[other]
        assert told[1:] == [socket.gethostname(), str(halves.pids[other])]
        halves.serves(half)
    for half in (0, 1):
        tried.leave(halves.pids[half])
    verdict = tried.audit()
    print(
        f"\n{kills} kills of one of two processes with two partitions each: {len(tried.reader.accepted)} acknowledged; "
        f"lost {verdict.audit.lost}, duplicated {verdict.audit.duplicated}"
    )
    assert {partition for _, partition in verdict.epochs} == set(range(PARTITIONS))


def test_two_processes_with_two_partitions_each(
    stable: Stable, servers: Callable[..., RedisServer], trial: Callable[..., Trial]
) -> None:
    half_and_half(2, stable, servers, trial)


@pytest.mark.stress
@pytest.mark.alone
def test_twenty_kills_of_one_of_two_processes(
    stable: Stable, servers: Callable[..., RedisServer], trial: Callable[..., Trial]
) -> None:
    half_and_half(full(20), stable, servers, trial)
