"""A runtime that was left is gone, whatever its handlers were doing when it was."""

from __future__ import annotations

import gc
import weakref

import anyio
import pytest

from intendant import Context, Realm, Runtime, Shutdown
from intendant.adapters.memory import MemoryStore

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
