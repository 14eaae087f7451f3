"""Very many executions that wait, a `kill -9`, and all of them come to their end."""

from __future__ import annotations

import time

import pytest

from intendant import Limits
from tests.faults.reader import Reader
from tests.faults.sleepers import SESSIONS
from tests.faults.stable import Stable
from tests.infrastructure.tier import full

LATER = 3600.0  # seconds that pass at once while nobody runs
BYTES_MAX = 3_000  # of RSS, for one that waits, as limits are by themselves


def sleep_through_a_kill(count: int, resident: int, stable: Stable, reader: Reader, hot: str) -> int:
    """Let so many wait, and come to their end after a kill; returns the bytes of RSS for each."""
    order = {"count": count, "resident": resident, "until": time.time() + LATER, "later": LATER}
    pid = stable.start("begin_waiting", hot, reader.path, 1, **order)
    open_, waiting, grown, _at = reader.wait_for(lambda: reader.said("waiting", 1), "all of them to wait", patience=900)
    stable.kill(pid)
    assert int(open_) == count
    pid = stable.start("finish_waiting", hot, reader.path, 2, **order)
    assert stable.wait(pid) == 0
    reader.look()
    resumed, took = reader.said("resumed", 2) or ["0", "0"]
    ended, right, seconds = reader.said("finished", 2) or ["0", "0", "0"]
    assert (int(resumed), int(ended), int(right)) == (count, count, count)
    each = int(grown) // count
    print(
        f"\n{count} wait, {waiting} of them in memory: {each} bytes of RSS for each; killed, {resumed} found open "
        f"in {float(took):.1f} s, all ended as they should after {float(seconds):.1f} s"
    )
    return each


@pytest.mark.parametrize(("count", "resident"), [(2_000, 1_000), (2 * SESSIONS, 0)])
def test_two_thousand(stable: Stable, reader: Reader, hot: str, count: int, resident: int) -> None:
    sleep_through_a_kill(count, resident, stable, reader, hot)


@pytest.mark.stress
@pytest.mark.parametrize("resident", [Limits().resident, 1_000_000])
def test_a_hundred_thousand(stable: Stable, reader: Reader, hot: str, resident: int) -> None:
    count = full(1_000) * SESSIONS
    each = sleep_through_a_kill(count, resident, stable, reader, hot)
    assert each < BYTES_MAX or resident >= count, "bytes of RSS"
