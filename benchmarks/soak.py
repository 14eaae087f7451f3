"""Whether memory stays flat: one process, one store, very many intents, `make soak`.

    python -m benchmarks.soak [--intents 2000000] [--only sqlite]

What the runtime's process takes is told at each tenth of the way. It counts and does not time: another load beside it
makes it longer, not wrong.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import psutil
from msgspec import Struct
from rich.console import Console

from benchmarks.contestants import CONTESTANTS, Command, Start
from benchmarks.figures import folder_for
from benchmarks.machine import machine
from benchmarks.processes import Conversation, running

STORES: Final = ("ours-sqlite", "ours-redis-everysec")
INTENTS: Final = 2_000_000
SECONDS: Final = 5.0  # of each question
TENTHS: Final = 10
FLAT: Final = 1.05  # of what it was after the first tenth

console = Console()


class Soak(Struct, frozen=True):
    """One store: how many were done when, and what the process then took."""

    store: str
    done: list[int]
    rss_mb: list[float]
    files: list[int]
    threads: list[int]

    @property
    def growth(self) -> float:
        """Of memory, since the first tenth."""
        return self.rss_mb[-1] / self.rss_mb[0]


def soak(key: str, intents: int, told: Callable[[str], None]) -> Soak:
    """Let a process do so many, and look at it now and then."""
    (contestant,) = [each for each in CONTESTANTS if each.key == key]
    looks = list(_looks(contestant.prepare(), intents, told))
    done, rss, files, threads = zip(*looks, strict=True)
    return Soak(contestant.name, list(done), list(rss), list(files), list(threads))


def _looks(start: Start, intents: int, told: Callable[[str], None]) -> Iterator[tuple[int, float, int, int]]:
    with tempfile.TemporaryDirectory(prefix="soak-") as folder, start() as command:
        log = Path(folder) / "log"
        with running(command, log) as process:
            conversation, seen, done, tenth = Conversation(process, log), psutil.Process(process.pid), 0, 0
            while done < intents:
                done += conversation.ask(f"executions 64 0 {SECONDS}", SECONDS)["count"]
                if done * TENTHS // intents > tenth:
                    tenth = done * TENTHS // intents
                    megabytes = seen.memory_info().rss / 1e6
                    told(f"{_kind(command)}: {done:>9,} done, {megabytes:.0f} MB")
                    yield done, megabytes, seen.num_fds(), seen.num_threads()


def _kind(command: Command) -> str:
    return str(command[-1]).partition(":")[0]


def main() -> None:
    parser = argparse.ArgumentParser(description="Whether memory stays flat.", prog="python -m benchmarks.soak")
    parser.add_argument("--intents", type=int, default=INTENTS, help=f"on each store ({INTENTS:,})")
    parser.add_argument("--only", default="", help="one of the stores, such as sqlite")
    parser.add_argument("--results", type=Path, default=None, help="the folder for the figures (benchmarks/results)")
    given = parser.parse_args()
    found = [soak(key, given.intents, console.print) for key in STORES if given.only in key]
    for each in found:
        console.print(f"{each.store}: {each.done[-1]:,} executions, memory {each.growth:.3f} times what it was")
    document = {"machine": machine(), "soaks": [{**_plain(each), "growth": each.growth} for each in found]}
    folder = folder_for(given.results, whole=not given.only and given.intents >= INTENTS)
    (folder / "soak.json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    if any(each.growth > FLAT for each in found):
        raise SystemExit("memory is not flat")


def _plain(soak: Soak) -> dict[str, Any]:
    return {name: getattr(soak, name) for name in soak.__struct_fields__}


if __name__ == "__main__":
    main()
