"""The context for unit tests: results that are given, steps that run, everything remembered."""

import contextlib
from datetime import UTC, datetime, timedelta
from typing import Any

import anyio
import anyio.lowlevel
import msgspec
import pytest

import intendant.testing
from intendant import (
    Context,
    DuplicateStep,
    ExecutionCancelled,
    ExecutionFailed,
    Failure,
    InvalidValue,
    Realm,
    Retry,
    Step,
    StepFailed,
)
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


async def test_sleeps_are_skipped_signals_are_given_and_queries_asked() -> None:
    ctx = context(signals={"packed": [{"id": "p-1", "total": 1}, Payment("p-2", 2)]})
    start = ctx.now()
    ctx.on_query("since", lambda: round((ctx.now() - start).total_seconds()))
    await ctx.sleep(timedelta(days=1))
    await ctx.sleep_until(start + timedelta(days=2))
    assert ctx.query("since") == 2 * 86_400
    assert await ctx.wait_signal("packed", type=Payment) == Payment("p-1", 1)
    assert await ctx.wait_signal("packed", type=Payment, key="b", timeout=timedelta(hours=1)) == Payment("p-2", 2)
    with pytest.raises(TimeoutError, match="packed"):
        await ctx.wait_signal("packed", key="c", timeout=timedelta(hours=1))
    assert ctx.query("since") == 2 * 86_400 + 3_600
    with pytest.raises(InvalidValue, match=r"signals=\{'other'"):
        await ctx.wait_signal("other")
    with pytest.raises(DuplicateStep, match=r"ctx.wait_signal\('packed', key=item_id\)"):
        await ctx.wait_signal("packed")
    assert ctx.recorded.waits[:3] == [
        ("sleep()", timedelta(days=1)),
        ("sleep_until()", timedelta(days=1)),
        ("signal(packed)", None),
    ]


async def test_a_step_is_tried_again_at_once() -> None:
    attempts: list[int] = []

    async def flaky(step: Step) -> int:
        attempts.append(step.attempt)
        if step.attempt < 3:
            raise OSError("not yet")
        return 7

    ctx = context()
    start = ctx.now()
    with anyio.fail_after(5):
        assert await ctx.step("flaky", flaky, retry=Retry(attempts=3, initial=timedelta(days=1), jitter=0)) == 7
    assert attempts == [1, 2, 3]
    assert ctx.now() == start + 2 * timedelta(minutes=1)  # the most that a retry waits


async def book(ctx: Context, order: Order) -> str:
    async with ctx.saga("book") as saga:
        count = await saga.step("double", double, order.count, undo=halve)
        payment = await saga.step("charge", charge, order, undo=refund)
        await ctx.wait_signal("packed", timeout=timedelta(hours=1))
    return f"{payment.id} {count}"


def halve(step: Step, doubled: int | None, count: int) -> None:
    if doubled is not None:
        raise OSError(f"{doubled} can't be halved")


async def refund(step: Step, payment: Payment | None, order: Order) -> None:
    assert payment is None or payment.id == "p-1"


async def test_a_saga_that_ends() -> None:
    ctx = context(steps={"book/charge": Payment("p-1", 5)}, signals={"packed": [1]})
    assert await book(ctx, Order("tea", 3)) == "p-1 6"
    (saga,) = ctx.sagas
    assert [(step.path, step.state.value) for step in saga.steps] == [("book/double", "done"), ("book/charge", "done")]


async def test_a_saga_that_is_undone_without_waiting() -> None:
    ctx = context(steps={"book/charge": ValueError("declined")})
    with anyio.fail_after(5), pytest.raises(StepFailed, match="declined"):
        await book(ctx, Order("tea", 3))
    (saga,) = ctx.sagas
    assert saga.compensated
    assert [step.state.value for step in saga.steps] == ["could not be undone", "undone"]
    ((name, payload),) = ctx.recorded.events
    assert (name, payload["step"], payload["error"]["message"]) == (
        "saga.could_not_undo",
        "book/double",
        "6 can't be halved",
    )


async def test_an_undo_that_the_test_gives_is_not_run() -> None:
    given = {"book/charge": Payment("p-2", 5), "undo(book/charge)": None, "undo(book/double)": OSError("stuck")}
    ctx = context(steps=given)
    with anyio.fail_after(5), pytest.raises(TimeoutError, match="packed"):
        await book(ctx, Order("tea", 3))
    assert ctx.unused == set()
    assert [step.state.value for step in ctx.sagas[0].steps] == ["could not be undone", "undone"]
    assert ctx.recorded.steps["undo(book/charge)"] is None


@pytest.mark.parametrize("path", ["double", "signal(packed)", "sleep()", "never"])
async def test_a_handler_can_be_cancelled_anywhere(path: str) -> None:
    ctx = context(steps={"undo": 4}, signals={"packed": [1]})
    with ctx.cancelled_at(path) as scope:
        try:
            await ctx.step("double", double, 1)
            await ctx.wait_signal("packed")
            await ctx.sleep(timedelta(days=1))
        finally:
            with contextlib.suppress(anyio.get_cancelled_exc_class()):
                await anyio.lowlevel.checkpoint()
            await ctx.step("undo", double, 2)
            ctx.emit("undone")
    assert scope.cancelled_caught == (path != "never")
    before = {"double": 0, "signal(packed)": 1, "sleep()": 1, "never": 1}[path]
    assert list(ctx.recorded.steps) == [*["double"][:before], "undo"]
    assert ctx.recorded.events == [("undone", None)]


async def test_facts_are_the_tests_own() -> None:
    now = datetime(2026, 1, 2, tzinfo=UTC)
    ctx = intendant.testing.context(tenant_id="acme", session="desk-1", solution="books", execution_id="e", now=now)
    assert (ctx.tenant_id, str(ctx.session), ctx.solution, ctx.execution_id) == ("acme", "desk-1", "books", "e")
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


async def test_waits_between_attempts_are_skipped_and_move_the_clock() -> None:
    ctx, attempts = context(), list[int]()

    async def unlucky(step: Step) -> int:
        attempts.append(step.attempt)
        if step.attempt < 3:
            raise OSError
        return step.attempt

    await ctx.step("unlucky", unlucky, retry=Retry(attempts=3, initial=timedelta(days=1), jitter=0))
    assert attempts == [1, 2, 3]
    assert ctx.now() >= datetime(2000, 1, 1, 12, 2, tzinfo=UTC)


async def test_children_come_to_what_the_test_says() -> None:
    async def count(ctx: Context, text: dict[str, str]) -> int:
        raise AssertionError("it is not run")

    async def count_all(ctx: Context) -> list[Any]:
        found: list[Any] = []
        for key, handler in (("a", count), ("b", count), ("c", count)):
            child = await ctx.submit(handler, {"text": key}, key=key)
            if key == "c":
                await child.cancel()
            try:
                found.append(await child.result())
            except (ExecutionFailed, ExecutionCancelled) as error:
                found.append(error.outcome.status)
        return [*found, await (await ctx.submit("other.realm", {})).result()]

    children = {"submit(count)[a]": 2, "submit(count)[b]": LookupError("none"), "submit(other.realm)": "plain"}
    ctx = context(children=children)
    assert await count_all(ctx) == [2, "failed", "cancelled", "plain"]
    assert ctx.recorded.children["submit(count)[b]"] == {"text": "b"}
    assert ctx.recorded.cancelled == ["submit(count)[c]"]
    endless = await ctx.submit(count, {"text": "d"}, key="d")
    with pytest.raises(InvalidValue, match=r"children=\{'submit\(count\)\[d\]'"):
        await endless.result()
