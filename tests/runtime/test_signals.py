"""Signals: durable before they are acknowledged, delivered once, or listed; queries, which leave no trace."""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import anyio
import anyio.lowlevel
import msgspec
import pytest

from intendant import (
    Context,
    ExecutionEnded,
    ExecutionFailed,
    IdempotencyConflict,
    InvalidIntent,
    InvalidValue,
    Limits,
    OutcomeUnknown,
    Overloaded,
    Progress,
    Realm,
    Reply,
    Runtime,
    Shutdown,
    Status,
    UnknownExecution,
    UnknownQuery,
)
from intendant.actors import waits
from intendant.domain.ports import Store
from intendant.domain.replay import World

pytestmark = pytest.mark.anyio

Audit = Callable[[Store], Awaitable[World]]
MakeRuntime = Callable[..., Runtime]
RESIDENT = pytest.mark.parametrize("resident", [0, 1_000])
shop = Realm("shop")


class Packed(msgspec.Struct):
    boxes: int


@shop.handler
async def collect(ctx: Context, given: dict[str, int]) -> list[int]:
    """Takes as many signals as it is told."""
    taken: list[int] = []
    ctx.on_query("taken", lambda: taken)
    ctx.on_query("broken", lambda: 1 / 0)
    for number in range(given["many"]):
        packed = await ctx.wait_signal("packed", type=Packed, key=str(number))
        taken.append(packed.boxes)
    return taken


@shop.handler
async def in_time(ctx: Context, given: dict[str, float]) -> str:
    try:
        return str(await ctx.wait_signal("packed", timeout=timedelta(seconds=given["limit"])))
    except TimeoutError as error:
        return str(error)


@RESIDENT
async def test_signals_are_taken_in_the_order_they_came(
    runtime: MakeRuntime, hot: Store, audit: Audit, resident: int
) -> None:
    options: dict[str, Any] = {"limits": Limits(resident=resident), "shutdown": Shutdown(drain=0)}
    async with runtime(shop, **options) as running:
        session = await running.open_session("acme", "desk-1")
        execution = await session.submit(collect, {"many": 10})
        for boxes in range(5):
            await execution.signal("packed", Packed(boxes))
            await execution.signal("lost", boxes)
    async with runtime(shop, **options) as running:
        again = running.execution("acme", execution.id)
        for boxes in range(5, 10):
            await again.signal("packed", {"boxes": boxes})
        outcome = await again.outcome(timeout=20)
        assert outcome.result == list(range(10))
        assert [each.name for each in outcome.undelivered] == ["lost"] * 5
        assert outcome.undelivered_count == 5
        await audit(hot)


async def test_signals_that_lie_ready_are_bounded(
    runtime: MakeRuntime, hot: Store, audit: Audit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waits, "READY_MAX", 100)
    async with runtime(shop, limits=Limits(running=1)) as running:
        session = await running.open_session("acme", "desk-1")
        execution = await session.submit(collect, {"many": 101})
        async with anyio.create_task_group() as group:
            for number in range(100):
                group.start_soon(execution.signal, "other", number)
        with pytest.raises(Overloaded, match="100"):
            await execution.signal("packed", Packed(1))
        with anyio.fail_after(20):
            assert len((await running.wal.query("acme", type="signal_received", limit=1_000)).items) == 100
        await audit(hot)


async def test_which_came_first_is_recorded(runtime: MakeRuntime, hot: Store, audit: Audit) -> None:
    async with runtime(shop) as running:
        session = await running.open_session("acme", "desk-1")
        late = await session.submit(in_time, {"limit": 0.0})
        assert "no signal 'packed' came within" in await late.result(timeout=10)
        soon = await session.submit(in_time, {"limit": 3_600.0})
        await soon.signal("packed", "here")
        assert await soon.result(timeout=10) == "here"
        types = [each.type for each in (await running.wal.query("acme", execution=soon.id)).items]
        assert "timer_fired" not in types
        await audit(hot)


@RESIDENT
async def test_a_signal_is_received_once_however_often_it_is_sent(
    runtime: MakeRuntime, hot: Store, audit: Audit, resident: int
) -> None:
    async with runtime(shop, limits=Limits(resident=resident)) as running:
        session = await running.open_session("acme", "desk-1")
        execution = await session.submit(collect, {"many": 2})
        async with anyio.create_task_group() as group:
            for _ in range(50):
                group.start_soon(lambda: execution.signal("packed", Packed(1), id="one"))
        with pytest.raises(IdempotencyConflict, match="another"):
            await execution.signal("packed", Packed(2), id="one")
        await execution.signal("packed", Packed(3), id="two")
        assert await execution.result(timeout=10) == [1, 3]
        await execution.signal("packed", Packed(1), id="one")  # it was received, and the execution has ended since
        with pytest.raises(ExecutionEnded, match="completed"):
            await execution.signal("packed", Packed(4), id="three")
        assert len((await running.wal.query("acme", type="signal_received")).items) == 2
        await audit(hot)


async def test_no_answer_in_time_is_unknown_and_may_be_repeated(
    runtime: MakeRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    def receive(self: waits.ExecutionWaits, name: str, id: str, payload: bytes) -> Reply[None]:
        monkeypatch.undo()
        self.receive(name, id, payload)
        return Reply()  # its answer is lost

    monkeypatch.setattr(waits.ExecutionWaits, "receive", receive)
    async with runtime(shop) as running:
        session = await running.open_session("acme", "desk-1")
        execution = await session.submit(collect, {"many": 1})
        with pytest.raises(OutcomeUnknown) as raised:
            await execution.signal("packed", Packed(1), timeout=0.02)
        await execution.signal("packed", Packed(1), id=raised.value.key)
        assert await execution.result(timeout=10) == [1]
        assert len((await running.wal.query("acme", type="signal_received")).items) == 1


async def test_nobody_elses_execution_can_be_signalled_or_asked(runtime: MakeRuntime) -> None:
    async with runtime(shop) as running:
        session = await running.open_session("acme", "desk-1")
        execution = await session.submit(collect, {"many": 1})
        for tenant, id in (("bolt", execution.id), ("acme", "0" * 32)):
            other = running.execution(tenant, id)
            with pytest.raises(UnknownExecution):
                await other.signal("packed", Packed(1))
            with pytest.raises(UnknownExecution):
                await other.query("taken")
        assert not len(await running.wal.query("acme", type="signal_received"))


async def test_malformed_names_and_ids_are_refused(runtime: MakeRuntime) -> None:
    wrong: list[Any] = ["", " ", "a b", "a/b", "../a", "a\x00", "ä", "x" * 129, None, 5, b"a"]
    async with runtime(shop) as running:
        session = await running.open_session("acme", "desk-1")
        execution = await session.submit(collect, {"many": 1})
        for hostile in wrong:
            with pytest.raises(InvalidIntent, match="signal name"):
                await execution.signal(hostile)
            with pytest.raises(InvalidIntent, match="query name"):
                await execution.query(hostile)
            if hostile is not None:
                with pytest.raises(InvalidIntent, match="signal id"):
                    await execution.signal("packed", id=hostile)


async def test_payloads_that_can_t_be_kept_are_refused(runtime: MakeRuntime) -> None:
    wrong: list[Any] = ["x" * 70_000, float("nan"), object(), [float("inf")]]
    async with runtime(shop) as running:
        session = await running.open_session("acme", "desk-1")
        execution = await session.submit(collect, {"many": 1})
        for payload in wrong:
            with pytest.raises(InvalidValue, match="packed"):
                await execution.signal("packed", payload)
        for timeout in (float("nan"), float("inf"), -1.0):
            with pytest.raises(InvalidIntent, match="timeout"):
                await execution.signal("packed", Packed(1), timeout=timeout)


async def test_a_payload_that_does_not_fit_is_told_to_the_handler(runtime: MakeRuntime) -> None:
    async with runtime(shop) as running:
        session = await running.open_session("acme", "desk-1")
        execution = await session.submit(collect, {"many": 1})
        await execution.signal("packed", "no box", id="odd")
        with pytest.raises(ExecutionFailed, match=r"'packed' with id 'odd': does not fit .*Packed"):
            await execution.result(timeout=10)


@RESIDENT
async def test_queries_are_answered_by_the_handler_and_leave_no_trace(runtime: MakeRuntime, resident: int) -> None:
    async with runtime(shop, limits=Limits(resident=resident)) as running:
        session = await running.open_session("acme", "desk-1")
        execution = await session.submit(collect, {"many": 3})
        assert await execution.query("taken", type=list[int]) == []
        await execution.signal("packed", Packed(7))
        before = running.stats().records
        with anyio.fail_after(10):
            while await execution.query("taken") != [7]:  # noqa: ASYNC110
                await anyio.sleep(0.001)
        with pytest.raises(UnknownQuery, match="it answers broken, taken"):
            await execution.query("unheard-of")
        with pytest.raises(ZeroDivisionError):
            await execution.query("broken")
        with pytest.raises(msgspec.ValidationError):
            await execution.query("taken", type=list[str])
        assert running.stats().records <= before + 1  # the handler's own next wait
        await execution.signal("packed", Packed(8))
        await execution.signal("packed", Packed(9))
        assert await execution.result(timeout=10) == [7, 8, 9]
        with pytest.raises(ExecutionEnded):
            await execution.query("taken")


async def test_a_query_that_nobody_answers_ends_at_its_deadline(runtime: MakeRuntime) -> None:
    realm = Realm("busy")

    @realm.handler
    async def work(ctx: Context, nothing: dict[str, Any]) -> None:
        await anyio.sleep_forever()

    async with runtime(realm, shutdown=Shutdown(drain=0)) as running:
        session = await running.open_session("acme", "desk-1")
        execution = await session.submit("busy.work", {})
        with pytest.raises(TimeoutError):
            await execution.query("progress", timeout=0.05)


async def test_progress_names_what_is_waited_for(runtime: MakeRuntime) -> None:
    async with runtime(shop) as running:
        session = await running.open_session("acme", "desk-1")
        execution = await session.submit(collect, {"many": 1})
        with anyio.fail_after(10):
            while await execution.status() is not Status.WAITING:  # noqa: ASYNC110
                await anyio.sleep(0.001)
        assert await execution.progress() == Progress([], 0, ["signal(packed)[0]"])


async def test_what_is_committed_for_a_cancelled_task_stands_with_its_events(
    runtime: MakeRuntime, hot: Store, audit: Audit
) -> None:
    realm = Realm("race")

    @realm.handler
    async def run(ctx: Context, given: dict[str, int]) -> None:
        async def step() -> None:
            ctx.emit("step")
            await ctx.step("step", anyio.lowlevel.checkpoint)

        async def wait() -> None:
            ctx.emit("wait")
            await ctx.wait_signal("never")

        for task in (step, wait):
            async with anyio.create_task_group() as group:
                group.start_soon(task)
                for _ in range(given["turns"]):
                    await anyio.lowlevel.checkpoint()
                group.cancel_scope.cancel()

    async with runtime(realm) as running:
        session = await running.open_session("acme", "desk-1")
        for turns in range(8):
            await (await session.submit("race.run", {"turns": turns})).result(timeout=10)
        await audit(hot)
