"""Bad input: each a clear error that names the value or the limit; the log and other sessions are unharmed."""

import functools
import math
import re
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import datetime
from itertools import product
from typing import Any

import anyio
import msgspec
import pytest

from intendant import (
    Context,
    FileReference,
    Intent,
    InvalidIntent,
    InvalidValue,
    Limits,
    Overloaded,
    Realm,
    Runtime,
    Session,
    SessionExists,
    UnknownExecution,
    UnknownSession,
)
from intendant.domain.ports import Store
from intendant.domain.replay import World

pytestmark = pytest.mark.anyio


class Order(msgspec.Struct):
    item: str
    count: int = 1


shop = Realm("shop")


@shop.handler
async def order(ctx: Context, order: Order) -> str:
    return order.item


@shop.handler
async def free(ctx: Context, order: dict[str, Any]) -> str:
    return "taken"


@shop.handler
async def probe(ctx: Context, number: dict[str, int]) -> int:
    ctx.emit("probed", number)
    return await ctx.step("add", add, number["number"])


async def add(number: int) -> int:
    return number + 1


Unharmed = Callable[..., AbstractAsyncContextManager[Runtime]]


@pytest.fixture
def unharmed(runtime: Callable[..., Runtime], hot: Store, audit: Callable[[Store], Awaitable[World]]) -> Unharmed:
    """A runtime that bad things are done to; afterwards another session works, and the log is sound."""

    @asynccontextmanager
    async def run(*realms: Realm, **options: Any) -> AsyncGenerator[Runtime]:
        async with runtime(shop, *realms, **options) as running:
            bystander = await running.open_session("acme", "bystander")
            yield running
            assert running.failed is None
            assert await (await bystander.submit(probe, {"number": 1})).result(timeout=10) == 2
            await audit(hot)
        async with runtime(shop, *realms) as running:
            session = await running.open_session("acme", "bystander")
            assert await (await session.submit(probe, {"number": 2})).result(timeout=10) == 3
            for view in await running.executions("acme"):
                assert view.status is not None
            for record in await running.wal.query("acme", limit=1000):
                assert isinstance(record.payload, dict)
            await audit(hot)

    return run


# --- values that can't be stored, wherever they are given

cyclic: list[Any] = []
cyclic.append(cyclic)


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


VALUES: dict[str, tuple[Any, str]] = {  # and what the error says
    "NaN": (math.nan, "nan.*finite"),
    "infinity": (math.inf, "inf.*finite"),
    "minus-infinity-deep-inside": ({"a": [1, {"b": -math.inf}]}, "inf.*finite"),
    "lone-surrogate": ("a\ud800b", "surrogates"),
    "lone-surrogate-as-key": ({"\udfff": 1}, "surrogates"),
    "integer-over-64-bits": (2**64, "can't be encoded.*int"),
    "integer-under-64-bits": (-(2**63) - 1, "can't be encoded.*int"),
    "holds-itself": (cyclic, "64 levels"),
    "nested-too-deep": (nested(65), "64 levels"),
    "nested-10,000-deep": (nested(10_000), "64 levels"),
    "object": (object(), "can't be encoded.*object"),
    "function": (len, "can't be encoded.*builtin"),
    "generator": (iter(map(str, [1])), "can't be encoded.*map"),
    "class": (Order, "can't be encoded.*"),
    "exception": (ValueError("no"), "can't be encoded.*ValueError"),
    "raw-no-msgpack": (msgspec.Raw(b"\xc1"), "can't be read back"),
    "raw-nothing": ([msgspec.Raw(b""), 1], "can't be read back"),
    "raw-two-values": ([msgspec.Raw(b"\x01\x02")], "can't be read back"),
    "raw-no-utf-8": ([msgspec.Raw(b"\xa1\xff")], "can't be read back"),
    "extension-with-a-bad-time": (msgspec.msgpack.Ext(-1, b"123"), "can't be read back"),
}
LARGE: dict[str, tuple[Any, str]] = {
    "too-long": ("x" * 70_000, r"70,\d\d\d bytes.*65,536"),
    "too-many": (list(range(50_000)), r"\d bytes.*65,536"),
    "too-long-bytes": (bytes(70_000), r"70,\d\d\d bytes.*65,536"),
}
Act = Callable[[Runtime, Session, Any], Awaitable[object]]


async def as_parameters(_running: Runtime, session: Session, value: Any) -> None:
    await session.submit("shop.free", {"value": value})


async def as_parameters_of_nobody(_running: Runtime, session: Session, value: Any) -> None:
    await session.submit("shop.nobody", {"value": value})


async def as_one_of_many(_running: Runtime, session: Session, value: Any) -> None:
    await session.submit_many([Intent(free, {"value": 1}), Intent(free, {"value": value})])


async def as_metadata(_running: Runtime, session: Session, value: Any) -> None:
    await session.submit("shop.free", {"a": 1}, metadata={"value": value})


async def as_session_metadata(running: Runtime, _session: Session, value: Any) -> None:
    await running.open_session("acme", "new", metadata={"value": value})


async def as_state(running: Runtime, session: Session, value: Any) -> None:
    await running.state.set_session("acme", session.id, {"value": value})


async def as_file_metadata(running: Runtime, session: Session, value: Any) -> None:
    await running.state.set_file(FileReference("r", "acme", session.id, "x:", "x", {"value": value}))


GIVEN = [
    as_parameters,
    as_parameters_of_nobody,
    as_one_of_many,
    as_metadata,
    as_session_metadata,
    as_state,
    as_file_metadata,
]
MEMORY = pytest.mark.parametrize("hot", ["memory"], indirect=True)


@MEMORY
async def test_values_that_callers_give(unharmed: Unharmed) -> None:
    async with unharmed() as running:
        session = await running.open_session("acme", "desk-1")
        before = running.stats().records
        for name, (value, says) in (VALUES | LARGE).items():
            for act in GIVEN:
                limit = says.replace("65,536", "16,384") if act in (as_metadata, as_session_metadata) else says
                with pytest.raises((InvalidIntent, InvalidValue), match=limit):
                    await act(running, session, value)
            assert running.stats().records == before, name
        assert len(await running.sessions("acme")) == 2


async def as_result(ctx: Context, value: Any) -> Any:
    return value


async def as_step_result(ctx: Context, value: Any) -> Any:
    async def give() -> Any:
        return value

    return await ctx.step("give", give)


async def as_result_of_a_plain_step(ctx: Context, value: Any) -> Any:
    return await ctx.step("give", lambda: value)


async def as_argument(ctx: Context, value: Any) -> Any:
    return await ctx.step("take", str, value)


async def as_event(ctx: Context, value: Any) -> None:
    ctx.emit("happened", value)


async def as_artifact(ctx: Context, value: Any) -> None:
    ctx.artifact("made", value)


INSIDE = [as_result, as_step_result, as_result_of_a_plain_step, as_argument, as_event, as_artifact]


@MEMORY
async def test_values_that_handlers_give(unharmed: Unharmed) -> None:
    values = VALUES | LARGE
    realm = Realm("bad")
    for each in INSIDE:
        register(realm, each, {name: value for name, (value, _) in values.items()})
    async with unharmed(realm) as running:
        session = await running.open_session("acme", "desk-1")
        for name, (_, says) in values.items():
            for each in INSIDE:
                if each is as_argument and name in LARGE:
                    continue  # arguments are digested, not kept
                execution = await session.submit(f"bad.{each.__name__}", {"which": name})
                outcome = await execution.outcome(timeout=10)
                assert outcome.error is not None, (name, each)
                assert outcome.error.code == "invalid_value", (name, each)
                assert re.search(says, outcome.error.message), (name, each, outcome.error.message)
                assert (outcome.artifacts, outcome.events) == ({}, 0), (name, each)


def register(realm: Realm, body: Callable[[Context, Any], Awaitable[Any]], values: dict[str, Any]) -> None:
    """A handler that does it with the value that its intent names."""

    @realm.handler(name=body.__name__)
    async def handler(ctx: Context, given: dict[str, str]) -> Any:
        return await body(ctx, values[given["which"]])


# --- ids and names

HOSTILE: dict[str, Any] = {
    "empty": "",
    "blank": " ",
    "space-inside": "a b",
    "slash": "a/b",
    "up": "../up",
    "dot": ".",
    "two-dots": "..",
    "leading-colon": ":a",
    "null": "a\0b",
    "null-at-the-end": "a\0",
    "newline": "a\n",
    "trailing-newline": "acme\n",
    "quote": "a'; DROP TABLE records; --",
    "braces": "{tenant}",
    "percent": "%s",
    "percent-encoded": "%41",
    "star": "*",
    "umlaut": "tür",
    "full-width": "ａ",
    "cyrillic-look-alike": "\u0430cme",
    "kelvin-sign": "\u212a",
    "combining": "e\u0301",
    "zero-width": "ac\u200bme",
    "right-to-left": "\u202eacme",
    "emoji": "😀",
    "lone-surrogate": "\ud800",
    "129-long": "a" * 129,
    "10,000-long": "a" * 10_000,
    "1,000,000-long": "a" * 1_000_000,
    "bytes": b"acme",
    "integer": 7,
    "true": True,
    "none-in-a-list": [None],
    "mapping": {"a": 1},
}


@MEMORY
async def test_hostile_ids(unharmed: Unharmed) -> None:
    async with unharmed() as running:
        session = await running.open_session("acme", "desk-1")
        for hostile in HOSTILE.values():
            await refuses(running, session, hostile)


async def refuses(running: Runtime, session: Session, hostile: Any) -> None:
    state, wal = running.state, running.wal
    acts: list[tuple[str, Callable[[], Awaitable[object]]]] = [
        ("tenant", lambda: running.open_session(hostile)),
        ("tenant", lambda: running.sessions(hostile)),
        ("tenant", lambda: running.executions(hostile)),
        ("tenant", lambda: wal.query(hostile)),
        ("tenant", lambda: wal.replay(hostile)),
        ("tenant", lambda: state.session(hostile, "a")),
        ("tenant", lambda: state.execution(hostile, "a")),
        ("tenant", lambda: state.file(hostile, "a")),
        ("tenant", lambda: state.set_session(hostile, "a", {})),
        ("tenant", lambda: state.set_file(FileReference("r", hostile, "desk-1", "x:", "x"))),
        ("tenant", lambda: running.outbox.pending(hostile)),
        ("tenant", lambda: running.outbox.published(hostile)),
        ("tenant", lambda: running.outbox.dead_letters(hostile)),
        ("session", lambda: running.open_session("acme", hostile)),
        ("session", lambda: running.create_session("acme", hostile)),
        ("session", lambda: state.session("acme", hostile)),
        ("session", lambda: state.set_session("acme", hostile, {})),
        ("session", lambda: state.set_file(FileReference("r", "acme", hostile, "x:", "x"))),
        ("session", lambda: wal.query("acme", session=hostile)),
        ("session", lambda: running.executions("acme", session=hostile)),
        ("execution", lambda: state.execution("acme", hostile)),
        ("execution", lambda: state.set_execution("acme", hostile, {})),
        ("execution", lambda: wal.query("acme", execution=hostile)),
        ("execution", lambda: wal.replay("acme", hostile)),
        ("reference", lambda: state.file("acme", hostile)),
        ("reference", lambda: state.set_file(FileReference(hostile, "acme", "desk-1", "x:", "x"))),
        ("idempotency_key", lambda: session.submit(free, {"a": 1}, idempotency_key=hostile)),
        ("solution", lambda: session.submit(free, {"a": 1}, solution=hostile)),
        ("solution", lambda: running.open_session("acme", "new", solution=hostile)),
        ("type", lambda: session.submit(hostile, {})),
    ]
    if hostile != "":
        acts.append(("user_id", lambda: running.open_session("acme", "new", user_id=hostile)))
    for field, act in acts:
        with pytest.raises(InvalidIntent) as raised:
            await act()
        assert raised.value.field == field
        assert len(str(raised.value)) < 300
    for field, make in (("tenant", running.session), ("tenant", running.execution)):
        with pytest.raises(InvalidIntent, match=field):
            make(hostile, "a")
    for field, make in (("session", running.session), ("execution", running.execution)):
        with pytest.raises(InvalidIntent, match=field):
            make("acme", hostile)


@MEMORY
async def test_hostile_names_inside_handlers(unharmed: Unharmed) -> None:
    realm = Realm("bad")

    async def step(ctx: Context, hostile: Any) -> None:
        await ctx.step(hostile, str)

    async def key(ctx: Context, hostile: Any) -> None:
        await ctx.step("name", str, key=hostile)

    async def emit(ctx: Context, hostile: Any) -> None:
        ctx.emit(hostile)

    async def artifact(ctx: Context, hostile: Any) -> None:
        ctx.artifact(hostile, 1)

    for each in (step, key, emit, artifact):
        register(realm, each, HOSTILE)
    async with unharmed(realm) as running:
        session = await running.open_session("acme", "desk-1")
        for name, each in product(HOSTILE.keys() - {"true"}, (step, key, emit, artifact)):
            outcome = await (await session.submit(f"bad.{each.__name__}", {"which": name})).outcome(timeout=10)
            assert outcome.error is not None, name
            assert outcome.error.code == "invalid_intent", name
            assert each.__name__ in outcome.error.message.replace("event name", "emit"), name


async def test_malformed_types(unharmed: Unharmed) -> None:
    async with unharmed() as running:
        session = await running.open_session("acme", "desk-1")
        for type in ("", "shop", ".", "shop.", ".order", "shop..order", "shop.1order", "shop.or der", "9.a"):
            with pytest.raises(InvalidIntent, match=r"type: .*realm\.name"):
                await session.submit(type, {"a": 1})


# --- parameters that do not fit

UNFIT: dict[str, tuple[str, Any, str, str]] = {  # type, parameters, field, what the error says
    "no-mapping": ("shop.order", [1], "parameters", "Order.*expected|Expected"),
    "none": ("shop.order", None, "parameters", "Expected"),
    "text": ("shop.free", "tea", "parameters", "Expected"),
    "no-mapping-of-nobody": ("shop.nobody", [1], "parameters", "mapping, not list"),
    "none-of-nobody": ("shop.nobody", None, "parameters", "mapping, not NoneType"),
    "missing-field": ("shop.order", {"count": 1}, "parameters", "missing required field `item`"),
    "unknown-field": ("shop.order", {"item": "tea", "colour": "red"}, "parameters", "'colour'"),
    "wrong-type": ("shop.order", {"item": 5}, "parameters", r"`str`, got `int`.*item"),
    "text-for-number": ("shop.order", {"item": "tea", "count": "2"}, "parameters", r"`int`, got `str`.*count"),
    "bytes-for-text": ("shop.order", {"item": b"tea"}, "parameters", r"`str`, got `bytes`.*item"),
    "real-for-integer": ("shop.order", {"item": "tea", "count": 1.5}, "parameters", "`int`, got `float`"),
    "integer-keys": ("shop.free", {1: "a"}, "parameters", "`str`"),
    "mixed-keys": ("shop.free", {1: "a", "b": 2}, "parameters", "."),
    "integer-keys-of-nobody": ("shop.nobody", {1: "a"}, "parameters", "text keys; 1 is int"),
}


async def test_parameters_that_do_not_fit(unharmed: Unharmed) -> None:
    async with unharmed() as running:
        session = await running.open_session("acme", "desk-1")
        for name, (type, parameters, field, says) in UNFIT.items():
            with pytest.raises(InvalidIntent, match=says) as raised:
                await session.submit(type, parameters)
            assert raised.value.field == field, name


class Unhashable:
    __hash__ = None  # type: ignore[assignment]

    def __call__(self) -> None: ...


async def test_handlers_and_intents_that_are_none(unharmed: Unharmed) -> None:
    async def stranger(ctx: Context, order: Order) -> None: ...

    async with unharmed() as running:
        session = await running.open_session("acme", "desk-1")
        handlers: list[Any] = [stranger, len, Order, functools.partial(order), Unhashable(), lambda: None]
        for handler in handlers:
            with pytest.raises(InvalidIntent, match="no handler of this runtime") as raised:
                await session.submit(handler, Order("tea"))
            assert raised.value.field == "type"
        wrong: list[Any] = [["shop.order"], [Intent(free, {"a": 1}), None]]
        for intents in wrong:
            with pytest.raises(InvalidIntent, match=r"intents\[\d\]: must be an Intent"):
                await session.submit_many(intents)


async def test_metadata_and_states_that_are_no_mapping(unharmed: Unharmed) -> None:
    async with unharmed() as running:
        session = await running.open_session("acme", "desk-1")
        wrong: list[Any] = [[1], "text", 7, {1: 2}]
        for metadata in wrong:
            with pytest.raises(InvalidIntent, match="metadata: must"):
                await session.submit(free, {"a": 1}, metadata=metadata)
            with pytest.raises(InvalidIntent, match="metadata: must"):
                await running.open_session("acme", "new", metadata=metadata)
            with pytest.raises(InvalidIntent, match="data: must"):
                await running.state.set_session("acme", "desk-1", metadata)
            with pytest.raises(InvalidIntent, match="data: must"):
                await running.state.set_execution("acme", "desk-1", metadata)


def reference(**wrong: Any) -> FileReference:
    given: dict[str, Any] = {"reference": "r", "tenant": "acme", "session": "desk-1", "location": "x:", "filename": "x"}
    return FileReference(**(given | wrong))


async def test_file_references_that_are_none(unharmed: Unharmed) -> None:
    wrong: list[Any] = [None, {"reference": "r"}]
    wrong += [reference(size="large"), reference(filename=7), reference(metadata={1: 2})]
    async with unharmed() as running:
        for file in wrong:
            with pytest.raises(InvalidIntent, match="file: "):
                await running.state.set_file(file)
            assert await running.state.file("acme", "r") is None


async def test_timeouts_that_can_not_be(unharmed: Unharmed) -> None:
    async with unharmed() as running:
        session = await running.open_session("acme", "desk-1")
        execution = await session.submit(free, {"a": 1})
        await execution.outcome(timeout=math.inf)
        wrong: list[Any] = [-1, math.nan, "soon", True, 1e12]
        for timeout in wrong:
            with pytest.raises(InvalidIntent, match="timeout: must be a number of seconds"):
                await session.submit(free, {"a": 1}, timeout=timeout)
            with pytest.raises(InvalidIntent, match="timeout: must be a number of seconds"):
                await running.open_session("acme", "new", timeout=timeout)
            with pytest.raises(ValueError, match="timeout"):
                Runtime(timeout=timeout)


UNFIT_FILTERS: list[tuple[str, dict[str, Any]]] = [
    ("status", {"status": "asleep"}),
    ("status", {"status": 7}),
    ("limit", {"limit": 0}),
    ("limit", {"limit": -1}),
    ("limit", {"limit": "many"}),
    ("cursor", {"cursor": 7}),
    ("cursor", {"cursor": "\ud800"}),
    ("since", {"since": datetime(2026, 1, 1)}),
    ("since", {"since": "yesterday"}),
    ("solution", {"solution": ""}),
    ("type", {"type": "no type"}),
]


async def test_filters_that_can_not_be(unharmed: Unharmed) -> None:
    async with unharmed() as running:
        for field, filters in UNFIT_FILTERS:
            with pytest.raises(InvalidIntent) as raised:
                await running.executions("acme", **filters)
            assert raised.value.field == field
            if field in ("limit", "cursor"):
                lists: list[Callable[..., Awaitable[object]]] = [
                    running.sessions,
                    running.state.execution_data,
                    running.outbox.pending,
                    running.outbox.published,
                    running.outbox.dead_letters,
                ]
                for act in lists:
                    with pytest.raises(InvalidIntent, match=field):
                        await act("acme", **filters)


async def test_what_does_not_exist(unharmed: Unharmed) -> None:
    async with unharmed() as running:
        await running.create_session("acme", "desk-1")
        with pytest.raises(SessionExists, match="'desk-1'"):
            await running.create_session("acme", "desk-1")
        for tenant, session in (("acme", "ghost"), ("nobody", "desk-1")):
            with pytest.raises(UnknownSession, match=session):
                await running.session(tenant, session).submit(free, {"a": 1})
        with pytest.raises(UnknownExecution, match="'ghost'"):
            await running.execution("nobody", "ghost").result()
        assert (await running.executions("nobody")).items == []
        assert (await running.sessions("nobody")).items == []
        assert (await running.wal.query("nobody")).items == []


async def test_many_intents_that_are_too_large_together(unharmed: Unharmed) -> None:
    async with unharmed() as running:
        session = await running.open_session("acme", "desk-1")
        with pytest.raises(InvalidValue, match=r"commit: .*1,048,576"):
            await session.submit_many([Intent(free, {"text": "x" * 60_000})] * 20)
        assert (await running.executions("acme")).items == []


async def test_more_open_executions_than_the_limit(unharmed: Unharmed) -> None:
    gate = anyio.Event()
    realm = Realm("slow")

    @realm.handler
    async def wait(ctx: Context, nothing: dict[str, Any]) -> None:
        await gate.wait()

    async with unharmed(realm, limits=Limits(running=1, open=3)) as running:
        session = await running.open_session("acme", "desk-1")
        executions = [await session.submit("slow.wait", {"a": 1}) for _ in range(3)]
        for many in (1, 5):
            with pytest.raises(Overloaded, match="3") as raised:
                await session.submit_many([Intent(wait, {"a": 1})] * many)
            assert raised.value.limit == 3
        gate.set()
        for execution in executions:
            await execution.result(timeout=10)


# --- handlers that misbehave


class OwnBaseException(BaseException):
    pass


@MEMORY
async def test_handlers_that_raise_no_exception_are_crashes_and_end_failed(unharmed: Unharmed) -> None:
    realm = Realm("bad")
    raised: list[type[BaseException]] = [SystemExit, GeneratorExit, OwnBaseException]
    runs: list[str] = []

    @realm.handler
    async def explode(ctx: Context, which: dict[str, int]) -> None:
        runs.append(raised[which["which"]].__name__)
        raise raised[which["which"]](f"from handler {which}")

    async with unharmed(realm) as running:
        session = await running.open_session("acme", "desk-1")
        executions = await session.submit_many([Intent(explode, {"which": place}) for place in range(len(raised))])
        seen = {execution.id: outcome async for execution, outcome in running.wait(executions, timeout=30)}
        for execution, kind in zip(executions, raised, strict=True):
            error = seen[execution.id].error
            assert error is not None
            assert error.code == "crashed"
            assert kind.__name__ in error.message
            assert runs.count(kind.__name__) == 6


async def test_exceptions_that_can_not_be_shown_or_are_groups(unharmed: Unharmed) -> None:
    realm = Realm("bad")

    class Unshowable(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no")

    errors: list[Exception] = [
        Unshowable(),
        ExceptionGroup("several", [ValueError("a"), KeyError("b")]),
        ValueError("x" * 100_000),
        ValueError("\ud800"),
        StopAsyncIteration(),
        TimeoutError(),
    ]

    @realm.handler
    async def explode(ctx: Context, which: dict[str, int]) -> None:
        raise errors[which["which"]]

    @realm.handler
    async def explode_in_step(ctx: Context, which: dict[str, int]) -> None:
        def body() -> None:
            raise errors[which["which"]]

        await ctx.step("explode", body)

    async with unharmed(realm) as running:
        session = await running.open_session("acme", "desk-1")
        for handler in (explode, explode_in_step):
            for place, error in enumerate(errors):
                outcome = await (await session.submit(handler, {"which": place})).outcome(timeout=10)
                assert outcome.error is not None
                assert outcome.error.code == type(error).__name__
                assert len(outcome.error.message) <= 2_000


async def test_handler_that_blocks_the_loop_for_a_moment(unharmed: Unharmed) -> None:
    realm = Realm("bad")

    @realm.handler
    async def block(ctx: Context, nothing: dict[str, Any]) -> str:
        time.sleep(0.3)  # noqa: ASYNC251  that is the case
        return "sorry"

    async with unharmed(realm, lease=0.3, takeover_timeout=0.2) as running:
        session = await running.open_session("acme", "desk-1")
        executions = [await session.submit(block, {"a": place}) for place in range(2)]
        assert [await each.result(timeout=10) for each in executions] == ["sorry", "sorry"]


async def test_handler_that_emits_more_than_a_record_carries(unharmed: Unharmed) -> None:
    realm = Realm("bad")

    @realm.handler
    async def emit(ctx: Context, many: dict[str, int]) -> int:
        for number in range(many["events"]):
            ctx.emit("happened", number)
        return many["events"]

    async with unharmed(realm) as running:
        session = await running.open_session("acme", "desk-1")
        assert await (await session.submit(emit, {"events": 1_024})).result(timeout=10) == 1_024
        outcome = await (await session.submit(emit, {"events": 1_025})).outcome(timeout=10)
        assert outcome.error is not None
        assert outcome.error.code == "invalid_value"
        assert "1,024" in outcome.error.message


@pytest.mark.parametrize("raises", [False, True])
async def test_handler_that_gives_more_than_a_commit_holds(unharmed: Unharmed, raises: bool) -> None:
    realm = Realm("bad")

    @realm.handler
    async def give(ctx: Context, nothing: dict[str, Any]) -> None:
        for number in range(20):
            ctx.artifact(f"large-{number}", "x" * 60_000)
            ctx.emit("large", "x" * 60_000)
        if raises:
            raise ValueError("and more")

    @realm.handler
    async def emit(ctx: Context, nothing: dict[str, Any]) -> None:
        for _ in range(20):
            ctx.emit("large", "x" * 60_000)
        await ctx.step("after", str)

    async with unharmed(realm) as running:
        session = await running.open_session("acme", "desk-1")
        outcome = await (await session.submit(give, {"a": 1})).outcome(timeout=10)
        assert outcome.error is not None
        assert outcome.error.code == ("ValueError" if raises else "invalid_value")
        outcome = await (await session.submit(emit, {"a": 1})).outcome(timeout=10)
        assert outcome.error is not None
        assert outcome.error.code == "invalid_value"
        assert "1,048,576" in outcome.error.message


async def test_step_names_used_twice(unharmed: Unharmed) -> None:
    realm = Realm("bad")

    @realm.handler
    async def twice(ctx: Context, nothing: dict[str, Any]) -> None:
        await ctx.step("same", add, 1)
        await ctx.step("same", add, 2)

    @realm.handler
    async def twice_with_key(ctx: Context, nothing: dict[str, Any]) -> None:
        await ctx.step("same", add, 1, key="a")
        await ctx.step("same", add, 1, key="b")
        await ctx.step("same", add, 1)
        await ctx.step("same", add, 1, key="a")

    async with unharmed(realm) as running:
        session = await running.open_session("acme", "desk-1")
        for handler, path in ((twice, "same"), (twice_with_key, "same[a]")):
            outcome = await (await session.submit(handler, {"a": 1})).outcome(timeout=10)
            assert outcome.error is not None
            assert outcome.error.code == "duplicate_step"
            assert f"step '{path}'" in outcome.error.message
            assert "key=" in outcome.error.message


async def test_steps_that_are_no_functions(unharmed: Unharmed) -> None:
    realm = Realm("bad")
    wrong: list[Any] = [None, 7, "text", add(1), order]

    @realm.handler
    async def call(ctx: Context, which: dict[str, int]) -> None:
        await ctx.step("wrong", wrong[which["which"]])

    async with unharmed(realm) as running:
        session = await running.open_session("acme", "desk-1")
        for place in range(len(wrong)):
            outcome = await (await session.submit(call, {"which": place})).outcome(timeout=10)
            assert outcome.error is not None
            assert outcome.error.code in ("TypeError", "invalid_value", "invalid_intent")
    wrong[3].close()


# --- at registration

A = Realm("a")


async def no_parameters(ctx: Context) -> None: ...
async def three(ctx: Context, a: dict[str, Any], b: int) -> None: ...
async def keyword_only(ctx: Context, *, a: dict[str, Any]) -> None: ...
async def any_number(*args: Any) -> None: ...
async def integer(ctx: Context, a: int) -> None: ...
async def text(ctx: Context, a: str) -> None: ...
async def a_list(ctx: Context, a: list[int]) -> None: ...
async def anything(ctx: Context, a: Any) -> None: ...
async def mapping_or_not(ctx: Context, a: dict[str, Any] | int) -> None: ...
async def callback(ctx: Context, a: Callable[[], int]) -> None: ...
async def an_object(ctx: Context, a: object) -> None: ...
def plain(ctx: Context, a: dict[str, Any]) -> None: ...
async def yields(ctx: Context, a: dict[str, Any]) -> AsyncGenerator[int]:
    yield 1


async def untyped(ctx: Context, a: Any) -> None: ...
async def nowhere(ctx: Context, a: Any) -> None: ...


untyped.__annotations__ = {}
nowhere.__annotations__ = {"a": "Nowhere"}
NO_HANDLERS: list[tuple[Any, str]] = [
    (no_parameters, r"takes \(ctx, parameters\)"),
    (three, r"takes \(ctx, parameters\)"),
    (keyword_only, r"takes \(ctx, parameters\)"),
    (any_number, r"takes \(ctx, parameters\)"),
    (untyped, "say the type of 'a'"),
    (integer, "'a' must be a Struct"),
    (text, "'a' must be a Struct"),
    (a_list, "'a' must be a Struct"),
    (anything, "'a' must be a Struct"),
    (mapping_or_not, "'a' must be a Struct"),
    (callback, "'a' must be a Struct"),
    (an_object, "'a' must be a Struct"),
    (nowhere, "Nowhere.*importable"),
    (plain, "async def"),
    (yields, "async def"),
    (Order, "async def"),
    (len, "async def"),
    (None, "async def"),
    (7, "async def"),
    ("text", "async def"),
    (functools.partial(len), "async def"),
]


@pytest.mark.parametrize(
    ("function", "says"),
    NO_HANDLERS,
    ids=lambda value: getattr(value, "__name__", None) or repr(value)[:20],
)
def test_functions_that_can_be_no_handlers(function: Any, says: str) -> None:
    realm = Realm("bad")
    with pytest.raises(TypeError, match=says):
        realm.handler(name="handler")(function)
    with pytest.raises(TypeError):
        realm.handler()(function)
    assert not realm.handlers


@pytest.mark.parametrize("name", ["", " ", "a b", "1a", "a/b", "a" * 130, 7, "ü"])
def test_realms_and_handlers_with_names_that_can_not_be(name: Any) -> None:
    with pytest.raises(InvalidIntent, match="type: "):
        Realm(name)
    with pytest.raises(InvalidIntent, match="type: "):
        Realm("bad").handler(name=name or " ")(free)


def test_names_that_are_taken() -> None:
    realm = Realm("bad")
    realm.handler(free)
    with pytest.raises(ValueError, match=r"bad\.free has a handler already"):
        realm.handler(free)
    again = Realm("bad")
    again.handler(free)
    with pytest.raises(ValueError, match=r"bad\.free is in two realms"):
        Runtime([realm, again])


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"realms": [free]}, "realms.*Realm"),
        ({"realms": Realm("a")}, "realms.*Realm"),
        ({"realms": ["a"]}, "realms.*Realm"),
        ({"on_failure": "explode"}, "on_failure"),
        ({"timeout": -1}, "timeout"),
        ({"publisher": 7}, "publisher"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else None,  # pyright: ignore[reportUnknownLambdaType, reportUnknownArgumentType]
)
def test_runtimes_that_can_not_be(options: dict[str, Any], says: str) -> None:
    with pytest.raises((ValueError, TypeError), match=says):
        Runtime(**options)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"durability": "forever"}, "durability 'forever'.*fsync"),
        ({"durability": "fsync", "hot": "memory:"}, "memory:.*'memory'.*'fsync'"),
        ({"hot": "mysql://root:secret@host/db"}, "hot"),
        ({"hot": "memory:?what=1"}, "hot"),
        ({"hot": "sqlite:"}, "names no file"),
        ({"hot": "sqlite:///x.db"}, "sqlite:x.db"),
        ({"hot": "sqlite:x.db?synchronous=off"}, "synchronous=off"),
        ({"cold": "arangodb+typo:", "hot": "memory:"}, "cold"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else None,  # pyright: ignore[reportUnknownLambdaType, reportUnknownArgumentType]
)
async def test_stores_that_can_not_be(options: dict[str, Any], says: str) -> None:
    running = Runtime(**options)
    for _ in range(2):
        with pytest.raises((ValueError, InvalidValue), match=says) as raised:
            await running.__aenter__()
        assert "secret" not in str(raised.value)


@pytest.mark.parametrize("name", ["Ü", "", "a" * 32])
async def test_names_that_can_not_be(name: str) -> None:
    with pytest.raises(ValueError, match="a runtime's name is 1 to 31 of a-z"):
        Runtime(name=name)
