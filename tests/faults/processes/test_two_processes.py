"""Two processes and one SQLite file: one serves, one waits, and neither ever does the other's part."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.faults.reader import Reader
from tests.faults.stable import Stable
from tests.infrastructure.tier import full

LEASE = 30.0  # seconds: so long that no take-over in these tests can be by its end
LEASE_SHORT = 0.5
HAND_OVER_MAX = 1.0  # seconds, of nineteen in twenty, and
BUSY_MAX = 15.0  # where too few are looked at to tell: still no lease, nor anybody's patience
BACKENDS = ("asyncio", "trio", "uvloop")


class Pair:
    """An owner and a standby; each round the owner goes, and the standby becomes the owner."""

    def __init__(self, stable: Stable, reader: Reader, hot: str) -> None:
        self.stable = stable
        self.reader = reader
        self.hot = hot
        self.lives = 0
        self.owner, self.owner_life = self._start(takeover=0.0)
        self._serving(self.owner_life)

    def _start(self, takeover: float, lease: float = LEASE) -> tuple[int, int]:
        self.lives += 1
        pid = self.stable.start(
            "serve",
            self.hot,
            self.reader.path,
            self.lives,
            takeover=takeover,
            lease=lease,
            backend=BACKENDS[self.lives % 3],
        )
        return pid, self.lives

    def _serving(self, life: int) -> float:
        said = self.reader.wait_for(lambda: self.reader.said("serving", life), f"life {life} to serve")
        return float(said[1])

    def _served_by(self, life: int) -> int:
        self.reader.look()
        return sum(key.startswith(f"L{life}-") for _, key in self.reader.accepted)

    def refuse_a_third(self) -> None:
        """Without a take-over time a process is told at once who owns the file."""
        pid, life = self._start(takeover=0.0)
        assert self.stable.wait(pid) == 3
        owned = self.reader.wait_for(lambda: self.reader.said("owned", life), "the refusal")
        assert owned[:2] == [socket.gethostname(), str(self.owner)]
        assert 0 <= float(owned[2]) < 600

    def round(self, *, kill: bool) -> float:
        """One hand-over; returns the seconds it took."""
        standby, life = self._start(takeover=60.0)
        before = self._served_by(self.owner_life)
        self.reader.wait_for(
            lambda: self._served_by(self.owner_life) >= before + 5, "the owner to go on serving beside the standby"
        )
        assert self.reader.said("serving", life) is None, "the standby must wait while the owner serves"
        gone = time.monotonic()
        if kill:
            self.stable.kill(self.owner)
        else:
            os.kill(self.owner, signal.SIGTERM)
        serving = self._serving(life)
        if not kill:
            assert self.stable.wait(self.owner) == 0
            left = self.reader.wait_for(lambda: self.reader.said("leaving", self.owner_life), "the owner to leave")
            gone = float(left[1])
        self.owner, self.owner_life = standby, life
        return serving - gone

    def end(self) -> None:
        os.kill(self.owner, signal.SIGTERM)
        assert self.stable.wait(self.owner) == 0


def hand_overs(
    rounds: int, stable: Stable, reader: Reader, hot: str, examining: Callable[..., Any], *, at_most: float
) -> None:
    pair = Pair(stable, reader, hot)
    took: dict[bool, list[float]] = {False: [], True: []}
    for number in range(rounds):
        kill = number % 2 == 1
        took[kill].append(pair.round(kill=kill))
        if number % 10 == 0:
            pair.refuse_a_third()
    pair.end()
    verdict = examining()
    served = [life for kind, life, _ in reader.notes if kind == "serving"]
    assert all(len(epochs) == 1 for epochs in verdict.epochs.values()), "nobody flaps: each opens the log once"
    assert len(verdict.epochs) == len(served) == len(set(served)) == rounds + 1
    print(
        f"\n{rounds} hand-overs: clean ones at most {max(took[False]):.3f} s, after a kill {max(took[True]):.3f} s; "
        f"{len(reader.accepted)} acknowledged, lost {verdict.audit.lost}, duplicated {verdict.audit.duplicated}"
    )
    for seconds in took.values():  # of twenty one may be held up by what else the machine does
        assert sorted(seconds)[(len(seconds) - 1) * 19 // 20] < at_most


def test_two_hand_overs(stable: Stable, reader: Reader, hot: str, examining: Callable[..., Any]) -> None:
    hand_overs(2, stable, reader, hot, examining, at_most=BUSY_MAX)


@pytest.mark.stress
@pytest.mark.alone
def test_a_hundred_hand_overs(stable: Stable, reader: Reader, hot: str, examining: Callable[..., Any]) -> None:
    hand_overs(full(100), stable, reader, hot, examining, at_most=HAND_OVER_MAX)


def take_over(stable: Stable, reader: Reader, hot: str, first: int, common: dict[str, Any]) -> tuple[int, int]:
    """Stop the owner until another one has taken over; returns the other's life and process id.

    Stopped in the middle of a transaction it holds SQLite's own lock, and nobody can write: then once more.
    """
    for life in range(2, 30):
        second = stable.start("serve", hot, reader.path, life, **common)
        os.kill(first, signal.SIGSTOP)
        patience = time.monotonic() + 3.0

        def known(life: int = life, patience: float = patience) -> bool:
            return bool(reader.said("serving", life) or reader.said("failed", life)) or time.monotonic() > patience

        reader.wait_for(known, "the second to take over when the lease is over")
        if reader.said("serving", life):
            return life, second
        os.kill(first, signal.SIGCONT)
        if not reader.said("failed", life):
            stable.kill(second)
    raise AssertionError("the owner was in a transaction each time it was stopped")


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_an_owner_that_was_stopped_too_long_is_fenced(
    stable: Stable, reader: Reader, hot: str, examining: Callable[..., Any], backend: str
) -> None:
    common = {"takeover": 60.0, "lease": LEASE_SHORT, "backend": backend}
    first = stable.start("serve", hot, reader.path, 1, **common)
    reader.wait_for(lambda: len(reader.accepted) >= 5, "the first to serve")
    life, second = take_over(stable, reader, hot, first, common)
    reader.wait_for(lambda: any(key.startswith(f"L{life}-") for _, key in reader.accepted), "the second to serve")
    told = {key for _, key in reader.accepted if key.startswith("L1-")}
    os.kill(first, signal.SIGCONT)
    assert stable.wait(first) == 4
    reader.look()
    assert reader.said("refused", 1) == ["fenced"], "its callers are told"
    assert reader.said("failed", 1) == ["Fenced", "RuntimeStopped"], "and so is its host"
    late = {key for _, key in reader.accepted if key.startswith("L1-")} - told
    assert len(late) <= 1, "only what the store had taken before it was stopped, and its caller not yet been told"
    os.kill(second, signal.SIGTERM)
    assert stable.wait(second) == 0
    verdict = examining()
    assert [len(epochs) for epochs in verdict.epochs.values()] == [1, 1], "a fenced owner is not started again"
    assert verdict.audit.broken == 0, "nothing of an older epoch stands behind the newer one"
    assert verdict.audit.lost == 0, "and what its callers were told late stands before it"
