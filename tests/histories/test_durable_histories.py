"""Stores with durable executions in the middle of things, written by earlier versions; this version ends them all.

To add one, with the version that is to be kept: python tests/histories/test_durable_histories.py FOLDER/durable_NAME.db
"""

from __future__ import annotations

import shutil
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import anyio
import pytest

from intendant import Context, ExecutionFailed, Realm, Runtime, Shutdown, Status
from intendant.adapters.clock import SystemClock
from intendant.adapters.sqlite import SqliteStore
from intendant.domain.records import LogRecord, decode_entry
from intendant.runtime.audit import Told, audit

HISTORIES = sorted(Path(__file__).parent.glob("durable_*.db"))
TYPES = ("step_completed", "step_failed", "timer_set", "timer_fired", "signal_received", "cancel_requested")
OF_SAGAS = ("saga_started", "saga_compensating", "saga_compensated")
Given = dict[str, Any]
LATER = timedelta(days=300)


class Later(SystemClock):
    """All that was waited for has come."""

    def now(self) -> int:
        return super().now() + LATER // timedelta(microseconds=1)


def realm(ran: list[str], *, finish: bool) -> Realm:  # noqa: C901  a list of handlers, none of which branches much
    """With `finish` False, what cleans up and undoes does not come to its end."""
    shop = Realm("shop")

    def step(name: str) -> Any:
        def body(*_arguments: object) -> str:
            ran.append(name)
            return name

        return body

    async def hang_or(name: str) -> str:
        if not finish:
            await anyio.sleep_forever()
        ran.append(name)
        return name

    @shop.handler
    async def sleeps(ctx: Context, given: Given) -> str:
        await ctx.sleep(timedelta(microseconds=1))
        await ctx.sleep(LATER / 2, key="long")
        return await ctx.step("woken", step("woken"))

    @shop.handler
    async def waits(ctx: Context, given: Given) -> list[Any]:
        found: list[Any] = [await ctx.step("first", step("first")), await ctx.wait_signal("go")]
        return [*found, *await ctx.map("both", str, [1, 2]), await ctx.wait_signal("go", key="2")]

    @shop.handler
    async def parent(ctx: Context, given: Given) -> list[Any]:
        done = await ctx.submit("shop.leaf", {}, key="done")
        open_ = await ctx.submit("shop.waits", {}, key="open")
        return [await done.result(), await open_.result()]

    @shop.handler
    async def leaf(ctx: Context, given: Given) -> int:
        return 1

    @shop.handler
    async def trip(ctx: Context, given: Given) -> None:
        async with ctx.saga("trip") as trip:
            await trip.step("book", step("book"), undo=step("unbook"))
            if given["waits"]:
                await ctx.wait_signal("go")
            raise ValueError("no money")

    @shop.handler
    async def cleans(ctx: Context, given: Given) -> None:
        try:
            await ctx.wait_signal("never")
        finally:
            await ctx.step("clean", hang_or, "clean")

    @shop.handler(exclusive=True)
    async def counts(ctx: Context, given: Given) -> int:
        count: int = (await ctx.session.state.get()).get("n", 0) + 1
        ctx.session.state.set({"n": count})
        return count

    if finish:

        @shop.handler(name="waits", version=2)
        async def newer(ctx: Context, given: Given) -> str:
            return "new"

    return shop


async def write(path: Path) -> None:
    async with Runtime([realm([], finish=False)], hot=f"sqlite:{path}", shutdown=Shutdown(drain=0.0)) as runtime:
        session, counter = await runtime.open_session("acme", "desk"), await runtime.open_session("acme", "counter")
        await (await counter.submit("shop.counts", {})).outcome()
        await (await session.submit("shop.trip", {"waits": False}, idempotency_key="failed")).outcome()
        for type in ("sleeps", "waits", "parent", "trip", "cleans"):
            execution = await session.submit(f"shop.{type}", {"waits": True}, idempotency_key=type)
            while await execution.status() is not Status.WAITING:  # noqa: ASYNC110  a status has no event
                await anyio.sleep(0.01)
            if type == "waits":
                await execution.signal("go", 1, id="one")
                await execution.signal("unheard", 2)
            if type == "cleans":
                await execution.cancel()
            await anyio.sleep(0.1)


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.mark.anyio
@pytest.mark.parametrize("history", HISTORIES, ids=lambda path: path.stem)
async def test_what_is_in_the_middle_of_things_comes_to_its_end(history: Path, tmp_path: Path) -> None:
    path = shutil.copy(history, tmp_path / "copy.db")
    ran: list[str] = []
    async with Runtime([realm(ran, finish=True)], hot=f"sqlite:{path}", clock=Later()) as runtime:
        session = runtime.session("acme", "desk")
        found = {view.key: runtime.execution("acme", view.id) for view in await runtime.executions("acme")}
        assert await found["sleeps"].result(timeout=10) == "woken"
        await found["waits"].signal("go", 3)
        outcome = await found["waits"].outcome(timeout=10)
        assert (outcome.result, outcome.version) == (["first", 1, "1", "2", 3], 1)
        assert [each.name for each in outcome.undelivered] == ["unheard"]
        (open_,) = [each for each in await found["parent"].children() if "open" in each.path]
        for number in (5, 6):
            await runtime.execution("acme", open_.execution).signal("go", number)
        assert await found["parent"].result(timeout=10) == [1, ["first", 5, "1", "2", 6]]
        await found["trip"].signal("go")
        with pytest.raises(ExecutionFailed, match="no money"):
            await found["trip"].result(timeout=10)
        assert (await found["cleans"].outcome(timeout=10)).status is Status.CANCELLED
        assert [saga.compensated for saga in (await found["failed"].outcome()).sagas] == [True]
        assert await (await runtime.session("acme", "counter").submit("shop.counts", {})).result(timeout=10) == 2
        assert await (await session.submit("shop.waits", {})).result(timeout=10) == "new"
        assert (await runtime.wal.replay("acme")).violations == []
    assert sorted(ran) == ["clean", "unbook", "woken"]
    store = SqliteStore(Path(path))
    await store.open()
    audited = await audit(store.log(0), Told())
    types = {record.type for record in await records_of(store)}
    await store.close()
    assert audited.sound, [str(each) for each in audited.findings]
    assert types >= {*TYPES, *OF_SAGAS, "execution_cancelled", "state_set"} - {"step_failed"}


async def records_of(store: SqliteStore) -> list[LogRecord]:
    return [each for entry in await store.log(0).entries(None, first=0, limit=1_000) for each in decode_entry(entry)]


if __name__ == "__main__":
    anyio.run(write, Path(sys.argv[1]))
