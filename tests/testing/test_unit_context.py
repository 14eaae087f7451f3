"""The context for unit tests: results that are given, steps that run, everything remembered."""

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

import intendant.testing
from intendant import Context, DuplicateStep, Failure, InvalidValue, Realm, StepFailed
from intendant.testing import context

pytestmark = pytest.mark.anyio


class Order(msgspec.Struct):
    item: str
    count: int = 1


class Payment(msgspec.Struct):
    id: str
    total: float


async def charge(order: Order) -> Payment:
    raise AssertionError(f"a unit test must not charge for {order}")


def double(count: int) -> int:
    return 2 * count


shop = Realm("shop")


@shop.handler
async def place(ctx: Context, order: Order) -> str:
    count = await ctx.step("double", double, order.count)
    payment = await ctx.step("charge", charge, order)
    ctx.emit("placed", {"payment": payment})
    ctx.artifact("receipt", [payment.id, count])
    return payment.id


async def test_given_results_come_in_their_type_and_other_steps_run() -> None:
    for given in (Payment("p-1", 5), {"id": "p-1", "total": 5}):
        ctx = context(steps={"charge": given})
        assert await place(ctx, Order("tea", 3)) == "p-1"
        assert ctx.recorded.steps == {"double": 6, "charge": {"id": "p-1", "total": 5}}
        assert ctx.recorded.events == [("placed", {"payment": {"id": "p-1", "total": 5.0}})]
        assert ctx.recorded.artifacts == {"receipt": ["p-1", 6]}
        assert ctx.unused == set()


async def test_given_exceptions_are_raised_as_the_step_would() -> None:
    ctx = context(steps={"charge": ValueError("declined")})
    with pytest.raises(StepFailed, match="declined") as raised:
        await place(ctx, Order("tea"))
    assert isinstance(raised.value.__cause__, ValueError)
    assert ctx.recorded.steps["charge"] == Failure("ValueError", "declined")
    assert ctx.recorded.events == []


async def test_paths_with_keys_and_paths_that_nobody_comes_to() -> None:
    ctx = context(steps={"double[a]": 1, "duoble": 2})
    assert await ctx.step("double", double, 5, key="a") == 1
    assert await ctx.step("double", double, 5, key="b") == 10
    assert ctx.unused == {"duoble"}


async def test_rules_are_those_of_a_real_context() -> None:
    ctx = context()
    await ctx.step("double", double, 1)
    with pytest.raises(DuplicateStep):
        await ctx.step("double", double, 1)
    with pytest.raises(InvalidValue):
        ctx.emit("event", object())
    with pytest.raises(InvalidValue):
        ctx.artifact("artifact", "x" * 100_000)
    assert (ctx.recorded.events, ctx.recorded.artifacts) == ([], {})


async def test_facts_are_the_tests_own() -> None:
    now = datetime(2026, 1, 2, tzinfo=UTC)
    ctx = intendant.testing.context(tenant_id="acme", session="desk-1", solution="books", execution_id="e", now=now)
    assert (ctx.tenant_id, ctx.session, ctx.solution, ctx.execution_id) == ("acme", "desk-1", "books", "e")
    await ctx.step("double", double, 1)
    assert ctx.now() == now
    assert not ctx.replaying
    assert ctx.random.random() == context(execution_id="e").random.random()
    ctx.logger.info("nothing breaks")


async def test_files_are_kept_in_memory() -> None:
    ctx = context()
    reference = await ctx.files.put("a.txt", b"content")
    assert await ctx.files.get(reference) == b"content"


async def test_async_plain_and_callable_steps_give_the_type_they_say() -> None:
    class Priced:
        def __call__(self, item: str) -> Payment:
            return Payment(item, 1)

    ctx = context(steps={"given": {"id": "b", "total": 2}})
    results: list[Any] = [
        await ctx.step("object", Priced(), "a"),
        await ctx.step("given", Priced(), "a"),
        await ctx.step("class", Payment, "c", 3.0),
    ]
    assert results == [Payment("a", 1), Payment("b", 2), Payment("c", 3)]
