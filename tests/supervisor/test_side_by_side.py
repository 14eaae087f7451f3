"""Children that do not depend on each other start and stop side by side."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import anyio
import pytest

from intendant.supervisor import ChildSpec, StartFailed, Strategy, Supervisor

pytestmark = pytest.mark.anyio

Running = Callable[[Supervisor], AbstractAsyncContextManager[None]]
MakePuppet = Callable[[str], Any]  # Any: the puppet of conftest, which modules can't import
MakeSpec = Callable[..., ChildSpec]


async def test_starts_wait_for_nobody_and_the_supervisor_for_all(
    puppet: MakePuppet, spec: MakeSpec, running: Running, log: list[str]
) -> None:
    children = [puppet(name) for name in "abc"]
    for child in children:
        child.start_seconds = 3.0
    began = anyio.current_time()
    async with running(Supervisor("s", [spec(each) for each in children], side_by_side=True)):
        assert anyio.current_time() - began == pytest.approx(3.0)
        assert sorted(log[:3]) == ["start a", "start b", "start c"]
        assert sorted(log[3:]) == ["ready a", "ready b", "ready c"]


async def test_stops_wait_for_nobody(puppet: MakePuppet, spec: MakeSpec, running: Running, log: list[str]) -> None:
    children = [puppet(name) for name in "abc"]
    for child in children:
        child.deaf = True
    supervisor = Supervisor("s", [spec(each, shutdown=4.0) for each in children], side_by_side=True)
    async with running(supervisor):
        began = anyio.current_time()
    assert anyio.current_time() - began == pytest.approx(4.0)
    assert log[-6:-3] == ["ask c", "ask b", "ask a"]


async def test_a_failed_first_start_undoes_all_others(
    puppet: MakePuppet, spec: MakeSpec, running: Running, log: list[str], boom: type[Exception]
) -> None:
    a, b, c = (puppet(name) for name in "abc")
    b.start_seconds = c.start_seconds = 1.0
    b.start_error, c.start_error = boom("b"), boom("c")
    with pytest.raises(StartFailed) as caught:
        async with running(Supervisor("s", [spec(each) for each in (a, b, c)], side_by_side=True)):
            pytest.fail("was started")
    assert caught.value.__cause__ in (b.start_error, c.start_error)
    assert "ask a" in log


def test_what_depends_on_each_other_keeps_its_order() -> None:
    with pytest.raises(ValueError, match="depend on each other"):
        Supervisor("s", [], strategy=Strategy.REST_FOR_ONE, side_by_side=True)
