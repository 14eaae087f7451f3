"""Sagas: what a block's failure undoes, how, in which order, and what is told of it."""

import re
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import anyio
import pytest

from intendant import (
    Context,
    DuplicateStep,
    Event,
    InvalidValue,
    Limits,
    Realm,
    Retry,
    Runtime,
    Saga,
    SagaFailed,
    SagaRecord,
    Shutdown,
    Status,
    Step,
    StepFailed,
    UnknownExecution,
)
from intendant.adapters.memory import MemoryFileStore
from intendant.domain.ports import Store
from intendant.domain.replay import World

pytestmark = pytest.mark.anyio

SOON = timedelta(milliseconds=1)
TWICE = Retry(attempts=2, initial=SOON)
Audit = Callable[[Store], Awaitable[World]]
MakeRuntime = Callable[..., Runtime]
Eventually = Callable[[Callable[[], Awaitable[bool]]], Awaitable[None]]


async def submit(runtime: Runtime, type: str, parameters: dict[str, Any] | None = None) -> Any:
    session = await runtime.open_session("acme", "desk-1")
    return await session.submit(type, parameters or {"a": 1})


def states(records: list[SagaRecord]) -> dict[str, str]:
    return {step.path: step.state.value for record in records for step in record.steps}


class Shop:
    """A handler with three steps, and what its functions were called with."""

    def __init__(self, fails: str = "") -> None:
        self.calls: list[Any] = []
        self.fails = fails
        self.stuck = ""
        self.charged = ""
        self.realm = Realm("shop")

        @self.realm.handler
        async def place(ctx: Context, order: dict[str, Any]) -> str:
            async with ctx.saga("place", undo_retry=TWICE) as saga:
                await saga.step("look", self.look)
                stock = await saga.step("reserve", self.reserve, 3, undo=self.release)
                await saga.step("charge", self.charge, stock["item"], 5, undo=self.refund)
                if self.fails == "block":
                    raise ValueError("changed my mind")
            return "placed"

    def look(self) -> None:
        self.calls.append("look")

    def reserve(self, count: int) -> dict[str, Any]:
        self.calls.append("reserve")
        return {"item": "tea", "count": count}

    def release(self, step: Step, stock: dict[str, Any] | None, count: int) -> object:
        self.calls.append(("release", stock, count, step.attempt))
        if self.stuck == "release":
            raise OSError("shelf is gone")
        return object()  # nobody's

    async def charge(self, step: Step, item: str, amount: int) -> int:
        self.charged = step.idempotency_key
        self.calls.append(("charge", step.idempotency_key.partition("/")[2]))
        if self.fails == "charge":
            raise LookupError("no money")
        return amount

    async def refund(self, step: Step, amount: int | None, item: str, wanted: int) -> None:
        self.calls.append(("refund", amount, item, wanted, step.idempotency_key.partition("/")[2]))
        assert step.undoes == self.charged
        if self.stuck == "refund":
            step.heartbeat(object())


async def test_a_block_that_ends_keeps_what_it_did(runtime: MakeRuntime, hot: Store, audit: Audit) -> None:
    shop = Shop()
    async with runtime(shop.realm) as running:
        execution = await submit(running, "shop.place")
        outcome = await execution.outcome(timeout=10)
        assert outcome.result == "placed"
        done = {"place/reserve": "done", "place/charge": "done", "place/look": "done"}
        (saga,) = outcome.sagas
        assert (saga.path, saga.error, saga.compensated, states([saga])) == ("place", None, False, done)
        assert await execution.sagas() == outcome.sagas
        assert await running.state.sagas("acme", execution.id) == outcome.sagas
        with pytest.raises(UnknownExecution):
            await running.execution("acme", "nobody").sagas()
        await audit(hot)
    assert shop.calls == ["look", "reserve", ("charge", "place/charge")]


@pytest.mark.parametrize("fails", ["charge", "block"])
async def test_a_block_that_fails_is_undone_the_last_step_first(
    runtime: MakeRuntime, hot: Store, audit: Audit, fails: str
) -> None:
    shop = Shop(fails)
    async with runtime(shop.realm) as running:
        outcome = await (await submit(running, "shop.place")).outcome(timeout=10)
        assert outcome.error is not None
        assert outcome.error.code == ("LookupError" if fails == "charge" else "ValueError")
        (saga,) = outcome.sagas
        assert saga.compensated
        assert saga.error is not None
        assert (saga.error.code, saga.error.message) == (outcome.error.code, outcome.error.message)
        assert states([saga]) == {"place/reserve": "undone", "place/charge": "undone", "place/look": "kept"}
        types = [
            each.type for each in reversed((await running.wal.query("acme", execution=outcome.execution_id)).items)
        ]
        charged = "step_failed" if fails == "charge" else "step_completed"
        steps = ["step_completed", "saga_started", "step_completed", "saga_started", charged]
        undos = ["saga_compensating", "step_completed", "step_completed", "saga_compensated", "execution_failed"]
        assert types[2:] == steps + undos
        await audit(hot)
    assert shop.calls[3:] == [
        ("refund", None if fails == "charge" else 5, "tea", 5, "undo(place/charge)"),
        ("release", {"item": "tea", "count": 3}, 3, 1),
    ]


@pytest.mark.parametrize("stuck", ["refund", "release"])
async def test_what_could_not_be_undone_is_told_and_the_others_go_on(
    runtime: MakeRuntime, hot: Store, audit: Audit, eventually: Eventually, stuck: str
) -> None:
    """Also when the undo misuses what it is given, which is not tried again."""
    shop, events = Shop("block"), list[Event]()
    shop.stuck = stuck
    async with runtime(shop.realm, publisher=events.append) as running:
        outcome = await (await submit(running, "shop.place")).outcome(timeout=10)
        assert outcome.error is not None
        assert outcome.error.code == "ValueError"
        lost, fine = ("place/charge", "place/reserve") if stuck == "refund" else ("place/reserve", "place/charge")
        assert outcome.sagas[0].compensated
        assert states(outcome.sagas) == {lost: "could not be undone", fine: "undone", "place/look": "kept"}

        async def told() -> bool:
            return bool(events)

        await eventually(told)
        await audit(hot)
    (event,) = events
    assert (event.name, event.payload["saga"], event.payload["step"]) == ("saga.could_not_undo", "place", lost)
    error = event.payload["error"]
    expected = ("invalid_value", "progress: can") if stuck == "refund" else ("OSError", "shelf is gone")
    assert (error["code"], error["message"][:13]) == expected
    assert [each[3] for each in shop.calls if each[0] == "release"] == ([1] if stuck == "refund" else [1, 2])


async def test_a_restart_goes_on_undoing_and_never_forward(
    runtime: MakeRuntime, hot: Store, audit: Audit, eventually: Eventually
) -> None:
    """The code may have changed meanwhile: a new step in the block is not run, an undo that is gone can't be."""
    calls: list[str] = []

    def realm(*, changed: bool) -> Realm:
        shop = Realm("shop")

        async def undo(step: Step, result: str | None, name: str) -> None:
            calls.append(f"undo {name} {result}")
            if name == "b" and not changed:
                await anyio.sleep_forever()

        async def act(name: str) -> str:
            calls.append(name)
            return name

        @shop.handler
        async def place(ctx: Context, order: dict[str, Any]) -> str:
            try:
                async with ctx.saga("place") as saga:
                    for name in "abc":
                        gone = changed and name == "a"
                        await saga.step(name, act, name, undo=None if gone else undo)
                    if changed:
                        for forward in (
                            lambda: saga.step("d", act, "d", undo=undo),
                            lambda: ctx.step("e", act, "e"),
                            lambda: ctx.sleep(SOON),
                            lambda: ctx.wait_signal("go"),
                        ):
                            with pytest.raises(SagaFailed, match="changed my mind"):
                                await forward()
                    else:
                        raise ValueError("changed my mind")
            except (ValueError, SagaFailed) as error:
                await ctx.step("after", act, "after")
                return type(error).__name__
            return "never"

        return shop

    async with runtime(realm(changed=False), shutdown=Shutdown(drain=0)) as running:
        execution = await submit(running, "shop.place")

        async def undoing() -> bool:
            return calls[-1:] == ["undo b b"]

        await eventually(undoing)
        (saga,) = await execution.sagas()
        assert states([saga]) == {"place/a": "done", "place/b": "done", "place/c": "undone"}
        assert not saga.compensated
    async with runtime(realm(changed=True)) as running:
        outcome = await running.execution("acme", execution.id).outcome(timeout=10)
        assert outcome.result == "SagaFailed"
        assert states(outcome.sagas) == {
            "place/a": "could not be undone",
            "place/b": "undone",
            "place/c": "undone",
        }
        await audit(hot)
    assert calls == ["a", "b", "c", "undo c c", "undo b b", "undo b b", "after"]


async def test_suspension_undoes_nothing(runtime: MakeRuntime, hot: Store, audit: Audit) -> None:
    calls, stands = list[str](), anyio.Event()
    shop = Realm("shop")

    @shop.handler
    async def place(ctx: Context, order: dict[str, Any]) -> str:
        async with ctx.saga("place") as saga:
            await saga.step("a", lambda: calls.append("a"), undo=lambda step, result: calls.append("undo a"))
            if stands.is_set():
                return "went on"
            stands.set()
            await anyio.sleep_forever()
        return "never"

    async with runtime(shop, shutdown=Shutdown(drain=0)) as running:
        execution = await submit(running, "shop.place")
        await stands.wait()
    async with runtime(shop) as running:
        assert await running.execution("acme", execution.id).result(timeout=10) == "went on"
        await audit(hot)
    assert calls == ["a"]


@pytest.mark.parametrize("by", ["limit", "scope", "sibling"])
async def test_a_cancelled_block_is_undone_and_not_cut_short(
    runtime: MakeRuntime, hot: Store, audit: Audit, by: str
) -> None:
    calls: list[Any] = []
    shop, hangs = Realm("shop"), anyio.Event()
    limit = timedelta(seconds=1) if by == "limit" else None

    async def act(name: str) -> str:
        if name == "hangs":
            hangs.set()
            await anyio.sleep_forever()
        return name

    async def undo(step: Step, result: str | None, name: str) -> None:
        await anyio.sleep(0.001)
        calls.append((name, result))

    async def block(ctx: Context) -> None:
        async with ctx.saga("place") as saga:
            await saga.step("a", act, "a", undo=undo)
            await saga.step("b", act, "hangs", undo=undo)

    async def fail_soon() -> None:
        await hangs.wait()
        raise LookupError("sibling")

    async def cancel_soon(scope: anyio.CancelScope) -> None:
        await hangs.wait()
        scope.cancel()

    @shop.handler(timeout=limit)
    async def place(ctx: Context, order: dict[str, Any]) -> str:
        match by:
            case "limit":
                await block(ctx)
            case "scope":
                async with anyio.create_task_group() as group:
                    with anyio.CancelScope() as scope:
                        group.start_soon(cancel_soon, scope)
                        await block(ctx)
            case _:
                async with anyio.create_task_group() as group:
                    group.start_soon(block, ctx)
                    group.start_soon(fail_soon)
        return "never"

    async with runtime(shop) as running:
        outcome = await (await submit(running, "shop.place")).outcome(timeout=10)
        assert outcome.error is not None
        assert outcome.error.code == ("saga_failed" if by == "limit" else "ExceptionGroup")
        (saga,) = outcome.sagas
        assert saga.error is not None
        assert (saga.error.code, saga.compensated) == ("cancelled", True)
        await audit(hot)
    assert calls == [("hangs", None), ("a", "a")]


async def test_the_next_attempt_of_the_handler_comes_to_the_same_failure(
    runtime: MakeRuntime, hot: Store, audit: Audit
) -> None:
    seen: list[Any] = []
    shop = Realm("shop")

    async def fail() -> None:
        seen.append("fail")
        raise OSError("once")

    async def undo(step: Step, result: None) -> None:
        seen.append("undo")

    @shop.handler(retry=TWICE)
    async def place(ctx: Context, order: dict[str, Any]) -> list[Any]:
        for name, wrong in (("step", StepFailed), ("wait", TimeoutError), ("plain", KeyError)):
            try:
                async with ctx.saga(name) as saga:
                    await saga.step("a", lambda: None, undo=undo)
                    if name == "step":
                        await saga.step("b", fail, undo=undo)
                    elif name == "wait":
                        await ctx.wait_signal("go", timeout=SOON)
                    else:
                        raise KeyError("plain")
            except wrong as error:
                seen.append((ctx.attempt, type(error).__name__))
        if ctx.attempt == 1:
            raise RuntimeError("the first attempt")
        return seen

    async with runtime(shop) as running:
        result = await (await submit(running, "shop.place")).result(timeout=10)
        await audit(hot)
    first = ["fail", "undo", "undo", [1, "StepFailed"], "undo", [1, "TimeoutError"], "undo", [1, "KeyError"]]
    assert result == [*first, [2, "StepFailed"], [2, "TimeoutError"], [2, "KeyError"]]


async def test_a_resumed_handler_answers_queries_behind_a_saga_that_was_undone(
    runtime: MakeRuntime, eventually: Eventually
) -> None:
    shop = Realm("shop")

    @shop.handler
    async def place(ctx: Context, order: dict[str, Any]) -> str:
        ctx.on_query("state", lambda: "waits")
        try:
            async with ctx.saga("place") as saga:
                await saga.step("a", lambda: 1, undo=lambda step, result: None)
                raise ValueError
        except ValueError:
            await ctx.wait_signal("go")
        return "went on"

    async with runtime(shop, limits=Limits(resident=0)) as running:
        execution = await submit(running, "shop.place")

        async def waits() -> bool:
            return await execution.status() is Status.WAITING

        for _ in range(3):
            await eventually(waits)
            assert await execution.query("state", timeout=10) == "waits"
        await execution.signal("go")
        assert await execution.result(timeout=10) == "went on"


async def test_a_crash_in_a_block_undoes_nothing(runtime: MakeRuntime) -> None:
    calls: list[str] = []
    shop = Realm("shop")

    class Curse(BaseException):
        pass

    @shop.handler
    async def place(ctx: Context, order: dict[str, Any]) -> str:
        async with ctx.saga("place") as saga:
            await saga.step("a", lambda: calls.append("a"), undo=lambda step, result: calls.append("undo"))
            if len(calls) == 1:
                calls.append("crash")
                raise BaseExceptionGroup("several", [ValueError(), Curse()])
        return "went on"

    async with runtime(shop) as running:
        assert await (await submit(running, "shop.place")).result(timeout=10) == "went on"
    assert calls == ["a", "crash"]


async def test_an_undo_gets_a_large_result_as_it_was_recorded(runtime: MakeRuntime) -> None:
    given: list[Any] = []
    shop = Realm("shop")

    def read() -> list[int]:
        return [1] * 100_000

    def forget(step: Step, numbers: list[int] | None) -> None:
        given.append(numbers)

    @shop.handler
    async def place(ctx: Context, order: dict[str, Any]) -> None:
        async with ctx.saga("place") as saga:
            numbers = await saga.step("read", read, undo=forget)
            numbers.clear()
            raise ValueError

    async with runtime(shop, files=MemoryFileStore()) as running:
        assert not (await (await submit(running, "shop.place")).outcome(timeout=10)).success
    assert given == [[1] * 100_000]


async def test_events_that_are_too_large_for_a_commit_stop_no_undo(
    runtime: MakeRuntime, hot: Store, audit: Audit
) -> None:
    calls: list[str] = []
    shop = Realm("shop")

    @shop.handler
    async def place(ctx: Context, order: dict[str, Any]) -> None:
        async def undo(step: Step, result: None, name: str) -> None:
            calls.append(name)
            if name == "b":
                flood()

        def flood() -> None:
            for _ in range(20):
                ctx.emit("flood", "x" * 60_000)

        async with ctx.saga("place") as saga:
            await saga.step("a", nothing, "a", undo=undo)
            await saga.step("b", nothing, "b", undo=undo)
            flood()
            raise ValueError("too much")

    async with runtime(shop) as running:
        outcome = await (await submit(running, "shop.place")).outcome(timeout=10)
        assert outcome.error is not None
        assert outcome.error.message == "too much"
        assert states(outcome.sagas) == {"place/a": "undone", "place/b": "could not be undone"}
        assert outcome.events == 1
        await audit(hot)
    assert calls == ["b", "a"]


async def nothing(name: str) -> None: ...


async def test_a_step_left_running_is_not_recorded_behind_its_saga(
    runtime: MakeRuntime, hot: Store, audit: Audit
) -> None:
    told: list[str] = []
    shop = Realm("shop")

    @shop.handler
    async def place(ctx: Context, order: dict[str, Any]) -> None:
        started, late = anyio.Event(), anyio.Event()

        async def slow() -> None:
            started.set()
            await late.wait()
            ctx.emit("late")

        async def leave_running(saga: Saga) -> None:
            with pytest.raises(SagaFailed):
                await saga.step("slow", slow, undo=lambda step, result: told.append("undo slow"))
            with pytest.raises(InvalidValue, match="inside of the saga's block"):
                await saga.step("later", slow)

        async with anyio.create_task_group() as group:
            try:
                async with ctx.saga("place") as saga:
                    group.start_soon(leave_running, saga)
                    await started.wait()
                    raise ValueError("block")
            except ValueError:
                late.set()
        await ctx.step("behind", nothing, "c")

    async with runtime(shop) as running:
        outcome = await (await submit(running, "shop.place")).outcome(timeout=10)
        assert (outcome.success, states(outcome.sagas)) == (True, {"place/slow": "undone"})
        await audit(hot)
    assert told == ["undo slow"]


@pytest.mark.parametrize("hot", ["memory"], indirect=True)
async def test_a_saga_in_a_scope_and_a_scope_in_a_saga(runtime: MakeRuntime, hot: Store, audit: Audit) -> None:
    shop = Realm("shop")

    async def fill(ctx: Context, count: int) -> str:
        async with ctx.saga("box") as saga:
            with ctx.scope("lid"):
                await saga.step("fill", lambda: 1, undo=lambda step, result: None)
                await ctx.step("close", lambda: 1)
            with ctx.scope("empty"), pytest.raises(DuplicateStep, match=r"saga\.step"):
                await saga.step("fill", lambda: 1)
            if count > 1:
                raise ValueError("too many")
        return saga.path

    @shop.handler
    async def pack(ctx: Context, order: dict[str, Any]) -> list[str]:
        paths: list[str] = []
        for count in (1, 2):
            with ctx.scope("order", key=str(count)):
                try:
                    paths.append(await fill(ctx, count))
                except ValueError:
                    await ctx.step("sorry", lambda: 1)
        with pytest.raises(DuplicateStep, match=r"ctx\.saga"), ctx.scope("place"):
            async with ctx.saga("x"), ctx.saga("x"):
                pass
        with pytest.raises(DuplicateStep, match=r"ctx\.saga"):
            async with ctx.saga("place"):
                pass
        return paths

    async with runtime(shop) as running:
        outcome = await (await submit(running, "shop.pack")).outcome(timeout=10)
        assert outcome.result == ["order[1]/box"]
        assert states(outcome.sagas) == {"order[1]/box/fill": "done", "order[2]/box/fill": "undone"}
        await audit(hot)


@pytest.mark.parametrize("hot", ["memory"], indirect=True)
async def test_names_and_limits_of_sagas(runtime: MakeRuntime) -> None:
    shop = Realm("shop")

    @shop.handler
    async def place(ctx: Context, order: dict[str, Any]) -> list[str]:
        async with ctx.saga("place", key="a") as saga, ctx.saga("place", key="b") as other:
            await saga.step("x", lambda: 1)
            await other.step("x", lambda: 1)
            await ctx.step("x", lambda: 1)
            with pytest.raises(DuplicateStep, match=re.escape("saga.step('x', ..., key=item_id)")):
                await saga.step("x", lambda: 1)
            with pytest.raises(DuplicateStep, match=re.escape("ctx.saga('place', key=item_id)")):
                async with ctx.saga("place", key="b"):
                    pass
            async with saga.saga("inner", undo_retry=TWICE) as inner:
                await inner.step("x", lambda: 1)
        with pytest.raises(InvalidValue, match=r"async with ctx.saga\('late'\)"):
            await ctx.saga("late").step("x", lambda: 1)
        with pytest.raises(InvalidValue, match="undo_timeout must be longer than nothing"):
            ctx.saga("limits", undo_timeout=timedelta(0))
        return [saga.path, other.path, inner.path]

    async with runtime(shop) as running:
        outcome = await (await submit(running, "shop.place")).outcome(timeout=10)
        assert outcome.result == ["place[a]", "place[b]", "place[a]/inner"]
        assert list(states(outcome.sagas)) == ["place[a]/x", "place[b]/x", "place[a]/inner/x"]


async def test_a_step_that_was_cancelled_while_it_was_recorded_is_undone_with_its_result(
    runtime: MakeRuntime, hot: Store, audit: Audit
) -> None:
    """Its record stands, also where nobody waits for it any more."""
    realm, undone = Realm("trips"), list[object]()

    @realm.handler
    async def trip(ctx: Context, _given: dict[str, Any]) -> str:
        async def book() -> int:
            scope.cancel()  # what is awaited next is that the result is durable
            return 7

        try:
            with anyio.CancelScope() as scope:
                async with ctx.saga("trip") as saga:
                    await saga.step("book", book, undo=lambda _step, result: undone.append(result))
        except SagaFailed as error:
            return error.kind
        return "never"

    async with runtime(realm) as running:
        execution = await submit(running, "trips.trip")
        assert await execution.result() == "cancelled"
        assert states(await execution.sagas()) == {"trip/book": "undone"}
        await audit(hot)
    assert undone == [7]
