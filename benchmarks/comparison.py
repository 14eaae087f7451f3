"""Ours and its rivals, measured in the same run: `make bench`.

    python -m benchmarks.comparison [--rounds 5] [--seconds 2] [--only sqlite,actors] [--quick] [--force]

Each round measures everybody once, so that whatever the machine does meets all; a rival is compared with ours round by
round. A repetition does not count while other processes worked, the host took processor time, or the machine had
another speed than usual; there are more rounds until enough count, and what has too few is left out, and named.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any, Final

import msgspec
from msgspec import Struct
from rich.console import Console

from benchmarks.charts import draw
from benchmarks.contestants import CASES, CONTESTANTS, Case, Contestant, Start
from benchmarks.environments import Missing
from benchmarks.figures import folder_for
from benchmarks.machine import Watch, machine, refuse_a_disk_in_memory, speed
from benchmarks.processes import Broken, Conversation, running
from benchmarks.rivals.protocol import WARM_UP_SECONDS
from benchmarks.showing import tables
from benchmarks.summary import FOREIGN_CORES_MAX, Repetition, Row, cells, discarded, lacking, rows

ROUNDS: Final = 5
ROUNDS_MORE: Final = 2  # at most, when too few count
ENOUGH: Final = 3  # rounds that count
SECONDS: Final = 2.0
WIDTH: Final = 130  # where there is no terminal
UNTRUSTED: Final = "Taken on a busy machine, or in too few rounds: not to be trusted"
LOOK_SECONDS: Final = 3.0  # at the machine, before anything is measured

console = Console(stderr=True, markup=False, highlight=False)  # reasons may have brackets in them


class Plan(Struct, frozen=True):
    """How much is measured."""

    rounds: int
    rounds_max: int
    enough: int
    seconds: float
    force: bool


class Report(Struct, frozen=True):
    """What a run comes to. Figures of a run that is not `trusted` were taken on a busy machine."""

    taken: str
    trusted: bool
    machine: dict[str, Any]
    rounds: int
    seconds: float
    missing: dict[str, str]
    untold: dict[str, str]  # cells of which too few repetitions count, and why
    rows: list[Row]
    repetitions: list[Repetition]


class Run:
    """Rounds of measurements."""

    def __init__(self, plan: Plan, contestants: Sequence[Contestant]) -> None:
        self.plan = plan
        self.repetitions: list[Repetition] = []
        self.missing: dict[str, str] = {}
        self.rounds = 0
        self._contestants = contestants
        self._starts: dict[str, Start] = {}

    @property
    def against(self) -> dict[str, str | None]:
        """Whom each contestant is compared with."""
        return {each.key: each.against for each in self._contestants}

    def prepare(self) -> None:
        """Make what is needed of environments; whoever lacks something is left out, with the reason."""
        for each in self._contestants:
            console.print(f"preparing {each.name}", style="dim")
            try:
                self._starts[each.key] = each.prepare()
            except Missing as missing:
                self._leave_out(each, str(missing))
        for each in self._contestants:
            if each.against in self.missing:
                self._leave_out(each, f"it is compared with {each.against}, which is left out")

    def measure(self) -> None:
        """All rounds. Raises SystemExit when of nothing enough repetitions count."""
        plan = self.plan
        while self.rounds < plan.rounds or (self.rounds < plan.rounds_max and self._lacking()):
            self.rounds += 1
            self._round()
        if len(self._lacking()) == len(cells(self.repetitions)):
            told = "\n".join(f"  {cell}: without {why}" for cell, why in self._untold().items())
            sys.exit(
                f"no report: fewer than {plan.enough} of {self.rounds} rounds count, ours and the rival's together:\n"
                f"{told}\nwait until nothing else runs here, or say --force and trust nothing"
            )

    def report(self) -> Report:
        """What was measured."""
        names, left_out = {each.key: each.name for each in self._contestants}, set(self._lacking())
        return Report(
            taken=datetime.now(UTC).isoformat(timespec="seconds"),
            trusted=not self.plan.force and self.plan.enough >= ENOUGH,
            machine=machine(),
            rounds=self.rounds,
            seconds=self.plan.seconds,
            missing=self.missing,
            untold=self._untold(),
            rows=[
                row
                for row in rows(self.repetitions, names, self.against, all_count=self.plan.force)
                if (row.contestant, row.case) not in left_out
            ],
            repetitions=self.repetitions,
        )

    def _lacking(self) -> list[tuple[str, str]]:
        return [] if self.plan.force else lacking(self.repetitions, self.against, self.plan.enough)

    def _untold(self) -> dict[str, str]:
        without = discarded(self.repetitions)
        return {" at ".join(cell): _told(without.get(cell, {})) for cell in self._lacking()}

    def _round(self) -> None:
        """Everybody once; every second round in the opposite order."""
        present = [each for each in self._contestants if each.key in self._starts]
        for each in present if self.rounds % 2 else present[::-1]:
            console.print(f"round {self.rounds}: {each.name}", style="dim")
            try:
                self.repetitions += self._visit(each)
            except Broken as broken:
                if each.against is None:
                    raise
                self._leave_out(each, str(broken))

    def _visit(self, contestant: Contestant) -> list[Repetition]:
        """One contestant's cases, one after the other, on new stores."""
        with tempfile.TemporaryDirectory(prefix="bench-") as folder, self._starts[contestant.key]() as command:
            log = Path(folder) / "log"
            with running(command, log) as process:
                conversation = Conversation(process, log)
                return [self._repetition(contestant, case, conversation) for case in contestant.cases]

    def _repetition(self, contestant: Contestant, case: Case, conversation: Conversation) -> Repetition:
        seconds, speed_now, watch = self.plan.seconds, speed(), Watch()
        words = f"{case.measure} {case.callers} {case.steps} {seconds:.3f}"
        answer = conversation.ask(words, WARM_UP_SECONDS + seconds)
        meanwhile = watch.look()
        if answer["durability"] != contestant.durability:
            raise Broken(f"its durability is {answer['durability']}, not {contestant.durability}: {answer['settings']}")
        if not answer["count"]:
            raise Broken(f"nothing ended within {seconds} s at {case}")
        return Repetition(
            contestant=contestant.key,
            case=str(case),
            round=self.rounds,
            per_second=answer["per_second"],
            p50_ms=answer["p50_ms"],
            p99_ms=answer["p99_ms"],
            foreign_cores=round(meanwhile.foreign, 3),
            stolen_cores=round(meanwhile.stolen, 3),
            speed=round(speed_now, 2),
            durability=answer["durability"],
            version=answer["version"],
            settings=answer["settings"],
        )

    def _leave_out(self, contestant: Contestant, reason: str) -> None:
        console.print(f"{contestant.name} is left out: {reason}", style="yellow")
        self.missing[contestant.key] = reason
        self._starts.pop(contestant.key, None)
        self.repetitions = [each for each in self.repetitions if each.contestant != contestant.key]


def chosen(words: Sequence[str]) -> list[Contestant]:
    """Those whose key has one of the words in it, with those of ours that they are compared with; all without words."""
    named = [each for each in CONTESTANTS if not words or any(word in each.key for word in words)]
    keys = {each.key for each in named} | {each.against for each in named}
    return [each for each in CONTESTANTS if each.key in keys]


def refuse_a_busy_machine() -> None:
    """Look at it for a while. Raises SystemExit when others work."""
    watch = Watch()
    time.sleep(LOOK_SECONDS)
    meanwhile = watch.look()
    if meanwhile.foreign > FOREIGN_CORES_MAX:
        sys.exit(
            f"the machine is busy: other processes take {meanwhile.foreign:.2f} cores, at most {FOREIGN_CORES_MAX} may "
            "be; wait, or say --force and trust nothing"
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Compare ours with its rivals.", prog="python -m benchmarks.comparison"
    )
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"at least, of everybody ({ROUNDS})")
    parser.add_argument("--seconds", type=float, default=SECONDS, help=f"of each measurement ({SECONDS})")
    parser.add_argument(
        "--only", default="", help="contestants with one of these words in their key, such as sqlite,otp"
    )
    parser.add_argument("--quick", action="store_true", help="one round of 1 s, into .bench/quick: whether it works")
    parser.add_argument("--force", action="store_true", help="measure although the machine is busy; everything counts")
    parser.add_argument("--results", type=Path, default=None, help="where JSON and charts go (benchmarks/results)")
    given = parser.parse_args()
    contestants = chosen([word for word in given.only.split(",") if word])
    if not contestants or given.rounds < 1 or given.seconds <= 0:
        parser.error("there is nothing to measure")
    refuse_a_disk_in_memory()
    signal.signal(signal.SIGTERM, _interrupt)
    plan = Plan(given.rounds, given.rounds + ROUNDS_MORE, min(ENOUGH, given.rounds), given.seconds, given.force)
    if given.quick:
        plan = Plan(1, 1, 1, 1.0, given.force)
    run = Run(plan, contestants)
    try:
        run.prepare()
        if not plan.force:
            refuse_a_busy_machine()
        run.measure()
    except KeyboardInterrupt:
        sys.exit("interrupted: no report")
    except Broken as broken:
        sys.exit(f"no report: ours did not work: {broken}")
    tell(run.report(), folder_for(given.results, whole=not (given.quick or given.only or given.force)))


def tell(report: Report, folder: Path) -> None:
    """Print the tables; write the JSON and the charts."""
    path = folder / "comparison.json"
    path.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=1) + b"\n")
    shown = Console(markup=False, highlight=False)
    if not shown.is_terminal:
        shown = Console(markup=False, highlight=False, width=WIDTH)
    for table in tables(report.rows, [str(case) for case in CASES]):
        shown.print(table)
    for key, reason in report.missing.items():
        shown.print(f"{key} was left out: {reason}")
    for cell, why in report.untold.items():
        shown.print(f"{cell} is not told: too few rounds count, without {why}")
    here = report.machine
    shown.print(f"{here['cores']} cores, {here['cpu']}; Python {here['python']}; rounds: {report.rounds}")
    if not report.trusted:
        shown.print(UNTRUSTED, style="bold")
    written = draw(report.rows, folder, untold=report.untold, note=_note(report))
    shown.print("written: " + ", ".join(str(each) for each in [path, *written]))


def _told(reasons: Mapping[str, int]) -> str:
    return ", ".join(f"{count} ({reason})" for reason, count in reasons.items()) or "any of ours"


def _note(report: Report) -> str:
    """What stands below the charts."""
    here = report.machine
    told = (
        f"Median and range of the rounds ({report.rounds}); {here['cores']} cores, {here['cpu']}; {report.taken[:10]}"
    )
    return told if report.trusted else f"{UNTRUSTED}. {told}"


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()
