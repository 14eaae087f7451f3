"""Who killed the process: whoever always does is found, whatever else dies; kills from outside condemn nobody."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from intendant.domain import poison
from intendant.domain.poison import LONGEST_TRIAL, SHORTEST_TRIAL, Suspect, Verdict, find, judge, trial

NEVER = 10**12
ATTEMPTS = 3
TRIAL = 100  # how long a suspect runs alone, and is held back


@dataclass
class Play:
    """An execution: `steps` records, each after it has run for `pace`. It kills its process after `fuse`, if it may."""

    steps: int
    pace: int
    fuse: int = 2 * NEVER
    since: int = 1
    alone: int = 0
    deaths: int = 0
    done: bool = False
    condemned: bool = False

    def suspect(self) -> Suspect:
        return Suspect(self.since, self.alone, self.deaths)

    def run(self, begin: int, end: int) -> int | None:
        """Run in this time; returns when it kills the process, if it does."""
        if self.fuse <= end - begin:
            return begin + self.fuse
        recorded = min((end - begin) // self.pace, self.steps)
        if recorded:
            self.steps -= recorded
            self.since, self.alone, self.deaths = begin + recorded * self.pace, 0, 0
            self.done = not self.steps
        return None


@dataclass
class Theatre:
    """A partition that dies again and again, as simply as it can be told."""

    plays: list[Play]
    now: int = 10
    found: list[int] = field(default_factory=list[int])
    unsettled: set[int] = field(default_factory=set[int])  # plays that were held back while the process died as well
    wronged: list[int] = field(default_factory=list[int])  # plays that were condemned for nothing

    def live(self, length: int) -> bool:
        """A life that is ended from outside after that long, if by nobody before; False when everything has ended."""
        end = self.now + length
        died = self._play(end)
        self.now = end if died is None else died
        self.now += 1  # the next one opens
        self.found.append(self.now)
        return any(not (play.done or play.condemned) for play in self.plays)

    def _play(self, end: int) -> int | None:
        """Returns when a play killed the process; None when that was left to the outside."""
        open = {number: play for number, play in enumerate(self.plays) if not (play.done or play.condemned)}
        findings = find({number: play.suspect() for number, play in open.items()}, self.found, ATTEMPTS)
        for number, finding in sorted(findings.items(), key=lambda each: -each[1].deaths):
            if finding.verdict is Verdict.ALONE and self.now < end:
                self.unsettled.discard(number)
                died = self._play_alone(open[number], finding.deaths, end)
                if died is not None:
                    return died
        if self.now >= end:
            return None
        held = {number for number, finding in findings.items() if finding.verdict is Verdict.CONDEMNED}
        return self._play_without(held, open, end)

    def _play_alone(self, play: Play, deaths: int, end: int) -> int | None:
        self.now += 1
        play.alone, play.deaths = self.now, deaths
        until = min(end, self.now + play.pace, self.now + TRIAL)
        died = play.run(self.now, until)
        self.now = until
        return died

    def _play_without(self, held: set[int], open: dict[int, Play], end: int) -> int | None:
        playing = [play for number, play in open.items() if number not in held and not play.done]
        died = min([self.now + play.fuse for play in playing if self.now + play.fuse < end], default=None)
        until = end if died is None else died - 1
        for play in playing:
            play.run(self.now, until)
        for number in held:
            play = self.plays[number]
            play.condemned = until - self.now > TRIAL
            if play.condemned and (number in self.unsettled or not play.alone or play.deaths < ATTEMPTS):
                self.wronged.append(number)
            self.unsettled.add(number)
        return died


def innocent(longest: int = TRIAL) -> st.SearchStrategy[Play]:
    return st.builds(Play, st.integers(1, 5), st.integers(1, longest))


@given(st.lists(innocent(), max_size=5), st.lists(st.integers(1, TRIAL // 2), min_size=1, max_size=4))
def test_who_always_kills_is_condemned_and_everything_else_completes(others: list[Play], fuses: list[int]) -> None:
    killers = [Play(1, NEVER, fuse) for fuse in fuses]
    theatre = Theatre([*others, *killers])
    lives = 1
    while theatre.live(NEVER):
        lives += 1
        assert lives < 20 * (len(fuses) + 1)
    assert all(play.condemned for play in killers)
    assert all(play.done for play in others)
    if len(killers) == 1:
        assert lives == ATTEMPTS + 2, "it dies so often, once more alone, and lives on"
        assert killers[0].deaths == ATTEMPTS


@given(st.lists(innocent(), min_size=1, max_size=6), st.lists(st.integers(0, TRIAL), min_size=1, max_size=200))
def test_kills_from_outside_that_leave_no_life_as_long_as_a_trial_condemn_nobody(
    plays: list[Play], lengths: list[int]
) -> None:
    theatre = Theatre(plays)
    for length in lengths:
        theatre.live(length)
    assert not any(play.condemned for play in plays)


@given(
    st.lists(innocent(longest=20), min_size=1, max_size=6),
    st.lists(st.integers(20, 3 * TRIAL), min_size=1, max_size=100),
)
def test_kills_from_outside_that_leave_time_for_one_record_make_no_suspect(
    plays: list[Play], lengths: list[int]
) -> None:
    theatre = Theatre(plays)
    for length in lengths:
        theatre.live(length)
    assert not any(play.alone or play.condemned for play in plays)


@given(st.lists(innocent(), min_size=1, max_size=6), st.lists(st.integers(0, 3 * TRIAL), min_size=1, max_size=200))
def test_it_takes_a_kill_that_meets_one_alone_and_a_life_without_kills_after_so_many_without_a_record(
    plays: list[Play], lengths: list[int]
) -> None:
    theatre = Theatre(plays)
    for number, length in enumerate(lengths):
        theatre.live(length)
        assert number >= ATTEMPTS + 1 or not any(play.condemned for play in plays)
    assert not theatre.wronged


def faults() -> list[str]:
    """What is wrong in many random plays; nothing, unless something was planted."""
    found: set[str] = set()
    for seed in range(300):
        chance = random.Random(seed)
        theatre = Theatre([Play(3, chance.randint(1, TRIAL)) for _ in range(chance.randint(1, 4))])
        for _ in range(60):
            theatre.live(chance.choice((0, 1, TRIAL // 4, 2 * TRIAL)))
        found |= {"an innocent is condemned" for _ in theatre.wronged}
        theatre = Theatre([Play(1, NEVER, chance.randint(1, TRIAL // 2)) for _ in range(chance.randint(1, 3))])
        if all(theatre.live(NEVER) for _ in range(80)):
            found.add("a killer is not found")
    return sorted(found)


def judge_at_once(crashes: int, attempts: int, *, alone: bool) -> Verdict:
    return Verdict.AGAIN if crashes < attempts else Verdict.CONDEMNED


def judge_too_early(crashes: int, attempts: int, *, alone: bool) -> Verdict:
    return Verdict.AGAIN if crashes < attempts else Verdict.ALONE


def blame_nobody(suspects: Any, deaths: Any) -> dict[Any, int]:
    return {}


def blame_for_all_that_follows(suspects: Any, deaths: Any) -> dict[Any, int]:
    began = [(suspect.alone_since, key) for key, suspect in suspects.items() if suspect.alone_since]
    return {key: deaths[-1] for since, key in began if deaths[-1] > since}


@pytest.mark.parametrize(
    ("name", "planted", "wanted"),
    [
        ("judge", judge, []),
        ("judge", judge_at_once, ["an innocent is condemned"]),
        ("judge", judge_too_early, ["a killer is not found"]),
        ("_blamed", blame_nobody, ["a killer is not found"]),
        ("_blamed", blame_for_all_that_follows, ["an innocent is condemned"]),
    ],
)
def test_a_planted_fault_is_found(name: str, planted: Any, wanted: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(poison, name, planted)
    assert set(wanted) <= set(faults())
    assert wanted or not faults()


@pytest.mark.parametrize(
    ("crashes", "alone", "verdict"),
    [
        (2, True, Verdict.AGAIN),
        (2, False, Verdict.AGAIN),
        (3, False, Verdict.ALONE),
        (3, True, Verdict.CONDEMNED),
        (9, False, Verdict.ALONE),
    ],
)
def test_one_rule_for_messages_and_executions(crashes: int, alone: bool, verdict: Verdict) -> None:
    assert judge(crashes, ATTEMPTS, alone=alone) is verdict


def test_who_was_held_back_is_not_blamed_for_another_s_trial() -> None:
    deaths = [100, 200, 300, 400, 500]
    first, second, third = Suspect(310, 310, 3), Suspect(410, 410, 3), Suspect(50)
    assert verdicts([first, second, third], deaths) == [Verdict.CONDEMNED, Verdict.CONDEMNED, Verdict.ALONE]
    assert verdicts([first, second, third], [*deaths, 600]) == [Verdict.ALONE] * 3
    assert verdicts([Suspect(0), Suspect(350)], deaths) == [Verdict.AGAIN] * 2
    assert verdicts([Suspect(510, 510, 3)], deaths) == [Verdict.ALONE], "it left in good order while it ran alone"


def verdicts(suspects: Iterable[Suspect], deaths: list[int]) -> list[Verdict]:
    found = find(dict(enumerate(suspects)), deaths, ATTEMPTS)
    return [found[number].verdict for number in sorted(found)]


@given(st.lists(st.integers(0, 2 * LONGEST_TRIAL), max_size=20))
def test_a_trial_is_twice_the_shortest_life_within_limits(lengths: list[int]) -> None:
    deaths = [sum(lengths[: number + 1]) for number in range(len(lengths))]
    seconds = trial(deaths, ATTEMPTS)
    shortest = min(lengths[1:][-ATTEMPTS:], default=0)
    assert seconds * 1e6 == pytest.approx(min(max(2 * shortest, SHORTEST_TRIAL), LONGEST_TRIAL))
