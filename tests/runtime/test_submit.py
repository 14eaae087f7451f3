"""Submitting: typed, untyped, many at once; what comes back."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, TypedDict

import anyio
import msgspec
import pytest

from intendant import (
    Context,
    Execution,
    ExecutionFailed,
    IdempotencyConflict,
    Intent,
    InvalidIntent,
    Realm,
    Runtime,
    Status,
    UnknownExecution,
)
from intendant.domain.ports import Store
from intendant.domain.replay import World

pytestmark = pytest.mark.anyio

Audit = Callable[[Store], Awaitable[World]]


class Order(msgspec.Struct):
    item: str
    count: int = 1


@dataclass
class Plain:
    item: str


class Typed(TypedDict):
    item: str


class Receipt(msgspec.Struct):
    item: str
    total: float
    tags: tuple[str, ...] = ()


class OutOfStock(Exception):
    pass


shop = Realm("shop")


@shop.handler
async def order(ctx: Context, order: Order) -> Receipt:
    return Receipt(order.item, order.count * 1.5, ("new",))


@shop.handler
async def plain(ctx: Context, order: Plain) -> str:
    return order.item


@shop.handler
async def typed(ctx: Context, order: Typed) -> str:
    return order["item"]


@shop.handler(name="free")
async def anything(ctx: Context, order: dict[str, Any]) -> dict[str, Any]:
    return order


@shop.handler
async def fail(ctx: Context, order: Order) -> None:
    ctx.artifact("tried", order.item)
    raise OutOfStock(order.item)


async def test_typed_submit_brings_back_the_typed_result(runtime: Callable[..., Runtime]) -> None:
    async with runtime(shop) as running:
        session = await running.open_session("acme", "desk-1")
        result = await (await session.submit(order, Order("tea", 2))).result(timeout=10)
        assert result == Receipt("tea", 3.0, ("new",))
        assert await (await session.submit(plain, Plain("tea"))).result(timeout=10) == "tea"
        assert await (await session.submit(typed, Typed(item="tea"))).result(timeout=10) == "tea"


async def test_untyped_submit_runs_the_same_handler(runtime: Callable[..., Runtime]) -> None:
    async with runtime(shop) as running:
        session = await running.open_session("acme", "desk-1")
        execution = await session.submit("shop.order", {"item": "tea", "count": 2})
        assert await execution.result(timeout=10) == Receipt("tea", 3.0, ("new",))
        free = await session.submit("shop.free", MappingProxyType({"any": [1]}))
        assert await free.result(timeout=10) == {"any": [1]}


async def test_both_doors_give_one_form_so_that_a_key_holds_across_them(runtime: Callable[..., Runtime]) -> None:
    async with runtime(shop) as running:
        session = await running.open_session("acme", "desk-1")
        one = await session.submit(order, Order("tea"), idempotency_key="k")
        two = await session.submit("shop.order", {"item": "tea"}, idempotency_key="k")
        three = await session.submit("shop.order", {"count": 1, "item": "tea"}, idempotency_key="k")
        assert one.id == two.id == three.id


async def test_failed_execution_raises_from_result_and_not_from_outcome(runtime: Callable[..., Runtime]) -> None:
    async with runtime(shop) as running:
        session = await running.open_session("acme", "desk-1")
        execution = await session.submit(fail, Order("tea"))
        outcome = await execution.outcome(timeout=10)
        assert (outcome.success, outcome.status, outcome.result) == (False, Status.FAILED, None)
        assert outcome.error is not None
        assert (outcome.error.code, outcome.error.message) == ("OutOfStock", "tea")
        assert outcome.artifacts == {"tried": "tea"}
        with pytest.raises(ExecutionFailed, match=r"shop\.fail.*OutOfStock: tea") as raised:
            await execution.result(timeout=10)
        assert raised.value.outcome == outcome


async def test_metadata_and_solution_come_with_the_intent(runtime: Callable[..., Runtime]) -> None:
    async with runtime(shop) as running:
        session = await running.open_session("acme", "desk-1", solution="books")
        own = await session.submit(order, Order("tea"), metadata={"trace": ("a", 1)}, solution="films")
        inherited = await session.submit(order, Order("tea"))
        outcome = await own.outcome(timeout=10)
        await inherited.outcome(timeout=10)
        assert outcome.metadata == {"trace": ["a", 1]}
        assert (await own.view()).metadata == {"trace": ["a", 1]}
        assert (await own.view()).solution == "films"
        assert (await inherited.view()).solution == "books"
        assert [view.id for view in await running.executions("acme", solution="films")] == [own.id]


async def test_metadata_is_taken_as_it_was_when_submitted(runtime: Callable[..., Runtime]) -> None:
    async with runtime(shop) as running:
        session = await running.open_session("acme", "desk-1")
        metadata: dict[str, Any] = {"list": [1]}
        execution = await session.submit(order, Order("tea"), metadata=metadata)
        metadata["list"].append(2)
        metadata["more"] = True
        assert (await execution.outcome(timeout=10)).metadata == {"list": [1]}


async def test_handle_looked_up_by_id_brings_plain_data(runtime: Callable[..., Runtime]) -> None:
    async with runtime(shop) as running:
        session = await running.open_session("acme", "desk-1")
        execution = await session.submit(order, Order("tea"))
        found = running.execution("acme", execution.id)
        assert found.intent_id is None
        assert await found.result(timeout=10) == {"item": "tea", "total": 1.5, "tags": ["new"]}
        assert (await found.outcome(timeout=10)).intent_id == execution.intent_id


async def test_unknown_execution_is_unknown_to_every_question(runtime: Callable[..., Runtime]) -> None:
    async with runtime(shop) as running:
        ghost = running.execution("acme", "ghost")
        for question in (ghost.result, ghost.outcome, ghost.view, ghost.status):
            with pytest.raises(UnknownExecution, match="ghost"):
                await question()
        with pytest.raises(UnknownExecution):
            _ = [each async for each in running.wait([ghost])]


async def test_submit_many_accepts_all_in_one_commit(runtime: Callable[..., Runtime], hot: Store, audit: Audit) -> None:
    async with runtime(shop) as running:
        session = await running.open_session("acme", "desk-1")
        before = running.stats().commits
        executions = await session.submit_many([Intent(order, Order("tea", place)) for place in range(512)])
        assert len({each.id for each in executions}) == 512
        received = await running.wal.query("acme", type="intent_received", limit=1000)
        assert len({record.time for record in received}) == 1
        results = {each.id: outcome.result async for each, outcome in running.wait(executions, timeout=30)}
        assert [results[each.id] for each in executions] == [
            Receipt("tea", place * 1.5, ("new",)) for place in range(512)
        ]
        assert running.stats().commits > before
        await audit(hot)


async def test_submit_many_accepts_none_when_one_is_wrong(runtime: Callable[..., Runtime]) -> None:
    async with runtime(shop) as running:
        session = await running.open_session("acme", "desk-1")
        good: Intent[Any] = Intent("shop.order", {"item": "tea"})
        bad: Intent[Any] = Intent("shop.order", {"item": 5})
        with pytest.raises(InvalidIntent, match="parameters"):
            await session.submit_many([good, bad, good])
        assert await count(running) == 0


@pytest.mark.parametrize("many", [0, 513])
async def test_submit_many_takes_1_to_512(runtime: Callable[..., Runtime], many: int) -> None:
    async with runtime(shop) as running:
        session = await running.open_session("acme", "desk-1")
        with pytest.raises(InvalidIntent, match=f"512.*{many}"):
            await session.submit_many([Intent(order, Order("tea"))] * many)


async def test_submit_many_mixes_known_and_new_keys(runtime: Callable[..., Runtime]) -> None:
    async with runtime(shop) as running:
        session = await running.open_session("acme", "desk-1")
        known = await session.submit(order, Order("tea"), idempotency_key="known")
        executions = await session.submit_many(
            [
                Intent(order, Order("new"), idempotency_key="new"),
                Intent(order, Order("tea"), idempotency_key="known"),
                Intent(order, Order("new"), idempotency_key="new"),
                Intent(order, Order("keyless")),
            ]
        )
        ids = [each.id for each in executions]
        assert ids[1] == known.id
        assert ids[0] == ids[2]
        assert len(set(ids)) == 3
        results = [await each.result(timeout=10) for each in executions]
        assert [result.item for result in results] == ["new", "tea", "new", "keyless"]
        assert await count(running) == 3


async def test_submit_many_accepts_none_when_one_key_conflicts(runtime: Callable[..., Runtime]) -> None:
    async with runtime(shop) as running:
        session = await running.open_session("acme", "desk-1")
        await session.submit(order, Order("tea"), idempotency_key="known")
        for key in ("known", "twice"):
            with pytest.raises(IdempotencyConflict, match=key):
                await session.submit_many(
                    [
                        Intent(order, Order("new"), idempotency_key="new"),
                        Intent(order, Order("one"), idempotency_key="twice"),
                        Intent(order, Order("two"), idempotency_key=key),
                    ]
                )
        assert await count(running) == 1


async def test_wait_yields_outcomes_as_they_end(runtime: Callable[..., Runtime]) -> None:
    gates = [anyio.Event() for _ in range(3)]
    realm = Realm("shop")

    @realm.handler
    async def pass_gate(ctx: Context, gate: dict[str, int]) -> int:
        await gates[gate["number"]].wait()
        return gate["number"]

    async with runtime(realm) as running:
        session = await running.open_session("acme", "desk-1")
        executions = [await session.submit(pass_gate, {"number": number}) for number in range(3)]
        seen: list[int] = []
        gates[2].set()
        async for execution, outcome in running.wait([*executions, executions[2]], timeout=10):
            assert outcome.execution_id == execution.id
            assert outcome.result is not None
            seen.append(outcome.result)
            if len(seen) == 2:
                gates[0].set()
            if len(seen) == 3:
                gates[1].set()
        assert seen == [2, 2, 0, 1]
        assert [each[1].result async for each in running.wait(executions, timeout=0)] == [0, 1, 2]
        nobody: list[Execution[Any]] = []
        assert [each async for each in running.wait(nobody)] == []


async def test_waits_that_end_early_change_nothing(runtime: Callable[..., Runtime]) -> None:
    gate = anyio.Event()
    realm = Realm("shop")

    @realm.handler
    async def wait(ctx: Context, nothing: dict[str, Any]) -> str:
        await gate.wait()
        return "done"

    async with runtime(realm) as running:
        session = await running.open_session("acme", "desk-1")
        execution = await session.submit("shop.wait", {})
        with pytest.raises(TimeoutError):
            await execution.result(timeout=0.01)
        with pytest.raises(TimeoutError):
            await execution.outcome(timeout=0)
        with pytest.raises(TimeoutError):
            _ = [each async for each in running.wait([execution], timeout=0.01)]
        with anyio.move_on_after(0.01):
            await execution.result()
        gate.set()
        async for _execution, outcome in running.wait([execution, execution]):
            assert outcome.result == "done"
            break
        assert await execution.result() == "done"


async def count(running: Runtime) -> int:
    return len(await running.wal.query("acme", type="intent_received"))
