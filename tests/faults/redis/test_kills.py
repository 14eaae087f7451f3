"""`kill -9` of a loaded process over a redis-server, and faults planted in it that the audit must find."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.faults.redis.trial import Trial
from tests.faults.stable import Stable
from tests.infrastructure.redis_server import RedisServer
from tests.infrastructure.tier import full

PATIENCE = 30.0  # seconds until what is open must have ended,
EACH_KILL = 0.2  # and for each kill, because all whose end was told to somebody who died are asked for again
TRIES = 10  # kills within which a planted fault must show; the first that shows it is the last


def kill_processes(kills: int, stable: Stable, tried: Trial, *, every: int, bug: str = "") -> None:
    for kill in range(1, kills + 1):
        tried.load(bug=bug)
        tried.ripen()
        stable.kill(tried.pid)
        tried.struck()
        tried.starts_over()
        if kill % every == 0:
            tried.look_into()
    tried.finish(patience=PATIENCE + kills * EACH_KILL)
    tried.report("kills of the process", tried.audit())


def test_two_kills(stable: Stable, servers: Callable[..., RedisServer], trial: Callable[..., Trial]) -> None:
    kill_processes(2, stable, trial(servers().url), every=1)


@pytest.mark.stress
@pytest.mark.parametrize("store", range(5))
def test_a_thousand_kills(
    stable: Stable, servers: Callable[..., RedisServer], trial: Callable[..., Trial], store: int
) -> None:
    """200 over each of five stores: an audit reads all that its store holds, and there is one every 20 kills."""
    kill_processes(full(200), stable, trial(servers().url), every=20)


@pytest.mark.parametrize("bug", ["acknowledge_before_commit", "outbox_outside_the_commit", "key_without_tenant"])
def test_a_planted_fault_is_noticed(
    stable: Stable, servers: Callable[..., RedisServer], trial: Callable[..., Trial], bug: str
) -> None:
    with pytest.raises(AssertionError) as found:
        kill_processes(TRIES, stable, trial(servers().url), every=1, bug=bug)
    print(f"\n{bug}: {str(found.value)[:300]}")
