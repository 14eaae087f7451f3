"""Very many executions that wait, a `kill -9`, and all of them come to their end."""

from __future__ import annotations

import time

import pytest

from tests.faults.reader import Reader
from tests.faults.sleepers import SESSIONS
from tests.faults.stable import Stable
from tests.infrastructure.tier import full

RATE = 400.0  # that are begun each second at least: the times come when all of them wait


def sleep_through_a_kill(
    count: int, resident: int, stable: Stable, reader: Reader, hot: str, *, later: float = 0.0
) -> int:
    """`later`: seconds that pass at once while nobody runs; without, the times come by themselves."""
    until = time.time() + (later or 3.0 + count / RATE)
    order = {"count": count, "resident": resident, "until": until, "later": later}
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
    sleep_through_a_kill(count, resident, stable, reader, hot, later=3600.0)


@pytest.mark.stress
@pytest.mark.parametrize("resident", [0, 1_000_000])
def test_a_hundred_thousand(stable: Stable, reader: Reader, hot: str, resident: int) -> None:
    sleep_through_a_kill(full(1_000) * SESSIONS, resident, stable, reader, hot)
