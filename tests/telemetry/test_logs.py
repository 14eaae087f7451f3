"""Logs: whose a line is, by the same keys in all; and nothing that callers and handlers gave, at any level."""

from __future__ import annotations

import ast
import functools
import logging
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest

import intendant
from intendant import Context, Event, Realm, RelaySettings, Retry, Runtime, StoreUnavailable
from intendant.domain.logs import KEYS, LOGGERS, about, told, trace_of
from intendant.http import app
from intendant.supervisor import Backoff

pytestmark = pytest.mark.anyio

PACKAGE = Path(intendant.__file__).parent
LEVELS = {"debug", "info", "warning", "error", "critical", "log", "exception"}
MARKER = "m4rker"  # of what callers and handlers give
ZERO = timedelta(0)
SECRET = "s3cret"  # of the stores' URLs


@functools.cache
def modules() -> dict[Path, ast.Module]:
    """Those of the package that have a logger."""
    texts = {file: file.read_text() for file in sorted(PACKAGE.rglob("*.py"))}
    return {file: ast.parse(text) for file, text in texts.items() if "logging.getLogger" in text}


def calls(module: ast.Module) -> list[ast.Call]:
    return [node for node in ast.walk(module) if isinstance(node, ast.Call)]


def test_each_line_of_ours_says_whose_it_is_and_carries_no_exception() -> None:
    lines = 0
    for file, module in modules().items():
        for call in calls(module):
            logger, _, method = ast.unparse(call.func).rpartition(".")
            if (logger, method in LEVELS) != ("logger", True):
                continue
            lines += 1
            keywords = {each.arg for each in call.keywords}
            assert "extra" in keywords, f"{file}:{call.lineno} says nothing of whose it is"
            assert "exc_info" not in keywords, f"{file}:{call.lineno} would show the exception's message"
            assert method != "exception", f"{file}:{call.lineno} would show the exception's message"
    assert lines > 20


def test_every_logger_has_its_place_in_the_list() -> None:
    named = {
        each.args[0].value
        for module in modules().values()
        for each in calls(module)
        if ast.unparse(each.func) == "logging.getLogger" and each.args and isinstance(each.args[0], ast.Constant)
    }
    assert named == set(LOGGERS)
    assert tuple(about()) == KEYS


def test_an_error_is_told_by_its_type_and_place() -> None:
    try:
        try:
            raise KeyError(MARKER)
        except KeyError as error:
            raise ValueError(MARKER) from error
    except ValueError as error:
        line, whole = told(error), trace_of(error)
    assert line.startswith("ValueError at ")
    assert line.endswith("test_an_error_is_told_by_its_type_and_place")
    assert whole.index("KeyError at ") < whole.index("ValueError at ")
    assert MARKER not in line
    assert told(StoreUnavailable("the disk is full")) == "StoreUnavailable: the disk is full"


class Shop:
    """Everything that can fail in a handler does so, with the marker in it."""

    def __init__(self) -> None:
        self.realm = Realm("shop")
        self.crashes = 1
        for handler in (self.fail, self.crash, self.ask):
            self.realm.handler(handler)
        self.realm.handler(retry=Retry(attempts=2, initial=ZERO))(self.again)

    async def fail(self, ctx: Context, order: dict[str, str]) -> None:
        ctx.emit("refused", order)
        ctx.logger.warning("refused")
        await ctx.step("charge", self.charge, order)

    async def charge(self, order: dict[str, str]) -> None:
        raise ValueError(order)

    async def again(self, ctx: Context, order: dict[str, str]) -> None:
        raise RuntimeError(order)

    async def crash(self, ctx: Context, order: dict[str, str]) -> None:
        self.crashes -= 1
        if self.crashes >= 0:
            raise SystemExit(order["card"])

    async def ask(self, ctx: Context, order: dict[str, str]) -> str:
        def answer() -> str:
            raise LookupError(order)

        ctx.on_query("what", answer)
        return await ctx.wait_signal("go", type=str)


async def publish(event: Event) -> None:
    raise OSError(event.payload)


async def work(shop: Shop, cold: str) -> None:
    relay = RelaySettings(attempts=2, retry=Backoff(initial=0.0, maximum=0.0))
    async with Runtime([shop.realm], hot="memory:", cold=cold, publisher=publish, relay=relay) as runtime:
        desk = await runtime.open_session("acme", "desk-1", metadata={"card": MARKER})
        for type in ("shop.fail", "shop.again", "shop.crash"):
            await (await desk.submit(type, {"card": MARKER})).outcome()
        asked = await desk.submit("shop.ask", {"card": MARKER})
        transport = httpx.ASGITransport(app(runtime, anonymous="acme"))
        async with httpx.AsyncClient(transport=transport, base_url="http://desk") as client:
            assert (await client.get(f"/v1/executions/{asked.id}/queries/what")).status_code == 500
        await asked.signal("go", MARKER)
        await asked.result()
        with anyio.fail_after(10):
            while not (await runtime.outbox.dead_letters("acme")).items:  # noqa: ASYNC110  nobody announces it
                await anyio.sleep(0.001)


async def everything_logged(caplog: pytest.LogCaptureFixture) -> str:
    caplog.set_level(logging.DEBUG)
    await work(Shop(), f"arangodb://app:{SECRET}@127.0.0.1:1/work")
    with pytest.raises(StoreUnavailable):
        async with Runtime([], hot=f"redis://app:{SECRET}@127.0.0.1:1/0"):
            pass
    formatter = logging.Formatter()
    return "\n".join(f"{formatter.format(each)} {vars(each)!r}" for each in caplog.records)


async def test_nothing_that_was_given_is_logged_at_any_level(caplog: pytest.LogCaptureFixture) -> None:
    logged = await everything_logged(caplog)
    for said in (
        "refused",
        "attempt 1 of shop.again",
        "shop.fail",
        "crashed",
        "was not published",
        "queries/{name} failed",
    ):
        assert said in logged
    assert "cold state" in logged
    assert MARKER not in logged
    assert SECRET not in logged
    ours = [each for each in caplog.records if each.name.partition(".")[0] == "intendant"]
    assert {each.name for each in ours} <= set(LOGGERS)
    assert all(set(KEYS) <= set(vars(each)) for each in ours)
    (line,) = [each for each in ours if each.name == "intendant.handler"]
    assert [vars(line)[key] for key in ("tenant", "session", "step", "attempt")] == ["acme", "desk-1", "", 1]


FAULTS: dict[str, tuple[str, Callable[..., str]]] = {
    "a message is told": ("intendant.actors.execution.told", repr),
    "a stack is told with messages": ("intendant.runtime.engine.trace_of", repr),
    "what was not published is told": ("intendant.actors.outbox_relay.told", repr),
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_planted_faults_are_found(
    fault: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(*FAULTS[fault])
    assert MARKER in await everything_logged(caplog)


async def test_a_step_is_named_while_it_runs(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "intendant.handler")
    realm = Realm("shop")

    @realm.handler
    async def pay(ctx: Context, order: dict[str, Any]) -> None:
        async def charge() -> None:
            ctx.logger.info("charging", extra={"amount": 5})

        await ctx.step("charge", charge)

    async with Runtime([realm], hot="memory:") as runtime:
        session = await runtime.open_session("acme")
        execution = await session.submit("shop.pay", {})
        await execution.result()
    (line,) = [vars(each) for each in caplog.records if each.name == "intendant.handler"]
    assert (line["step"], line["execution"], line["amount"]) == ("charge", execution.id, 5)
