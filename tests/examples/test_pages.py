"""What a reader gets depends on the files alone."""

import os
import re
import subprocess
import sys
from pathlib import Path

import msgspec

from examples.realms.analysis.study import study_folder
from examples.realms.pages import markdown, page
from examples.realms.pages.run import Figures, Kill, Run, Sample
from examples.realms.pages.timeline import draw

WRITE = """
import sys
import msgspec
from examples.realms.analysis.study import study_folder
from examples.realms.pages import markdown, page
studies = [study_folder("planted", sys.argv[1])]
sys.stdout.write(markdown.report(studies) + markdown.roadmap(studies) + page.page(studies, None))
"""
FIRST = [Sample(number / 10, number * 10) for number in range(1, 101)]
SECOND = [Sample(11 + number / 10, 1000 + number * 10) for number in range(1, 101)]
FIGURES = Figures(2000, 1999, 1, 9000, 2100, 4000, 7, 0, [], [*FIRST, *SECOND], [])


def a_run(*, killed: bool = True) -> Run:
    return Run(21.0, Kill(10.0, 11.0, 1000, 900) if killed else None, FIGURES)


def test_reports_are_the_same_bytes_in_processes_with_other_hash_seeds(planted: Path) -> None:
    root = str(Path(__file__).parents[2])
    written = [
        subprocess.run(
            [sys.executable, "-c", WRITE, str(planted)],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": root},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    ]
    assert written[0] == written[1]
    assert str(planted).encode() not in written[0]


def test_reports_do_not_know_where_the_folder_lies(planted: Path, tmp_path: Path) -> None:
    before = study_folder("planted", str(planted))
    moved = planted.rename(tmp_path / "elsewhere")
    after = study_folder("planted", str(moved))
    assert markdown.report([before]) == markdown.report([after])
    assert page.page([before], None) == page.page([after], None)


def test_the_page_needs_nothing_but_itself(planted: Path) -> None:
    html = page.page([study_folder("planted", str(planted))], a_run())
    assert not re.findall(r"""(?:src|href)=["'](?!#|data:)[^"']+""", html)
    assert not re.findall(r"@import|url\(", html)


def test_the_page_tells_the_kill_and_draws_it(planted: Path) -> None:
    studies = [study_folder("planted", str(planted))]
    assert "Killed at 10.0 s, finished at 21.0 s." in page.page(studies, a_run())
    assert "kill -9" not in page.page(studies, a_run(killed=False))


def test_the_curve_rises_and_stands_still_between_kill_and_resumption() -> None:
    timeline = draw(a_run())
    heights = [point[1] for point in timeline.points]
    assert heights == sorted(heights, reverse=True)
    assert timeline.killed is not None
    assert timeline.resumed is not None
    assert timeline.left < timeline.killed < timeline.resumed < timeline.right
    assert len({y for x, y, *_ in timeline.points if timeline.killed <= x <= timeline.resumed}) == 1


def test_no_bar_stands_where_nothing_ran() -> None:
    timeline = draw(a_run())
    assert timeline.killed is not None
    assert timeline.resumed is not None
    for bar in timeline.bars:
        assert bar.x < timeline.killed + bar.width or bar.x + bar.width > timeline.resumed


def test_a_run_that_had_nothing_to_do_can_be_drawn() -> None:
    assert draw(Run(0.0, None, msgspec.structs.replace(FIGURES, curve=[]))).bars == []


def test_paths_and_words_are_escaped_for_markdown() -> None:
    assert markdown.code("a`b\nc") == "`` a`b c ``"
    assert markdown.escape("_x_ a_b <b> |") == r"\_x\_ a_b \<b\> \|"
