"""Sessions with an idle time-out: closed when they had no work for so long, and never before."""

from __future__ import annotations

import random
from datetime import timedelta
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from intendant import Context, InvalidIntent, Realm, Runtime, Session, SessionClosed, Shutdown, UnknownSession
from intendant.actors.session import SessionActor
from intendant.adapters.memory import MemoryLog, MemorySnapshot, MemoryStore
from intendant.domain import state as states
from intendant.domain.commit import Batch, KeysTaken, Verdict
from intendant.domain.payloads import SessionClosed as Closed
from intendant.domain.payloads import SessionCreated, SessionExtended
from intendant.domain.ports import Store
from intendant.domain.state import TIMERS, SessionState
from intendant.runtime.audit import audit
from intendant.testing.clock import STARTED_AT, VirtualClock, virtual_backend

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("rare_looks")]

IDLE = timedelta(minutes=1)
NO_DRAIN = Shutdown(drain=0)
NOTHING: dict[str, Any] = {}
shop = Realm("shop")


@shop.handler
async def greet(ctx: Context, nothing: dict[str, Any]) -> str:
    return "hello"


@shop.handler
async def wait(ctx: Context, given: dict[str, int]) -> None:
    await ctx.sleep(timedelta(seconds=given["seconds"]))


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    return virtual_backend(request.param)


async def is_open(session: Session) -> bool:
    return (await session.view()).closed_at is None


async def check(store: MemoryStore) -> None:
    """What it holds is what its log led to, also the index of timers."""
    await store.open()
    report = await audit(store.log(0))
    await store.close()
    assert report.findings == ()


def runtime_over(store: Store, clock: VirtualClock) -> Runtime:
    return Runtime([shop], hot=store, clock=clock, shutdown=NO_DRAIN)


async def test_it_is_closed_after_its_idle_time_and_says_so() -> None:
    store, clock = MemoryStore(), VirtualClock()
    async with runtime_over(store, clock) as running:
        session = await running.open_session("acme", "desk", idle_timeout=IDLE)
        other = await running.open_session("acme", "other")
        assert (await session.view()).idle_timeout == IDLE
        await anyio.sleep(59)
        assert await is_open(session)
        await anyio.sleep(2)
        with pytest.raises(SessionClosed, match=r"'desk' has expired.*open one with another id") as raised:
            await session.submit(greet, NOTHING)
        assert raised.value.expired
        view = await session.view()
        assert view.expired
        assert view.closed_at is not None
        assert await is_open(other)
        with pytest.raises(SessionClosed, match="expired"):
            await (await running.open_session("acme", "desk", idle_timeout=IDLE)).submit(greet, NOTHING)
        assert await store.log(0).index(TIMERS) == []
    await check(store)


async def test_intents_and_open_executions_keep_it_and_its_time_counts_from_their_end() -> None:
    store, clock = MemoryStore(), VirtualClock()
    async with runtime_over(store, clock) as running:
        session = await running.open_session("acme", "desk", idle_timeout=IDLE)
        await anyio.sleep(50)
        first = await session.submit(greet, NOTHING, idempotency_key="k")
        await anyio.sleep(50)
        await session.submit(wait, {"seconds": 200})
        await anyio.sleep(199 + 60)
        assert await is_open(session)
        await anyio.sleep(2)
        assert not await is_open(session)
        assert (await session.submit(greet, NOTHING, idempotency_key="k")).id == first.id
    await check(store)


def blindly(_actor: SessionActor) -> None:
    """Work is not noted."""


@pytest.mark.parametrize("planted", ["work is not looked for", "work is not noted"])
async def test_one_that_is_closed_at_work_is_found(planted: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if planted == "work is not looked for":
        due = states.session_due

        def blind(state: SessionState, now: int, *, busy: bool) -> Any:
            return due(replace(state, active=False), now, busy=False)

        monkeypatch.setattr(states, "session_due", blind)
    else:
        monkeypatch.setattr(SessionActor, "has_work", blindly)
    async with runtime_over(MemoryStore(), VirtualClock()) as running:
        session = await running.open_session("acme", "desk", idle_timeout=IDLE)
        await anyio.sleep(50)
        await session.submit(wait, {"seconds": 200 if planted == "work is not looked for" else 1})
        await anyio.sleep(58 if planted == "work is not noted" else 120)
        assert not await is_open(session)


async def test_a_restart_changes_nothing_about_when_it_is_closed() -> None:
    store, clock = MemoryStore(), VirtualClock()
    async with runtime_over(store, clock) as running:
        session = await running.open_session("acme", "desk", idle_timeout=IDLE)
        await (await session.submit(greet, NOTHING)).result()
        overdue = await running.open_session("acme", "overdue", idle_timeout=IDLE / 2)
    await anyio.sleep(40)
    async with runtime_over(store, clock) as running:
        session, overdue = running.session("acme", session.id), running.session("acme", overdue.id)
        await anyio.sleep(1)
        assert [await is_open(session), await is_open(overdue)] == [True, False]
        await anyio.sleep(21)
        assert not await is_open(session)
    await check(store)


async def test_one_whose_work_ended_unseen_has_another_idle_time() -> None:
    """What a crash took was the note that its work had ended; it is closed all the same, never too early."""
    store, clock = MemoryStore(), VirtualClock()
    async with runtime_over(store, clock) as running:
        session = await running.open_session("acme", "desk", idle_timeout=IDLE)
        await session.submit(wait, {"seconds": 5})
        snapshot = store.snapshot()
    store.restore(snapshot)
    await anyio.sleep(30)
    async with runtime_over(store, clock) as running:  # it ends at once, and nobody has asked for its session
        session = running.session("acme", session.id)
        await anyio.sleep(61)
        assert await is_open(session)
        await anyio.sleep(61)
        assert not await is_open(session)
    await check(store)


async def test_off_it_costs_nothing() -> None:
    store = MemoryStore()
    async with runtime_over(store, VirtualClock()) as running:
        session = await running.open_session("acme", "desk")
        await (await session.submit(greet, NOTHING)).result()
        assert await store.log(0).index(TIMERS) == []
        types = [each.type for each in (await running.wal.query("acme", newest_first=False)).items]
        assert types == ["session_created", "intent_received", "execution_started", "execution_completed"]


@pytest.mark.parametrize("wrong", [5, "1h", timedelta(0), timedelta(days=9_999), timedelta(microseconds=3)])
async def test_an_idle_time_that_can_not_be(wrong: Any) -> None:
    async with runtime_over(MemoryStore(), VirtualClock()) as running:
        with pytest.raises(InvalidIntent, match="idle_timeout: must be"):
            await running.open_session("acme", "desk", idle_timeout=wrong)


async def test_an_erased_one_leaves_no_timer() -> None:
    store, clock = MemoryStore(), VirtualClock()
    async with runtime_over(store, clock) as running:
        await running.open_session("acme", "desk", idle_timeout=IDLE)
        await running.erase_session("acme", "desk")
        assert await store.log(0).index(TIMERS) == []
        await anyio.sleep(90)
        assert running.stats().sessions == 0
    await check(store)


async def test_a_crash_at_any_commit_is_made_good(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is closed in the end, with nothing left behind, and takes work for as long as it should."""
    store, clock, commit, cuts = MemoryStore(), VirtualClock(), MemoryLog.commit, list[tuple[MemorySnapshot, int]]()

    async def commit_between_cuts(self: MemoryLog, batch: Batch) -> Verdict | KeysTaken:
        cuts.append((store.snapshot(), clock.now()))
        verdict = await commit(self, batch)
        cuts.append((store.snapshot(), clock.now()))
        return verdict

    with monkeypatch.context() as patch:
        patch.setattr(MemoryLog, "commit", commit_between_cuts)
        async with runtime_over(store, clock) as running:
            session = await running.open_session("acme", "desk", idle_timeout=IDLE)
            await anyio.sleep(20)
            await session.submit(wait, {"seconds": 30})
            await anyio.sleep(30 + 61)
            assert not await is_open(session)
    assert len(cuts) > 10
    for snapshot, at in cuts:
        store = MemoryStore()
        store.restore(snapshot)
        clock = VirtualClock(at)
        async with runtime_over(store, clock) as running:
            try:
                view = await running.session("acme", "desk").view()
            except UnknownSession:
                continue
            if view.closed_at is None and at < STARTED_AT + 60e6:
                await running.session("acme", "desk").submit(greet, NOTHING)
            await anyio.sleep(2 * 60 + 30)
            assert (await running.session("acme", "desk").view()).expired
        await check(store)


@pytest.mark.parametrize("seed", range(3))
async def test_whatever_comes_it_is_closed_after_its_idle_time_and_not_before(seed: int) -> None:
    """Restarts included: work that a submitter was told of is never refused, and in the end all are closed."""
    chance, store, clock = random.Random(seed), MemoryStore(), VirtualClock()
    worked: dict[str, int] = {}

    async def one(running: Runtime) -> None:
        id = f"desk-{chance.randrange(4)}"
        session = await running.open_session("acme", id, idle_timeout=IDLE)
        worked.setdefault(id, clock.now())
        refused: list[SessionClosed] = []
        try:
            await session.submit(*chance.choice([(greet, NOTHING), (wait, {"seconds": chance.randrange(90)})]))
            worked[id] = clock.now()
        except SessionClosed as error:
            refused.append(error)
        assert all(each.expired for each in refused)
        assert not refused or clock.now() - worked[id] >= IDLE // timedelta(microseconds=1)

    for _ in range(12):
        async with runtime_over(store, clock) as running:
            for _ in range(chance.randrange(1, 6)):
                await one(running)
                await anyio.sleep(chance.choice([0, 1, 20, 70]))
    async with runtime_over(store, clock) as running:
        await anyio.sleep(5 * 60)
        assert all(each.expired for each in await running.sessions("acme"))
    await check(store)


@given(
    now=st.integers(0, 200),
    idle=st.integers(0, 50),
    moves=st.lists(st.tuples(st.integers(0, 100), st.booleans()), max_size=5),
    busy=st.booleans(),
)
def test_what_has_work_or_a_later_time_is_never_closed(
    now: int, idle: int, moves: list[tuple[int, bool]], busy: bool
) -> None:
    state = states.session_created("acme", "desk", SessionCreated("", "default", {}, 1, idle_timeout=idle))
    for at, active in moves if idle else []:
        state = states.session_extended(state, SessionExtended(at, at + idle, active))
    what = states.session_due(state, now, busy=busy)
    if isinstance(what, Closed):
        assert idle
        assert state.due <= now
        assert not busy
        assert not state.active
        assert states.session_closed(state, what).timer is None
    elif what is not None:
        assert what.due == now + idle
        assert what.active == busy
    else:
        assert not idle or state.due > now
