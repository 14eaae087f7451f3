"""Children: submitted once, awaited across restarts, cancelled with their parents, and how they stand in line."""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import anyio
import pytest
from msgspec import Struct

from intendant import (
    ChildDeadlock,
    ChildState,
    Context,
    DuplicateStep,
    ExecutionCancelled,
    ExecutionFailed,
    InvalidIntent,
    Limits,
    Overloaded,
    Realm,
    Retry,
    Runtime,
    SessionClosed,
    Shutdown,
    Status,
    Step,
    TenantLimits,
    UnknownSession,
)
from intendant.adapters.memory import MemoryStore
from intendant.domain.ports import Store
from intendant.domain.replay import World

pytestmark = pytest.mark.anyio

Audit = Callable[[Store], Awaitable[World]]
MakeRuntime = Callable[..., Runtime]
NO_DRAIN = Shutdown(drain=0)
DAY = timedelta(days=1)

tree = Realm("tree")
begun: list[Any] = []


class Number(Struct):
    n: int


@pytest.fixture(autouse=True)
def empty() -> None:
    begun.clear()


@pytest.fixture
def hot() -> Store:
    return MemoryStore()


@tree.handler
async def double(ctx: Context, given: Number) -> int:
    begun.append(given.n)
    return given.n * 2


@tree.handler
async def wait(ctx: Context, given: Number) -> int:
    begun.append(given.n)
    return int(await ctx.wait_signal("go", type=int)) + given.n


@tree.handler
async def fail(ctx: Context, given: Number) -> int:
    begun.append(given.n)
    raise LookupError(f"nothing for {given.n}")


@tree.handler(exclusive=True)
async def alone(ctx: Context, given: Number) -> int:
    return given.n


@tree.handler
async def call(ctx: Context, given: dict[str, Any]) -> Any:
    """Submits what it is told, and waits for it unless it is told not to."""
    child = await ctx.submit(
        f"tree.{given['type']}",
        given.get("with", {"n": 1}),
        session=given.get("session"),
        on_parent_end=given.get("on_parent_end", "cancel"),
    )
    return await child.result() if given.get("waits", True) else child.id


async def test_its_result_is_the_childs_and_both_know_each_other(runtime: MakeRuntime) -> None:
    async with runtime(tree) as running:
        session = await running.open_session("acme", "s")
        parent = await session.submit(call, {"type": "double", "with": {"n": 4}})
        outcome = await parent.outcome()
        (child,) = outcome.children
        assert (outcome.result, outcome.children_count, child.state) == (8, 1, ChildState.COMPLETED)
        assert (child.path, child.session, child.type) == ("submit(tree.double)", "s", "tree.double")
        assert await parent.children() == outcome.children
        assert (await running.execution("acme", child.execution).outcome()).parent == parent.id
        assert (await running.execution("acme", child.execution).view()).parent == parent.id
        assert [each.id for each in await running.executions("acme", parent=parent.id)] == [child.execution]


@pytest.mark.parametrize("resident", [0, 1_000])
async def test_a_restart_while_it_waits_submits_nothing_again(
    runtime: MakeRuntime, audit: Audit, hot: Store, resident: int
) -> None:
    options: dict[str, Any] = {"shutdown": NO_DRAIN, "limits": Limits(resident=resident)}
    async with runtime(tree, **options) as running:
        session = await running.open_session("acme", "s", concurrency=1)
        parent = await session.submit(call, {"type": "wait"})
        while not begun:  # noqa: ASYNC110  nobody announces it
            await anyio.sleep(0.001)
    async with runtime(tree, **options) as running:
        parent = running.execution("acme", parent.id)
        (child,) = await parent.children()
        assert child.state is ChildState.OPEN
        await running.execution("acme", child.execution).signal("go", 5)
        assert (await parent.outcome()).result == 6
        assert len(await running.executions("acme")) == 2
        await audit(hot)


async def test_waiting_takes_no_place_and_children_of_ones_own_session_no_turn(runtime: MakeRuntime) -> None:
    """One place, sessions of one at a time, and a chain of five that wait for one another."""

    @(realm := Realm("chain")).handler
    async def link(ctx: Context, given: Number) -> int:
        if not given.n:
            return 0
        child = await ctx.submit("chain.link", {"n": given.n - 1}, session=f"s{given.n % 2}")
        return 1 + int(await child.result())

    async with runtime(realm, limits=Limits(running=1, resident=0)) as running:
        for name in ("s0", "s1"):
            await running.open_session("acme", name, concurrency=1)
        assert await (await running.session("acme", "s1").submit(link, Number(5))).result(timeout=5) == 5


async def test_what_stands_in_line_does_not_pass(runtime: MakeRuntime) -> None:
    """A parent that waits for a child of its session keeps its turn: who stands behind it begins afterwards."""
    async with runtime(tree) as running:
        session = await running.open_session("acme", "s", concurrency=1)
        parent = await session.submit(call, {"type": "wait", "with": {"n": 1}})
        behind = await session.submit(double, Number(2))
        while not begun:  # noqa: ASYNC110  nobody announces it
            await anyio.sleep(0.001)
        (child,) = await parent.children()
        assert await behind.status() is Status.ACCEPTED
        await running.execution("acme", child.execution).signal("go", 0)
        await behind.result()
        assert begun == [1, 2]


async def test_a_wait_for_what_stands_behind_it_is_refused(runtime: MakeRuntime) -> None:
    async with runtime(tree) as running:
        session = await running.open_session("acme", "s", concurrency=1)
        await running.open_session("acme", "t", concurrency=1)
        for given in ({"type": "double", "on_parent_end": "abandon"}, {"type": "alone"}):
            outcome = await (await session.submit(call, given)).outcome()
            assert outcome.error is not None
            assert outcome.error.code == ChildDeadlock.code
            assert "session 's'" in outcome.error.message
            elsewhere = await session.submit(call, {**given, "session": "t"})
            assert await elsewhere.result() in (1, 2)


async def test_a_cancel_reaches_all_below(runtime: MakeRuntime, audit: Audit, hot: Store) -> None:
    async with runtime(tree) as running:
        session = await running.open_session("acme", "s")
        given = {"type": "call", "with": {"type": "call", "with": {"type": "wait"}}}
        parent = await session.submit(call, given)
        while not begun:  # noqa: ASYNC110  nobody announces it
            await anyio.sleep(0.001)
        await parent.cancel()
        async for _, outcome in running.wait(
            [running.execution("acme", each.id) for each in await running.executions("acme")]
        ):
            assert outcome.status is Status.CANCELLED
        assert len(await running.executions("acme")) == 4
        await audit(hot)


@pytest.mark.parametrize("policy", ["cancel", "abandon"])
async def test_what_becomes_of_a_child_whose_parent_ends(runtime: MakeRuntime, policy: str) -> None:
    async with runtime(tree) as running:
        await running.open_session("acme", "t")
        session = await running.open_session("acme", "s")
        given = {"type": "wait", "waits": False, "on_parent_end": policy, "session": "t"}
        outcome = await (await session.submit(call, given)).outcome()
        child = running.execution("acme", outcome.children[0].execution)
        if policy == "abandon":
            assert outcome.children[0].state is ChildState.OPEN
            await child.signal("go", 1)
            assert await child.result() == 2
        else:
            assert outcome.children[0].state in {ChildState.CANCELLING, ChildState.CANCELLED}
            assert (await child.outcome()).status is Status.CANCELLED


async def test_it_stops_its_child_and_sees_it_fail(runtime: MakeRuntime) -> None:
    @(realm := Realm("stopping")).handler
    async def stop(ctx: Context, given: Number) -> list[str]:
        waiting = await ctx.submit(wait, Number(1))
        await waiting.cancel()
        failing = await ctx.submit(fail, Number(2))
        told: list[str] = []
        for child in (waiting, failing, failing):
            try:
                await child.result()
            except (ExecutionCancelled, ExecutionFailed) as error:
                reason = error.outcome.error
                told.append(f"{error.outcome.status}: {reason.message if reason else ''}")
        return told

    async with runtime(tree, realm) as running:
        session = await running.open_session("acme", "s")
        cancelled, *failed = await (await session.submit(stop, Number(0))).result()
        assert cancelled.startswith("cancelled")
        assert failed == ["failed: nothing for 2"] * 2


async def test_another_attempt_submits_anew_what_failed_and_nothing_else(runtime: MakeRuntime) -> None:
    @(realm := Realm("again")).handler(retry=Retry(attempts=3, initial=timedelta(milliseconds=1), jitter=0))
    async def collect(ctx: Context, given: Number) -> list[int]:
        first = await ctx.submit(double, Number(1))
        found = [await first.result()]
        second = await ctx.submit(fail if ctx.attempt < 3 else double, Number(ctx.attempt), key="second")
        return [*found, await second.result()]

    async with runtime(tree, realm) as running:
        session = await running.open_session("acme", "s")
        outcome = await (await session.submit(collect, Number(0))).outcome()
        assert (outcome.result, begun) == ([2, 6], [1, 1, 2, 3])
        assert [each.state.value for each in outcome.children] == ["completed", "failed", "failed", "completed"]


async def test_time_is_what_the_parent_has_left(runtime: MakeRuntime) -> None:
    @(realm := Realm("hasty")).handler(timeout=timedelta(milliseconds=50))
    async def hurry(ctx: Context, given: Number) -> int:
        with anyio.CancelScope(shield=True):  # as if it did not notice in time
            child = await ctx.submit(wait, Number(1))
            while await child_is_open(ctx, child.id):  # noqa: ASYNC110  nobody announces it
                await anyio.sleep(0.002)
        return 1

    async def child_is_open(ctx: Context, id: str) -> bool:
        return not (await running.execution(ctx.tenant_id, id).status()).ended

    async with runtime(tree, realm) as running:
        session = await running.open_session("acme", "s")
        outcome = await (await session.submit(hurry, Number(0))).outcome(timeout=5)
        child = await running.execution("acme", outcome.children[0].execution).outcome()
        assert child.error is not None
        assert child.error.message == "took longer than its parent had left"


async def test_what_is_refused_can_be_tried_again(runtime: MakeRuntime) -> None:
    refused: list[str] = []

    @(realm := Realm("trying")).handler
    async def attempt(ctx: Context, given: dict[str, Any]) -> int:
        for session in ("closed", "nowhere", "other", "s"):
            try:
                child = await ctx.submit(double, Number(1), session=session)
            except (SessionClosed, UnknownSession, Overloaded) as error:
                refused.append(error.code)
            else:
                return await child.result()
        return 0

    limits = Limits(tenants={"full": TenantLimits(open=1)})
    async with runtime(tree, realm, limits=limits) as running:
        session = await running.open_session("acme", "s")
        await (await running.open_session("acme", "closed")).close()
        await running.open_session("beta", "other")  # another tenant's session is none
        assert await (await session.submit("trying.attempt", {})).result() == 2
        assert refused == ["session_closed", "unknown_session", "unknown_session"]
        session = await running.open_session("full", "s")
        outcome = await (await session.submit(call, {"type": "double"})).outcome()
        assert outcome.error is not None
        assert outcome.error.code == "overloaded"


async def test_a_closed_session_goes_on_with_what_belongs_to_it(runtime: MakeRuntime) -> None:
    async with runtime(tree) as running:
        session = await running.open_session("acme", "s")
        waiting = await session.submit(call, {"type": "call", "with": {"type": "wait"}})
        while not begun:  # noqa: ASYNC110  nobody announces it
            await anyio.sleep(0.001)
        parent = await session.submit(call, {"type": "call", "with": {"type": "double"}})
        await session.close()
        assert await parent.result() == 2
        await waiting.cancel()


async def test_bad_calls(runtime: MakeRuntime) -> None:
    @(realm := Realm("bad")).handler
    async def bad(ctx: Context, given: dict[str, Any]) -> list[str]:
        told: list[str] = []
        submit: Any = ctx.submit
        wrong: dict[str, Any]
        for wrong in ({"handler": test_bad_calls}, {"handler": "no type"}, {"on_parent_end": "wait"}, {"session": "/"}):
            try:
                await submit(**{"handler": double, "parameters": Number(1), **wrong})
            except InvalidIntent as error:
                told.append(error.field)
        await ctx.submit(double, Number(1))
        try:
            await ctx.submit(double, Number(2))
        except DuplicateStep as error:
            told.append(error.code)
        return told

    async with runtime(tree, realm) as running:
        session = await running.open_session("acme", "s")
        told = await (await session.submit("bad.bad", {})).result()
        assert told == ["type", "type", "on_parent_end", "session", "duplicate_step"]


async def test_a_saga_that_has_failed_submits_nothing_more(runtime: MakeRuntime) -> None:
    """Not in the next attempt either, which comes to what the first one did not."""

    @(realm := Realm("sagas")).handler(retry=Retry(attempts=2, initial=timedelta(milliseconds=1), jitter=0))
    async def trip(ctx: Context, given: Number) -> None:
        async with ctx.saga("trip") as saga:
            await saga.step("book", anyio.sleep, 0, undo=undo)
            if ctx.attempt == 1:
                raise LookupError("no luck")
            await ctx.submit(double, Number(1))

    async def undo(_step: Step, _result: None, _delay: float) -> None:
        begun.append("undo")

    async with runtime(tree, realm) as running:
        session = await running.open_session("acme", "s")
        outcome = await (await session.submit(trip, Number(0))).outcome()
        assert (outcome.status, outcome.children, begun) == (Status.FAILED, [], ["undo"])


async def test_a_child_costs_one_commit_and_its_end_another(runtime: MakeRuntime, hot: Store) -> None:
    async with runtime(tree) as running:
        session = await running.open_session("acme", "s")
        await (await session.submit(call, {"type": "double"})).result()
        records = [each.type for each in reversed((await running.wal.query("acme", session="s")).items)]
        assert records == [
            *("session_created", "intent_received", "execution_started"),
            *("step_completed", "intent_received", "execution_started"),
            "execution_completed",
            *("step_completed", "execution_completed"),
        ]
