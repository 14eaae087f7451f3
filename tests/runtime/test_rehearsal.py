"""A dry replay of open executions: what it says of a handler that hangs, and of a journal that can't be read."""

from __future__ import annotations

from typing import Any

import anyio
import msgspec
import pytest

from intendant import Context, Realm, Runtime, Status
from intendant.adapters.memory import MemoryStore
from intendant.domain import journal
from intendant.realm import Repertoire
from intendant.runtime.rehearsal import Rehearsed, Verdict, rehearse

pytestmark = pytest.mark.anyio

Nothing = dict[str, Any]


def realm_of(handler: Any) -> Realm:
    realm = Realm("orders")
    realm.handler(name="place")(handler)
    return realm


async def waiting(ctx: Context, _nothing: Nothing) -> None:
    await ctx.step("first", lambda: "one")
    await ctx.wait_signal("go")


async def rehearsed(handler: Any, seconds: float = 5.0) -> Rehearsed:
    """What is told of one that began as `waiting`, with this handler in its place."""
    store = MemoryStore()
    async with Runtime([realm_of(waiting)], hot=store) as runtime:
        execution = await (await runtime.open_session("acme", "desk")).submit("orders.place", {})
        while await execution.status() is not Status.WAITING:  # noqa: ASYNC110  a status has no event
            await anyio.sleep(0.001)
        repertoire = Repertoire([realm_of(handler)])
        (told,) = [each async for each in rehearse(store.log(0), repertoire, seconds=seconds)]
    return told


async def test_a_handler_that_comes_to_no_durable_call_is_stuck() -> None:
    async def hanging(ctx: Context, _nothing: Nothing) -> None:
        await ctx.step("first", lambda: "one")
        await anyio.sleep_forever()

    told = await rehearsed(hanging, seconds=0.01)
    assert (told.verdict, told.continues) == (Verdict.STUCK, False)
    assert told.detail == "its handler did not come to what it would do next within 0.01 s"


async def test_the_function_of_a_step_that_was_not_recorded_is_not_called() -> None:
    called: list[str] = []

    async def goes_on(ctx: Context, _nothing: Nothing) -> None:
        await ctx.step("first", lambda: "one")
        await ctx.step("charge", lambda: called.append("charge"))

    await rehearsed(goes_on)
    assert called == []


async def test_a_result_that_no_longer_decodes_is_told_whatever_the_handler_makes_of_it() -> None:
    def number() -> int:
        raise AssertionError("it is recorded")

    async def hiding(ctx: Context, _nothing: Nothing) -> None:
        try:
            await ctx.step("first", number)
        except Exception:
            await ctx.wait_signal("go")

    told = await rehearsed(hiding)
    assert told.verdict is Verdict.JOURNAL
    assert "recorded result of step 'first' does not fit" in told.detail


async def test_rows_that_no_longer_decode_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def of_a_newer_release(_row: bytes) -> Any:
        raise msgspec.DecodeError("a row of a newer release")

    monkeypatch.setattr(journal, "decode_journal_row", of_a_newer_release)
    told = await rehearsed(waiting)
    assert (told.verdict, told.detail) == (Verdict.JOURNAL, "a row of a newer release")
