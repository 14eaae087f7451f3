"""Handlers with children for the fault tests: what they submit, what they wait for, and what is left when they end."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import anyio

from intendant import Child, Context, ExecutionCancelled, ExecutionFailed, Realm, Retry, SagaFailed, Step
from intendant.domain.journal import Row
from intendant.domain.payloads import StepCompleted
from tests.faults.ledger import Ledger


def make_children(ledger: Ledger) -> Realm:  # noqa: C901  a list of handlers, none of which branches much
    """The handlers of the scenarios with children."""
    kids = Realm("kids")

    def step(ctx: Context, path: str, value: Any, *after: str) -> Callable[[], Awaitable[Any]]:
        async def body() -> Any:
            ledger.ran(ctx, path, after)
            await anyio.sleep(0.01)
            return value

        return body

    def check_known(ctx: Context, child: Child[Any]) -> None:
        """Whoever goes on from a child has recorded it."""
        rows: list[Row] = ledger.rows(ctx)
        known = [row.child.execution for row in rows if isinstance(row, StepCompleted) and row.child is not None]
        if known.count(child.id) != 1:
            ledger.violations.append(f"{ctx.execution_id} goes on from {child}, and its journal knows {known}")

    @kids.handler(cleanup=timedelta(hours=1))  # an outage of the store is not to use it up
    async def leaf(ctx: Context, given: dict[str, Any]) -> int:
        """A step, a wait, perhaps a child of its own, another step."""
        try:
            await ctx.step("a", step(ctx, "a", 1))
            if given.get("below"):
                await ctx.submit("kids.leaf", {"n": 1, "days": 1})
            await ctx.sleep(timedelta(days=given.get("days", 0), milliseconds=5))
            if given.get("fails"):
                raise LookupError(f"nothing for {given['n']}")
            ctx.emit("grown", given["n"])
        except anyio.get_cancelled_exc_class():
            await ctx.step("undo-a", step(ctx, "undo-a", 2))
            raise
        return int(await ctx.step("b", step(ctx, "b", given["n"] * 2, "a")))

    @kids.handler(retry=Retry(attempts=2, initial=timedelta(milliseconds=5), jitter=0))
    async def awaiting(ctx: Context, given: dict[str, Any]) -> list[Any]:
        """Waits for children side by side; one that fails is submitted anew by the next attempt."""
        children: list[Child[Any]] = []
        for number in range(given["children"]):
            fails = number == given.get("fails") and ctx.attempt <= given.get("failures", 1)
            ctx.emit("submits", number)
            parameters = {"n": number, "fails": True} if fails else {"n": number}
            child = await ctx.submit("kids.leaf", parameters, key=str(number), session=given.get("session"))
            check_known(ctx, child)
            children.append(child)
        found: list[Any] = []
        for child in children:
            try:
                found.append(await child.result())
            except ExecutionFailed as error:
                why = error.outcome.error
                raise LookupError(why.message if why else "") from error
            ctx.emit("came", found[-1])
        await ctx.step("after", step(ctx, "after", 1, *(f"end({child.path})" for child in children)))
        return found

    @kids.handler
    async def leaving(ctx: Context, given: dict[str, Any]) -> str:
        """Returns before its children have ended: one of them is on its own."""
        await ctx.submit("kids.leaf", {"n": 1, "days": 1, "below": True}, key="kept")
        await ctx.submit("kids.leaf", {"n": 2}, key="free", on_parent_end="abandon")
        await ctx.step("a", step(ctx, "a", 1))
        return "left"

    @kids.handler
    async def stopping(ctx: Context, given: dict[str, Any]) -> str:
        """Cancels its child, and sees it end."""
        child = await ctx.submit("kids.leaf", {"n": 1, "days": 1}, session=given.get("session"))
        await ctx.step("a", step(ctx, "a", 1))
        await child.cancel()
        try:
            await child.result()
        except ExecutionCancelled as error:
            return error.code
        return "not cancelled"

    @kids.handler(cleanup=timedelta(hours=1))
    async def lasting(ctx: Context, given: dict[str, Any]) -> Any:
        """Waits for one that lasts, until it is cancelled itself."""
        child = await ctx.submit("kids.leaf", {"n": 1, "days": 1, "below": True})
        check_known(ctx, child)
        try:
            return await child.result()
        finally:
            await ctx.step("undo-all", step(ctx, "undo-all", 1, child.path))

    @kids.handler
    async def undoing(ctx: Context, given: dict[str, Any]) -> str:
        """A child fails inside of a saga, which is undone; from then on nothing in it is submitted."""

        async def undo(_step: Step, _result: object) -> None:
            ledger.ran(ctx, "undo(trip/book)", ("end(submit(kids.leaf))",))

        try:
            async with ctx.saga("trip") as saga:
                await saga.step("book", step(ctx, "trip/book", 1), undo=undo)
                child = await ctx.submit("kids.leaf", {"n": 1, "fails": True})
                try:
                    await child.result()
                finally:
                    await ctx.step("told", step(ctx, "told", 1))
        except (ExecutionFailed, SagaFailed) as error:
            return error.code
        return "not undone"

    return kids
