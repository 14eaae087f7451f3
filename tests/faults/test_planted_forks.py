"""Forks with a bug planted: each is found by the scenarios that fork."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from intendant.actors import acceptance
from intendant.actors.acceptance import take_journal
from intendant.actors.history import History
from intendant.domain import forks as domain
from intendant.domain.journal import Journal
from intendant.domain.payloads import SignalReceived
from intendant.runtime.forks import Forks
from tests.faults.stage import Stage
from tests.faults.test_planted_bugs import Hunt

_fork = Forks.fork
_kept: Callable[[Any], list[Any]] = getattr(domain, "_kept")  # noqa: B009  private to all but those who break it
_take_journal = getattr(History, "_take_journal")  # noqa: B009


async def fork_again(self: Forks, origin: Any, step: str, _key: str | None, timeout: float | None) -> Any:
    """The key of a fork is not kept."""
    return await _fork(self, origin, step, None, timeout)


def take_all_signals(rows: list[Any]) -> list[Any]:
    """Signals that nobody had taken before the step come along."""
    kept = [id(row) for row in _kept(rows)]
    return [row for row in rows if id(row) in kept or isinstance(row, SignalReceived)]


def record_nothing(fork: Any, session: str, execution: str, _records: Any, operations: list[Any]) -> None:
    """What a fork takes over stands in its journal, and not in the log."""
    take_journal(fork, session, execution, [], operations)


def begin_empty(self: Any, journal: Journal) -> None:
    """A fork begins with nothing."""
    _take_journal(self, Journal() if self.state.forked_from else journal)


BUGS: dict[str, tuple[str, Any, str, Any]] = {
    "a fork is made twice": ("forked", Forks, "fork", fork_again),
    "signals of the origin come along": ("forked-signalled", domain, "_kept", take_all_signals),
    "the log knows nothing of its journal": ("forked", acceptance, "take_journal", record_nothing),
    "steps of the origin run again": ("forked-saga", History, "_take_journal", begin_empty),
}


@pytest.mark.parametrize("bug", [None, *BUGS])
def test_a_planted_fork_is_found(stage: Stage, bug: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    name, *patches = BUGS[bug] if bug else ("forked",)
    hunt = Hunt(stage, next(each for each in stage.scenarios if each.name == name), None)
    with monkeypatch.context() as patch:
        if patches:
            place, what, planted = patches
            patch.setattr(place, what, planted)
        found = hunt.run()
    print(f"\n{bug}: {found:.300}")
    assert bool(found) == (bug is not None), found
