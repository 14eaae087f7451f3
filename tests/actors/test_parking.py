from __future__ import annotations

import threading

import anyio
import pytest

from intendant.actors.deadlines import TICK, Deadlines
from intendant.parking import Reply, current_seam

pytestmark = pytest.mark.anyio


async def test_a_wake_before_the_wait_is_remembered_once() -> None:
    parking = current_seam().parking()
    parking.wake()
    parking.wake()
    await parking.wait()
    with anyio.move_on_after(1) as scope:
        await parking.wait()
    assert scope.cancelled_caught


async def test_a_wake_reaches_the_parked_task() -> None:
    parking = current_seam().parking()
    async with anyio.create_task_group() as group:
        group.start_soon(parking.wait)
        await anyio.wait_all_tasks_blocked()
        parking.wake()


async def test_a_cancelled_wait_uses_up_nothing() -> None:
    parking = current_seam().parking()
    with anyio.move_on_after(1):
        await parking.wait()
    parking.wake()
    await parking.wait()


async def test_a_reply_is_given_once_and_may_be_waited_for_after_a_cancelled_wait() -> None:
    seam = current_seam()
    reply: Reply[int] = Reply()
    with anyio.move_on_after(1):
        await reply.wait(seam)
    reply.set(1)
    reply.set(2)
    reply.fail(LookupError())
    assert await reply.wait(seam) == 1
    assert await reply.wait(seam) == 1


async def test_a_reply_that_fails_raises_where_it_is_awaited() -> None:
    reply: Reply[int] = Reply()
    reply.fail(LookupError("no"))
    with pytest.raises(LookupError, match="no"):
        await reply.wait(current_seam())


async def test_whoever_asked_to_be_called_is_called_once() -> None:
    calls: list[int] = []
    reply: Reply[int] = Reply()
    reply.on_settled(lambda settled: calls.append(settled.result()))
    reply.set(7)
    reply.set(8)
    assert calls == [7]


class Item:
    def __init__(self, log: list[str], name: str) -> None:
        self.log = log
        self.name = name

    def expire(self) -> None:
        self.log.append(self.name)


async def test_deadlines_expire_in_time_and_only_what_is_left() -> None:
    seam = current_seam()
    log: list[str] = []
    deadlines = Deadlines(seam)
    async with anyio.create_task_group() as group:
        group.start_soon(deadlines.run)
        await anyio.wait_all_tasks_blocked()
        deadlines.add(Item(log, "late"), 60)
        answered = Item(log, "answered")
        deadlines.remove(answered, deadlines.add(answered, 1))
        deadlines.add(Item(log, "soon"), 1)
        await anyio.sleep(1 + 2 * TICK)
        assert log == ["soon"]
        assert len(deadlines) == 1
        await anyio.sleep(60)
        assert (log, len(deadlines)) == (["soon", "late"], 0)
        group.cancel_scope.cancel()


async def test_an_earlier_deadline_added_later_is_met() -> None:
    log: list[str] = []
    deadlines = Deadlines(current_seam())
    async with anyio.create_task_group() as group:
        group.start_soon(deadlines.run)
        deadlines.add(Item(log, "late"), 60)
        await anyio.sleep(1)
        deadlines.add(Item(log, "soon"), 1)
        await anyio.sleep(1 + 2 * TICK)
        assert log == ["soon"]
        group.cancel_scope.cancel()


@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
async def test_a_thread_can_call_into_the_loop(anyio_backend: str) -> None:
    seam = current_seam()
    parking = seam.parking()
    thread = threading.Thread(target=lambda: seam.call_soon(parking.wake))
    thread.start()
    with anyio.fail_after(5):
        await parking.wait()
    thread.join()
