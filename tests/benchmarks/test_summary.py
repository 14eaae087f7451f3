from __future__ import annotations

from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.charts import THEMES, charts, svg
from benchmarks.summary import Repetition, Spread, clean, disturbance, lacking, ratio, rows, spread

CASE = "64 callers, no steps"
AGAINST = {"ours": None, "rival": "ours"}
NAMES = {"ours": "Ours", "rival": "A rival <fast> & well known"}


def repetition(
    round: int,
    per_second: float = 100.0,
    *,
    contestant: str = "rival",
    foreign: float = 0.0,
    stolen: float = 0.0,
    speed: float = 20.0,
) -> Repetition:
    figures = (per_second, 1.0, 2.0, foreign, stolen, speed)
    return Repetition(contestant, CASE, round, *figures, "fsync", "1.0", {})


@given(st.lists(st.floats(0.1, 1e7), min_size=1))
def test_a_spread_goes_from_the_lowest_over_the_median_to_the_highest(values: list[float]) -> None:
    found = spread(values)
    assert (found.lowest, found.highest) == (min(values), max(values))
    assert found.lowest <= found.median <= found.highest
    assert spread(values[::-1]) == found


def test_a_ratio_is_of_the_same_rounds() -> None:
    ours = {1: 1_000.0, 2: 100.0, 3: 900.0}
    rival = {1: 100.0, 3: 100.0, 4: 1.0}
    assert ratio(ours, rival) == Spread(9.5, 9.0, 10.0)
    assert ratio(ours, {4: 1.0}) is None


@pytest.mark.parametrize(
    ("disturbed", "reason"),
    [
        (repetition(1, foreign=0.3), "foreign work"),
        (repetition(1, stolen=0.2), "stolen by the host"),
        (repetition(1, speed=32.0), "another speed of the machine"),
        (repetition(1, speed=12.0), "another speed of the machine"),
        (repetition(1, foreign=0.2, stolen=0.05, speed=22.0), None),
    ],
)
def test_what_disturbed_does_not_count(disturbed: Repetition, reason: str | None) -> None:
    assert disturbance(disturbed, 20.0) == reason
    others = [repetition(round) for round in (2, 3, 4)]
    assert clean([disturbed, *others]) == ([disturbed, *others] if reason is None else others)


def test_a_rivals_rounds_count_only_together_with_ours() -> None:
    ours = [repetition(round, contestant="ours", foreign=float(round == 2)) for round in (1, 2, 3)]
    rivals = [repetition(round, foreign=float(round == 3)) for round in (1, 2, 3)]
    assert lacking([*ours, *rivals], AGAINST, enough=2) == [("rival", CASE)]
    assert lacking([*ours, *rivals], AGAINST, enough=1) == []


def test_a_cell_whose_rounds_are_all_disturbed_lacks() -> None:
    assert lacking([repetition(1, foreign=1.0)], {"rival": None}, enough=1) == [("rival", CASE)]


def test_rows_tell_what_was_discarded() -> None:
    speeds = {1: 1_000.0, 2: 3_000.0, 3: 2_000.0}
    ours = [repetition(round, speed, contestant="ours") for round, speed in speeds.items()]
    rivals = [repetition(1), repetition(2, 5.0, foreign=2.0), repetition(3)]
    first, second = rows([*ours, *rivals], NAMES, AGAINST, all_count=False)
    assert (first.per_second, first.ratio, first.clean) == (Spread(2_000.0, 1_000.0, 3_000.0), None, 3)
    assert (second.per_second, second.ratio) == (Spread(100.0, 100.0, 100.0), Spread(15.0, 10.0, 20.0))
    assert (second.clean, second.discarded) == (2, {"foreign work": 1})
    forced = rows([*ours, *rivals], NAMES, AGAINST, all_count=True)[1]
    assert (forced.per_second.lowest, forced.clean) == (5.0, 3)


@pytest.mark.parametrize("theme", THEMES)
def test_a_chart_is_an_svg_that_names_everybody(theme: str) -> None:
    found = rows([repetition(1, contestant="ours"), repetition(1)], NAMES, AGAINST, all_count=False)
    [chart] = charts(found)
    root = ET.fromstring(svg(chart, THEMES[theme], "a note"))
    texts = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
    assert {*NAMES.values(), "a note", "has no steps"} <= set(texts)
