"""How many executions a second: `intendant load` over stores, callers, steps and event loops.

    python -m benchmarks.throughput [--rounds 3] [--scale 1.0] [--only sqlite,uvloop] [--json] [--force]

Each measurement is a process of its own, on a new store, and is audited: an unsound one ends the benchmark. Redis is a
redis-server of this machine, ArangoDB the stand-in of the tests in a process of its own. Rounds are
interleaved, so that whatever else the machine does meets all of them; what is told is the median, and how far the
rounds lie apart. It refuses to begin on a busy machine, because nothing measured there can be compared.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from itertools import product
from typing import Any, Final

from msgspec import Struct
from rich import box
from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks.loads import load, place
from benchmarks.machine import machine

STORES: Final = ("memory", "sqlite", "redis-everysec", "redis-always", "redis-everysec+cold")
CALLERS: Final = (1, 64, 512)
STEPS: Final = (0, 3)
BACKENDS: Final = ("asyncio", "uvloop", "trio")
INTENTS: Final = {1: 1_500, 64: 15_000}  # by callers, 64 and more
SESSIONS: Final = 100
LOAD_AVERAGE_MAX: Final = 0.5


class Setting(Struct, frozen=True):
    """One thing to measure."""

    store: str
    callers: int
    steps: int
    backend: str

    def intents(self, scale: float) -> int:
        """Enough for a second or more, and several for each caller."""
        count = INTENTS[min(self.callers, 64)] * scale / (1 + self.steps / 2)
        return max(int(count), 2 * self.callers)

    def matches(self, words: list[str]) -> bool:
        """Whether every word, such as `sqlite`, `64` or `3-steps`, names a part of it."""
        parts = {self.store, self.backend, str(self.callers), f"{self.steps}-steps"}
        return all(word in parts for word in words)


class Result(Struct, frozen=True):
    """The medians of a setting's rounds, and the lowest and the highest throughput among them."""

    setting: Setting
    intents: int
    per_second: float
    lowest: float
    highest: float
    p50_ms: float
    p99_ms: float
    submit_p50_ms: float
    cpu_s_per_1000: float
    hot_server_cpu_s_per_1000: float | None
    cold_server_cpu_s_per_1000: float | None
    lag_s: float | None
    commits: int
    rss_mb: float
    durability: str

    @property
    def spread(self) -> float:
        """How far the rounds lie apart, as a fraction of the median."""
        return (self.highest - self.lowest) / self.per_second


def measure(setting: Setting, scale: float) -> dict[str, Any]:
    """One round: a load in a process of its own, on a store of its own."""
    with place(setting.store) as stores:
        options = {
            **stores,
            "--backend": setting.backend,
            "--intents": setting.intents(scale),
            "--callers": setting.callers,
            "--steps": setting.steps,
            "--sessions": SESSIONS,
        }
        return load(options)


def result(setting: Setting, rounds: list[dict[str, Any]]) -> Result:
    """What the rounds of one setting come to."""

    def median(name: str) -> float:
        return statistics.median(float(each[name]) for each in rounds)

    def perhaps(name: str) -> float | None:
        return None if any(each.get(name) is None for each in rounds) else median(name)

    speeds = [each["per_second"] for each in rounds]
    return Result(
        setting=setting,
        intents=rounds[0]["accepted"],
        per_second=statistics.median(speeds),
        lowest=min(speeds),
        highest=max(speeds),
        p50_ms=median("p50_ms"),
        p99_ms=median("p99_ms"),
        submit_p50_ms=median("submit_p50_ms"),
        cpu_s_per_1000=median("cpu_s_per_1000"),
        hot_server_cpu_s_per_1000=perhaps("hot_server_cpu_s_per_1000"),
        cold_server_cpu_s_per_1000=perhaps("cold_server_cpu_s_per_1000"),
        lag_s=perhaps("lag_s"),
        commits=int(median("commits")),
        rss_mb=median("rss_mb"),
        durability=rounds[0]["durability"],
    )


def table(results: list[Result]) -> Table:
    """Executions/s by setting, the spread of the rounds, and the latency of one caller's intent."""
    shown = Table(title="executions/s ± half the spread of the rounds, and p50 from submit to result", box=box.SIMPLE)
    for name in ("store", "callers", "steps"):
        shown.add_column(name, justify="left" if name == "store" else "right")
    for backend in BACKENDS:
        shown.add_column(backend, justify="right")
    by_setting = {each.setting: each for each in results}
    for store, steps, callers in product(STORES, STEPS, CALLERS):
        row = [by_setting.get(Setting(store, callers, steps, backend)) for backend in BACKENDS]
        if any(row):
            shown.add_row(store, str(callers), str(steps), *map(_cell, row))
    return shown


def _cell(result: Result | None) -> str:
    if result is None:
        return ""
    return f"{result.per_second:,.0f} ±{result.spread * 50:.0f}% {result.p50_ms:>6,.2f} ms"


def main() -> None:
    parser = argparse.ArgumentParser(description="Time intendant load.", prog="python -m benchmarks.throughput")
    parser.add_argument("--rounds", type=int, default=3, help="of each setting, interleaved (3)")
    parser.add_argument("--scale", type=float, default=1.0, help="of the number of intents (1.0)")
    parser.add_argument("--only", default="", help="settings with all of these parts, such as sqlite,uvloop,64,3-steps")
    parser.add_argument("--json", action="store_true", help="print the JSON object only")
    parser.add_argument("--force", action="store_true", help="measure although the machine is busy")
    given = parser.parse_args()
    settings = [Setting(*each) for each in product(STORES, CALLERS, STEPS, BACKENDS)]
    settings = [each for each in settings if each.matches([word for word in given.only.split(",") if word])]
    if not settings or given.rounds < 1:
        parser.error("there is nothing to measure")
    here = machine()
    if here["load_average"] > LOAD_AVERAGE_MAX and not given.force:
        sys.exit(
            f"the machine is busy (load average {here['load_average']:.2f}, at most {LOAD_AVERAGE_MAX}): wait, or say "
            "--force and trust nothing"
        )
    rounds: dict[Setting, list[dict[str, Any]]] = {setting: [] for setting in settings}
    every = [setting for _ in range(given.rounds) for setting in settings]
    for setting in track(every, "measuring", console=Console(stderr=True), transient=True, disable=not _watched()):
        rounds[setting].append(measure(setting, given.scale))
    report(here, [result(setting, each) for setting, each in rounds.items()], given)


def report(here: dict[str, Any], results: list[Result], given: argparse.Namespace) -> None:
    """Print the table, and the same as one JSON object."""
    if not given.json:
        console = Console()
        console.print(table(results))
        console.print(f"{here['cores']} cores, {here['cpu']}; Python {here['python']}; rounds: {given.rounds}")
        console.print(f"load average at the beginning: {here['load_average']:.2f}")
    rows = [{**_plain(each.setting), **_plain(each)} for each in results]
    print(json.dumps({"machine": here, "rounds": given.rounds, "scale": given.scale, "results": rows}))


def _plain(struct: Struct) -> dict[str, Any]:
    return {name: getattr(struct, name) for name in struct.__struct_fields__ if name != "setting"}


def _watched() -> bool:
    return sys.stderr.isatty()


if __name__ == "__main__":
    main()
