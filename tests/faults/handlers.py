"""The handlers of the scenarios. Those with sagas and with children are in modules of their own."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import anyio

from intendant import Context, NotExclusive, Realm, Retry, Step, StepFailed, Suspended
from tests.faults.ledger import Ledger


def make_realm(ledger: Ledger) -> Realm:  # noqa: C901  a list of handlers, none of which branches much
    """The handlers of the scenarios; their step bodies write to the ledger."""
    play = Realm("play")

    def plain_step(ctx: Context, path: str, value: Any, *after: str) -> Callable[[], Any]:
        def body() -> Any:
            ledger.ran(ctx, path, after)
            if isinstance(value, Exception):
                raise value
            return value

        return body

    def async_step(ctx: Context, path: str, value: Any, *after: str) -> Callable[[], Awaitable[Any]]:
        async def body() -> Any:
            ledger.ran(ctx, path, after)
            await anyio.sleep(0.01)
            if isinstance(value, Exception):
                raise value
            return value

        return body

    @play.handler
    async def plain(ctx: Context, given: dict[str, Any]) -> int:
        return int(given["n"]) * 2

    @play.handler(pure=True)
    async def computed(ctx: Context, given: dict[str, Any]) -> int:
        ctx.emit("computed", given["n"])
        ctx.artifact("half", given["n"] / 2)
        if given.get("fails"):
            raise ValueError("as asked")
        return int(given["n"]) * 2

    @play.handler
    async def steps(ctx: Context, given: dict[str, Any]) -> int:
        total = 0
        done: list[str] = []
        for number in range(given["steps"]):
            ctx.emit("before", number)
            make = plain_step if number % 2 else async_step
            total += await ctx.step(f"s{number}", make(ctx, f"s{number}", number + 1, *done))
            done.append(f"s{number}")
            ctx.emit("after", total)
        return int(total)

    @play.handler
    async def failing(ctx: Context, given: dict[str, Any]) -> int:
        value = await ctx.step("first", async_step(ctx, "first", 1))
        ctx.artifact("half", {"value": value})
        ctx.emit("giving-up")
        raise ValueError(f"as asked: {given['n']}")

    @play.handler
    async def guarded(ctx: Context, given: dict[str, Any]) -> str:
        try:
            await ctx.step("broken", async_step(ctx, "broken", LookupError("nothing there")))
        except StepFailed as error:
            ctx.emit("caught", error.kind)
        value = await ctx.step("instead", plain_step(ctx, "instead", "spare", "broken"))
        return str(value)

    @play.handler
    async def broken(ctx: Context, given: dict[str, Any]) -> None:
        await ctx.step("good", plain_step(ctx, "good", 1))
        await ctx.step("bad", plain_step(ctx, "bad", OSError("no such thing"), "good"))

    @play.handler
    async def fan(ctx: Context, given: dict[str, Any]) -> list[int]:
        found: dict[int, int] = {}

        async def one(number: int) -> None:
            found[number] = await ctx.step("part", async_step(ctx, f"part[{number}]", number * number), key=str(number))

        async with anyio.create_task_group() as group:
            for number in range(given["width"]):
                group.start_soon(one, number)
        ctx.artifact("squares", [found[number] for number in sorted(found)])
        kept = await ctx.files.put("squares.txt", repr(sorted(found.items())).encode())
        ctx.artifact("file", kept.digest)
        ctx.emit("fanned", len(found))
        return [found[number] for number in sorted(found)]

    @play.handler
    async def resting(ctx: Context, given: dict[str, Any]) -> int:
        """Cleans up in `finally`, by a step, as one should not: it is refused while the handler is suspended."""
        try:
            first = await ctx.step("a", async_step(ctx, "a", 1))
            ctx.emit("resting")
            await anyio.sleep(5)
            second = await ctx.step("b", plain_step(ctx, "b", 2, "a"))
            await anyio.sleep(5)
        finally:
            try:
                third = await ctx.step("clean", async_step(ctx, "clean", 4, "a", "b"))
            except Suspended:
                ledger.refused += 1
                raise
        return int(first + second + third)

    @play.handler
    async def stubborn(ctx: Context, given: dict[str, Any]) -> int:
        """Swallows its cancellation and every error, and goes on."""
        first = await ctx.step("a", async_step(ctx, "a", 1))
        try:
            await anyio.sleep(5)
        except anyio.get_cancelled_exc_class():
            pass
        try:
            second = await ctx.step("b", async_step(ctx, "b", 2, "a"))
        except BaseException:
            ledger.refused += 1
            second = -100
        try:
            ctx.emit("went-on", second)
        except Suspended:
            ledger.refused += 1
        return int(first + second)

    @play.handler
    async def forgiving(ctx: Context, given: dict[str, Any]) -> str:
        """Takes every error of a step for the step's own."""
        try:
            await ctx.step("a", async_step(ctx, "a", 1))
            await ctx.step("b", plain_step(ctx, "b", 2, "a"))
        except Exception:
            return "fallback"
        return "fine"

    @play.handler
    async def napping(ctx: Context, given: dict[str, Any]) -> int:
        """Sleeps between its steps, and side by side."""
        total = int(await ctx.step("a", async_step(ctx, "a", 1)))
        ctx.emit("sleeps")
        await ctx.sleep(timedelta(milliseconds=20))
        total += await ctx.step("b", plain_step(ctx, "b", 2, "a"))

        async def nap(key: str) -> None:
            await ctx.sleep(timedelta(milliseconds=10), key=key)
            await ctx.step("after", async_step(ctx, f"after[{key}]", 1, "b"), key=key)

        async with anyio.create_task_group() as group:
            group.start_soon(nap, "x")
            group.start_soon(nap, "y")
        await ctx.sleep(timedelta(milliseconds=1), key="last")
        ctx.emit("slept")
        return int(total)

    @play.handler
    async def awaiting(ctx: Context, given: dict[str, Any]) -> list[Any]:
        """Takes what is sent, each in a wait of its own; what it took decides the arguments of a step."""
        came: list[Any] = []
        for number in range(given["waits"]):
            key = str(number)
            try:
                limit = timedelta(milliseconds=given["limit"]) if "limit" in given else None
                came.append(await ctx.wait_signal("go", type=int, timeout=limit, key=key))
            except TimeoutError:
                came.append("late")
            ctx.emit("came", key)
            done = [f"kept[{each}]" for each in range(number)]

            async def keep(value: object, path: str, after: list[str], waits: int) -> None:
                ledger.ran(ctx, path, after)
                ledger.waited(ctx, waits)

            await ctx.step("kept", keep, came[-1], f"kept[{key}]", done, len(came), key=key)
        return ["either"] if given.get("either") else came

    @play.handler
    async def giving_up(ctx: Context, given: dict[str, Any]) -> int:
        """Waits for a while by a cancel scope, as one should not; what comes then is for the next wait."""
        with anyio.move_on_after(0.03):
            return int(await ctx.wait_signal("go", type=int))
        await ctx.step("between", async_step(ctx, "between", 1))
        return int(await ctx.wait_signal("go", type=int, key="again"))

    @play.handler(retry=Retry(attempts=2, initial=timedelta(milliseconds=5), jitter=0))
    async def trying(ctx: Context, given: dict[str, Any]) -> int:
        """Steps in scopes, one that is tried twice, one whose result can't be recorded; and fails once itself."""
        total = 0

        async def unlucky(step: Step) -> int:
            if step.attempt == 1:
                raise OSError("no line")
            return step.attempt

        for part in ("x", "y"):
            with ctx.scope("part", key=part):
                total += await ctx.step("a", async_step(ctx, f"part[{part}]/a", 1))
                total += await ctx.step("b", unlucky, retry=Retry(attempts=2, initial=timedelta(milliseconds=5)))
                ctx.emit("part", part)
        try:
            await ctx.step("unheard-of", object)
        except StepFailed as error:
            ctx.emit("refused", error.kind)
        if ctx.attempt == 1:
            raise ValueError("once")
        return int(total)

    @play.handler(cleanup=timedelta(hours=1))  # an outage of the store is not to use it up
    async def cleaning(ctx: Context, given: dict[str, Any]) -> int:
        """Works or waits as it is told, and undoes what it did, step by step."""
        kind = given["kind"]
        try:
            await ctx.step("a", async_step(ctx, "a", 1))
            ctx.emit("begun")
            if kind in {"step", "fails"}:
                await ctx.step("b", anyio.sleep, 3_000)
            elif kind == "sleep":
                await ctx.sleep(timedelta(days=1))
            elif kind == "signal":
                await ctx.wait_signal("go", timeout=timedelta(days=1))
            elif kind == "map":
                await ctx.map("part", anyio.sleep, [0.005, 0.005, 3_000, 3_000], limit=2)
            elif kind == "retry":
                if ctx.attempt > 1:
                    ledger.violations.append(f"{ctx.execution_id} was tried again after a cancel")
                raise ValueError("to be tried again")
        except anyio.get_cancelled_exc_class():
            await ctx.step("undo-b", async_step(ctx, "undo-b", 2, "a"))
            await ctx.sleep(timedelta(milliseconds=5), key="between")
            ctx.emit("undone")
            if kind == "fails":
                raise ValueError("in its clean-up") from None
            raise
        finally:
            if kind != "retry":
                await ctx.step("undo-a", plain_step(ctx, "undo-a", 3, "a"))
                ctx.artifact("clean", given["kind"])
        return 1

    again = Retry(attempts=5, initial=timedelta(hours=1), jitter=0.0)
    play.handler(name="tidying", retry=again, cleanup=timedelta(hours=1))(cleaning)

    @play.handler(exclusive=True)
    async def counting(ctx: Context, given: dict[str, Any]) -> int:
        """Counts in its session's state, if it comes to its end."""
        state = await ctx.session.state.get()
        ledger.counted(ctx, state.get("count", 0))
        ctx.session.state.set({"count": -1})
        await ctx.step("a", async_step(ctx, "a", 1))
        if given.get("fails"):
            raise ValueError("as asked")
        await ctx.sleep(timedelta(days=1) if given.get("cancelled") else timedelta(milliseconds=5))
        count = int(state.get("count", 0)) + 1
        ctx.session.state.set({"count": count})
        return count

    @play.handler
    async def peeking(ctx: Context, given: dict[str, Any]) -> int:
        """Reads its session's state, twice, and would like to set it."""
        before = (await ctx.session.state.get()).get("count", 0)
        ledger.counted(ctx, before)
        try:
            ctx.session.state.set({"count": -2})
        except NotExclusive:
            ctx.emit("refused")
        else:
            ledger.violations.append(f"{ctx.execution_id} is not exclusive, and has set its session's state")
        await ctx.step("a", async_step(ctx, "a", 1))
        await ctx.sleep(timedelta(milliseconds=5))
        ledger.counted(ctx, before)
        return int(before)

    @play.handler
    async def cursed(ctx: Context, given: dict[str, Any]) -> None:
        await ctx.step("a", plain_step(ctx, "a", 1))
        raise Curse("again")

    return play


class Curse(BaseException):
    """What no handler should raise."""
