"""The rows of the budget that no rival has, and no other benchmark measures: `make budget`.

    python -m benchmarks.budget [--only import,recovery] [--scale 1.0] [--force]

Each is measured in processes of their own on new stores. Writes `benchmarks/results/budget.json`, or one in
`.bench/quick` when it is not all of it.
"""

from __future__ import annotations

import json
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from argparse import ArgumentParser
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec import Struct
from rich import box
from rich.console import Console
from rich.table import Table

from benchmarks.figures import folder_for
from benchmarks.loads import place
from benchmarks.machine import idle_machine
from benchmarks.processes import Conversation, running

SECONDS_MAX: Final = 1_800  # for one process
IMPORTS: Final = 15
ROUNDS: Final = 5
SECONDS: Final = 4.0  # of one measurement of throughput
OPEN: Final = 100_000
STORED: Final = 1_000_000
IDLE: Final = 20_000
RECORDS: Final = 10_000_000
LAG_SECONDS: Final = 600

console = Console()


class Row(Struct, frozen=True):
    """One figure. `limit` is what the budget wants at most, or at least where `least` is set; None: it says nothing."""

    name: str
    value: float
    unit: str
    limit: float | None = None
    least: bool = False
    spread: tuple[float, float] | None = None

    @property
    def met(self) -> bool | None:
        """Whether it is as the budget wants it."""
        if self.limit is None:
            return None
        return self.value >= self.limit if self.least else self.value <= self.limit


def _of(name: str, values: Sequence[float], unit: str, limit: float | None = None, *, least: bool = False) -> Row:
    return Row(name, statistics.median(values), unit, limit, least, (min(values), max(values)))


# --- one process after the other


Stores = Mapping[str, str]


def run(what: str, stores: Stores, many: int) -> dict[str, Any]:
    """Let a process do it, and end."""
    command = _command(what, stores, many)
    ran = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS_MAX, check=False)
    if ran.returncode:
        sys.exit(f"{what} on {stores} ended with {ran.returncode}:\n{ran.stdout}{ran.stderr}")
    answer: dict[str, Any] = json.loads(ran.stdout)
    return answer


def run_until_killed(what: str, stores: Stores, many: int) -> None:
    """Let a process come to where it has answered, and kill it."""
    with subprocess.Popen(_command(what, stores, many), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        if not process.stdout.readline():
            sys.exit(f"{what} on {stores} ended with {process.wait()}")
        process.send_signal(signal.SIGKILL)


def _command(what: str, stores: Stores, many: int) -> list[str]:
    return [sys.executable, "-m", "benchmarks.budget_process", what, str(many), *stores.values()]


# --- the rows


def imports(_scale: float) -> Iterator[Row]:
    """Of a process that imports it, beside one that does not."""
    took: dict[str, list[float]] = {"pass": [], "import intendant": []}
    for _ in range(IMPORTS):
        for code, seconds in took.items():
            began = time.perf_counter()
            subprocess.run([sys.executable, "-c", code], check=True)
            seconds.append((time.perf_counter() - began) * 1e3)
    each = [after - before for before, after in zip(took["pass"], took["import intendant"], strict=True)]
    yield _of("import intendant", each, "ms", 100)


def start(_scale: float) -> Iterator[Row]:
    """A runtime on a new SQLite file, and the first result."""
    found: list[dict[str, Any]] = []
    for _ in range(ROUNDS):
        with place("sqlite") as stores:
            found.append(run("first", stores, 1))
    yield _of("runtime entered, new SQLite file", [each["entered_ms"] for each in found], "ms")
    yield _of("first result then", [each["result_ms"] for each in found], "ms")


def idle(scale: float) -> Iterator[Row]:
    """What a session takes that is in memory and has nothing to do."""
    with place("sqlite") as stores:
        yield Row("a resident idle session", run("idle", stores, int(IDLE * scale))["bytes"], "bytes", 6_000)


def recovery(scale: float) -> Iterator[Row]:
    """From the start of a runtime until all that a killed one left open are resumed: known, their journals readable,
    their sessions accepting. And until their handlers, which start under the usual limits, are where they were.
    """
    many = int(OPEN * scale)
    for store in ("sqlite", "redis-everysec", "redis-always"):
        with place(store) as stores:
            run_until_killed("begin", stores, many)
            found = run("resume", stores, many)
            yield Row(f"{many:,} open after kill -9 resumed, {store}", found["entered_s"], "s", 20)
            yield Row(f"and every handler where it was, {store}", found["seconds"], "s", 20)


def stored(scale: float) -> Iterator[Row]:
    """Executions/s over a store with very many that have ended, against a new one, in turn."""
    many = int(STORED * scale)
    for store in ("sqlite", "redis-everysec"):
        with place(store) as full:
            run("fill", full, many)
            with _ours(full["--hot"]) as after:
                ratios = [_rate_beside_a_new_store(after, store, first=bool(turn % 2)) * 100 for turn in range(ROUNDS)]
            yield _of(f"throughput over {many:,} stored, {store}", ratios, "%", 90, least=True)


def queries(scale: float) -> Iterator[Row]:
    """What is asked of a log of very many records."""
    many = int(RECORDS * scale)
    with place("sqlite") as stores:
        run("records", stores, many)
        found = run("query", stores, 1)
        for name in ("newest_ms", "some_second_ms", "one_execution_ms"):
            yield Row(f"WAL query of {many:,} records, {name.removesuffix('_ms').replace('_', ' ')}", found[name], "ms")
        yield Row(f"WAL query that looks at all {many:,}", found["all_of_it_s"], "s")


def cores(_scale: float) -> Iterator[Row]:
    """Two processes, each with a partition of its own of the same Redis, against one."""
    gains: list[float] = []
    with place("redis-everysec") as one, place("redis-everysec") as two:
        url = f"{two['--hot']}?partitions=2"
        with _ours(one["--hot"]) as alone, _ours(url, own="0") as first, _ours(url, own="1") as second:
            for _ in range(ROUNDS):
                rate = _rate(alone)
                for each in (first, second):
                    each.begin(_REQUEST)
                gains.append(sum(float(each.answer(SECONDS)["per_second"]) for each in (first, second)) / rate)
    yield _of("two processes against one, redis-everysec", gains, "times")


def lag(scale: float) -> Iterator[Row]:
    """How far cold state falls behind while 64 callers submit at the rate that the budget wants, or as they can."""
    seconds = max(round(LAG_SECONDS * scale), 1)
    with place("redis-everysec+cold") as stores:
        found = run("lag", stores, seconds)
    yield Row(f"executions/s over {seconds} s with a cold store", found["per_second"], "1/s", 10_000, least=True)
    yield Row("lag of the cold store meanwhile, at most", found["lag_s"], "s", 10)
    yield Row("and at the median", found["mostly_s"], "s")


def founding(_scale: float) -> Iterator[Row]:
    """The 31 founding behaviours on a real Redis, one event loop: what pytest says they took."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/founding"]
    took: list[float] = []
    for _ in range(ROUNDS):
        ran = subprocess.run(
            [*command, "-k", "asyncio and redis and not arango"], capture_output=True, text=True, check=False
        )
        ended = re.search(r"^31 passed.* in ([\d.]+)s", ran.stdout, re.MULTILINE)
        if ran.returncode or ended is None:
            sys.exit(f"the founding behaviours ended with {ran.returncode}:\n{ran.stdout}{ran.stderr}")
        took.append(float(ended[1]))
    yield _of("the 31 founding behaviours, Redis", took, "s", 0.79)


def _rate_beside_a_new_store(measured: Conversation, store: str, *, first: bool) -> float:
    """What it does of what one does on a new store, one after the other."""
    with place(store) as new, _ours(new["--hot"]) as other:
        if first:
            return _rate(measured) / _rate(other)
        rate = _rate(other)
        return _rate(measured) / rate


_REQUEST: Final = f"executions 64 0 {SECONDS}"


def _rate(conversation: Conversation) -> float:
    return float(conversation.ask(_REQUEST, SECONDS)["per_second"])


@contextmanager
def _ours(url: str, *, own: str = "") -> Generator[Conversation]:
    with tempfile.TemporaryDirectory(prefix="budget-") as folder:
        log = Path(folder) / "log"
        environment = {"INTENDANT_BENCH_OWN": own} if own else {}
        with running([sys.executable, "-m", "benchmarks.ours", url], log, environment=environment) as process:
            yield Conversation(process, log)


# --- all of them

MEASURES: Final = (imports, start, idle, recovery, stored, queries, cores, lag, founding)


def table(rows: list[Row]) -> Table:
    """What is shown."""
    shown = Table(box=box.SIMPLE)
    for heading in ("", "measured", "from", "to", "budget", ""):
        shown.add_column(heading, justify="left" if not heading else "right")
    for row in rows:
        spread = ("", "") if row.spread is None else (f"{row.spread[0]:,.4g}", f"{row.spread[1]:,.4g}")
        limit = "" if row.limit is None else f"{'at least' if row.least else 'at most'} {row.limit:,g}"
        shown.add_row(
            row.name, f"{row.value:,.4g} {row.unit}", *spread, limit, {None: "", True: "met", False: "not met"}[row.met]
        )
    return shown


def main() -> None:
    parser = ArgumentParser(
        description="The rows of the budget that have no rival.", prog="python -m benchmarks.budget"
    )
    names = [measure.__name__ for measure in MEASURES]
    parser.add_argument("--only", default="", help=f"some of {','.join(names)}")
    parser.add_argument("--scale", type=float, default=1.0, help="of the counts (1.0)")
    parser.add_argument("--force", action="store_true", help="measure although the machine is busy")
    parser.add_argument("--results", type=Path, default=None, help="the folder for the figures (benchmarks/results)")
    given = parser.parse_args()
    words = [word for word in given.only.split(",") if word]
    if not set(words) <= set(names):
        parser.error(f"there is nothing of that name: say some of {', '.join(names)}")
    here = idle_machine(force=given.force)
    rows: list[Row] = []
    for measure in MEASURES:
        if not words or measure.__name__ in words:
            for row in measure(given.scale):
                console.print(f"{row.name}: {row.value:,.4g} {row.unit}", highlight=False)
                rows.append(row)
    console.print(table(rows))
    told = [{**msgspec.to_builtins(row), "met": row.met} for row in rows]
    document = {"machine": here, "scale": given.scale, "rows": told}
    folder = folder_for(given.results, whole=not (words or given.force) and given.scale == 1)
    (folder / "budget.json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
