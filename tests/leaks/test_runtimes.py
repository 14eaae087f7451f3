"""A runtime that was left is gone, whatever its handlers were doing when it was."""

from __future__ import annotations

import gc
import weakref

import anyio
import pytest

from intendant import Context, Realm, Runtime, Shutdown
from intendant.adapters.memory import MemoryStore
from intendant.domain.commit import Batch
from tests.faults.faulty_store import FaultyStore, Plan

pytestmark = pytest.mark.anyio


async def test_a_runtime_whose_handlers_were_suspended_is_gone() -> None:
    realm, began = Realm("work"), anyio.Event()

    @realm.handler
    async def endless(_ctx: Context, _given: dict[str, int]) -> None:
        began.set()
        await anyio.sleep_forever()

    async def live() -> weakref.ref[Runtime]:
        async with Runtime([realm], hot=MemoryStore(), shutdown=Shutdown(drain=0)) as runtime:
            session = await runtime.open_session("acme", "desk-1")
            await session.submit(endless, {"n": 1})
            await began.wait()
            return weakref.ref(runtime)

    left = await live()
    gc.collect()
    assert left() is None


class CrashingOnce(Plan):
    """The next commit crashes the writer, once it is armed."""

    armed = False
    crashes = 0

    async def before_commit(self, number: int, batch: Batch) -> None:
        if self.armed:
            self.armed = False
            self.crashes += 1
            raise RuntimeError("planted: the writer crashes")


async def test_a_runtime_whose_writer_crashed_with_commits_of_executions_is_gone() -> None:
    realm, plan = Realm("work"), CrashingOnce()

    @realm.handler
    async def waits(ctx: Context, _given: dict[str, int]) -> None:
        await ctx.wait_signal("go")

    async def live() -> weakref.ref[Runtime]:
        async with Runtime([realm], hot=FaultyStore(MemoryStore(), plan)) as runtime:
            session = await runtime.open_session("acme", "desk-1")
            execution = await session.submit(waits, {"n": 1})
            plan.armed = True
            await execution.signal("go")
            await execution.result()
            return weakref.ref(runtime)

    left = await live()
    for _ in range(3):  # what is finalized may be looked at again only by the next
        gc.collect()
    assert plan.crashes == 1
    assert left() is None
