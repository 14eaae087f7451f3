"""Traces: one for an intent, through every life of its execution, its steps and children; and what they don't say."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from contextlib import nullcontext
from datetime import timedelta
from typing import Any

import anyio
import msgspec
import pytest
from opentelemetry import trace
from opentelemetry.trace import SpanKind, StatusCode

from intendant import Context, ExecutionFailed, Realm, Retry, Runtime, Shutdown, Step
from intendant.adapters.memory import MemoryStore
from intendant.domain import state as states
from intendant.domain.state import EXECUTIONS
from intendant.runtime.config import resolve_telemetry
from intendant.steps.steps import Steps
from tests.telemetry.told import Told, attributes, is_below

pytestmark = pytest.mark.anyio

AT_ONCE = Shutdown(drain=0.0)
_received = states.intent_received
_reach: Any = Steps.reach_recorded


class Shop:
    """An order that is paid, packed by a child, and held in its first life behind both."""

    def __init__(self) -> None:
        self.realm = Realm("shop")
        self.held, self.holds = anyio.Event(), True
        self.seen: list[int] = []
        self.realm.handler(self.pay)
        self.realm.handler(self.pack)

    async def pay(self, ctx: Context, order: dict[str, Any]) -> int:
        await ctx.step("charge", self.charge, key=order["item"])
        child = await ctx.submit(self.pack, order)
        if self.holds:
            self.held.set()
            await anyio.sleep_forever()
        await ctx.step("thank", anyio.lowlevel.checkpoint)
        return await child.result()

    async def pack(self, ctx: Context, order: dict[str, Any]) -> int:
        return await ctx.step("box", lambda: 1)

    async def charge(self) -> None:
        self.seen.append(trace.get_current_span().get_span_context().span_id)


async def two_lives(told: Told, hot: MemoryStore) -> Shop:
    """Submitted within a span of the caller's; the process of the first life leaves while the handler is held."""
    shop = Shop()
    with told.tracers.get_tracer("caller").start_as_current_span("request"):
        async with Runtime([shop.realm], hot=hot, telemetry=told.telemetry, shutdown=AT_ONCE) as runtime:
            session = await runtime.open_session("acme", "desk-1")
            execution = await session.submit(shop.pay, {"item": "tea"})
            await shop.held.wait()
    shop.holds = False
    async with Runtime([shop.realm], hot=hot, telemetry=told.telemetry) as runtime:
        assert await runtime.execution("acme", execution.id).result() == 1
    return shop


def check_two_lives(told: Told, shop: Shop) -> None:
    submit, (first, second) = told.one("submit shop.pay"), told.named("execution shop.pay")
    assert is_below(submit, told.one("request"))
    assert submit.kind is SpanKind.PRODUCER
    assert is_below(first, submit)
    assert is_below(second, submit), "the second life is not in the trace of the first"
    facts = [(attributes(each)["intendant.resumed"], attributes(each)["intendant.status"]) for each in (first, second)]
    assert facts == [(False, "suspended"), (True, "completed")]
    charge, child = told.one("step charge"), told.one("step submit(shop.pack)")
    assert is_below(charge, first)
    assert attributes(charge) == {"intendant.step": "charge[tea]"}
    assert [span.span_id for span in (charge.get_span_context(),) if span] == shop.seen
    assert is_below(child, first)
    assert all(is_below(each, child) for each in told.named("execution shop.pack"))
    assert is_below(told.one("step thank"), second)


async def test_a_trace_follows_an_intent_through_a_restart_into_its_child() -> None:
    told = Told()
    shop = await two_lives(told, MemoryStore())
    check_two_lives(told, shop)


def forgetful(*arguments: Any) -> Any:
    return msgspec.structs.replace(_received(*arguments), trace="")


def faults(told: Told) -> dict[str, tuple[Any, str, Callable[..., Any]]]:
    def tells_replayed(self: Any, recorded: Any, asked: bytes) -> None:
        with told.telemetry.tracing.step(recorded.path, trace.INVALID_SPAN):
            _reach(self, recorded, asked)

    return {
        "the trace is not kept": (states, "intent_received", forgetful),
        "a replayed step is told": (Steps, "reach_recorded", tells_replayed),
    }


@pytest.mark.parametrize("fault", ["the trace is not kept", "a replayed step is told"])
async def test_planted_faults_are_found(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    told = Told()
    place, name, wrong = faults(told)[fault]
    monkeypatch.setattr(place, name, wrong)
    shop = await two_lives(told, MemoryStore())
    with pytest.raises((AssertionError, ValueError)):
        check_two_lives(told, shop)


async def test_attempts_are_events_and_no_message_is_told() -> None:
    told, realm = Told(), Realm("shop")

    async def charge(step: Step) -> None:
        raise ValueError("m4rker")

    @realm.handler(retry=Retry(attempts=2, initial=timedelta(0)))
    async def pay(ctx: Context, order: dict[str, Any]) -> None:
        await ctx.step("charge", charge, retry=Retry(attempts=2, initial=timedelta(0)))

    async with Runtime([realm], hot="memory:", telemetry=told.telemetry) as runtime:
        session = await runtime.open_session("acme")
        execution = await session.submit(pay, {"card": "m4rker"})
        with pytest.raises(ExecutionFailed):
            await execution.result()
    step, _ = told.named("step charge")  # the handler's next attempt tries it anew
    assert [(each.name, dict(each.attributes or {})) for each in step.events] == [
        ("attempt failed", {"intendant.attempt": number, "error.type": "ValueError"}) for number in (1, 2)
    ]
    whole = told.one("execution shop.pay")
    assert (step.status.status_code, whole.status.status_code) == (StatusCode.ERROR, StatusCode.ERROR)
    assert attributes(step)["error.type"] == "ValueError"
    assert attributes(whole)["intendant.status"] == "failed"
    assert [(each.name, dict(each.attributes or {})) for each in whole.events] == [
        ("attempt failed", {"intendant.attempt": 1, "error.type": "ValueError"})
    ]
    assert "m4rker" not in "".join(span.to_json() for span in told.spans)


@pytest.mark.parametrize("on", [False, True])
async def test_what_is_stored_grows_only_where_traces_are_wanted(on: bool) -> None:
    told, hot, realm = Told(), MemoryStore(), Realm("shop")
    order: dict[str, Any] = {}

    @realm.handler
    async def pay(ctx: Context, order: dict[str, Any]) -> None:
        """Nothing to do."""

    async with Runtime([realm], hot=hot, telemetry=told.telemetry if on else None) as runtime:
        session = await runtime.open_session("acme")
        with told.tracers.get_tracer("caller").start_as_current_span("request") if on else nullcontext():
            execution = await session.submit(pay, order, idempotency_key="one")
        again = await session.submit(pay, order, idempotency_key="one")
        assert again.id == execution.id, "another trace must not make another intent"
        await execution.result()
        document = await hot.log(0).document("acme", EXECUTIONS, execution.id)
        records = await hot.log(0).entries("acme", limit=100)
    assert document is not None
    stored = msgspec.msgpack.decode(document.body)
    assert ("trace" in stored) is on
    assert any(b"trace" in each for each in records) is on


def test_nothing_of_it_is_imported_without_being_asked() -> None:
    program = (
        "import sys; sys.modules['opentelemetry'] = None\n"
        "import anyio, intendant, intendant.http\n"
        "async def main():\n"
        "    async with intendant.Runtime(hot='memory:') as runtime:\n"
        "        print('intendant_ready 1' in runtime.metrics())\n"
        "anyio.run(main)\n"
        "try:\n"
        "    intendant.Runtime(telemetry=True)\n"
        "except ValueError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    told = "telemetry needs OpenTelemetry's API package: pip install 'intendant[otel]'"
    assert (done.stdout, done.stderr) == (f"True\n{told}\n", "")


def test_how_it_is_turned_on() -> None:
    told = Told().telemetry
    assert resolve_telemetry("default", told, {}) is told
    assert resolve_telemetry("default", None, {}) is None
    assert resolve_telemetry("default", False, {"INTENDANT_TELEMETRY": "1"}) is None
    assert resolve_telemetry("shop", None, {"INTENDANT_SHOP_TELEMETRY": "1"}) is not None
    with pytest.raises(ValueError, match="INTENDANT_TELEMETRY is 1 or 0, not 'yes'"):
        resolve_telemetry("default", None, {"INTENDANT_TELEMETRY": "yes"})
    wrong: Any = "opentelemetry"
    with pytest.raises(ValueError, match="is neither"):
        resolve_telemetry("default", wrong, {})
