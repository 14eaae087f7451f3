"""Forks: a new execution that goes on from what another one recorded before a step."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import anyio
import pytest

from intendant import Context, Execution, InvalidIntent, Realm, Runtime, Status, UnknownExecution
from intendant.adapters.memory import MemoryStore

pytestmark = pytest.mark.anyio

Nothing = dict[str, Any]


class Play:
    """A realm whose steps are counted."""

    def __init__(self) -> None:
        self.ran: list[str] = []
        self.realm = Realm("play")
        self.realm.handler(self.journey)
        self.realm.handler(self.trip)

    def _step(self, name: str) -> Any:
        def body() -> str:
            self.ran.append(name)
            return f"{name}{len(self.ran)}"

        return body

    async def journey(self, ctx: Context, _nothing: Nothing) -> list[Any]:
        ctx.emit("begun")
        found: list[Any] = [await ctx.step("a", self._step("a"))]
        found.append(await ctx.wait_signal("go"))
        await ctx.sleep(timedelta(microseconds=1))
        with ctx.scope("in"):
            found.append(await ctx.step("b", self._step("b")))
        found += await ctx.map("m", self._one, ["x", "y"])
        found.append(await ctx.step("c", self._step("c")))
        ctx.emit("over")
        return found

    async def _one(self, item: str) -> str:
        self.ran.append(f"m-{item}")
        return item

    async def trip(self, ctx: Context, given: Nothing) -> str:
        await ctx.step("before", self._step("before"))
        async with ctx.saga("trip") as trip:
            await trip.step("book", self._step("book"), undo=lambda _step, _booked: None)
            await trip.step("pay", self._step("pay"), undo=lambda _step, _paid: None)
            if given["fails"]:
                raise ValueError("as asked")
        return "gone"


async def finished(runtime: Runtime) -> Execution[Any]:
    session = await runtime.open_session("acme", "desk")
    execution = await session.submit("play.journey", {})
    await execution.signal("go", 1)
    await execution.signal("go", 2)
    await execution.outcome(timeout=5)
    return execution


async def test_a_fork_reuses_what_was_recorded_before_the_step() -> None:
    play, store = Play(), MemoryStore()
    async with Runtime([play.realm], hot=store) as runtime:
        origin = await finished(runtime)
        assert play.ran == ["a", "b", "m-x", "m-y", "c"]
        fork = await origin.fork("in/b", idempotency_key="again")
        outcome = await fork.outcome(timeout=5)
        assert outcome.result == ["a1", 1, "b6", "x", "y", "c9"]
        assert play.ran[5:] == ["b", "m-x", "m-y", "c"]
        assert (outcome.forked_from, outcome.forked_at) == (origin.id, "in/b")
        assert (outcome.events, outcome.undelivered) == (2, [])
        again = await origin.fork("in/b", idempotency_key="again")
        assert again.id == fork.id
        view = next(each for each in await runtime.executions("acme") if each.id == fork.id)
        assert (view.forked_from, view.forked_at, view.session) == (origin.id, "in/b", "desk")
        last = await (await fork.fork("c")).outcome(timeout=5)
        assert last.result == ["a1", 1, "b6", "x", "y", "c10"]
        part = await (await origin.fork("m[1]")).outcome(timeout=5)
        assert part.result == ["a1", 1, "b2", "x", "y", "c12"]
        assert play.ran[10:] == ["m-y", "c"]


async def test_a_running_one_may_be_forked_and_the_fork_waits_for_signals_of_its_own() -> None:
    play, store = Play(), MemoryStore()
    async with Runtime([play.realm], hot=store) as runtime:
        origin = await (await runtime.open_session("acme", "desk")).submit("play.journey", {})
        while (await origin.view()).status is not Status.WAITING:  # noqa: ASYNC110  a status has no event
            await anyio.sleep(0.001)
        fork = await origin.fork("signal(go)")
        await origin.signal("go", "for the origin")
        await origin.outcome(timeout=5)
        assert await fork.status() is Status.WAITING
        await fork.signal("go", "for the fork")
        assert (await fork.result(timeout=5))[:2] == ["a1", "for the fork"]


async def test_a_fork_goes_on_after_a_restart() -> None:
    play, store = Play(), MemoryStore()
    async with Runtime([play.realm], hot=store) as runtime:
        origin = await finished(runtime)
        fork = await origin.fork("signal(go)")
        while (await fork.view()).status is not Status.WAITING:  # noqa: ASYNC110  a status has no event
            await anyio.sleep(0.001)
    async with Runtime([play.realm], hot=store) as runtime:
        handle = runtime.execution("acme", fork.id)
        await handle.signal("go", 3)
        assert (await handle.result(timeout=5))[:2] == ["a1", 3]


async def test_what_a_saga_undoes_can_not_be_gone_on_from() -> None:
    play, store = Play(), MemoryStore()
    async with Runtime([play.realm], hot=store) as runtime:
        session = await runtime.open_session("acme", "desk")
        origin = await session.submit("play.trip", {"fails": True})
        assert (await origin.outcome(timeout=5)).status is Status.FAILED
        with pytest.raises(InvalidIntent, match="the saga trip has begun to undo 'trip/book'"):
            await origin.fork("trip/pay")
        assert (await (await origin.fork("trip/book")).outcome(timeout=5)).status is Status.FAILED
        assert play.ran == ["before", "book", "pay", "book", "pay"]
        good = await session.submit("play.trip", {"fails": False})
        await good.outcome(timeout=5)
        assert (await (await good.fork("trip/pay")).outcome(timeout=5)).success
        assert play.ran[5:] == ["before", "book", "pay", "pay"]


async def test_what_was_erased_can_not_be_forked() -> None:
    play, store = Play(), MemoryStore()
    async with Runtime([play.realm], hot=store) as runtime:
        origin = await finished(runtime)
        fork = await origin.fork("signal(go)")
        await runtime.erase_session("acme", "desk", drop_open=True)
        with pytest.raises(UnknownExecution):
            await origin.fork("a")
        with pytest.raises(UnknownExecution):
            await fork.fork("a")
        await runtime.open_session("acme", "desk")  # it begins anew, and knows nothing of them
        with pytest.raises(UnknownExecution):
            await origin.fork("a", idempotency_key="again")


async def test_what_can_not_be_forked_is_refused() -> None:
    play, store = Play(), MemoryStore()
    async with Runtime([play.realm], hot=store) as runtime:
        origin = await finished(runtime)
        with pytest.raises(InvalidIntent, match=r"has recorded no 'z'; it has 'a', 'signal\(go\)'"):
            await origin.fork("z")
        with pytest.raises(UnknownExecution):
            await runtime.execution("globex", origin.id).fork("a")
