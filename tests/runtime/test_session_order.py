"""Sessions as queues: in order, so many at a time, alone where asked; tenants: their shares and limits."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import anyio.lowlevel
import msgspec
import pytest

from intendant import (
    Context,
    Execution,
    Intent,
    InvalidIntent,
    Limits,
    Overloaded,
    Realm,
    Runtime,
    Session,
    Shutdown,
    TenantLimits,
)
from intendant.adapters.memory import MemoryStore
from intendant.testing.clock import VirtualClock, virtual_backend

pytestmark = pytest.mark.anyio

MakeRuntime = Callable[..., Runtime]
Eventually = Callable[[Callable[[], Awaitable[bool]]], Awaitable[None]]
NO_DRAIN = Shutdown(drain=0)


class House:
    """A realm whose handlers tell that they have begun, and go on when they are told."""

    def __init__(self) -> None:
        self.realm = Realm("shop")
        self.begun: list[int] = []
        self.gates: dict[int, anyio.Event] = {}
        self.realm.handler(self.wait)
        self.realm.handler(exclusive=True)(self.alone)
        self.realm.handler(self.signalled)

    async def wait(self, ctx: Context, given: dict[str, int]) -> int:
        self.begun.append(given["n"])
        await self.gates.setdefault(given["n"], anyio.Event()).wait()
        return given["n"]

    async def alone(self, ctx: Context, given: dict[str, int]) -> int:
        return await self.wait(ctx, given)

    async def signalled(self, ctx: Context, given: dict[str, int]) -> int:
        if given["n"] not in self.begun:
            self.begun.append(given["n"])
        await ctx.wait_signal("go")
        return given["n"]

    def let(self, *numbers: int) -> None:
        for number in numbers:
            self.gates.setdefault(number, anyio.Event()).set()

    async def has_begun(self, eventually: Eventually, *numbers: int) -> None:
        """These have begun and no others, also after all that could have begun others.

        What gets its place at one moment may come to its first line in any order: trio shuffles.
        """

        async def begun() -> bool:
            return len(self.begun) >= len(numbers)

        await eventually(begun)
        for _ in range(20):
            await anyio.lowlevel.checkpoint()
        assert sorted(self.begun) == sorted(numbers)


async def submit(session: Session, type: str, *numbers: int) -> list[Execution[Any]]:
    return [await session.submit(f"shop.{type}", {"n": number}) for number in numbers]


async def test_a_session_of_concurrency_one_is_a_queue(runtime: MakeRuntime, eventually: Eventually) -> None:
    house = House()
    async with runtime(house.realm) as running:
        session = await running.open_session("acme", "desk", concurrency=1)
        other = await running.open_session("acme", "other", concurrency=1)
        executions = await submit(session, "wait", 1, 2, 3)
        await house.has_begun(eventually, 1)
        await submit(other, "wait", 9)
        await house.has_begun(eventually, 1, 9)
        house.let(2, 3)  # they are not held up by anything but their turn
        house.let(1)
        assert [await execution.result(timeout=10) for execution in executions] == [1, 2, 3]
        assert house.begun == [1, 9, 2, 3]
        house.let(9)


async def test_many_at_once_begin_in_their_order(runtime: MakeRuntime, eventually: Eventually) -> None:
    house = House()
    async with runtime(house.realm) as running:
        session = await running.open_session("acme", "desk", concurrency=3)
        executions = await session.submit_many([Intent("shop.wait", {"n": number}) for number in range(20)])
        await house.has_begun(eventually, 0, 1, 2)
        house.let(*range(20))
        for execution in executions:
            await execution.result(timeout=10)
        assert all(abs(place - number) < 3 for place, number in enumerate(house.begun))


async def test_what_waits_counts_also_after_a_restart(runtime: MakeRuntime, eventually: Eventually) -> None:
    house = House()
    async with runtime(house.realm, shutdown=NO_DRAIN, limits=Limits(resident=0)) as running:
        session = await running.open_session("acme", "desk", concurrency=2)
        ids = [each.id for each in await submit(session, "signalled", 1, 2, 3)]
        await house.has_begun(eventually, 1, 2)
    async with runtime(house.realm, shutdown=NO_DRAIN, limits=Limits(resident=0)) as running:
        await house.has_begun(eventually, 1, 2)
        executions = [running.execution("acme", id) for id in ids]
        await executions[1].signal("go")
        assert await executions[1].result(timeout=10) == 2
        await house.has_begun(eventually, 1, 2, 3)
        for execution in (executions[0], executions[2]):
            await execution.signal("go")
            await execution.result(timeout=10)


async def test_an_exclusive_handler_runs_alone_in_its_session(runtime: MakeRuntime, eventually: Eventually) -> None:
    house = House()
    async with runtime(house.realm, shutdown=NO_DRAIN) as running:
        session = await running.open_session("acme", "desk")
        await submit(session, "wait", 1)
        await submit(session, "alone", 2)
        await submit(session, "wait", 3)
        await house.has_begun(eventually, 1)
        house.let(1)
        await house.has_begun(eventually, 1, 2)
    house.begun.clear()
    async with runtime(house.realm) as running:  # it has begun, and is alone still
        await house.has_begun(eventually, 2)
        house.let(2)
        await house.has_begun(eventually, 2, 3)
        assert house.begun == [2, 3]
        house.let(3)


@pytest.mark.parametrize("type", ["alone", "wait", "signalled"])
async def test_what_waits_behind_a_cancelled_one_begins(
    runtime: MakeRuntime, eventually: Eventually, type: str
) -> None:
    house = House()
    async with runtime(house.realm) as running:
        session = await running.open_session("acme", "desk", concurrency=1)
        cancelled, *others = await submit(session, type, 1, 2)
        await house.has_begun(eventually, 1)
        await cancelled.cancel()
        await house.has_begun(eventually, 1, 2)
        await others[0].cancel()
        assert (await others[0].outcome(timeout=10)).status == "cancelled"


async def test_the_highest_priority_of_a_tenant_begins_first(runtime: MakeRuntime, eventually: Eventually) -> None:
    house = House()
    async with runtime(house.realm, limits=Limits(running=1)) as running:
        sessions = [await running.open_session("acme", f"desk-{n}") for n in range(4)]
        await submit(sessions[0], "wait", 0)
        await house.has_begun(eventually, 0)
        for number in (1, 2, 3):
            await sessions[number].submit("shop.wait", {"n": number}, priority=(0, -5, 0, 100)[number])
        house.let(0, 1, 2, 3)
        await house.has_begun(eventually, 0, 3, 2, 1)
        assert house.begun == [0, 3, 2, 1]


async def test_a_tenant_with_one_intent_does_not_wait_for_all_of_another(
    runtime: MakeRuntime, eventually: Eventually
) -> None:
    house = House()
    async with runtime(house.realm, limits=Limits(running=2)) as running:
        noisy = await running.open_session("noisy", "desk", concurrency=1_000)
        quiet = await running.open_session("quiet", "desk")
        await noisy.submit_many([Intent("shop.wait", {"n": number}) for number in range(200)])
        await house.has_begun(eventually, 0, 1)
        await submit(quiet, "wait", 1_000)
        house.let(*range(200), 1_000)

        async def done() -> bool:
            return len(house.begun) == 201

        await eventually(done)
        assert house.begun.index(1_000) < 20


async def test_a_tenants_own_limits(runtime: MakeRuntime, eventually: Eventually) -> None:
    house = House()
    limits = Limits(tenants={"acme": TenantLimits(running=2, open=4, parameters_bytes=20), "*": TenantLimits(open=1)})
    async with runtime(house.realm, limits=limits) as running:
        session = await running.open_session("acme", "desk")
        other = await running.open_session("beta", "desk")
        executions = await submit(session, "wait", 1, 2, 3)
        await house.has_begun(eventually, 1, 2)
        await submit(other, "wait", 9)
        with pytest.raises(Overloaded, match=r"tenant 'beta'.*limit of 1"):
            await submit(other, "wait", 10)
        with pytest.raises(Overloaded, match=r"tenant 'acme'.*limit of 4"):
            await session.submit_many([Intent("shop.wait", {"n": number}) for number in (4, 5)])
        with pytest.raises(InvalidIntent, match=r"parameters: are 2\d bytes, and those of tenant 'acme' may be 20"):
            await session.submit("shop.wait", {"n": 1, **{f"field{n}": n for n in range(3)}})
        house.let(1, 2, 3, 9)
        for execution in executions:
            await execution.result(timeout=10)
        executions = await submit(session, "wait", 4)
        house.let(4)


async def test_a_tenants_rate(runtime: MakeRuntime) -> None:
    house = House()
    house.let(*range(10))
    limits = Limits(tenants=lambda tenant: TenantLimits(intents_per_second=0.01 if tenant == "acme" else None))
    async with runtime(house.realm, limits=limits) as running:
        session = await running.open_session("acme", "desk")
        await submit(session, "wait", 1)
        with pytest.raises(Overloaded, match=r"tenant 'acme' may submit 0\.01 intents a second.*wait \d+"):
            await submit(session, "wait", 2)
        await submit(await running.open_session("beta", "desk"), "wait", *range(3, 9))


async def test_a_concurrency_that_can_not_be(runtime: MakeRuntime) -> None:
    impossible: list[Any] = [0, -1, 1.5, True, "2", 10**9]
    async with runtime(House().realm) as running:
        for wrong in impossible:
            with pytest.raises(InvalidIntent, match="concurrency"):
                await running.open_session("acme", "desk", concurrency=wrong)
        session = await running.open_session("acme", "desk")
        for wrong in impossible:
            if wrong not in (0, -1, True):
                with pytest.raises(InvalidIntent, match="priority"):
                    await session.submit("shop.wait", {"n": 1}, priority=wrong)


@pytest.mark.parametrize("body", [None, b"\xff"])
async def test_a_document_that_can_not_be_read_holds_up_nobody_else(body: bytes | None, eventually: Eventually) -> None:
    house, store = House(), MemoryStore()
    async with Runtime([house.realm], hot=store, shutdown=NO_DRAIN) as running:
        session = await running.open_session("acme", "desk", concurrency=1)
        lost, other = await submit(session, "wait", 1, 2)
    documents = store.log(0).shared.partition.documents["acme", "executions"]
    damaged = documents.values[lost.id]
    documents.remove(lost.id)
    if body is not None:
        documents.put(lost.id, msgspec.structs.replace(damaged, body=body))
    house.let(1, 2)
    async with Runtime([house.realm], hot=store, shutdown=NO_DRAIN) as running:
        assert await running.execution("acme", other.id).result(timeout=30) == 2


class TestInVirtualTime:
    """In which nothing takes time."""

    @pytest.fixture(params=["asyncio", "trio"])
    def anyio_backend(self, request: pytest.FixtureRequest) -> Any:
        return virtual_backend(str(request.param))

    async def test_what_is_recorded_costs_turns(self) -> None:
        begun: list[str] = []
        gate = anyio.Event()
        realm = Realm("shop")

        @realm.handler
        async def write(ctx: Context, given: dict[str, int]) -> str:
            begun.append(ctx.tenant_id)
            await gate.wait()
            return "x" * given["bytes"]

        async with Runtime([realm], hot=MemoryStore(), clock=VirtualClock(), limits=Limits(running=8)) as running:
            for tenant, size in (("writer", 60_000), ("quiet", 1)):
                session = await running.open_session(tenant, "desk", concurrency=1_000)
                await session.submit_many([Intent("shop.write", {"bytes": size})] * 200)
            gate.set()
            while begun.count("quiet") < 200:  # noqa: ASYNC110  nobody announces it
                await anyio.sleep(0.001)
            last = len(begun) - begun[::-1].index("quiet")
            assert 60 <= begun[:last].count("writer") <= 120, "a turn costs it 1.2 ms, and the other one 0.5"
