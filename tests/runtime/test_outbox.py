"""Events: at least once, in order per session, with a stable id; or visibly given up."""

from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import Any

import anyio
import anyio.lowlevel
import msgspec
import pytest

from intendant import Context, DeadLetter, Event, InvalidIntent, Realm, RelaySettings, Runtime, Shutdown
from intendant.actors.revival import revival
from intendant.adapters.memory import MemoryColdStore, MemoryStore
from intendant.domain.commit import AddToOutbox, Commit, DeleteDocument
from intendant.domain.ports import Store
from intendant.domain.replay import World
from intendant.runtime.audit import Audit as Found
from intendant.runtime.audit import audit as find_faults
from intendant.supervisor import Backoff

pytestmark = pytest.mark.anyio

Audit = Callable[[Store], Awaitable[World]]
Eventually = Callable[[Callable[[], Awaitable[bool]]], Awaitable[None]]
AT_ONCE = RelaySettings(attempts=3, retry=Backoff(initial=0.001, maximum=0.002))
shop = Realm("shop")


@shop.handler
async def emit(ctx: Context, order: dict[str, int]) -> None:
    for number in range(order["events"]):
        ctx.emit("happened", {"number": number})
        if number == 1:
            await ctx.step("between", one)


@shop.handler
async def emit_and_sleep(ctx: Context, order: dict[str, int]) -> None:
    ctx.emit("before", order)
    await ctx.sleep(timedelta(milliseconds=1))
    ctx.emit("after", order)


async def one() -> int:
    return 1


class Post:
    """A publisher that refuses some events some times."""

    def __init__(self, refuse: Callable[[Event, int], bool] = lambda event, attempt: False) -> None:
        self.delivered: list[Event] = []
        self.attempts: Counter[str] = Counter()
        self._refuse = refuse

    async def publish(self, event: Event) -> None:
        await anyio.lowlevel.checkpoint()
        self.attempts[event.id] += 1
        if self._refuse(event, self.attempts[event.id]):
            raise ConnectionError(f"no post today for {event.id}")
        self.delivered.append(event)

    def numbers(self, session: str) -> list[int]:
        return [event.payload["number"] for event in self.delivered if event.session == session]


async def run(running: Runtime, session: str = "desk-1", events: int = 4) -> str:
    opened = await running.open_session("acme", session)
    execution = await opened.submit(emit, {"events": events})
    await execution.result(timeout=10)
    return execution.id


def is_empty(running: Runtime) -> Callable[[], Awaitable[bool]]:
    async def condition() -> bool:
        return len(await running.outbox.pending("acme")) == 0

    return condition


async def test_events_are_delivered_in_order_with_stable_ids(
    runtime: Callable[..., Runtime], eventually: Eventually, hot: Store, audit: Audit
) -> None:
    post = Post()
    async with runtime(shop, publisher=post) as running:
        ids = [await run(running), await run(running), await run(running, "desk-2")]
        await eventually(is_empty(running))
        assert [event.id for event in post.delivered if event.session == "desk-1"] == [
            f"{id}-{number}" for id in ids[:2] for number in range(4)
        ]
        for desk in ("desk-1", "desk-2"):  # in order per session; sessions go side by side
            positions = [event.position for event in post.delivered if event.session == desk]
            assert positions == sorted(positions)
        assert (await running.executions("acme")).items[0].events == 4

        async def counted() -> bool:  # the relay counts when it is told that what the store has is durable
            return running.stats().published == 12

        await eventually(counted)
        assert len((await audit(hot)).published) == 12


async def test_what_rides_with_a_sleep_is_listed_as_published(
    runtime: Callable[..., Runtime], eventually: Eventually
) -> None:
    async with runtime(shop, publisher=Post()) as running:
        session = await running.open_session("acme", "desk-1")
        await (await session.submit(emit_and_sleep, {"n": 1})).result(timeout=10)
        await eventually(is_empty(running))
        events = (await running.outbox.published("acme")).items
        assert [event.name for event in events] == ["after", "before"]


async def test_publisher_that_fails_and_then_succeeds_keeps_the_order(
    runtime: Callable[..., Runtime], eventually: Eventually
) -> None:
    post = Post(lambda event, attempt: attempt < 3 and event.payload["number"] % 2 == 1)
    async with runtime(shop, publisher=post, relay=AT_ONCE) as running:
        await run(running, events=6)
        await eventually(is_empty(running))
        assert post.numbers("desk-1") == list(range(6))
        assert sorted(post.attempts.values()) == [1, 1, 1, 3, 3, 3]
        assert (await running.outbox.dead_letters("acme")).items == []


async def test_session_that_fails_holds_back_only_itself(
    runtime: Callable[..., Runtime], eventually: Eventually
) -> None:
    post = Post(lambda event, attempt: event.session == "stuck")
    patient = RelaySettings(attempts=100, retry=Backoff(initial=60.0, maximum=60.0))
    async with runtime(shop, publisher=post, relay=patient) as running:
        await run(running, "stuck")
        await run(running, "free")

        async def delivered() -> bool:
            return len(await running.outbox.pending("acme")) == 4

        await eventually(delivered)
        assert post.numbers("free") == list(range(4))
        assert post.numbers("stuck") == []
        assert {event.session for event in await running.outbox.pending("acme")} == {"stuck"}


async def test_event_that_fails_too_often_becomes_a_dead_letter(
    runtime: Callable[..., Runtime], eventually: Eventually, hot: Store, audit: Audit
) -> None:
    post = Post(lambda event, attempt: event.payload["number"] == 1)
    async with runtime(shop, publisher=post, relay=AT_ONCE) as running:
        id = await run(running)
        await eventually(is_empty(running))
        assert post.numbers("desk-1") == [0, 2, 3]
        (letter,) = (await running.outbox.dead_letters("acme")).items
        assert (letter.event.id, letter.attempts) == (f"{id}-1", 3)
        assert letter.error.code == "ConnectionError"
        assert f"{id}-1" in letter.error.message
        assert (await running.outbox.dead_letters("bolt")).items == []
        world = await audit(hot)
        assert world.dead == [f"{id}-1"]
        assert len(world.published) == 3


async def test_events_wait_for_a_runtime_that_publishes(
    runtime: Callable[..., Runtime], eventually: Eventually
) -> None:
    async with runtime(shop) as running:
        await run(running)
        assert len(await running.outbox.pending("acme")) == 4
    post = Post()
    async with runtime(shop, publisher=post) as running:
        await eventually(is_empty(running))
        assert post.numbers("desk-1") == list(range(4))


async def test_publisher_that_hangs_is_given_up_at_its_deadline(
    runtime: Callable[..., Runtime], eventually: Eventually
) -> None:
    class Hanging:
        async def publish(self, event: Event) -> None:
            await anyio.sleep_forever()

    settings = RelaySettings(attempts=1, deadline=0.01)
    async with runtime(shop, publisher=Hanging(), relay=settings) as running:
        await run(running, events=1)
        await eventually(is_empty(running))
        (letter,) = (await running.outbox.dead_letters("acme")).items
        assert letter.error.code == "TimeoutError"


async def test_plain_functions_publish_too(runtime: Callable[..., Runtime], eventually: Eventually) -> None:
    seen: list[Event] = []
    async with runtime(shop, publisher=seen.append) as running:
        await run(running, events=1)
        await eventually(is_empty(running))
        assert [event.name for event in seen] == ["happened"]


async def test_nothing_leaves_when_the_attempt_is_not_recorded(runtime: Callable[..., Runtime]) -> None:
    seen: list[Event] = []
    realm = Realm("shop")
    started = anyio.Event()

    @realm.handler
    async def wait(ctx: Context, nothing: dict[str, Any]) -> None:
        ctx.emit("happened")
        started.set()
        await anyio.sleep_forever()

    async with runtime(realm, publisher=seen.append, shutdown=Shutdown(drain=0)) as running:
        session = await running.open_session("acme", "desk-1")
        await session.submit(wait, {"a": 1})
        await started.wait()
        assert (await running.outbox.pending("acme")).items == []
    assert seen == []


async def test_published_events_are_listed_by_page(runtime: Callable[..., Runtime], eventually: Eventually) -> None:
    async with runtime(shop, publisher=Post()) as running:
        for place in range(4):
            await run(running, f"desk-{place}", events=1)
            await eventually(is_empty(running))
        seen: list[str] = []
        cursor = None
        while True:
            page = await running.outbox.published("acme", limit=1, cursor=cursor)
            seen += [event.session for event in page]
            cursor = page.cursor
            if cursor is None:
                break
        assert seen == ["desk-3", "desk-2", "desk-1", "desk-0"]
        assert (await running.outbox.published("bolt")).items == []


async def test_dead_letters_wait_again_when_they_are_retried(
    runtime: Callable[..., Runtime], eventually: Eventually, hot: Store, audit: Audit
) -> None:
    refused = {"down"}
    post = Post(lambda event, attempt: bool(refused) and event.payload["number"] % 2 == 1)
    async with runtime(shop, publisher=post, relay=AT_ONCE) as running:
        execution = await run(running)
        await eventually(is_empty(running))
        dead = [each.event.id for each in (await running.outbox.dead_letters("acme")).items]
        assert dead == [f"{execution}-1", f"{execution}-3"]
        for wrong in ([], dead * 60, ["no-such"], [dead[0], f"{execution}-0"]):
            with pytest.raises(InvalidIntent):
                await running.outbox.retry("acme", wrong)
        with pytest.raises(InvalidIntent, match="no dead letter of this tenant"):
            await running.outbox.retry("bolt", dead)
        refused.clear()
        assert await running.outbox.retry("acme", dead) == dead
        await eventually(is_empty(running))
        assert post.numbers("desk-1") == [0, 2, 1, 3]
        assert (await running.outbox.dead_letters("acme")).items == []
        assert [each.id for each in (await running.outbox.published("acme")).items][:2] == dead[::-1]
        world = await audit(hot)
        assert (world.dead, sorted(world.published)) == ([], [f"{execution}-{number}" for number in range(4)])
    found = await audit_stored(hot)
    assert found.sound, found.findings


async def test_a_retried_event_may_be_given_up_again_and_waits_over_a_restart(
    runtime: Callable[..., Runtime], eventually: Eventually, hot: Store
) -> None:
    post = Post(lambda event, attempt: True)
    async with runtime(shop, publisher=post, relay=AT_ONCE) as running:
        execution = await run(running, events=1)
        await eventually(is_empty(running))
        await running.outbox.retry("acme", [f"{execution}-0"])
        await eventually(is_empty(running))
        assert len((await running.outbox.dead_letters("acme")).items) == 1
    async with runtime(shop) as running:  # nobody publishes
        await running.outbox.retry("acme", [f"{execution}-0"])
        assert [each.id for each in await running.outbox.pending("acme")] == [f"{execution}-0"]
    found = await audit_stored(hot)
    assert found.sound, found.findings
    async with runtime(shop, publisher=(second := Post())) as running:
        await eventually(is_empty(running))
    assert [each.id for each in second.delivered] == [f"{execution}-0"]
    assert second.delivered[0].payload == {"number": 0}


async def test_a_retried_event_leaves_the_dead_letters_of_cold_state(eventually: Eventually) -> None:
    hot, cold, refused = MemoryStore(), MemoryColdStore(), {"down"}
    post = Post(lambda event, attempt: bool(refused))
    async with Runtime([shop], hot=hot, cold=cold, publisher=post, relay=AT_ONCE) as running:

        async def archived() -> bool:
            return running.stats().lag == 0

        event = f"{await run(running, events=1)}-0"
        await eventually(is_empty(running))
        await eventually(archived)
        assert await cold.document("acme", "dead_letters", event) is not None
        refused.clear()
        await running.outbox.retry("acme", [event])
        await eventually(is_empty(running))
        await eventually(archived)
        assert await cold.document("acme", "dead_letters", event) is None


async def audit_stored(hot: Store) -> Found:
    """Everything that was derived, too."""
    await hot.open()
    try:
        return await find_faults(hot.log(0))
    finally:
        await hot.close()


@pytest.mark.parametrize("left_out", [DeleteDocument, AddToOutbox])
async def test_a_revival_that_does_half_of_it_is_found(left_out: type, eventually: Eventually) -> None:
    """Planted: the audit sees that the outbox, or the dead letters, are not what the log leads to."""
    hot = MemoryStore()

    def half(tenant: str, letters: Sequence[DeadLetter], now: int) -> Commit:
        commit = revival(tenant, letters, now)
        kept = [each for each in commit.operations if not isinstance(each, left_out)]
        return Commit(commit.tenant, commit.records, kept)

    async with Runtime([shop], hot=hot, publisher=Post(lambda event, attempt: True), relay=AT_ONCE) as running:
        event = f"{await run(running, events=1)}-0"
        await eventually(is_empty(running))
    async with Runtime([shop], hot=hot) as running:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("intendant.runtime.outbox.revival", half)
            await running.outbox.retry("acme", [event])
    assert (await audit_stored(hot)).diverged == 1


async def test_what_was_retried_is_erased_with_its_session(eventually: Eventually) -> None:
    hot, payload = MemoryStore(), {"number": 987_654_321}
    word = msgspec.msgpack.encode(payload)
    realm = Realm("shop")

    @realm.handler
    async def tell(ctx: Context, order: dict[str, int]) -> None:
        ctx.emit("happened", payload)

    async def held() -> bool:
        return any(word in entry for entry in await hot.log(0).entries("acme", limit=100))

    async with Runtime([realm], hot=hot, publisher=Post(lambda event, attempt: True), relay=AT_ONCE) as running:
        desk = await running.open_session("acme", "desk-1")
        execution = await desk.submit(tell, {"n": 1})
        await execution.result(timeout=10)
        await eventually(is_empty(running))
    async with Runtime([realm], hot=hot) as running:
        await running.outbox.retry("acme", [f"{execution.id}-0"])
        assert await held()
        assert (await running.erase_session("acme", "desk-1")).events == 1
        assert not await held()
        assert (await running.outbox.pending("acme")).items == []
    assert (await audit_stored(hot)).sound
