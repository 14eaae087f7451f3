"""The supervisor and the actors, each on its own and without a store."""

from __future__ import annotations

import pytest

from examples import actors_alone, supervisor_alone

pytestmark = pytest.mark.anyio


async def test_the_supervisor_alone(capsys: pytest.CaptureFixture[str]) -> None:
    await supervisor_alone.main()
    lines = capsys.readouterr().out.splitlines()
    assert lines.count("tree/feed crashed: the feed broke") == 2
    assert lines[-2:] == ["tree ends, because reader has all it wanted", "read [0, 1, 2, 3, 4]"]


async def test_actors_alone(capsys: pytest.CaptureFixture[str]) -> None:
    await actors_alone.main()
    assert capsys.readouterr().out.splitlines() == [
        "in the till: 400",
        "shop/till did not handle Pay(cents=-1): crashed, -1 cents",
    ]
