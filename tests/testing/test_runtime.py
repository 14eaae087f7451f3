"""The runtime for tests: it dies where it is told, its steps are stubs, it finds what is not deterministic."""

from __future__ import annotations

import itertools
import random
import time
import uuid
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

import anyio
import anyio.to_thread
import pytest
from msgspec import Struct

from intendant import Context, ExecutionFailed, Realm, Retry, Status, Step
from intendant.adapters.sqlite import SqliteStore
from intendant.testing.clock import virtual_backend
from intendant.testing.replays import NonDeterminism
from intendant.testing.runtime import TestRuntime, running

pytestmark = pytest.mark.anyio

Ways = Literal["nothing", "reply", "record"]
Handler = Callable[[Context, "Order"], Awaitable[Any]]


class Order(Struct):
    item: str = "tea"


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    return virtual_backend(request.param)


class Shop:
    """Handlers, and what they have done outside."""

    def __init__(self) -> None:
        self.realm = Realm("shop")
        self.charged: list[str] = []
        self.went_on = 0  # behind the charge, told of it or by a replay
        self.realm.handler(self.place)
        self.realm.handler(self.careless)

    async def charge(self, step: Step, order: Order) -> int:
        self.charged.append(step.idempotency_key)
        return 5

    async def place(self, ctx: Context, order: Order) -> int:
        paid = await ctx.step("charge", self.charge, order, retry=Retry(attempts=3))
        self.went_on += 1
        await ctx.sleep(timedelta(days=1))
        ctx.emit("sent", order.item)
        return paid + await ctx.step("pack", lambda: 1)

    async def careless(self, ctx: Context, order: Order) -> None:
        self.charged.append(order.item)  # outside of a step
        await ctx.step("pack", lambda: 1)


TWICE = Retry(attempts=2)


def nothing() -> int:
    return 0


def take_back(step: Step, given: int | None) -> None:
    """An undo."""


@pytest.fixture
def shop() -> Shop:
    return Shop()


def at_work(realm: Realm, **options: Any) -> AbstractAsyncContextManager[TestRuntime]:
    return running([realm], **options)


def register(realm: Realm, handler: Handler) -> Handler:
    return realm.handler(name=handler.__name__)(handler)


# --- crashes


@pytest.mark.parametrize(("lost", "runs", "told"), [("nothing", 1, 2), ("reply", 1, 1), ("record", 2, 1)])
async def test_it_dies_at_a_step_and_goes_on(shop: Shop, lost: Ways, runs: int, told: int) -> None:
    async with at_work(shop.realm) as runtime:
        crash = runtime.crash_after(step="charge", lost=lost)
        execution = await runtime.start(shop.place, Order())
        assert await execution.result() == 6
        assert (crash.came, runtime.crashes) == (True, 1)
        assert (len(shop.charged), shop.went_on) == (runs, told)
        assert len(set(shop.charged)) == 1
        log = await runtime.log(execution)
        assert log.step("charge").succeeded.once()
        assert log.kinds.count("execution_completed") == 1
        assert "step_completed charge" in str(crash)


async def test_it_dies_at_the_nth_of_a_kind_and_at_a_record(shop: Shop) -> None:
    async with at_work(shop.realm) as runtime:
        second = runtime.crash_after(kind="step_completed", nth=2)
        first = runtime.crash_after(record=1, lost="record")
        assert await runtime.run(shop.place, Order()) == 6
        assert (str(first.at and first.at.type), second.came) == ("session_created", True)
        assert runtime.crashes == 2
        with pytest.raises(ValueError, match="record=, kind= or step="):
            runtime.crash_after()
        with pytest.raises(ValueError, match="the one record"):
            runtime.crash_after(record=1, kind="timer_set")


async def test_every_call_of_the_outside_outlives_a_crash(shop: Shop) -> None:
    async def waiting(ctx: Context, order: Order) -> Any:
        return await ctx.wait_signal("go")

    register(shop.realm, waiting)
    async with at_work(shop.realm) as runtime:
        for lost in ("nothing", "reply", "record"):
            runtime.crash_after(kind="signal_received", lost=lost)
            execution = await runtime.start(waiting, Order())
            await execution.signal("go", lost)
            assert await execution.result() == lost
            assert (await runtime.log(execution)).signals == ["go"]
            runtime.crash_after(kind="cancel_requested", lost=lost)
            other = await runtime.start(waiting, Order())
            await other.cancel()
            assert (await other.outcome()).status is Status.CANCELLED
        assert runtime.crashes == 6


async def test_every_crash_comes_and_nothing_is_left_of_the_run_before(shop: Shop) -> None:
    crashes, most = 0, 0
    async with at_work(shop.realm) as runtime:
        async for crash in runtime.every_crash():
            shop.charged.clear()
            assert await runtime.run(shop.place, Order()) == 6
            assert len((await runtime.executions("tenant")).items) == 1
            assert len(set(shop.charged)) == 1
            crashes, most = crashes + crash.came, max(most, len(shop.charged))
            assert crash.came or crash.moment is None or crash.moment.record == 8  # of the relay: it may come later
    assert crashes >= 3 * 6
    assert most == 2  # some died while the step's function had run


async def test_every_crash_finds_what_acts_twice(shop: Shop) -> None:
    found = ""
    async with at_work(shop.realm) as runtime:
        async for crash in runtime.every_crash():
            shop.charged.clear()
            await runtime.run(shop.careless, Order())
            if shop.charged != ["tea"]:
                found = str(crash)
                break
        assert found.startswith("the process died at record")
        assert found in runtime.describe()
        assert "execution_completed" in runtime.describe()


async def test_a_file_is_a_store_too(shop: Shop, tmp_path: Path) -> None:
    numbers = itertools.count()

    def new() -> SqliteStore:
        return SqliteStore(tmp_path / f"{next(numbers)}.db", synchronous="normal")

    async with at_work(shop.realm, new_store=new) as runtime:
        runtime.crash_after(step="charge", lost="reply")
        runtime.crash_after(kind="timer_fired", lost="record")
        assert await runtime.run(shop.place, Order()) == 6
        assert (runtime.crashes, len(shop.charged)) == (2, 1)
        await runtime.restart()
        assert len((await runtime.executions("tenant")).items) == 1
        await runtime.begin_anew()
        assert len((await runtime.executions("tenant")).items) == 0


# --- stubs


async def test_stubs_return_raise_call_and_count(shop: Shop) -> None:
    async with at_work(shop.realm) as runtime:
        charge = runtime.stub_step("charge", raises=ValueError("declined"), times=2, returns=7)
        assert await runtime.run(shop.place, Order()) == 8
        assert [(call.attempt, call.arguments) for call in charge.calls] == [
            (1, (Order(),)),
            (2, (Order(),)),
            (3, (Order(),)),
        ]
        assert shop.charged == []

        again = runtime.stub_step("charge", raises=ValueError)
        with pytest.raises(ExecutionFailed, match="charge"):
            await runtime.run(shop.place, Order())
        assert (again.attempts, charge.attempts) == (3, 3)

        def by_length(order: Order) -> int:
            return len(order.item)

        runtime.stub_step("charge", calls=by_length)
        assert await runtime.run(shop.place, Order("oolong")) == 7
        runtime.stub_step("charge", raises=ValueError("once"), times=1)
        assert await runtime.run(shop.place, Order()) == 6  # then its own function runs
        assert len(shop.charged) == 1
        with pytest.raises(ValueError, match="raises="):
            runtime.stub_step("charge", times=1, returns=1)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]


async def test_stubs_are_found_by_path_and_by_name(shop: Shop) -> None:
    async def many(ctx: Context, order: Order) -> list[int]:
        async with ctx.saga("buy") as saga:
            got = [await saga.step("part", nothing, key=key, undo=take_back, retry=TWICE) for key in "ab"]
        with ctx.scope("late"):
            got.append(await ctx.step("part", nothing, retry=TWICE))
        return got

    register(shop.realm, many)
    async with at_work(shop.realm) as runtime:
        runtime.stub_step("part", returns=1)
        runtime.stub_step("buy/part[b]", returns=2)
        undo = runtime.stub_step("undo(part)", returns=None)
        assert await runtime.run(many, Order()) == [1, 2, 1]
        slow = runtime.stub_step("part", raises=ValueError("slow"), times=1, returns=3)
        assert await runtime.run(many, Order()) == [3, 3, 3]
        assert [call.attempt for call in slow.calls] == [1, 2] * 3
        runtime.stub_step("buy/part[b]", raises=ValueError("no"))
        with pytest.raises(ExecutionFailed):
            await runtime.run(many, Order())
        assert {call.path for call in undo.calls} >= {"undo(buy/part[a])"}


async def test_a_stub_counts_on_over_a_crash(shop: Shop) -> None:
    async with at_work(shop.realm) as runtime:
        charge = runtime.stub_step("charge", returns=1)
        runtime.crash_after(step="charge", lost="record")
        await runtime.run(shop.place, Order())
        assert [call.attempt for call in charge.calls] == [1, 2]
        assert len(charge.executions) == 1


# --- time


async def test_a_month_passes_at_once_and_threads_hold_it(shop: Shop) -> None:
    async def slow(ctx: Context, order: Order) -> None:
        await ctx.sleep(timedelta(days=365))
        await ctx.step("work", lambda: time.sleep(0.02), timeout=timedelta(seconds=10))

    register(shop.realm, slow)
    async with at_work(shop.realm) as runtime:
        begun = runtime.now()
        await runtime.run(slow, Order())
        assert 0 <= runtime.now() - begun - 365 * 86_400_000_000 < 9_000_000  # not the ten seconds of the time-out
        await runtime.clock.advance(60)


async def test_by_hand_it_stands_still_and_deadlines_come_in_order(shop: Shop) -> None:
    woken: list[tuple[str, int]] = []

    async def naps(ctx: Context, order: Order) -> None:
        for nap in range(3):
            await ctx.sleep(timedelta(hours=10), key=str(nap))
            woken.append((order.item, nap))

    register(shop.realm, naps)
    async with at_work(shop.realm, clock="hand") as runtime:
        await runtime.start(naps, Order("a"))
        await runtime.clock.advance(timedelta(hours=1))
        execution = await runtime.start(naps, Order("b"))
        await runtime.clock.advance(timedelta(hours=1))
        assert woken == []
        await runtime.clock.advance(timedelta(hours=9))
        assert woken == [("a", 0), ("b", 0)]
        await runtime.clock.advance(timedelta(hours=25))
        assert woken == [("a", 0), ("b", 0), ("a", 1), ("b", 1), ("a", 2), ("b", 2)]
        assert await execution.status() is Status.COMPLETED


async def test_what_never_ends_says_so_with_its_history(shop: Shop) -> None:
    async def stuck(ctx: Context, order: Order) -> None:
        await ctx.wait_signal("never")

    register(shop.realm, stuck)
    async with at_work(shop.realm) as runtime:
        with pytest.raises(TimeoutError, match=r"400 days[\s\S]*timer_set +signal\(never\)"):
            await runtime.run(stuck, Order())


async def test_other_threads_are_as_they_were() -> None:
    run = anyio.to_thread.run_sync
    async with running([Realm("none")]):
        assert anyio.to_thread.run_sync is not run
    assert anyio.to_thread.run_sync is run


# --- the log


async def test_what_is_asked_of_the_log(shop: Shop) -> None:
    async with at_work(shop.realm) as runtime:
        runtime.stub_step("charge", raises=ValueError("slow"), times=1, returns=5)
        execution = await runtime.start(shop.place, Order())
        await execution.result()
        log = await runtime.log(execution)
        assert log.steps == ["charge", "pack"]
        assert log.events == [("sent", "tea")]
        await runtime.settle()
        assert [event.name for event in runtime.published] == ["sent"]
        step = log.step("charge")
        assert (step.attempts, step.result, step.errors) == (2, 5, ["ValueError: slow"])
        assert step.failed.once()
        assert step.succeeded
        assert step.before("pack")
        assert log.count("timer_set").times(1)
        assert "charge: ValueError: slow (attempt 1, to be tried again)" in str(log)
        wrongs: list[tuple[Callable[[], object], str]] = [
            (step.succeeded.never, "step charge succeeded once, not never"),
            (lambda: log.step("pack").before("charge"), "after charge, not before"),
            (lambda: log.step("charg").before("pack"), "charg was not recorded"),
            (lambda: log.step("wrap").result, "wrap has no result"),
        ]
        for wrong, told in wrongs:
            with pytest.raises(AssertionError, match=rf"{told}[\s\S]*execution_completed"):
                wrong()


async def test_kinds_that_differ_show_the_history(shop: Shop) -> None:
    async with at_work(shop.realm) as runtime:
        execution = await runtime.start(shop.careless, Order())
        await execution.result()
        kinds = (await runtime.log(execution)).kinds
        assert kinds == ["intent_received", "execution_started", "step_completed", "execution_completed"]
        told = kinds.explain(["intent_received", "execution_started", "timer_set"])
        assert [line[:3] for line in told[1:]] == ["   ", "   ", "  +", "  -", "  +"]
        assert "step_completed" in told[3]
        assert "timer_set" in told[4]


# --- always replay


_flip = itertools.count()


async def by_chance(ctx: Context, order: Order) -> None:
    await ctx.step(f"wrap-{random.randrange(1 << 40)}", lambda: 1)


async def by_the_clock(ctx: Context, order: Order) -> None:
    await ctx.step("even" if int(time.time()) % 2 else "odd", lambda: 1)


async def by_turns(ctx: Context, order: Order) -> None:
    await ctx.step("first", lambda: 1)
    await ctx.sleep(timedelta(hours=1), key=str(next(_flip) % 2))


async def by_arguments(ctx: Context, order: Order) -> None:
    await ctx.step("send", lambda _id: 1, uuid.uuid4().hex)


async def by_addresses(ctx: Context, order: Order) -> None:
    parts = {Part(name) for name in "abcdefghij"}  # ordered by where they lie in memory
    for part in parts:
        await ctx.step(part.name, lambda: 1)
        _kept.append(part)


async def by_its_end(ctx: Context, order: Order) -> str:
    await ctx.step("first", lambda: 1)
    return uuid.uuid4().hex


async def by_its_events(ctx: Context, order: Order) -> None:
    ctx.emit("begun", time.time())
    await ctx.step("first", lambda: 1)


async def by_failing(ctx: Context, order: Order) -> None:
    await ctx.step("first", lambda: 1)
    raise ValueError if next(_flip) % 2 else KeyError


class Part:
    def __init__(self, name: str) -> None:
        self.name = name


_kept: list[Part] = []


@pytest.mark.parametrize(
    ("handler", "told"),
    [
        (by_chance, r"recorded, and not called again: wrap-|come to by an earlier run"),
        (by_the_clock, r"not called again: (even|odd)"),
        (by_turns, r"not called again: sleep\(\)"),
        (by_arguments, r"step send was recorded with other arguments"),
        (by_addresses, r"not called again"),
        (by_its_end, r"it returned '\w+', and run again '\w+'"),
        (by_its_events, r"it emitted \[\], and run again \[\('begun'"),
        (by_failing, r"it has failed with (KeyError|ValueError), and run again with"),
    ],
)
async def test_what_is_not_deterministic_is_found(handler: Handler, told: str) -> None:
    realm = Realm("shop")
    register(realm, handler)
    with pytest.raises(NonDeterminism, match=told):
        async with at_work(realm, always_replay=True) as runtime:
            await runtime.run(handler, Order())


async def test_what_is_found_is_told_also_if_nobody_asks() -> None:
    realm = Realm("shop")
    register(realm, by_chance)
    work = at_work(realm, always_replay=True)
    runtime = await work.__aenter__()
    await runtime.start(by_chance, Order())
    await runtime.settle()
    with pytest.raises(NonDeterminism):
        await work.__aexit__(None, None, None)


async def test_what_is_deterministic_passes() -> None:
    realm = Realm("shop")
    runs = 0

    @realm.handler
    async def child(ctx: Context, order: Order) -> str:
        await ctx.sleep(timedelta(minutes=1))
        return order.item

    @realm.handler(retry=Retry(attempts=2))
    async def all_of_it(ctx: Context, order: Order) -> dict[str, Any]:
        nonlocal runs
        runs += 1
        found: dict[str, Any] = {"chance": ctx.random.random(), "now": ctx.now().isoformat()}
        found["map"] = await ctx.map("square", lambda n: n * n, range(5))

        async def side(key: str, seconds: float) -> None:
            await anyio.sleep(seconds)  # recorded nowhere
            found[key] = await ctx.step("side", lambda: seconds, key=key)

        async with anyio.create_task_group() as group:
            for key, seconds in (("a", 2.0), ("b", 0.5), ("c", 0.0)):
                group.start_soon(side, key, seconds)
        async with ctx.saga("buy") as saga:
            await saga.step("charge", nothing, undo=take_back)
        ctx.emit("bought", order.item)
        ctx.artifact("list", [1, 2])
        if ctx.attempt == 1:
            await ctx.step("first-attempt", nothing)
            raise ValueError("once more")
        try:
            await ctx.wait_signal("none", timeout=timedelta(hours=1))
        except TimeoutError:
            found["child"] = await (await ctx.submit(child, Order("milk"))).result()
        kept = await ctx.files.put("list.txt", b"x")
        return {**dict(sorted(found.items())), "file": kept.digest}

    async with at_work(realm, always_replay=True) as runtime:
        found = await runtime.run(all_of_it, Order())
        assert (found["map"], found["child"]) == ([0, 1, 4, 9, 16], "milk")
        assert runtime.replays is not None
        assert runtime.replays.count > 15
        assert runs > 15


async def test_a_cancelled_one_is_left_alone(shop: Shop) -> None:
    async with at_work(shop.realm, always_replay=True) as runtime:
        execution = await runtime.start(shop.place, Order())
        await runtime.clock.advance(timedelta(hours=1))
        await execution.cancel()
        assert (await execution.outcome()).status is Status.CANCELLED


async def test_state_of_the_session_is_as_it_was_read() -> None:
    realm = Realm("shop")

    @realm.handler(exclusive=True)
    async def count(ctx: Context, order: Order) -> int:
        state = await ctx.session.state.get()
        state["count"] = state.get("count", 0) + 1
        await ctx.step("look", lambda: 1)
        ctx.session.state.set(state)
        return int(state["count"])

    async with at_work(realm, always_replay=True) as runtime:
        assert [await runtime.run(count, Order()) for _ in range(3)] == [1, 2, 3]
