"""What is measured as ours gives the durability of its row: the runtime is asked, on the servers it is measured on."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.contestants import CONTESTANTS, Contestant
from benchmarks.processes import Conversation, running

OURS = [each for each in CONTESTANTS if each.key.startswith("ours")]
STATED = {"ours-sqlite": "fsync", "ours-redis-always": "fsync", "ours-redis-everysec": "written"}


@pytest.mark.parametrize("contestant", OURS, ids=lambda each: each.key)
def test_ours_gives_the_durability_of_its_row(contestant: Contestant, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with contestant.prepare()() as command, running(command, log) as process:
        asked = f"{contestant.cases[0].measure} 1 0 0.05"
        answer = Conversation(process, log).ask(asked, 0.05)
    assert answer["durability"] == contestant.durability


def test_rows_of_a_store_tell_what_it_gives() -> None:
    told = {each.key: each.durability for each in OURS}
    assert {key: told[key] for key in STATED} == STATED
