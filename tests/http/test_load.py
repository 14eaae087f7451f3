"""More load over HTTP than the machine can take: what is accepted is done, and the rest is refused at once."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import anyio
import msgspec
import pytest

from intendant import Runtime
from intendant.adapters.sqlite import SqliteStore
from intendant.domain.replay import replay
from intendant.http import HttpLimits
from tests.conftest import read_all
from tests.http.desk import work
from tests.http.load_client import SESSIONS, Told
from tests.http.served import ROOT, Served
from tests.infrastructure.tier import STRESS

BEST = 0.8  # of the best goodput: so much is kept under overload
REFUSED_WITHIN = 5.0  # seconds, of 99 in 100 refusals, on two cores that make the load as well, and may do other things
MEMORY = 512 * 1024 * 1024  # bytes
DRAIN = 5.0 + 10.0  # seconds: of the server, and then of the runtime
MINUTE = 60.0 * (STRESS or 1.0)


class Site:
    """A server over SQLite, and load on it from another process."""

    def __init__(self, directory: Path, limits: HttpLimits | None = None) -> None:
        self.path = directory / "work.db"
        self.served = Served(directory, f"sqlite:{self.path}", limits=limits)
        self.token = self.served.token("acme")
        self.accepted: list[str] = []
        self.memory = 0
        self._runs = 0
        with self.served.client(self.token) as client:
            for number in range(SESSIONS):
                assert client.put(f"/v1/sessions/s{number}", json={}).status_code == 200

    def start(self, connections: int, seconds: float) -> subprocess.Popen[bytes]:
        self._runs += 1
        words = [self.served.address, self.token, f"run{self._runs}", str(connections), str(seconds)]
        return subprocess.Popen(
            [sys.executable, "-m", "tests.http.load_client", *words], cwd=ROOT, stdout=subprocess.PIPE, bufsize=0
        )

    def told(self, client: subprocess.Popen[bytes]) -> Told:
        """What came back; looks at the server's memory meanwhile."""
        out = None
        while out is None:
            try:
                out, _ = client.communicate(timeout=0.25)
            except subprocess.TimeoutExpired:
                if self.served.process.poll() is None:
                    self.memory = max(self.memory, self.served.memory)
        told = msgspec.json.decode(out, type=Told)
        self.accepted += told.accepted
        assert told.without_retry_after == 0
        assert set(told.other) <= {"cut off", "no connection"}
        return told

    async def lost(self) -> list[str]:
        """Those that were told accepted and have no end, after a restart has gone on with what was open."""
        store = SqliteStore(self.path)
        async with Runtime([work], hot=store) as runtime:
            with anyio.fail_after(60):
                while runtime.stats().open:  # noqa: ASYNC110  nobody announces it
                    await anyio.sleep(0.01)
            world = replay(await read_all(store.log(0)))
        assert world.violations == []
        found = {id: world.executions.get(("acme", id)) for id in self.accepted}
        return [id for id, state in found.items() if state is None or not state.status.ended]


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path)
    with made.served:
        yield made


def test_nothing_that_was_accepted_is_lost_when_a_server_is_stopped_under_load(tmp_path: Path) -> None:
    site = Site(tmp_path, HttpLimits(requests_of_tenant=8))
    with site.served, site.start(32, 30.0) as client:
        assert client.stdout is not None
        assert client.stdout.readline() == b"\n"  # some were accepted, and some refused
        assert site.served.stop() == (0, "drained\n")
        told = site.told(client)
    assert len(told.accepted) == len(set(told.accepted)) > 0
    assert told.refused.keys() <= {429, 503}
    assert sum(map(len, told.refused.values())) >= 1
    site.accepted.append("made up")  # planted: it is found
    assert anyio.run(site.lost) == ["made up"]


@pytest.mark.stress
@pytest.mark.alone
def test_goodput_under_overload_and_a_stop_in_the_middle(site: Site) -> None:
    goodput: dict[int, float] = {}
    for connections in (64, 1_024):
        before = site.served.processor_seconds
        with site.start(connections, MINUTE) as client:
            told = site.told(client)
        cost = (site.served.processor_seconds - before) / len(told.accepted)
        warm = MINUTE / 6  # until then connections come up
        goodput[connections] = sum(warm < each <= MINUTE for each in told.ended) / (MINUTE - warm)
        best = max(_in_windows(told.ended, warm, MINUTE))
        _tell(connections, goodput[connections], best, cost, told, site)
        refusals = [each for seconds_of in told.refused.values() for each in seconds_of]
        assert not refusals or statistics.quantiles(refusals, n=100)[98] < REFUSED_WITHIN
        assert site.memory < MEMORY
    with site.start(1_024, MINUTE) as client:
        time.sleep(MINUTE / 6)
        begun = time.monotonic()
        assert site.served.stop() == (0, "drained\n")
        took = time.monotonic() - begun
        site.told(client)
    assert took < DRAIN
    lost = anyio.run(site.lost)
    print(
        f"SIGTERM under 1,024 connections: ended after {took:.1f} s; {len(site.accepted):,} accepted, {len(lost)} lost"
    )
    assert lost == []
    assert min(goodput.values()) >= BEST * max(goodput.values())


def _in_windows(ended: list[float], first: float, last: float) -> list[float]:
    """Goodput in each sixth of the time."""
    width = last / 6
    starts = [first + width * n for n in range(5)]
    return [sum(start < each <= start + width for each in ended) / width for start in starts]


def _tell(connections: int, goodput: float, best: float, cost: float, told: Told, site: Site) -> None:
    print(
        f"\n{connections:>5,} connections: {goodput:,.0f}/s done, {best:,.0f}/s in the best sixth of the time, "
        f"p50 {statistics.median(told.seconds) * 1e3:,.0f} ms; {cost * 1e3:.1f} ms of the server's processor each; "
        f"memory {site.memory / 2**20:,.0f} MiB at most"
    )
    for status, seconds in told.refused.items():
        p99 = statistics.quantiles(seconds, n=100)[98] if len(seconds) > 1 else seconds[0]
        p50 = statistics.median(seconds)
        print(f"      {status}: {len(seconds):,} times, p50 {p50 * 1e3:,.0f} ms, p99 {p99 * 1e3:,.0f} ms")
