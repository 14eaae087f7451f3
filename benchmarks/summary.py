"""What repetitions come to: which count, their medians and spreads, and how many times as fast ours is. No I/O."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, TypeAlias

from msgspec import Struct

FOREIGN_CORES_MAX: Final = 0.25
STOLEN_CORES_MAX: Final = 0.1
SPEED_TOLERANCE: Final = 0.3  # from the run's usual speed: virtual machines change theirs from minute to minute

Cell: TypeAlias = tuple[str, str]
"""A contestant's key and a case, as text."""


class Repetition(Struct, frozen=True):
    """One measurement, and what the machine did meanwhile."""

    contestant: str
    case: str
    round: int
    per_second: float
    p50_ms: float | None
    p99_ms: float | None
    foreign_cores: float
    stolen_cores: float
    speed: float  # of the machine just before
    durability: str
    version: str
    settings: dict[str, Any]


class Spread(Struct, frozen=True):
    """A median, and how far apart that lies which it stands for."""

    median: float
    lowest: float
    highest: float


class Row(Struct, frozen=True):
    """What one contestant did in one case; `ratio` is how many times as fast ours was in the same rounds."""

    contestant: str
    name: str
    case: str
    durability: str
    version: str
    settings: dict[str, Any]
    per_second: Spread
    p50_ms: float | None
    p99_ms: float | None
    against: str | None
    ratio: Spread | None
    clean: int
    discarded: dict[str, int]  # by reason

    @property
    def ours(self) -> bool:
        """Whether it is no rival, also where it is compared with another one of ours."""
        return self.contestant.startswith("ours-")


def spread(values: Iterable[float]) -> Spread:
    """Of at least one value."""
    ordered = sorted(values)
    return Spread(statistics.median(ordered), ordered[0], ordered[-1])


def usual_speed(repetitions: Sequence[Repetition]) -> float:
    """The machine's speed in most of the run."""
    return statistics.median(each.speed for each in repetitions)


def disturbance(repetition: Repetition, usual: float) -> str | None:
    """Why a repetition does not count; None if it does."""
    if repetition.foreign_cores > FOREIGN_CORES_MAX:
        return "foreign work"
    if repetition.stolen_cores > STOLEN_CORES_MAX:
        return "stolen by the host"
    if abs(repetition.speed / usual - 1) > SPEED_TOLERANCE:
        return "another speed of the machine"
    return None


def cells(repetitions: Iterable[Repetition]) -> dict[Cell, dict[int, Repetition]]:
    """By contestant and case, then by round."""
    found: dict[Cell, dict[int, Repetition]] = {}
    for each in repetitions:
        found.setdefault((each.contestant, each.case), {})[each.round] = each
    return found


def clean(repetitions: Sequence[Repetition]) -> list[Repetition]:
    """Those that count."""
    if not repetitions:
        return []
    usual = usual_speed(repetitions)
    return [each for each in repetitions if disturbance(each, usual) is None]


def ratio(ours: Mapping[int, float], rival: Mapping[int, float]) -> Spread | None:
    """How many times as fast ours was, round by round; None without a round in which both count."""
    both = ours.keys() & rival.keys()
    return spread(ours[number] / rival[number] for number in both) if both else None


def discarded(repetitions: Sequence[Repetition]) -> dict[Cell, Counter[str]]:
    """How many do not count, by reason."""
    found: dict[Cell, Counter[str]] = {}
    if repetitions:
        usual = usual_speed(repetitions)
        for each in repetitions:
            if reason := disturbance(each, usual):
                found.setdefault((each.contestant, each.case), Counter())[reason] += 1
    return found


def lacking(repetitions: Sequence[Repetition], against: Mapping[str, str | None], enough: int) -> list[Cell]:
    """The cells with fewer than `enough` rounds that count, where a rival's rounds count only together with ours."""
    good = cells(clean(repetitions))
    found: list[Cell] = []
    for contestant, case in cells(repetitions):
        rounds = set(good.get((contestant, case), {}))
        if partner := against[contestant]:
            rounds &= good.get((partner, case), {}).keys()
        if len(rounds) < enough:
            found.append((contestant, case))
    return found


def rows(
    repetitions: Sequence[Repetition], names: Mapping[str, str], against: Mapping[str, str | None], *, all_count: bool
) -> list[Row]:
    """One for each contestant and case; `all_count` keeps the disturbed ones."""
    counting = cells(repetitions if all_count else clean(repetitions))
    without = {} if all_count else discarded(repetitions)
    found: list[Row] = []
    for (contestant, case), rounds in counting.items():
        partner = against[contestant]
        ours = counting.get((partner, case)) if partner else None
        first = next(iter(rounds.values()))
        found.append(
            Row(
                contestant=contestant,
                name=names[contestant],
                case=case,
                durability=first.durability,
                version=first.version,
                settings=first.settings,
                per_second=spread(each.per_second for each in rounds.values()),
                p50_ms=_median(each.p50_ms for each in rounds.values()),
                p99_ms=_median(each.p99_ms for each in rounds.values()),
                against=partner,
                ratio=None if ours is None else ratio(_speeds(ours), _speeds(rounds)),
                clean=len(rounds),
                discarded=dict(without.get((contestant, case), {})),
            )
        )
    return found


def _speeds(rounds: Mapping[int, Repetition]) -> dict[int, float]:
    return {number: each.per_second for number, each in rounds.items()}


def _median(values: Iterable[float | None]) -> float | None:
    told = [value for value in values if value is not None]
    return statistics.median(told) if told else None
