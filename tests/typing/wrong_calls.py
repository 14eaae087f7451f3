"""Wrong calls: mypy and pyright must find each line that ends with `# wrong`, and no other. Never run."""

from datetime import timedelta
from functools import partial
from typing import Any

from msgspec import Struct

from intendant import Context, Execution, Intent, Outcome, Realm, Runtime, Session, Step


class Order(Struct):
    item: str
    count: int = 1


class Receipt(Struct):
    total: float


shop = Realm("shop")


@shop.handler
async def place(ctx: Context, order: Order) -> Receipt:
    return Receipt(order.count)


@shop.handler  # wrong
def plain(ctx: Context, order: Order) -> Receipt:
    return Receipt(order.count)


shop.handler("place")  # wrong


async def submit(session: Session) -> None:
    await session.submit(place, Receipt(1.0))  # wrong
    await session.submit(place, {"item": "tea"})  # wrong
    await session.submit(place)  # wrong
    await session.submit(place, Order("tea"), key="k")  # wrong
    await session.submit(place, Order("tea"), idempotency_key=7)  # wrong
    await session.submit("shop.place", Order("tea"))  # wrong
    await session.submit("shop.place", ["tea"])  # wrong
    await session.submit(plain, Order("tea"))  # wrong
    await session.submit(7, {"item": "tea"})  # wrong
    session.submit(place, Order("tea")).result()  # wrong


async def state(ctx: Context, session: Session) -> None:
    ctx.session.state["item"] = "tea"  # wrong
    ctx.session.upper()  # wrong
    order: Receipt = await session.state(Order)  # wrong


async def result(session: Session) -> None:
    execution = await session.submit(place, Order("tea"))
    text: str = await execution.result()  # wrong
    number: int = (await execution.outcome()).result  # wrong
    await execution.result(5)  # wrong
    other: Execution[str] = execution  # wrong


async def submit_many(session: Session) -> None:
    Intent(place, Receipt(1.0))  # wrong
    Intent("shop.place", Order("tea"))  # wrong
    await session.submit_many([place])  # wrong
    await session.submit_many(Intent(place, Order("tea")))  # wrong
    executions: list[Execution[str]] = await session.submit_many([Intent(place, Order("tea"))])  # wrong


async def wait(runtime: Runtime, executions: list[Execution[Receipt]]) -> None:
    async for execution, outcome in runtime.wait(executions):
        wrong: Outcome[str] = outcome  # wrong
        number: int = outcome.result  # wrong
    async for each in runtime.wait(executions, 5):  # wrong
        pass
    runtime.wait(executions[0])  # wrong
    for each in runtime.wait(executions):  # wrong
        pass


async def fetch(url: str, attempts: int = 3) -> bytes:
    return b""


def measure(text: str) -> int:
    return len(text)


class Desk:
    def plain(self, number: int) -> str:
        return ""


async def step(ctx: Context, desk: Desk) -> None:
    text: str = await ctx.step("async", fetch, "url", 3)  # wrong
    number: bytes = await ctx.step("plain", measure, "text")  # wrong
    await ctx.step("arguments", measure, 7)  # wrong
    await ctx.step("arguments", measure, "text", "more")  # wrong
    await ctx.step("arguments", fetch, "url", "three")  # wrong
    await ctx.step("arguments", fetch)  # wrong
    await ctx.step("keywords", measure, text="text")  # wrong
    await ctx.step("method", desk.plain, "one")  # wrong
    await ctx.step("partial", partial(measure, 7))  # wrong
    await ctx.step("no function", 7)  # wrong
    await ctx.step("called", fetch("url"))  # wrong
    await ctx.step(measure, "text")  # wrong
    await ctx.step("key", measure, "text", key=7)  # wrong
    ctx.emit({"name": "event"})  # wrong
    ctx.artifact("name")  # wrong


async def release(step: Step, kept: bytes | None, url: str, attempts: int) -> None: ...


def forget(kept: bytes | None, url: str, attempts: int) -> None: ...


async def sagas(ctx: Context) -> None:
    async with ctx.saga("place") as saga:
        await saga.step("fetch", fetch, "url", undo=release)  # wrong
        await saga.step("fetch", fetch, "url", 3, undo=forget)  # wrong
        await saga.step("measure", measure, "text", undo=release)  # wrong
        await saga.step("fetch", fetch, "url", 3, undo="release")  # wrong
        await saga.step("fetch", fetch, "url", 3, undo=release, undo_retry=5)  # wrong
        number: int = await saga.step("fetch", fetch, "url", 3, undo=release)  # wrong
    with ctx.saga("place"):  # wrong
        pass
    async with ctx.saga("place", undo_timeout=5):  # wrong
        pass


async def waits(ctx: Context, execution: Execution[Receipt]) -> None:
    await ctx.sleep(5)  # wrong
    await ctx.sleep(timedelta(seconds=1), "key")  # wrong
    await ctx.sleep_until(timedelta(seconds=1))  # wrong
    number: int = await ctx.wait_signal("packed", type=str)  # wrong
    await ctx.wait_signal("packed", timeout=5)  # wrong
    ctx.on_query("total", 7)  # wrong
    await execution.signal(7)  # wrong
    total: int = await execution.query("total", type=str)  # wrong


def anything(runtime: Runtime) -> Any:
    Runtime(shop)  # wrong
    Runtime([place])  # wrong
    Runtime(durability="forever")  # wrong
    Runtime(on_failure="explode")  # wrong
    return runtime.session("acme")  # wrong
