"""An execution that kills its process each time it runs is found and ended; what runs beside it completes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest

from intendant import Context, Limits, Realm, Runtime, Shutdown, Status
from intendant.actors.trials import Trials
from intendant.adapters.memory import MemoryStore
from intendant.domain.ids import partition_of
from intendant.domain.ports import Store
from intendant.domain.replay import World

pytestmark = pytest.mark.anyio

Audit = Callable[[Store], Awaitable[World]]
MakeRuntime = Callable[..., Runtime]
AT_ONCE = Shutdown(drain=0)


class Theatre:
    """Handlers, one of which is the process's end."""

    def __init__(self) -> None:
        self.realm = Realm("play")
        self.died = anyio.Event()
        self.ran: list[str] = []
        self.realm.handler(self.kill)
        self.realm.handler(self.work)
        self.realm.handler(self.doze)

    async def kill(self, ctx: Context, nothing: dict[str, Any]) -> None:
        async def end() -> None:
            self.ran.append("kill")
            self.died.set()
            await anyio.sleep_forever()

        await ctx.step("end", end)

    async def work(self, ctx: Context, given: dict[str, int]) -> int:
        async def part(number: int) -> int:
            await anyio.sleep(0.02)
            self.ran.append(f"work {given['n']}.{number}")
            return number

        return sum([await ctx.step("part", part, number, key=str(number)) for number in range(3)])

    async def doze(self, ctx: Context, nothing: dict[str, Any]) -> str:
        await ctx.wait_signal("wake")
        return "awake"


async def test_who_always_kills_is_condemned_and_its_neighbours_complete(
    runtime: MakeRuntime, hot: Store, audit: Audit, dying: None
) -> None:
    theatre, outcome = Theatre(), None
    async with runtime(theatre.realm, shutdown=AT_ONCE) as running:
        session = await running.open_session("acme", "desk-1")
        killer = await session.submit("play.kill", {})
        others = [await session.submit("play.work", {"n": number}) for number in range(5)]
        dozing = await session.submit("play.doze", {})
        await theatre.died.wait()
    for _ in range(9):
        theatre.died = anyio.Event()
        async with runtime(theatre.realm, shutdown=AT_ONCE) as running, anyio.create_task_group() as group:

            async def until_it_ends(running: Runtime = running) -> None:
                nonlocal outcome
                outcome = await running.execution("acme", killer.id).outcome(timeout=20)
                theatre.died.set()

            group.start_soon(until_it_ends)
            await theatre.died.wait()
            group.cancel_scope.cancel()
        if outcome is not None:
            break
    assert outcome is not None
    assert outcome.status is Status.FAILED
    assert outcome.error is not None
    assert outcome.error.code == "crashed"
    assert "the process died 4 times while it ran, the last time while nothing else did" in outcome.error.message
    assert theatre.ran.count("kill") == 4
    async with runtime(theatre.realm) as running:
        assert [await running.execution("acme", each.id).result(timeout=10) for each in others] == [3] * 5
        await running.execution("acme", dozing.id).signal("wake")
        assert await running.execution("acme", dozing.id).result(timeout=10) == "awake"
        resumed = (await running.wal.query("acme", type="execution_resumed", execution=killer.id)).items
        assert [each.payload for each in resumed] == [{"at": resumed[0].payload["at"], "deaths": 3, "alone": True}]
        await audit(hot)


async def test_one_that_only_ran_beside_it_runs_alone_and_goes_on(
    runtime: MakeRuntime, hot: Store, audit: Audit, dying: None
) -> None:
    """Its step takes longer than any of the lives, but the last one."""
    realm, began, begins, ran = Realm("play"), anyio.Event(), list[int](), list[float]()
    life = 0

    @realm.handler
    async def slow(ctx: Context, nothing: dict[str, Any]) -> str:
        async def last() -> str:
            began.set()
            if life < 3:
                await anyio.sleep_forever()
            begins.append(len(ran) + 1)
            await anyio.sleep(0.02)
            ran.append(anyio.current_time())
            return "done"

        return await ctx.step("last", last)

    for life in range(3):  # noqa: B007  the handler looks at it
        began = anyio.Event()
        async with runtime(realm, shutdown=AT_ONCE) as running:
            session = await running.open_session("acme", "desk-1")
            for key in ("one", "other"):
                await session.submit("play.slow", {}, idempotency_key=key)
            await began.wait()
    life = 3
    async with runtime(realm) as running:
        for key in ("one", "other"):
            execution = await running.session("acme", "desk-1").submit("play.slow", {}, idempotency_key=key)
            assert await execution.result(timeout=10) == "done"
        await audit(hot)
    assert begins == [1, 2], "the second began when the first had ended"


async def test_the_partitions_of_a_process_try_one_after_the_other(dying: None) -> None:
    theatre, store = Theatre(), MemoryStore(partitions=2)
    tenants = [next(name for name in map(str, range(99)) if partition_of(name, 2) == number) for number in (0, 1)]
    made: dict[str, str] = {}
    statuses: set[Status] = set()
    for _ in range(30):
        theatre.died = anyio.Event()
        async with Runtime([theatre.realm], hot=store, shutdown=AT_ONCE) as running, anyio.create_task_group() as group:
            for tenant in tenants:
                session = await running.open_session(tenant, "desk-1")
                for type, given in (("play.kill", {}), ("play.work", {"n": 1})):
                    if f"{tenant} {type}" not in made:
                        made[f"{tenant} {type}"] = (await session.submit(type, given)).id

            async def until_all_end(running: Runtime = running) -> None:
                executions = [running.execution(key.split()[0], id) for key, id in made.items()]
                async for execution, outcome in running.wait(executions, timeout=20):
                    wanted = (
                        Status.FAILED if made[f"{execution.tenant} play.kill"] == execution.id else Status.COMPLETED
                    )
                    statuses.add(outcome.status if outcome.status is wanted else Status.BLOCKED)
                theatre.died.set()
                theatre.ran.append("all ended")

            group.start_soon(until_all_end)
            await theatre.died.wait()
            group.cancel_scope.cancel()
        if theatre.ran[-1] == "all ended":
            break
    assert theatre.ran[-1] == "all ended"
    assert statuses == {Status.FAILED, Status.COMPLETED}


async def test_lives_that_end_in_good_order_count_for_nothing(runtime: MakeRuntime, hot: Store) -> None:
    theatre = Theatre()
    for _ in range(6):
        theatre.died = anyio.Event()
        async with runtime(theatre.realm, shutdown=AT_ONCE) as running:
            session = await running.open_session("acme", "desk-1")
            await session.submit("play.kill", {}, idempotency_key="k")
            await theatre.died.wait()
            assert not (await running.wal.query("acme", type="execution_resumed")).items
            opened = (await hot.log(0).entries("", newest_first=True, limit=1))[0]
            assert b"deaths" not in opened


async def test_one_that_runs_alone_for_too_long_goes_on_beside_the_others(
    runtime: MakeRuntime, hot: Store, audit: Audit, dying: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def short(deaths: list[int], attempts: int) -> float:
        return 0.05

    monkeypatch.setattr("intendant.actors.trials.trial", short)
    theatre, alone = Theatre(), list[bool]()
    for life in range(2):
        theatre.died = anyio.Event()
        async with runtime(theatre.realm, shutdown=AT_ONCE, limits=Limits(deaths=1)) as running:
            session = await running.open_session("acme", "desk-1")
            execution = await session.submit("play.kill", {}, idempotency_key="k")
            work = await session.submit("play.work", {"n": life})
            await theatre.died.wait()
            assert await work.result(timeout=10) == 3
            resumed = (await running.wal.query("acme", type="execution_resumed", execution=execution.id)).items
            alone = [each.payload.get("alone", False) for each in resumed]
            await audit(hot)
    assert alone == [False, True]


async def test_trials_that_crash_hold_nobody_up(
    runtime: MakeRuntime, dying: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(trials: Trials, seconds: float) -> None:
        raise LookupError("planted")

    monkeypatch.setattr(Trials, "_run_suspects", fail)
    theatre = Theatre()
    for _ in range(3):
        theatre.died = anyio.Event()
        async with runtime(theatre.realm, shutdown=AT_ONCE, limits=Limits(deaths=1)) as running:
            session = await running.open_session("acme", "desk-1")
            await session.submit("play.kill", {}, idempotency_key="k")
            with anyio.fail_after(10):
                await theatre.died.wait()
                assert await (await session.submit("play.work", {"n": 1})).result() == 3


def test_what_is_no_number_of_deaths_is_refused() -> None:
    with pytest.raises(ValueError, match="deaths must be 1 or more, not 0"):
        Limits(deaths=0)
