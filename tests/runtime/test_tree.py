"""`Runtime.tree`: what it shows of supervisors, sessions and executions, within which bounds."""

from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import anyio
import msgspec
import pytest

from intendant import Context, Event, Intent, InvalidIntent, Limits, Realm, Runtime, Session, Shutdown, TreeNode
from intendant.actors.session import SessionActor
from intendant.adapters.memory import MemoryColdStore
from intendant.testing.clock import VirtualClock, virtual_backend

pytestmark = pytest.mark.anyio

shop = Realm("shop")
NOTHING: dict[str, Any] = {}
EXECUTIONS = "intendant/partitions/partition[0]/executions"
SESSIONS = "intendant/partitions/partition[0]/sessions"


async def forever() -> None:
    await anyio.sleep_forever()


@shop.handler
async def charge(ctx: Context, nothing: dict[str, Any]) -> None:
    await ctx.step("card", forever)


@shop.handler
async def remind(ctx: Context, nothing: dict[str, Any]) -> None:
    await ctx.sleep(timedelta(hours=1))


@shop.handler
async def crash(ctx: Context, nothing: dict[str, Any]) -> None:
    raise SystemExit("out of paper")


@pytest.fixture
def started() -> Callable[..., Runtime]:
    def make(**options: Any) -> Runtime:
        return Runtime([shop], hot="memory:", shutdown=Shutdown(drain=0.0), **options)

    return make


def every(node: TreeNode) -> Iterator[TreeNode]:
    yield node
    for child in node.children:
        yield from every(child)


def at(root: TreeNode, path: str) -> TreeNode:
    (found,) = [each for each in every(root) if each.path == path]
    return found


async def until(runtime: Runtime, true: Callable[[TreeNode], bool], **view: Any) -> TreeNode:
    with anyio.fail_after(5):
        while not true(tree := await runtime.tree(**view)):  # noqa: ASYNC110  nobody announces it
            await anyio.sleep(0.001)
    return tree


async def test_executions_say_what_they_are_and_where_they_are(started: Callable[..., Runtime]) -> None:
    async with started(limits=Limits(running=1)) as runtime:
        session = await runtime.open_session("acme", "desk-1")
        waits = await session.submit(remind, NOTHING)
        await until(runtime, lambda tree: at(tree, EXECUTIONS).counts == {"waiting": 1})
        runs, queued = [await session.submit(charge, NOTHING) for _ in range(2)]
        tree = await until(runtime, lambda tree: any(each.steps == ("card",) for each in every(tree)))
        shown = {each.path: each for each in at(tree, EXECUTIONS).children}
        one, two, three = (shown[f"{EXECUTIONS}/acme/{each.id}"] for each in (runs, waits, queued))
        assert [each.state for each in (one, two, three)] == ["running", "waiting", "queued"]
        assert (one.kind, one.type, one.tenant, one.session) == ("execution", "shop.charge", "acme", "desk-1")
        assert (two.type, two.steps, three.steps) == ("shop.remind", ("sleep()",), ())
        assert 0 <= one.age < 60
        assert at(tree, EXECUTIONS).counts == {"running": 1, "waiting": 1, "queued": 1}
        assert at(tree, f"{SESSIONS}/acme/desk-1").state == "idle"
        names = {each.name: (each.kind, each.state) for each in every(tree)}
        assert names["partition[0]"] == ("supervisor", "running")
        assert names["wal-writer"] == ("worker", "running")


async def publish(event: Event) -> None:
    """To nobody."""


async def test_every_actor_is_shown_below_its_own(started: Callable[..., Runtime]) -> None:
    async with started(cold=MemoryColdStore(), publisher=publish, watchdog=60.0) as runtime:
        session = await runtime.open_session("acme", "desk-1")
        execution = await session.submit(remind, NOTHING)
        tree = await runtime.tree()
        for node in every(tree):
            for child in node.children:
                assert child.path.startswith(f"{node.path}/")
        partition, projections = "intendant/partitions/partition[0]", "intendant/projections"
        followers = ("state-writer[0]", "outbox-relay[0]", "retention[0]", "eraser[0]", "hot-gauge", "watchdog")
        assert {each.path for each in every(tree)} == {
            "intendant",
            "intendant/deadlines",
            "intendant/partitions",
            partition,
            *(f"{partition}/{name}" for name in ("wal-writer", "timers", "sessions", "executions")),
            f"{SESSIONS}/acme/desk-1",
            f"{EXECUTIONS}/acme/{execution.id}",
            projections,
            *(f"{projections}/{name}" for name in followers),
        }


async def test_of_one_tenant_nothing_else_is_shown(crowd: Runtime) -> None:
    for fold in ("", "tenant", "session"):
        tree = await crowd.tree(tenant="bolt", fold=fold)
        shown = msgspec.json.encode(tree).decode()
        assert ("bolt" in shown, "acme" in shown) == (True, False), fold
        assert (at(tree, SESSIONS).counts, at(tree, EXECUTIONS).counts) == ({"idle": 1}, {"queued": 10})


class TestVirtualTime:
    @pytest.fixture(params=["asyncio", "trio"])
    def anyio_backend(self, request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
        return virtual_backend(str(request.param))

    async def test_restarts_are_forgotten_with_their_window(self) -> None:
        await restarts_are_forgotten()


class Stumbles(MemoryColdStore):
    """Can't be written at first."""

    stumbled = False

    async def put(self, *arguments: Any, **options: Any) -> Any:
        if not self.stumbled:
            self.stumbled = True
            raise LookupError("no shelf")
        return await super().put(*arguments, **options)


async def restarts_are_forgotten() -> None:
    """Of an execution and of a supervisor's budget; what is in the tree for good keeps its last crash."""
    realm, lives = Realm("shop"), 0

    @realm.handler
    async def once(ctx: Context, nothing: dict[str, Any]) -> None:
        nonlocal lives
        lives += 1
        if lives == 1:
            raise SystemExit("out of paper")
        await ctx.sleep(timedelta(hours=1))

    shutdown = Shutdown(drain=0.0)
    async with Runtime([realm], hot="memory:", cold=Stumbles(), clock=VirtualClock(), shutdown=shutdown) as runtime:
        session = await runtime.open_session("acme", "desk-1")
        path = f"{EXECUTIONS}/acme/{(await session.submit(once, NOTHING)).id}"
        projections, writer = "intendant/projections", "intendant/projections/state-writer[0]"
        await until(runtime, lambda tree: at(tree, path).state == "waiting" and at(tree, writer).restarts == 1)
        tree = await runtime.tree()
        for passed, counts in ((0, 1), (20, 1), (11, 0)):
            await anyio.sleep(passed)
            tree = await runtime.tree()
            shown = at(tree, path)
            assert (shown.restarts, shown.restarts_in_window, at(tree, projections).restarts_in_window) == (counts,) * 3
            assert (shown.last_crash is not None) == bool(counts)
        crash = at(tree, writer).last_crash
        assert (at(tree, writer).restarts, crash is not None and "no shelf" in crash.reason) == (1, True)


async def test_a_crash_is_shown_with_reason_and_time(started: Callable[..., Runtime]) -> None:
    async with started() as runtime:
        session = await runtime.open_session("acme", "desk-1")
        began = datetime.now(UTC) - timedelta(seconds=1)
        execution = await session.submit(crash, NOTHING)
        path = f"{EXECUTIONS}/acme/{execution.id}"
        tree = await until(runtime, lambda tree: any(each.path == path and each.restarts for each in every(tree)))
        shown = at(tree, path)
        assert shown.last_crash is not None
        assert shown.last_crash.reason == "SystemExit('out of paper')"
        assert began < shown.last_crash.at < datetime.now(UTC) + timedelta(seconds=1)
        assert shown.restarts_in_window >= 1
        await until(runtime, lambda tree: any(each.state == "restarting" for each in every(tree)))


async def test_a_mailbox_shows_its_depth_and_the_age_of_its_oldest(
    started: Callable[..., Runtime], monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go, load = anyio.Event(), anyio.Event(), SessionActor.started

    async def slow(self: SessionActor) -> None:
        begun.set()
        await go.wait()
        await load(self)

    monkeypatch.setattr(SessionActor, "started", slow)
    async with started() as runtime, anyio.create_task_group() as group:
        group.start_soon(runtime.open_session, "acme", "desk-1")
        await begun.wait()
        group.start_soon(runtime.open_session, "acme", "desk-1")
        tree = await until(runtime, lambda tree: at(tree, f"{SESSIONS}/acme/desk-1").depth == 2)
        assert at(tree, f"{SESSIONS}/acme/desk-1").state == "busy"
        await until(runtime, lambda tree: at(tree, f"{SESSIONS}/acme/desk-1").oldest > 0.001)
        go.set()


@pytest.fixture
async def crowd(started: Callable[..., Runtime]) -> AsyncGenerator[Runtime]:
    async with crowded(started) as runtime:
        yield runtime


@asynccontextmanager
async def crowded(started: Callable[..., Runtime]) -> AsyncGenerator[Runtime]:
    """Two running of `acme`, ten queued of it and of `bolt`."""
    async with started(limits=Limits(running=2)) as runtime:
        acme, bolt = [await runtime.open_session(tenant, "desk-1") for tenant in ("acme", "bolt")]
        await acme.submit_many([shop_intent() for _ in range(2)])
        await until(runtime, lambda tree: at(tree, EXECUTIONS).counts == {"running": 2})
        for each in (acme, bolt):
            await queue(each)
        yield runtime


def shop_intent() -> Intent[Any]:
    return Intent("shop.charge", NOTHING)


async def queue(session: Session) -> None:
    await session.submit_many([shop_intent() for _ in range(10)])


async def test_it_shows_no_more_than_was_asked_for(crowd: Runtime) -> None:
    few = at(await crowd.tree(limit=3), EXECUTIONS)
    assert [each.state for each in few.children] == ["running", "running", "queued"]  # those at work first
    assert few.counts == {"running": 2, "queued": 20}
    mine = at(await crowd.tree(tenant="bolt"), EXECUTIONS)
    assert {each.tenant for each in mine.children} == {"bolt"}
    assert mine.counts == {"queued": 10}
    assert {each.name for each in every(await crowd.tree(depth=1))} == {
        "intendant", "deadlines", "partitions", "projections",
    }  # fmt: skip
    assert at(await crowd.tree(depth=3), EXECUTIONS).children == ()


async def test_executions_are_folded_the_largest_first(crowd: Runtime) -> None:
    for fold in ("tenant", "session"):
        sums = at(await crowd.tree(fold=fold), EXECUTIONS).children
        assert [(each.kind, each.tenant, each.counts) for each in sums] == [
            (fold, "acme", {"running": 2, "queued": 10}),
            (fold, "bolt", {"queued": 10}),
        ]
    assert len(at(await crowd.tree(fold="tenant", limit=1), EXECUTIONS).children) == 1


async def test_others_have_their_turn_while_it_looks(crowd: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("intendant.runtime.observer._SLICE", 2)
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            await anyio.lowlevel.checkpoint()
            turns += 1

    async with anyio.create_task_group() as group:
        group.start_soon(others)
        await crowd.tree(fold="tenant")
        group.cancel_scope.cancel()
    assert turns >= 10


@pytest.mark.parametrize(
    ("field", "value"), [("depth", -1), ("limit", 10_001), ("limit", True), ("tenant", "a/b"), ("fold", "type")]
)
async def test_what_makes_no_sense_is_refused(crowd: Runtime, field: str, value: Any) -> None:
    with pytest.raises(InvalidIntent, match=field):
        await crowd.tree(**{field: value})
