"""Who is to blame for crashes: decided here for messages that crash their actor and executions that end the process.

A message is handled alone, so each crash is its own. When a process dies, nobody knows which of the handlers did it:

1. An execution whose handler may have been running, and that has recorded nothing while the process died `attempts`
   times, is a suspect: next time it runs alone, and that is recorded before. What runs beside it is not suspected by
   such a death.
2. If the process dies then, the suspect is held back while everybody else runs. If the process lives on without it, it
   is condemned; if it dies all the same, that tells nothing, and the suspect is tried alone again.

So a kill from outside is mistaken for a suspect's doing only if the kills before left the suspect no time to record
anything in `attempts` lives, then one met it alone, and then none came while it was held back.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Final, TypeVar

from msgspec import Struct

from intendant.domain.journal import Journal
from intendant.domain.payloads import SignalReceived, StepFailed
from intendant.domain.state import ExecutionState, Status

K = TypeVar("K")

SHORTEST_TRIAL: Final = 1_000_000  # µs
LONGEST_TRIAL: Final = 60_000_000


class Verdict(enum.Enum):
    """What becomes of one that was there when something crashed."""

    AGAIN = "again"
    ALONE = "alone"
    CONDEMNED = "condemned"


class Suspect(Struct, frozen=True):
    """What is known of an open execution. Times are µs since 1970 UTC.

    `ran_since`: since when its handler may have been running without recording anything; 0: it does not run.
    `alone_since`: when it began to run alone, if nothing was recorded since; else 0.
    """

    ran_since: int
    alone_since: int = 0
    deaths: int = 0  # before it ran alone


class Finding(Struct, frozen=True):
    """A verdict, and how often the process died while the execution may have been running."""

    verdict: Verdict
    deaths: int


def judge(crashes: int, attempts: int, *, alone: bool) -> Verdict:
    """What becomes of one that was there at so many crashes in a row; `alone`: at the last one nothing else was."""
    if crashes < attempts:
        return Verdict.AGAIN
    return Verdict.CONDEMNED if alone else Verdict.ALONE


def suspect_of(state: ExecutionState, journal: Journal) -> Suspect:
    """What an open execution's document and journal say."""
    resumed = journal.resumed
    began = state.started_at
    for row in journal.rows:
        if row is not resumed and not isinstance(row, SignalReceived):
            began = max(began, row.next_at if isinstance(row, StepFailed) else 0, row.at)
    waits = journal.waits.by_path.values()
    began = max([began, *(wait.end.at for wait in waits if wait.end is not None)])
    if resumed is not None and resumed.at >= began:
        return Suspect(resumed.at, resumed.at if resumed.alone else 0, resumed.deaths)
    rests = state.status is Status.ACCEPTED or any(wait.end is None for wait in waits)
    return Suspect(0 if rests else began)


def find(suspects: Mapping[K, Suspect], deaths: Sequence[int], attempts: int) -> dict[K, Finding]:
    """Judge all open executions of a partition at once, by when its process died (µs since 1970 UTC, rising)."""
    blamed = _blamed(suspects, deaths)
    unexplained = [death for death in deaths if death not in blamed.values()]
    return {key: _find(suspect, blamed.get(key), unexplained, attempts) for key, suspect in suspects.items()}


def trial(deaths: Sequence[int], attempts: int) -> float:
    """How long a suspect runs alone, and is held back after that, at most: seconds, 1 to 60.

    Twice as long as the shortest of the latest lives: whoever ended those needed no longer.
    """
    latest = deaths[-attempts - 1 :]
    shortest = min((after - before for before, after in pairwise(latest)), default=0)
    return min(max(2 * shortest, SHORTEST_TRIAL), LONGEST_TRIAL) / 1e6


def _blamed(suspects: Mapping[K, Suspect], deaths: Sequence[int]) -> dict[K, int]:
    """Of those that ran alone: the death that came next, unless another one ran alone by then."""
    alone = [(suspect.alone_since, key) for key, suspect in suspects.items() if suspect.alone_since]
    began = sorted(alone, key=lambda each: each[0])
    blamed: dict[K, int] = {}
    for place, (since, key) in enumerate(began):
        death = next((death for death in deaths if death > since), None)
        others = began[place + 1][0] if place + 1 < len(began) else None
        if death is not None and (others is None or death <= others):
            blamed[key] = death
    return blamed


def _find(suspect: Suspect, own: int | None, unexplained: list[int], attempts: int) -> Finding:
    if suspect.alone_since:
        later = own is not None and any(death > own for death in unexplained)
        alone = own is not None and not later
        deaths = suspect.deaths + (own is not None)
        return Finding(judge(max(deaths, attempts), attempts, alone=alone), deaths)
    if not suspect.ran_since:
        return Finding(Verdict.AGAIN, 0)
    deaths = sum(death > suspect.ran_since for death in unexplained)
    return Finding(judge(deaths, attempts, alone=False), deaths)
