"""The watchdog: tells once who holds the loop, and with which stack; nothing when nobody does."""

import inspect
import logging
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

import anyio
import pytest

from intendant import Context, Realm, Runtime, Shutdown
from intendant.runtime.config import resolve_watchdog
from intendant.runtime.watchdog import Watchdog

shop = Realm("shop")
seen = threading.Event()
LIMIT = 0.02


def hold_the_loop() -> None:
    assert seen.wait(10)


async def hold() -> None:
    hold_the_loop()


@shop.handler
async def in_a_step(ctx: Context, nothing: dict[str, Any]) -> None:
    await ctx.step("hold", hold)


@shop.handler
async def elsewhere(ctx: Context, nothing: dict[str, Any]) -> None:
    """Begins before, and holds nothing."""
    await ctx.step("waits", anyio.sleep_forever)


@shop.handler
async def in_a_task(ctx: Context, nothing: dict[str, Any]) -> None:
    async with anyio.create_task_group() as group:
        group.start_soon(hold_with, ctx)


async def hold_with(ctx: Context) -> None:
    await anyio.lowlevel.checkpoint()
    hold_the_loop()


class Tells(logging.Handler):
    """Lets the loop go as soon as the watchdog has warned."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.told.append(record.getMessage())
        seen.set()


@pytest.fixture
def tells() -> Any:
    seen.clear()
    logger, handler = logging.getLogger("intendant.watchdog"), Tells()
    logger.addHandler(handler)
    yield handler
    logger.removeHandler(handler)


@pytest.mark.anyio
@pytest.mark.parametrize(("handler", "steps"), [(in_a_step, ("hold",)), (in_a_task, ())])
async def test_it_names_the_handler_that_holds_the_loop(tells: Tells, handler: Any, steps: tuple[str, ...]) -> None:
    threads = threading.active_count()
    async with Runtime([shop], hot="memory:", watchdog=LIMIT, shutdown=Shutdown(drain=0.0)) as runtime:
        session = await runtime.open_session("acme", "desk-1")
        await session.submit("shop.elsewhere", {})
        execution = await session.submit(handler, {})
        await execution.result(timeout=10)
        block = (await runtime.tree(depth=0)).blocked
        assert block is not None
        assert (block.tenant, block.execution, block.steps) == ("acme", execution.id, steps)
        assert block.type == f"shop.{handler.__name__}"
        assert block.seconds >= LIMIT
        assert "hold_the_loop" in block.stack
        assert runtime.stats().blocks >= 1
        assert execution.id in tells.told[0]
        assert "hold_the_loop" in tells.told[0]
        assert any(each.name == "intendant watchdog" for each in threading.enumerate())
    assert not any(each.name == "intendant watchdog" for each in threading.enumerate())
    assert threads >= 1


@pytest.mark.anyio
async def test_nobody_watches_unless_asked_to() -> None:
    async with Runtime([shop], hot="memory:") as runtime:
        assert not any(each.name == "intendant watchdog" for each in threading.enumerate())
        assert (await runtime.tree(depth=0)).blocks == 0


class Loop:
    """A loop that answers when told to."""

    def __init__(self) -> None:
        self.calls: list[Callable[[], object]] = []
        self.now = 100.0

    def call_soon(self, call: Callable[[], object]) -> None:
        self.calls.append(call)

    def live(self) -> None:
        calls, self.calls = self.calls, []
        for call in calls:
            call()


def stack_of(thread: int) -> FrameType | None:
    return inspect.currentframe()


def test_it_warns_once_of_each_block_and_not_before_its_limit(tells: Tells) -> None:
    loop = Loop()
    dog = Watchdog(1.0, loop, lambda tenant, execution: "", clock=lambda: loop.now, stack_of=stack_of)
    for blocks in (1, 2):
        dog.look()
        loop.now += 0.99
        dog.look()
        assert dog.blocks == blocks - 1
        loop.now += 0.01
        dog.look()
        loop.now += 50
        dog.look()
        assert (dog.blocks, len(tells.told)) == (blocks, blocks)
        loop.live()
    assert dog.last is not None
    assert dog.last.execution == ""
    assert "something that is no handler" in tells.told[0]


def test_a_loop_that_gives_signs_of_life_is_left_alone(tells: Tells) -> None:
    loop = Loop()
    dog = Watchdog(1.0, loop, lambda tenant, execution: "", clock=lambda: loop.now, stack_of=stack_of)
    for _ in range(50):
        dog.look()
        loop.live()
        loop.now += 0.9
    assert (dog.blocks, tells.told) == (0, [])


def test_its_limit_comes_from_the_call_or_the_environment() -> None:
    assert resolve_watchdog("default", None, {}) is None
    assert resolve_watchdog("default", None, {"INTENDANT_WATCHDOG": "0.5"}) == 0.5
    assert resolve_watchdog("default", 2, {"INTENDANT_WATCHDOG": "0.5"}) == 2
    assert resolve_watchdog("default", 0, {"INTENDANT_WATCHDOG": "0.5"}) is None
    for wrong in ("soon", "-1", "nan", "inf", "0.001"):
        with pytest.raises(ValueError, match=r"INTENDANT_WATCHDOG is 0\.01 seconds or more"):
            resolve_watchdog("default", None, {"INTENDANT_WATCHDOG": wrong})
