"""Versions of handlers: an execution keeps the one it began with, and is blocked while the code can't go on with it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import msgspec
import pytest
from msgspec import Struct

from intendant import (
    CancelResult,
    Context,
    Execution,
    ExecutionView,
    Limits,
    Realm,
    Runtime,
    Saga,
    Shutdown,
    Status,
    UnreadableJournal,
)
from intendant.adapters.memory import MemoryStore
from intendant.domain import journal
from intendant.domain.journal import decode_journal_row

pytestmark = pytest.mark.anyio

Nothing = dict[str, Any]


class Order(Struct):
    item: str


class Strict(Struct):
    item: int


async def waiting(ctx: Context, _nothing: Nothing) -> str:
    first = await ctx.step("first", lambda: "one")
    await ctx.wait_signal("go")
    return f"old {first}"


async def newer(ctx: Context, _nothing: Nothing) -> str:
    return "new"


def realm_of(*versions: tuple[int, Callable[..., Awaitable[Any]]], name: str = "place") -> Realm:
    realm = Realm("orders")
    for version, function in versions:
        realm.handler(name=name, version=version)(function)
    return realm


async def until(execution: Execution[Any], status: Status) -> ExecutionView:
    with anyio.fail_after(5):
        while (view := await execution.view()).status is not status:  # noqa: ASYNC110  a status has no event
            await anyio.sleep(0.001)
    return view


def over(store: MemoryStore, *realms: Realm) -> Runtime:
    return Runtime(realms, hot=store)


async def begin(store: MemoryStore, realm: Realm, parameters: Any = None) -> tuple[str, str]:
    """An execution of the realm's newest that waits; its id."""
    async with over(store, realm) as runtime:
        session = await runtime.open_session("acme", "desk")
        execution = await session.submit("orders.place", parameters or {})
        await until(execution, Status.WAITING)
        return "acme", execution.id


async def test_what_began_keeps_its_version_and_what_is_new_gets_the_newest() -> None:
    store = MemoryStore()
    old = await begin(store, realm_of((1, waiting)))
    async with over(store, realm_of((2, newer), (1, waiting))) as runtime:
        execution = runtime.execution(*old)
        new = await (await runtime.session("acme", "desk").submit("orders.place", {})).outcome(timeout=5)
        await execution.signal("go")
        outcome = await execution.outcome(timeout=5)
        assert (outcome.result, outcome.version) == ("old one", 1)
        assert (new.result, new.version) == ("new", 2)


async def test_one_without_its_version_is_blocked_until_a_start_with_it() -> None:
    store = MemoryStore()
    old = await begin(store, realm_of((1, waiting)))
    async with over(store, realm_of((2, newer))) as runtime:
        execution = runtime.execution(*old)
        view = await until(execution, Status.BLOCKED)
        assert view.blocked == "orders.place of version 1 is in no realm of this runtime; it has 2"
        assert [each.id for each in await runtime.executions("acme", status="blocked")] == [old[1]]
        await execution.signal("go")
        with pytest.raises(TimeoutError):
            await execution.outcome(timeout=0.02)
        assert runtime.stats().running == 0
        # it holds no place to run: others of its tenant go on
        other = await runtime.open_session("acme", "other")
        assert await (await other.submit("orders.place", {})).result(timeout=5) == "new"
    async with over(store, realm_of((1, waiting))) as runtime:
        assert await runtime.execution(*old).result(timeout=5) == "old one"


async def test_without_any_handler_it_is_blocked_at_every_start() -> None:
    store = MemoryStore()
    old = await begin(store, realm_of((1, waiting)))
    for _ in range(2):
        async with over(store) as runtime:
            assert "no realm" in (await until(runtime.execution(*old), Status.BLOCKED)).blocked


async def test_a_cancelled_one_waits_for_its_code_to_clean_up() -> None:
    undone: list[str] = []

    async def booking(ctx: Context, _nothing: Nothing) -> None:
        async with ctx.saga("trip") as trip:
            await book(trip)
            await ctx.wait_signal("go")

    async def book(trip: Saga) -> None:
        await trip.step("book", lambda: "ticket", undo=lambda _step, _ticket: undone.append("book"))

    store = MemoryStore()
    old = await begin(store, realm_of((1, booking)))
    async with over(store) as runtime:
        execution = runtime.execution(*old)
        await until(execution, Status.BLOCKED)
        assert await execution.cancel() is CancelResult.REQUESTED
        await until(execution, Status.BLOCKED)
        assert not undone
    async with over(store, realm_of((1, booking))) as runtime:
        assert (await runtime.execution(*old).outcome(timeout=5)).status is Status.CANCELLED
        assert undone == ["book"]


async def test_blocked_ones_that_have_not_begun_end_cancelled_and_run_no_code() -> None:
    ran: list[str] = []

    async def occupying(ctx: Context, _nothing: Nothing) -> None:
        ran.append(ctx.execution_id)
        await anyio.sleep_forever()

    store = MemoryStore()
    realm = realm_of((1, occupying))
    async with Runtime([realm], hot=store, limits=Limits(running=1), shutdown=Shutdown(drain=0.0)) as runtime:
        desks = [await runtime.open_session("acme", f"desk-{number}", concurrency=1) for number in range(2)]
        running = await desks[0].submit("orders.place", {})
        tried, in_line = [await desks[1].submit("orders.place", {}) for _ in range(2)]
        await until(running, Status.RUNNING)
    async with over(store, realm_of((2, newer))) as runtime:
        await until(runtime.execution("acme", tried.id), Status.BLOCKED)
        for each in (in_line, tried):
            handle = runtime.execution("acme", each.id)
            assert await handle.cancel() in (CancelResult.CANCELLED, CancelResult.REQUESTED)
            assert (await handle.outcome(timeout=5)).status is Status.CANCELLED
        assert await (await runtime.session("acme", "desk-1").submit("orders.place", {})).result(timeout=5) == "new"
    assert ran == [running.id]


async def test_one_whose_journal_can_not_be_read_takes_a_cancel_and_no_signal(monkeypatch: pytest.MonkeyPatch) -> None:
    def of_a_newer_release(row: bytes) -> Any:
        if row[:1] == b"c":
            raise msgspec.DecodeError("a row of a newer release")
        return decode_journal_row(row)

    store = MemoryStore()
    old = await begin(store, realm_of((1, waiting)))
    with monkeypatch.context() as patch:
        patch.setattr(journal, "decode_journal_row", of_a_newer_release)
        for _ in range(2):
            async with over(store, realm_of((1, waiting))) as runtime:
                execution = runtime.execution(*old)
                view = await until(execution, Status.BLOCKED)
                assert view.blocked == "its journal can't be read: a row of a newer release"
                with pytest.raises(UnreadableJournal, match="can't be read: a row of a newer release; until"):
                    await execution.signal("go")
                with pytest.raises(UnreadableJournal):
                    await execution.children()
                for _ in range(2):
                    assert await execution.cancel() is CancelResult.REQUESTED
                await until(execution, Status.BLOCKED)  # it was looked at once more
    async with over(store, realm_of((1, waiting))) as runtime:
        outcome = await runtime.execution(*old).outcome(timeout=5)
        assert outcome.status is Status.CANCELLED
        cancels = await runtime.wal.query(old[0], execution=old[1], type="cancel_requested")
        assert len(cancels.items) == 1


async def test_parameters_that_no_longer_decode_block() -> None:
    async def place(ctx: Context, order: Order) -> str:
        await ctx.wait_signal("go")
        return order.item

    async def strict(ctx: Context, order: Strict) -> int:
        return order.item

    store = MemoryStore()
    old = await begin(store, realm_of((1, place)), {"item": "tea"})
    async with over(store, realm_of((1, strict))) as runtime:
        view = await until(runtime.execution(*old), Status.BLOCKED)
        assert view.blocked.startswith("its parameters do not fit orders.place of version 1: ")
        await runtime.execution(*old).signal("go")
    async with over(store, realm_of((1, place))) as runtime:
        assert await runtime.execution(*old).result(timeout=5) == "tea"


async def test_a_result_that_no_longer_decodes_blocks_and_no_handler_hides_it() -> None:
    def text() -> str:
        return "one"

    def number() -> int:
        raise AssertionError("it is recorded")

    def handler(function: Callable[[], Any]) -> Callable[[Context, Nothing], Awaitable[str]]:
        async def place(ctx: Context, _nothing: Nothing) -> str:
            try:
                value = await ctx.step("first", function)
            except Exception:
                value = "hidden"
            await ctx.wait_signal("go")
            return str(value)

        return place

    store = MemoryStore()
    old = await begin(store, realm_of((1, handler(text))))
    async with over(store, realm_of((1, handler(number)))) as runtime:
        view = await until(runtime.execution(*old), Status.BLOCKED)
        assert "recorded result of step 'first' does not fit" in view.blocked
    async with over(store, realm_of((1, handler(text)))) as runtime:
        await runtime.execution(*old).signal("go")
        assert await runtime.execution(*old).result(timeout=5) == "one"


def test_versions_are_checked() -> None:
    realm = realm_of((3, newer), (1, waiting))
    assert realm.handlers["orders.place"].version == 3
    assert sorted(realm.versions) == [("orders.place", 1), ("orders.place", 3)]
    with pytest.raises(ValueError, match="a handler already of version 3"):
        realm.handler(name="place", version=3)(waiting)
    for version in (0, True, "2"):
        with pytest.raises(ValueError, match="version must be a whole number"):
            Realm("orders").handler(version=version)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
