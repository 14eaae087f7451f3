"""Events on their way to targets that fail, hang or are away; in virtual time, and at last to real ones."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import anyio.abc
import pytest
import redis

from intendant import Context, DeadLetter, Event, Realm, RelaySettings, Runtime, TargetUnavailable, Undeliverable
from intendant.actors.outbox_relay import OutboxRelay
from intendant.adapters.memory import MemoryLog, MemoryStore
from intendant.adapters.publishers import Breaker, redis_stream, webhook
from intendant.domain.ports import Publisher
from intendant.supervisor import Backoff
from intendant.testing.clock import VirtualClock, virtual_backend
from tests.adapters.publishers.receiver import SECRET, Receiver, Request, says, verified
from tests.infrastructure.tier import scaled

pytestmark = pytest.mark.anyio

ATTEMPTS = 3
_outbox = MemoryLog.outbox
RELAY = RelaySettings(attempts=ATTEMPTS, deadline=20.0, retry=Backoff(initial=0.5, maximum=4.0))
shop = Realm("shop")


@shop.handler
async def tell(ctx: Context, order: dict[str, int]) -> None:
    for number in range(order["events"]):
        ctx.emit("happened", {"number": number})


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    return request.param if "real" in request.node.name else virtual_backend(str(request.param))


async def run(running: Runtime, session: str, events: int) -> str:
    opened = await running.open_session("acme", session)
    execution = await opened.submit(tell, {"events": events})
    await execution.result(timeout=10)
    return execution.id


async def sent(running: Runtime, seconds: float = 3600.0) -> None:
    with anyio.fail_after(seconds):
        while (await running.outbox.pending("acme")).items:  # noqa: ASYNC110  nobody announces it
            await anyio.sleep(seconds / 1000)


async def dead(running: Runtime) -> list[DeadLetter]:
    return (await running.outbox.dead_letters("acme")).items


class Target:
    """Takes what `fate` lets through, and remembers when whatever came."""

    def __init__(self, fate: Callable[[Event, int], Awaitable[None]]) -> None:
        self.taken: list[Event] = []
        self.came: list[tuple[float, str]] = []
        self.tries: Counter[str] = Counter()
        self._fate = fate

    async def publish(self, event: Event) -> None:
        self.tries[event.id] += 1
        self.came.append((anyio.current_time(), event.id))
        await self._fate(event, self.tries[event.id])
        self.taken.append(event)

    def numbers(self, session: str) -> list[int]:
        return [event.payload["number"] for event in self.taken if event.session == session]


def over(hot: MemoryStore, target: Publisher, relay: RelaySettings = RELAY) -> Runtime:
    return Runtime([shop], hot=hot, publisher=target, clock=VirtualClock(), lease=1e6, relay=relay)


@pytest.mark.usefixtures("rare_looks")
async def test_an_outage_of_the_target_makes_no_dead_letters() -> None:
    ends = anyio.current_time() + 600.0

    async def fate(event: Event, _: int) -> None:
        if (left := ends - anyio.current_time()) > 0:
            raise TargetUnavailable("nobody is there", None if event.session == "desk-0" else min(left, 60.0))

    target = Target(fate)
    async with over(MemoryStore(), target) as running:
        for desk in range(3):
            await run(running, f"desk-{desk}", 4)
        await sent(running, 1000.0)
        assert await dead(running) == []
        for desk in range(3):
            assert target.numbers(f"desk-{desk}") == [0, 1, 2, 3]
        tries = Counter(event.partition("-")[0] for _, event in target.came)
        assert max(tries.values()) < 200, "by the back-off, 4 s at most"
        assert min(tries.values()) < 20, "as it was asked to, after 60 s each"


async def test_what_can_not_be_delivered_is_a_dead_letter_at_once() -> None:
    async def fate(event: Event, _: int) -> None:
        if event.payload["number"] == 1:
            raise Undeliverable("gone")

    target = Target(fate)
    async with over(MemoryStore(), target) as running:
        id = await run(running, "desk-1", 3)
        await sent(running, 1.0)
        (letter,) = await dead(running)
        assert (letter.event.id, letter.attempts, letter.error.code) == (f"{id}-1", 1, "Undeliverable")
        assert target.numbers("desk-1") == [0, 2]


async def test_a_session_that_hangs_keeps_nobody_waiting() -> None:
    async def fate(event: Event, _: int) -> None:
        if event.session == "slow":
            await anyio.sleep(15.0)

    target = Target(fate)
    async with over(MemoryStore(), target) as running:
        await run(running, "slow", 3)
        begun = anyio.current_time()
        for desk in range(5):
            await run(running, f"desk-{desk}", 2)
            with anyio.fail_after(1.0):
                while {each.session for each in await running.outbox.pending("acme")} != {"slow"}:  # noqa: ASYNC110
                    await anyio.sleep(0.05)
        assert anyio.current_time() - begun < 5.0
        await sent(running)
        assert target.numbers("slow") == [0, 1, 2]
        assert set(target.tries.values()) == {1}


async def test_a_place_that_a_failure_frees_is_taken_at_once() -> None:
    async def fate(event: Event, _: int) -> None:
        if event.session == "fails":
            await anyio.sleep(0.27)  # in the middle of a round that had no place for the next session
            raise ConnectionError
        if event.session == "hangs":
            await anyio.sleep_forever()

    target = Target(fate)
    relay = RelaySettings(sessions=2, deadline=1e6, retry=Backoff(initial=1e4, maximum=1e4))
    async with over(MemoryStore(), target, relay) as running:
        for session in ("fails", "hangs", "next"):
            await run(running, session, 1)
            await anyio.sleep(0.075)
        await anyio.sleep(1.0)
        assert target.numbers("next") == [0]


async def test_many_events_that_wait_are_not_looked_through_all_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    reads: list[int] = []

    async def slowly(self: MemoryLog, *, after: int = 0, limit: int = 256, tenant: str | None = None) -> Any:
        if tenant is None:
            reads.append(after)
            await anyio.sleep(0.1)
        return await _outbox(self, after=after, limit=limit, tenant=tenant)

    async def fate(event: Event, _: int) -> None:
        if event.session == "stuck":
            raise TargetUnavailable("away", 100.0)

    monkeypatch.setattr(MemoryLog, "outbox", slowly)
    target = Target(fate)
    async with over(MemoryStore(), target) as running:
        for _ in range(3):
            await run(running, "stuck", 200)
        await anyio.sleep(5.0)
        reads.clear()
        for desk in range(40):
            await run(running, f"desk-{desk}", 1)
            await anyio.sleep(0.5)
        assert 4 <= reads.count(0) <= 9, "each of three pages, and rests nine times as long"
        await anyio.sleep(5.0)
        assert len(target.taken) == 40


async def test_an_erasure_waits_for_its_own_session_only() -> None:
    goes_on = anyio.Event()

    async def fate(event: Event, _: int) -> None:
        if event.session != "desk":
            await goes_on.wait()

    target = Target(fate)
    relay = RelaySettings(deadline=1e5)
    async with over(MemoryStore(), target, relay=relay) as running:
        for session in ("other", "erased", "desk"):
            await run(running, session, 2)
        await anyio.sleep(1.0)
        with anyio.fail_after(5.0):
            await running.erase_session("acme", "desk")
        erased = anyio.Event()

        async def erase() -> None:
            await running.erase_session("acme", "erased")
            erased.set()

        async with anyio.create_task_group() as group:
            group.start_soon(erase)
            await anyio.sleep(100.0)
            assert not erased.is_set(), "its first event is under way"
            goes_on.set()
        await sent(running)
        assert (target.numbers("other"), target.numbers("erased")) == ([0, 1], [0])


# --- at random


BEFALLS = ["counts", "away", "hangs", "slow"]


def planned(seed: int) -> tuple[dict[tuple[str, int], list[str]], Callable[[Event, int], Awaitable[None]]]:
    """What befalls the events of four sessions: lists of what each try comes to, until it is taken."""
    chance = random.Random(seed)
    plan = {
        (f"desk-{desk}", number): chance.choices(BEFALLS, [6, 3, 1, 1], k=chance.randrange(6))
        for desk in range(4)
        for number in range(5)
    }

    async def fate(event: Event, attempt: int) -> None:
        befalls = [*plan[event.session, event.payload["number"]], *[""] * attempt][attempt - 1]
        if befalls == "counts":
            raise ConnectionError("refused")
        if befalls == "away":
            raise TargetUnavailable("away", 2.0)
        if befalls:
            await anyio.sleep(100.0 if befalls == "hangs" else 3.0)

    return plan, fate


def expected(befalls: list[str]) -> tuple[bool, int]:
    """Whether an event is delivered, and after how many tries that is settled."""
    counted = 0
    for tries, each in enumerate(befalls, 1):
        counted += each in ("counts", "hangs")
        if counted == ATTEMPTS or each == "slow":
            return each == "slow", tries
    return True, len(befalls) + 1


async def check_random(seed: int) -> None:
    plan, fate = planned(seed)
    target = Target(fate)
    async with over(MemoryStore(), target) as running:
        for desk in range(4):
            await run(running, f"desk-{desk}", 5)
        await sent(running)
        letters = await dead(running)
    gone = {(each.event.session, each.event.payload["number"]): each.attempts for each in letters}
    by_place = {(event.session, event.payload["number"]): target.tries[event.id] for event in target.taken}
    for place, befalls in plan.items():
        delivered, tries = expected(befalls)
        if delivered:
            assert by_place[place] == tries, place
            assert place not in gone
        else:
            assert gone[place] == ATTEMPTS, place
    for desk in range(4):
        numbers = target.numbers(f"desk-{desk}")
        assert numbers == [number for number in range(5) if (f"desk-{desk}", number) not in gone]


@pytest.mark.scaled
@pytest.mark.parametrize("seed", range(scaled(400, 4)))
async def test_order_attempts_and_dead_letters_at_random(seed: int) -> None:
    await check_random(seed)


async def check_one() -> None:
    await check_random(1)


# --- deaths


async def check_deaths() -> None:
    """A life ends while an event is being published; another one when all are, and none of that is settled."""
    hot = MemoryStore()

    async def never(_: Event, __: int) -> None:
        await anyio.sleep_forever()

    async def at_once(_: Event, __: int) -> None:
        """It is taken."""

    async with over(hot, Target(never), relay=RelaySettings(deadline=1e6)) as running:
        id = await run(running, "desk-1", 3)
        await anyio.sleep(1.0)
    first, second = Target(at_once), Target(at_once)
    with pytest.MonkeyPatch.context() as patch:

        async def dies(*_: Any) -> None:
            await anyio.sleep_forever()

        patch.setattr(OutboxRelay, "_record", dies)
        async with over(hot, first) as running:
            await anyio.sleep(1.0)
    async with over(hot, second) as running:
        await sent(running)
        assert await dead(running) == []
    for target in (first, second):
        assert [event.id for event in target.taken] == [f"{id}-{number}" for number in range(3)]


async def test_what_was_not_settled_is_published_again_with_the_same_ids() -> None:
    await check_deaths()


# --- planted

_publish = OutboxRelay._publish  # pyright: ignore[reportPrivateUsage]
_failed = OutboxRelay._failed  # pyright: ignore[reportPrivateUsage]
_begin = OutboxRelay._begin  # pyright: ignore[reportPrivateUsage]


async def settle_first(self: Any, item: Any) -> Exception | None:
    """Publish after settle."""
    await self._record([item.position], [])
    return await _publish(self, item)


async def all_at_once(self: Any, session: Any, delivery: Any) -> None:
    """No order within a session: what fails lets the next ones go ahead."""
    for item in delivery.items:
        error = await self._publish(item)
        if error is None:
            delivery.published.append(item.position)
        elif letter := self._failed(session, item, error):
            delivery.dead.append((item, letter))


def counts_outages(self: Any, session: Any, item: Any, error: Exception) -> Any:
    return _failed(self, session, item, ConnectionError() if isinstance(error, TargetUnavailable) else error)


def counts_nothing(self: Any, session: Any, item: Any, error: Exception) -> Any:
    return _failed(self, session, item, TargetUnavailable("", 1.0))


def counts_one_too_many(self: Any, session: Any, item: Any, error: Exception) -> Any:
    letter = _failed(self, session, item, error)
    if letter is None and session in self._failing and self._failing[session].attempts == ATTEMPTS - 1:
        self._failing[session].attempts -= 1
        self._failing[session].position = item.position
    return letter


async def wait_for_all(self: Any, group: Any, limiter: Any) -> None:
    """A round ends when its slowest session has."""
    while self._running:
        await self._parking.wait()
    await _begin(self, group, limiter)


@pytest.mark.parametrize(
    ("name", "bug", "find"),
    [
        ("_publish", settle_first, check_deaths),
        ("_publish_in_order", all_at_once, check_one),
        ("_failed", counts_outages, check_one),
        ("_failed", counts_nothing, check_one),
        ("_failed", counts_one_too_many, check_one),
        ("_begin", wait_for_all, test_a_session_that_hangs_keeps_nobody_waiting),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
async def test_planted(
    monkeypatch: pytest.MonkeyPatch, name: str, bug: Any, find: Callable[[], Awaitable[None]]
) -> None:
    monkeypatch.setattr(OutboxRelay, name, bug)
    with pytest.raises((AssertionError, TimeoutError, KeyError, ExceptionGroup)):
        await find()


# --- real targets


async def test_real_webhooks_come_signed_in_order_and_at_least_once() -> None:
    seen: Counter[str] = Counter()
    chance = random.Random(7)

    async def moody(request: Request, stream: anyio.abc.ByteStream) -> None:
        seen[request.id] += 1
        mood = chance.choice(["fine", "fine", "busy", "broken", "hangs up", "takes it and hangs up"])
        if mood == "fine" or seen[request.id] > 2:
            taken.append(request)
            return await says(204)(request, stream)
        if mood.endswith("hangs up"):
            if mood.startswith("takes"):
                taken.append(request)
            return await stream.aclose()
        return await says(503 if mood == "busy" else 500)(request, stream)

    taken: list[Request] = []
    async with Receiver(moody).listen() as receiver:
        hook = webhook(
            receiver.url, secret=SECRET, allow_private=True, breaker=Breaker(pause=Backoff(initial=0.01, maximum=0.02))
        )
        relay = RelaySettings(attempts=20, retry=Backoff(initial=0.001, maximum=0.01))
        async with Runtime([shop], hot="memory:", publisher=hook, relay=relay) as running:
            ids = [await run(running, f"desk-{desk}", 6) for desk in range(3)]
            await sent(running, 20.0)
            assert await dead(running) == []
        assert all(verified(each, SECRET) for each in receiver.requests)
        firsts = list(dict.fromkeys(each.id for each in taken))
        for id in ids:
            assert [each for each in firsts if each.startswith(id)] == [f"{id}-{number}" for number in range(6)]


def test_a_real_publisher_goes_from_one_event_loop_to_another(redis_url: str) -> None:
    stream = redis_url.rpartition("=")[2]
    receiver = Receiver()

    async def life(made: list[Publisher]) -> None:
        async with receiver.listen():
            if not made:
                made += [
                    redis_stream(redis_url, stream=stream),
                    webhook(receiver.url, secret=SECRET, allow_private=True),
                ]
            for publisher in made:
                async with Runtime([shop], hot="memory:", publisher=publisher) as running:
                    await run(running, "desk-1", 2)
                    await sent(running, 5.0)

    made: list[Publisher] = []
    for backend in ("asyncio", "trio", "asyncio"):
        anyio.run(life, made, backend=backend)
    driver: Any = redis  # not typed throughout
    with driver.Redis.from_url(redis_url.partition("?")[0]) as client:
        assert (client.xlen(stream), len(receiver.requests)) == (6, 6)
