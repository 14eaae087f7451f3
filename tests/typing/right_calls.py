"""Right calls, and the types that they give. Checked by mypy and pyright, and never run."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, TypedDict, assert_type

from msgspec import Struct

from intendant import (
    CancelResult,
    Context,
    Event,
    Execution,
    Intent,
    Outcome,
    Realm,
    Retry,
    Runtime,
    Saga,
    SagaRecord,
    Session,
    Signal,
    Step,
    blocking,
)


class Order(Struct):
    item: str
    count: int = 1


class Typed(TypedDict):
    item: str


class Receipt(Struct):
    total: float


shop = Realm("shop")


@shop.handler
async def place(ctx: Context, order: Order) -> Receipt:
    return Receipt(order.count)


@shop.handler(name="typed")
async def typed(ctx: Context, order: Typed) -> None: ...


@shop.handler
async def free(ctx: Context, order: dict[str, Any]) -> list[int]:
    return []


async def submit(session: Session, runtime: Runtime) -> None:
    execution = await session.submit(place, Order("tea"), idempotency_key="k", metadata={"a": 1}, timeout=1)
    assert_type(execution, Execution[Receipt])
    assert_type(await execution.result(timeout=1.5), Receipt)
    assert_type(await execution.outcome(), Outcome[Receipt])
    assert_type((await execution.outcome()).result, Receipt | None)
    assert_type(await session.submit(typed, Typed(item="tea")), Execution[None])
    assert_type(await session.submit(free, {"a": 1}), Execution[list[int]])
    assert_type(await session.submit("shop.place", {"item": "tea"}), Execution[Any])
    assert_type(runtime.execution("acme", "id"), Execution[Any])


async def state(ctx: Context, session: Session) -> None:
    assert_type(ctx.session.id, str)
    assert_type(await ctx.session.state.get(), dict[str, Any])
    assert_type(await ctx.session.state.get(Order), Order)
    assert_type(await session.state(), dict[str, Any])
    assert_type(await session.state(Order), Order)
    ctx.session.state.set(Order("tea"))


async def submit_many(session: Session) -> None:
    assert_type(Intent(place, Order("tea"), idempotency_key="k"), Intent[Receipt])
    assert_type(Intent("shop.place", {"item": "tea"}), Intent[Any])
    assert_type(await session.submit_many([Intent(place, Order("tea"))]), list[Execution[Receipt]])
    mixed: list[Intent[Receipt | list[int]]] = [Intent(place, Order("tea")), Intent(free, {"a": 1})]
    assert_type(await session.submit_many(mixed), list[Execution[Receipt | list[int]]])


async def wait(runtime: Runtime, executions: list[Execution[Receipt]]) -> None:
    async for execution, outcome in runtime.wait(executions, timeout=5):
        assert_type(execution, Execution[Receipt])
        assert_type(outcome, Outcome[Receipt])
        assert_type(outcome.result, Receipt | None)


async def fetch(url: str, attempts: int = 3) -> bytes:
    return b""


def measure(text: str, factor: float = 1.0) -> int:
    return len(text)


class Desk:
    def plain(self, number: int) -> str:
        return ""

    async def fetch(self, number: int) -> list[str]:
        return []

    @classmethod
    def made(cls, number: int) -> "Desk":
        return cls()

    @staticmethod
    def fixed() -> float:
        return 1.0

    def __call__(self, number: int) -> bool:
        return True


async def step(ctx: Context, desk: Desk) -> None:
    assert_type(await ctx.step("async", fetch, "url", 3), bytes)
    assert_type(await ctx.step("plain", measure, "text", 2.0, key="a"), int)
    assert_type(await ctx.step("method", desk.plain, 1), str)
    assert_type(await ctx.step("async-method", desk.fetch, 1), list[str])
    assert_type(await ctx.step("classmethod", Desk.made, 1), Desk)
    assert_type(await ctx.step("staticmethod", desk.fixed), float)
    assert_type(await ctx.step("callable", desk, 1), bool)
    assert_type(await ctx.step("class", Receipt, 1.0), Receipt)
    assert_type(await ctx.step("partial", partial(measure, "text")), int)
    assert_type(await ctx.step("async-partial", partial(fetch, "url")), bytes)
    assert_type(await ctx.step("lambda", lambda: 7), int)
    assert_type(await ctx.step("async-lambda", lambda: fetch("url")), bytes)
    assert_type(await ctx.step("bound", Path("a").read_bytes), bytes)


async def defaults(ctx: Context) -> None:
    assert_type(await ctx.step("async", fetch, "url"), bytes)
    assert_type(await ctx.step("plain", measure, "text"), int)


def door(runtime: Runtime) -> None:
    session = blocking(runtime).call(runtime.open_session, "acme", user_id="ada")
    assert_type(session, Session)
    execution = blocking(runtime).call(session.submit, place, Order("tea"))
    assert_type(execution, Execution[Receipt])


def publish(event: Event) -> None: ...


async def publish_async(event: Event) -> None: ...


def publishers() -> list[Runtime]:
    return [Runtime([shop], publisher=publish), Runtime([shop], publisher=publish_async), Runtime()]


def decorated(keep: Callable[[Context, Order], Awaitable[Receipt]] = place) -> None: ...


async def charge(step: Step, order: Order) -> Receipt:
    step.heartbeat({"at": 1})
    return Receipt(order.count)


def weigh(step: Step, order: Order) -> int:
    return step.attempt


async def attempts(ctx: Context, order: Order) -> None:
    patient = Retry(attempts=5, initial=timedelta(seconds=1), never=(KeyError,))
    assert_type(await ctx.step("charge", charge, order, retry=patient, timeout=timedelta(minutes=1)), Receipt)
    assert_type(await ctx.step("weigh", weigh, order, heartbeat=timedelta(seconds=5)), int)
    assert_type(await ctx.map("read", Path.read_text, [Path("a")], key=str, limit=4), list[str])
    assert_type(await ctx.map("sleep", asleep, [1, 2], retry=patient), list[str])
    assert_type(await ctx.map("sleep", asleep, [1, 2], return_errors=True), list[Any])


async def release(step: Step, kept: bytes | None, url: str, attempts: int) -> None: ...


def refund(step: Step, receipt: Receipt | None, order: Order) -> int:
    return 0


def undo_anything(step: Step, result: object, *arguments: object) -> None: ...


async def sagas(ctx: Context, order: Order, execution: Execution[Receipt]) -> None:
    patient = Retry(attempts=5)
    async with ctx.saga("place", key="a", undo_retry=patient, undo_timeout=None) as saga:
        assert_type(saga, Saga)
        assert_type(await saga.step("fetch", fetch, "url", 3, undo=release), bytes)
        assert_type(await saga.step("charge", charge, order, undo=refund, retry=patient, undo_retry=patient), Receipt)
        assert_type(await saga.step("weigh", weigh, order, key="a"), int)
        assert_type(await saga.step("measure", measure, "text", undo=undo_anything), int)
        assert_type(await saga.step("lambda", lambda: 7, undo=undo_anything), int)
        async with saga.saga("inner", undo_retry=patient) as inner:
            assert_type(await inner.step("kept", measure, "text", 1.0, undo=None), int)
    assert_type((await execution.outcome()).sagas, list[SagaRecord])
    assert_type(await execution.sagas(), list[SagaRecord])


async def waits(ctx: Context, execution: Execution[Receipt]) -> None:
    await ctx.sleep(timedelta(seconds=1), key="a")
    await ctx.sleep_until(datetime(2030, 1, 1, tzinfo=UTC))
    assert_type(await ctx.wait_signal("packed", type=Receipt, timeout=timedelta(hours=2)), Receipt)
    assert_type(await ctx.wait_signal("packed", key="b"), Any)
    ctx.on_query("total", lambda: 7)
    await execution.signal("packed", Receipt(1.0), id="once", timeout=5)
    assert_type(await execution.cancel(timeout=5), CancelResult)
    assert_type(await execution.query("total", type=int), int)
    assert_type(await execution.query("total"), Any)
    assert_type((await execution.outcome()).undelivered, list[Signal])


async def asleep(seconds: int) -> str:
    return ""


@shop.handler(
    retry=Retry(attempts=2), timeout=timedelta(hours=1), deadline=timedelta(days=1), cleanup=timedelta(minutes=5)
)
async def patient(ctx: Context, order: Order) -> Receipt:
    return Receipt(1)
