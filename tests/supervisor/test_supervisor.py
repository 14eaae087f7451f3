"""The static tree node: order, readiness, restart, escalation, cancellation."""

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest

from intendant.supervisor import (
    Backoff,
    ChildSpec,
    Strategy,
    Supervisor,
)

pytestmark = pytest.mark.anyio

Settle = Callable[[], Awaitable[None]]
Running = Callable[[Supervisor], AbstractAsyncContextManager[None]]
MakePuppet = Callable[[str], Any]
MakeSpec = Callable[..., ChildSpec]


async def test_starts_left_to_right_each_ready_before_the_next_and_stops_right_to_left(
    puppet: MakePuppet, spec: MakeSpec, running: Running, log: list[str]
) -> None:
    a, b, c = (puppet(name) for name in "abc")
    b.start_seconds = 3.0
    async with running(Supervisor("s", [spec(a), spec(b), spec(c)])):
        assert log == ["start a", "ready a", "start b", "ready b", "start c", "ready c"]
        log.clear()
    assert log == ["ask c", "ask b", "ask a"]


async def test_a_crash_restarts(puppet: MakePuppet, spec: MakeSpec, running: Running, settle: Settle) -> None:
    a, b, c = (puppet(name) for name in "abc")
    for strategy, lives in [
        (Strategy.ONE_FOR_ONE, (1, 2, 1)),
        (Strategy.REST_FOR_ONE, (1, 2, 2)),
        (Strategy.ONE_FOR_ALL, (2, 2, 2)),
    ]:
        a.lives = b.lives = c.lives = 0
        supervisor = Supervisor("s", [spec(a), spec(b), spec(c)], strategy=strategy, backoff=Backoff.none())
        async with running(supervisor):
            b.crash()
            await settle()
            assert (a.lives, b.lives, c.lives) == lives
