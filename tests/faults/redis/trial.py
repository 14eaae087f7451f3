"""A loaded process over a store that is made to fail, and the audits of what it told."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from intendant import Status
from tests.faults.child import IN_FLIGHT
from tests.faults.reader import Reader, Verdict, examine
from tests.faults.stable import WAIT_MAX, Stable

ACKNOWLEDGED_MIN = 50  # since the last fault, and
OPEN_MIN = 20  # at the moment of a fault: one that meets less proves nothing
AUDIT_EVERY = 20  # faults
BACKENDS = ("asyncio", "uvloop", "trio")


@dataclass
class Numbers:
    """What a run prints."""

    faults: int = 0
    fewest_acknowledged: int = 1_000_000
    fewest_open: int = 1_000_000
    pauses: list[float] = field(default_factory=list[float])


class Trial:
    """One loaded process at a time, by its life; `audit` ends it, and the next one begins with the next `load`."""

    def __init__(self, stable: Stable, hot: str, book: Path, options: dict[str, Any]) -> None:
        self.reader = Reader(book)
        self.hot = hot
        self.numbers = Numbers()
        self.chance = random.Random(7)
        self.life = 0
        self.pid = 0
        self._stable = stable
        self._options = options
        self._acknowledged = 0
        self._met = 0, 0
        self._began = time.monotonic()

    def load(self, hot: str = "", **more: Any) -> None:
        """Start a process that submits without end, and makes calls again that found no store; wait until it serves."""
        self.start(hot, open=self.reader.open, doubt=self.reader.doubt, **more)
        self.wait_for("serving")

    def start(self, hot: str = "", *, options: dict[str, Any] | None = None, **more: Any) -> int:
        """Start such a process, which may have to wait for its partitions; returns its process id."""
        self.life += 1
        order: dict[str, Any] = {"open": [], "doubt": [], "drain": False, "patient": True}
        order |= {"backend": BACKENDS[self.life % 3], "options": self._options | (options or {})} | more
        self.pid = self._stable.start("load", hot or self.hot, self.reader.path, self.life, **order)
        return self.pid

    def wait_for(self, kind: str) -> list[str]:
        """Until this life says something of this kind."""
        said: list[str] = self.reader.wait_for(lambda: self.reader.said(kind, self.life), f"{kind} of {self.life}")
        return said

    def ripen(self, *, at_most: float = 0.03) -> None:
        """Wait until a fault meets enough, and then a random moment."""

        time.sleep(self.chance.random() * at_most)
        self.reader.wait_for(self._ripe, f"{ACKNOWLEDGED_MIN} acknowledged and {OPEN_MIN} open")
        self._note_traffic()

    def is_told_more(self, condition: Callable[[], bool]) -> None:
        """Wait until the condition holds, and callers were told of more than could have been under way until now."""
        self.reader.look()
        enough = len(self.reader.accepted) + IN_FLIGHT

        def told() -> bool:
            return condition() and len(self.reader.accepted) > enough and self._ripe()

        self.reader.wait_for(told, f"more than {IN_FLIGHT} acknowledged after that")
        self._note_traffic()

    def _ripe(self) -> bool:
        acknowledged = len(self.reader.accepted) - self._acknowledged
        return acknowledged >= ACKNOWLEDGED_MIN and len(self.reader.open) >= OPEN_MIN

    def _note_traffic(self) -> None:
        """What a fault meets that comes now. Afterwards some of it may have ended before the fault came."""
        self._met = len(self.reader.accepted) - self._acknowledged, len(self.reader.open)

    def struck(self) -> None:
        """A fault came just now: count it, and what it met."""
        acknowledged, open = self._met
        self.reader.look()
        numbers = self.numbers
        numbers.faults += 1
        numbers.fewest_open = min(numbers.fewest_open, open)
        numbers.fewest_acknowledged = min(numbers.fewest_acknowledged, acknowledged)

    def starts_over(self) -> None:
        """The next life begins; what comes from now on is acknowledged since the last fault."""
        self.reader.look()
        self._acknowledged = len(self.reader.accepted)

    def goes_on(self, since: float) -> None:
        """Wait for the next acknowledgement after the moment `since`; the pause is until then."""
        self.starts_over()
        self.reader.wait_for(lambda: len(self.reader.accepted) > self._acknowledged, "work to go on by itself")
        self.numbers.pauses.append(time.monotonic() - since)

    def endure(self, kills: int, kill: Callable[[], None], mend: Callable[[], None]) -> None:
        """Load, so many kills of what it writes to, each mended at once, and an audit every so many; then drain."""
        self.load()
        for number in range(1, kills + 1):
            self.ripen()
            kill()
            moment = time.monotonic()
            self.struck()
            mend()
            self.goes_on(moment)
            if number % AUDIT_EVERY == 0 and number < kills:
                self.drain()
                self.audit()
                self.load()
        self.drain()

    def leave(self, pid: int = 0) -> None:
        """SIGTERM to a process, by default the newest, and wait until it has left."""
        os.kill(pid or self.pid, signal.SIGTERM)
        assert self._stable.wait(pid or self.pid) == 0
        self.reader.look()

    def finish(self, *, patience: float = WAIT_MAX) -> None:
        """Another process takes up what is open and in doubt, and brings it to its end."""
        self.reader.look()
        self.start(open=self.reader.open, doubt=self.reader.doubt, drain=True)
        assert self._stable.wait(self.pid, patience=patience) == 0
        self._all_told()

    def drain(self) -> None:
        """SIGTERM: what is open comes to its end, and the process leaves."""
        self.leave()
        self._all_told()

    def _all_told(self) -> None:
        self.reader.look()
        assert self.reader.open == []
        assert self.reader.doubt == []

    def look_into(self) -> None:
        """Nobody runs, and much is open: what was told so far must be so."""
        examine(self.hot, self.reader).check(self.reader)

    def audit(self) -> Verdict:
        """Nobody runs: everything that was told must have ended, once, and be as it was told."""
        verdict = examine(self.hot, self.reader, all_ended=True)
        verdict.check(self.reader)
        assert set(verdict.audit.executions) == {Status.COMPLETED}
        assert verdict.audit.executions[Status.COMPLETED] == len(self.reader.accepted) == len(self.reader.prepared)
        assert verdict.audit.steps == self.reader.steps
        return verdict

    def report(self, what: str, verdict: Verdict, **more: object) -> None:
        """Print the numbers of a run, which fails below the minima."""
        numbers, pauses = self.numbers, sorted(self.numbers.pauses)
        middle = f"pause {pauses[len(pauses) // 2]:.3f} s in the middle, {pauses[-1]:.3f} s at most; " if pauses else ""
        rest = "".join(f", {name.replace('_', ' ')} {value}" for name, value in more.items())
        print(
            f"\n{numbers.faults} {what} in {time.monotonic() - self._began:.0f} s: {len(self.reader.accepted)} "
            f"acknowledged (at least {numbers.fewest_acknowledged} between two), at least {numbers.fewest_open} open; "
            f"{middle}lost {verdict.audit.lost}, duplicated {verdict.audit.duplicated}, "
            f"recorded steps run again {len(verdict.rerun)}, errors told {self.reader.count('E')}{rest}"
        )
        assert numbers.fewest_acknowledged >= ACKNOWLEDGED_MIN
        assert numbers.fewest_open >= OPEN_MIN
