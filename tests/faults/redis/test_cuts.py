"""Connections that are cut anywhere, in requests and in replies, under load: nothing is lost or done twice."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.faults.redis.trial import ACKNOWLEDGED_MIN, Trial
from tests.infrastructure.proxy import Proxy, random_cut
from tests.infrastructure.redis_server import RedisServer
from tests.infrastructure.tier import full

AUDIT_EVERY = 400


def cut_one(proxy: Proxy, tried: Trial) -> None:
    reader, cuts = tried.reader, proxy.cuts
    proxy.arm(random_cut(tried.chance))
    reader.wait_for(lambda: proxy.cuts > cuts, "a connection to be cut")
    told = len(reader.accepted)
    reader.wait_for(lambda: len(reader.accepted) > told, "work to go on by itself")


def cut(cuts: int, server: RedisServer, trial: Callable[..., Trial]) -> None:
    tried = trial(server.url, durability="fsync")
    with Proxy(server.port) as proxy:
        while True:
            before, wanted = len(tried.reader.accepted), min(cuts, proxy.cuts + AUDIT_EVERY)
            tried.load(f"redis://127.0.0.1:{proxy.port}/0")
            while proxy.cuts < wanted:
                cut_one(proxy, tried)
            tried.ripen()
            tried.drain()
            verdict = tried.audit()
            assert len(tried.reader.accepted) - before >= ACKNOWLEDGED_MIN
            if proxy.cuts >= cuts:
                break
    print(
        f"\n{proxy.cuts} cuts of {proxy.connections} connections: {len(tried.reader.accepted)} acknowledged; lost "
        f"{verdict.audit.lost}, duplicated {verdict.audit.duplicated}, errors told {tried.reader.count('E')}"
    )


def test_forty_cuts(servers: Callable[..., RedisServer], trial: Callable[..., Trial]) -> None:
    cut(40, servers(appendfsync="always"), trial)


@pytest.mark.stress
def test_two_thousand_cuts(servers: Callable[..., RedisServer], trial: Callable[..., Trial]) -> None:
    cut(full(2_000), servers(appendfsync="always"), trial)
