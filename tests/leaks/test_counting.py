"""A check of leaks is worth what it finds: something that stays from each round."""

from __future__ import annotations

import os
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import anyio
import pytest

from intendant.supervisor import ChildSpec
from intendant.supervisor.child import Child
from tests.leaks import counting

pytestmark = pytest.mark.anyio

Plant = Callable[[AsyncExitStack], Awaitable[None]]


async def keep_a_child(stack: AsyncExitStack) -> None:
    child = Child(ChildSpec("c", lambda _status: anyio.sleep_forever()), "c")
    stack.callback(child.info)


async def keep_a_file(stack: AsyncExitStack) -> None:
    stack.callback(os.close, os.open(__file__, os.O_RDONLY))


async def keep_a_thread(stack: AsyncExitStack) -> None:
    over = threading.Event()
    thread = threading.Thread(target=over.wait)
    thread.start()
    stack.callback(thread.join)
    stack.callback(over.set)


async def keep_a_task(stack: AsyncExitStack) -> None:
    await stack.enter_async_context(one_task())


@asynccontextmanager
async def one_task() -> AsyncGenerator[None]:
    async with anyio.create_task_group() as group:
        group.start_soon(anyio.sleep_forever)
        yield
        group.cancel_scope.cancel()


@pytest.mark.parametrize("plant", [keep_a_child, keep_a_file, keep_a_thread, keep_a_task])
async def test_what_stays_from_each_round_is_found(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counting, "SETTLED_MAX", 0.01)
    async with AsyncExitStack() as stack:
        with pytest.raises(AssertionError, match="more than there was"):
            await counting.rounds(lambda _number: plant(stack))
